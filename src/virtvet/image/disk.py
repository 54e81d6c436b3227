"""What an image file is, found out without booting it: its format, its size, its digest, and what can boot from it.

The file is never opened for writing. Its format is told by its first bytes and never left to QEMU to guess: what calls
itself raw could be taken for a qcow2 whose backing file is any file of this machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from tempfile import TemporaryDirectory
from typing import Literal

from virtvet.errors import BadInput, Position
from virtvet.image import firmware, programs
from virtvet.image.firmware import Firmware

Format = Literal["raw", "qcow2"]

MIB = 1 << 20
MAGIC = {
    b"QFI\xfb": "qcow2",
    b"KDMV": "VMDK",
    b"# Disk DescriptorFile": "VMDK",
    b"vhdxfile": "VHDX",
    b"conectix": "VHD",
    b"<<< ": "VDI",
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
"""First bytes of what people call disk images."""
INFO_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Disk:
    """An image that can be booted."""

    path: Path
    format: Format
    size: int
    """Bytes of the file."""
    virtual_size: int
    """Bytes of the disk inside."""
    boots: frozenset[Firmware]
    """The firmwares that find something to start on it."""

    def sha256(self, progress: Callable[[int], None] = lambda _read: None) -> str:
        """Of the file as it is."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while part := file.read(4 * MIB):
                digest.update(part)
                progress(file.tell())
        return digest.hexdigest()


def examine(path: Path) -> Disk:
    """What the file is. Raises BadInput: none, unreadable, of another format, or not the whole image by itself."""
    head = _head(path)
    kind = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), "raw")
    if kind not in ("raw", "qcow2"):
        raise _wrong(path, f"is {kind}, not raw or qcow2", _remedy(kind, path))
    written: Format = "qcow2" if kind == "qcow2" else "raw"
    size = path.stat().st_size
    if written == "raw":
        return Disk(path, written, size, size, firmware.boots(head))
    virtual = _virtual_size(path)
    return Disk(path, written, size, virtual, firmware.boots(_first_mib(path)))


def _head(path: Path) -> bytes:
    try:
        if not S_ISREG(path.stat().st_mode):
            raise _wrong(path, "is no file", "name a raw or qcow2 disk image")
        with path.open("rb") as file:
            head = file.read(MIB)
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror}") from None
    if not head:
        raise _wrong(path, "is empty")
    return head


def _remedy(kind: str, path: Path) -> str:
    if kind in ("gzip", "xz", "zstd"):
        return f"unpack it: {kind} -d {path.name}"
    return f"convert it: qemu-img convert -O qcow2 {path.name} {path.stem}.qcow2"


def _virtual_size(path: Path) -> int:
    """Raises BadInput where other files belong to the image: its digest would not say what was tested."""
    done = _qemu_img("info", "-f", "qcow2", "--output=json", _operand(path))
    if done.returncode:
        raise _wrong(path, f"qemu-img cannot read it: {_complaint(done.stderr)}")
    told = json.loads(done.stdout)
    inside = told.get("format-specific", {}).get("data", {})
    if other := told.get("backing-filename") or inside.get("data-file"):
        hint = f"make one file of it: qemu-img convert -O qcow2 {path.name} whole.qcow2"
        raise _wrong(path, f"is only a part: the rest is in {other}", hint)
    if told.get("encrypted"):
        raise _wrong(path, "is encrypted", "decrypt it: qemu-img convert")
    return int(told["virtual-size"])


def _first_mib(path: Path) -> bytes:
    """Of the disk inside a qcow2."""
    with TemporaryDirectory(prefix="virtvet-image-") as folder:
        out = Path(folder, "head")
        copy = ["-f", "qcow2", "-O", "raw", "bs=1M", "count=1", f"if={_operand(path)}", f"of={out}"]
        done = _qemu_img("dd", *copy)
        if done.returncode:
            raise _wrong(path, f"qemu-img cannot read it: {_complaint(done.stderr)}")
        return out.read_bytes()


def _qemu_img(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    argv = [programs.path_of("qemu-img"), *arguments]
    try:
        return subprocess.run(argv, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=INFO_SECONDS)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 1, b"", f"no answer within {INFO_SECONDS} s".encode())


def _operand(path: Path) -> str:
    """An absolute path, so that no name is taken for an option or a protocol (`nbd:…`)."""
    return os.fspath(path.absolute())


def _complaint(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "backslashreplace").strip().splitlines()
    return lines[-1] if lines else "it says nothing"


def _wrong(path: Path, message: str, hint: str = "") -> BadInput:
    return BadInput.one(message, hint, Position(str(path)))
