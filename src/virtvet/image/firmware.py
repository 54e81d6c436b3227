"""What can boot a disk, by its partition table; and where this machine keeps its UEFI firmware."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from virtvet.errors import BadInput

Firmware = Literal["uefi", "bios"]

SECTOR = 512
ESP = UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
BIOS_BOOT = UUID("21686148-6449-6e6f-744e-656564454649")
"""Partition types (UEFI specification, 5.3.3; GRUB manual, "BIOS installation")."""
LEGACY_BOOT = 1 << 2
"""Attribute of a GPT entry: a legacy BIOS boots from it."""
MBR_ESP = 0xEF
BOOT_CODE = 440
"""Bytes of the master boot record that hold code."""

DESCRIPTORS = (Path("/etc/qemu/firmware"), Path("/usr/share/qemu/firmware"))
"""By priority (QEMU docs/interop/firmware.json); a file of one name hides those of the same name behind it."""
UNWANTED = frozenset({"requires-smm", "enrolled-keys", "amd-sev-es", "amd-sev-snp", "intel-tdx"})
"""Secure Boot would test the keys of this machine's firmware and not the image."""


@dataclass(frozen=True, slots=True)
class Flash:
    """UEFI firmware: its code, and what its variables are before the first boot."""

    code: Path
    variables: Path


def boots(head: bytes) -> frozenset[Firmware]:
    """The firmwares that find something to start on a disk, by its first MiB (sectors of 512 bytes)."""
    code = head[510:512] == b"\x55\xaa" and any(head[:BOOT_CODE])
    found: set[Firmware] = set()
    if (entries := _gpt(head)) is not None:
        if any(kind == ESP for kind, _attributes in entries):
            found.add("uefi")
        if code and any(kind == BIOS_BOOT or attributes & LEGACY_BOOT for kind, attributes in entries):
            found.add("bios")
    else:
        if head[510:512] == b"\x55\xaa" and MBR_ESP in head[450:514:16]:
            found.add("uefi")
        if code:
            found.add("bios")
    return frozenset(found)


def _gpt(head: bytes) -> list[tuple[UUID, int]] | None:
    """Type and attributes of each partition; None where there is no GPT (UEFI specification, 5.3)."""
    header = head[SECTOR : 2 * SECTOR]
    if header[:8] != b"EFI PART" or len(header) < SECTOR:
        return None
    first, count, size = struct.unpack_from("<QII", header, 72)
    table = head[first * SECTOR : first * SECTOR + count * size] if size >= 128 else b""
    entries = (table[at : at + 128] for at in range(0, len(table) - 127, max(size, 128)))
    return [(UUID(bytes_le=entry[:16]), struct.unpack_from("<Q", entry, 48)[0]) for entry in entries if any(entry[:16])]


def choose(boots: frozenset[Firmware], wanted: Firmware | None) -> tuple[Firmware, Flash | None]:
    """The firmware to boot with, UEFI before BIOS where both can. Raises BadInput."""
    if not boots and wanted is None:
        raise BadInput.one(
            "the image holds no boot loader: neither an EFI system partition nor boot code",
            "start it with a kernel of yours: --direct-kernel KERNEL --initrd INITRD --append root=…",
        )
    flash = find()
    if wanted == "bios" or (wanted is None and "bios" in boots and ("uefi" not in boots or flash is None)):
        return "bios", None
    if flash is None:
        raise BadInput.one(
            "the image boots by UEFI, and there is no UEFI firmware for QEMU here", "apt-get install ovmf"
        )
    return "uefi", flash


def find() -> Flash | None:
    """The first UEFI firmware for x86_64 and q35 without Secure Boot, as QEMU's descriptors name it."""
    for described in _descriptors():
        if flash := _flash(described):
            return flash
    return None


def _descriptors() -> Iterator[dict[str, Any]]:
    by_name: dict[str, Path] = {}
    for folder in DESCRIPTORS:
        for path in folder.glob("*.json"):
            by_name.setdefault(path.name, path)
    for _name, path in sorted(by_name.items()):
        try:
            described = json.loads(path.read_bytes() or b"{}")
        except (OSError, ValueError):
            continue
        if isinstance(described, dict):
            yield described


def _flash(described: dict[str, Any]) -> Flash | None:
    try:
        machines = [
            machine
            for target in described["targets"]
            if target["architecture"] == "x86_64"
            for machine in target["machines"]
        ]
        mapping = described["mapping"]
        if "uefi" not in described["interface-types"] or "pc-q35-*" not in machines or mapping["device"] != "flash":
            return None
        parts = (mapping["executable"], mapping["nvram-template"])
        if UNWANTED.intersection(described["features"]) or any(part["format"] != "raw" for part in parts):
            return None
        code, variables = (Path(part["filename"]) for part in parts)
    except (KeyError, TypeError):
        return None
    return Flash(code, variables) if code.is_file() and variables.is_file() else None
