"""A tiny ISO 9660 writer (ECMA-119): a few small files in the root directory, under the names they have.

For cloud-init's NoCloud seed alone, whose names (`meta-data`, `user-data`) are no 8.3 names; Linux reads them as they
stand. So no mkisofs, mtools or root is needed.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

SECTOR = 2048
VOLUME, TERMINATOR, PATHS_LITTLE, PATHS_BIG, ROOT, DATA = 16, 17, 18, 19, 20, 21
"""Sectors; the first 16 are the system's."""
DIRECTORY, FILE = 2, 0


def image(label: str, files: Mapping[str, bytes]) -> bytes:
    """The whole file system. Raises ValueError when the directory would not fit into its sector."""
    ordered = sorted(files.items())
    records, data, sector = (
        [_record(b"\0", ROOT, SECTOR, DIRECTORY), _record(b"\1", ROOT, SECTOR, DIRECTORY)],
        b"",
        DATA,
    )
    for name, content in ordered:
        records.append(_record(name.encode("ascii"), sector, len(content), FILE))
        data += _padded(content)
        sector += len(_padded(content)) // SECTOR
    directory = b"".join(records)
    if len(directory) > SECTOR:
        raise ValueError(f"{len(ordered)} files are too many for one directory sector")
    paths = (struct.pack("<BBIHB", 1, 0, ROOT, 1, 0), struct.pack(">BBIHB", 1, 0, ROOT, 1, 0))
    parts = [_volume(label, sector), b"\xffCD001\x01", *(part + b"\0" for part in paths), directory]
    return bytes(SECTOR * VOLUME) + b"".join(map(_padded, parts)) + data


def _padded(part: bytes) -> bytes:
    return part.ljust(-(-len(part) // SECTOR) * SECTOR, b"\0")


def _both(number: int, size: int = 4) -> bytes:
    """In both byte orders, one after the other."""
    return number.to_bytes(size, "little") + number.to_bytes(size, "big")


def _record(name: bytes, sector: int, length: int, flags: int) -> bytes:
    """A directory record (9.1), of the first day there was a UNIX."""
    body = b"\0" + _both(sector) + _both(length) + bytes((70, 1, 1, 0, 0, 0, 0)) + bytes((flags, 0, 0))
    body += _both(1, 2) + bytes((len(name),)) + name
    body += b"\0" * (len(body) % 2 == 0)
    return bytes((len(body) + 1,)) + body


def _volume(label: str, sectors: int) -> bytes:
    """The primary volume descriptor (8.4)."""
    no_date = b"0" * 16 + b"\0"
    return b"".join(
        (
            *(b"\x01CD001\x01\0", b" " * 32, label.encode("ascii").ljust(32), bytes(8), _both(sectors), bytes(32)),
            *(_both(1, 2), _both(1, 2), _both(SECTOR, 2), _both(10)),
            *(struct.pack("<II", PATHS_LITTLE, 0), struct.pack(">II", PATHS_BIG, 0)),
            *(_record(b"\0", ROOT, SECTOR, DIRECTORY), b" " * 128, b" " * 384, b" " * 111, no_date * 4, b"\x01\0"),
        )
    )
