"""What boots a disk, by its first MiB; and which UEFI firmware of this machine is taken."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from virtvet.errors import BadInput
from virtvet.image import firmware

LINUX = UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
CODE = b"\xfa\xf4"


def gpt(*kinds: UUID, code: bytes = b"", attributes: int = 0, first: int = 2, size: int = 128) -> bytes:
    """The first MiB of a disk with these partitions, as sfdisk lays it out."""
    mbr = code.ljust(510, b"\0") + b"\x55\xaa"
    header = b"EFI PART".ljust(72, b"\0") + struct.pack("<QII", first, 128, size)
    entries = b"".join(
        (kind.bytes_le.ljust(48, b"\0") + struct.pack("<Q", attributes)).ljust(128, b"\0") for kind in kinds
    )
    return (mbr + header.ljust(512, b"\0")).ljust(first * 512, b"\0") + entries.ljust(64 * 512, b"\0")


def mbr(kind: int, code: bytes = b"") -> bytes:
    entry = bytes((0x80, 0, 0, 0, kind, 0, 0, 0)) + struct.pack("<II", 2048, 4096)
    return code.ljust(446, b"\0") + entry + bytes(48) + b"\x55\xaa"


@pytest.mark.parametrize(
    ("head", "boots"),
    [
        (gpt(firmware.ESP, LINUX), {"uefi"}),
        (gpt(firmware.BIOS_BOOT, LINUX, code=CODE), {"bios"}),
        (gpt(firmware.BIOS_BOOT, firmware.ESP, LINUX, code=CODE), {"uefi", "bios"}),
        (gpt(firmware.BIOS_BOOT, LINUX), set()),
        (gpt(LINUX, code=CODE), set()),
        (gpt(LINUX, code=CODE, attributes=firmware.LEGACY_BOOT), {"bios"}),
        (gpt(firmware.ESP, first=40_000), set()),
        (gpt(firmware.ESP, size=0), set()),
        (gpt(firmware.ESP, size=0xFFFFFFFF), {"uefi"}),
        (mbr(0x83, CODE), {"bios"}),
        (mbr(0xEF), {"uefi"}),
        (mbr(0x83), set()),
        (b"\0" * 4096, set()),
        (b"", set()),
        (b"EFI PART" * 100, set()),
    ],
)
def test_what_boots_is_told_by_the_partition_table(head: bytes, boots: set[str]) -> None:
    assert firmware.boots(head[: 1 << 20]) == boots


def descriptor(code: Path, **changed: Any) -> str:
    part = {"filename": str(code), "format": "raw"}
    return json.dumps(
        {
            "interface-types": ["uefi"],
            "mapping": {"device": "flash", "executable": part, "nvram-template": part},
            "targets": [{"architecture": "x86_64", "machines": ["pc-i440fx-*", "pc-q35-*"]}],
            "features": ["acpi-s3"],
            **changed,
        }
    )


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    mine, shipped = tmp_path / "etc", tmp_path / "usr"
    mine.mkdir()
    shipped.mkdir()
    monkeypatch.setattr(firmware, "DESCRIPTORS", (mine, shipped))
    return mine, shipped


def test_firmware_without_secure_boot_is_taken(folders: tuple[Path, Path], tmp_path: Path) -> None:
    code = tmp_path / "code.fd"
    code.touch()
    _mine, shipped = folders
    (shipped / "40-secure.json").write_text(descriptor(tmp_path / "other.fd", features=["requires-smm"]))
    (shipped / "50-arm.json").write_text(
        descriptor(code, targets=[{"architecture": "aarch64", "machines": ["virt-*"]}])
    )
    (shipped / "55-broken.json").write_text("{")
    (shipped / "56-odd.json").write_text('{"mapping": 3}')
    (shipped / "58-memory.json").write_text(descriptor(code, mapping={"device": "memory"}))
    (shipped / "59-gone.json").write_text(descriptor(tmp_path / "gone.fd"))
    assert firmware.find() is None
    (shipped / "60-plain.json").write_text(descriptor(code))
    assert firmware.find() == firmware.Flash(code, code)


def test_an_administrators_file_hides_the_shipped_one(folders: tuple[Path, Path], tmp_path: Path) -> None:
    code = tmp_path / "code.fd"
    code.touch()
    mine, shipped = folders
    (shipped / "60-plain.json").write_text(descriptor(code))
    (mine / "60-plain.json").touch()
    assert firmware.find() is None


def test_uefi_comes_before_bios(folders: tuple[Path, Path], tmp_path: Path) -> None:
    both, uefi, bios = frozenset({"uefi", "bios"}), frozenset({"uefi"}), frozenset({"bios"})
    assert firmware.choose(both, None) == ("bios", None)  # type: ignore[arg-type]  # no OVMF here
    with pytest.raises(BadInput, match="apt-get install ovmf"):
        firmware.choose(uefi, None)  # type: ignore[arg-type]
    code = tmp_path / "code.fd"
    code.touch()
    (folders[1] / "60-plain.json").write_text(descriptor(code))
    flash = firmware.Flash(code, code)
    assert firmware.choose(both, None) == ("uefi", flash)  # type: ignore[arg-type]
    assert firmware.choose(bios, None) == ("bios", None)  # type: ignore[arg-type]
    assert firmware.choose(both, "bios") == ("bios", None)  # type: ignore[arg-type]
    assert firmware.choose(bios, "uefi") == ("uefi", flash)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"no boot loader.*--direct-kernel"):
        firmware.choose(frozenset(), None)
