"""What an image file is, and what is refused before anything boots."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.test_image_firmware import CODE, gpt
from virtvet.errors import BadInput
from virtvet.image import disk, firmware

needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")
BOOTABLE = gpt(firmware.ESP, firmware.BIOS_BOOT, code=CODE).ljust(2 << 20, b"\0")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "hv, 1.raw"
    path.write_bytes(BOOTABLE)
    return path


def qemu_img(*arguments: object) -> None:
    subprocess.run(["qemu-img", *map(str, arguments)], check=True, capture_output=True)


def test_a_raw_disk_is_what_it_is(raw: Path) -> None:
    found = disk.examine(raw)
    assert (found.format, found.size, found.virtual_size) == ("raw", 2 << 20, 2 << 20)
    assert found.boots == {"uefi", "bios"}
    assert found.sha256() == hashlib.sha256(BOOTABLE).hexdigest()


@needs_qemu_img
def test_a_qcow2_is_looked_into(raw: Path, tmp_path: Path) -> None:
    path = tmp_path / "-f hv.qcow2"
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, path)
    before = path.read_bytes()
    found = disk.examine(path)
    assert (found.format, found.virtual_size, found.boots) == ("qcow2", 2 << 20, {"uefi", "bios"})
    assert found.size == len(before)
    assert found.sha256() == hashlib.sha256(before).hexdigest()
    assert path.read_bytes() == before


@needs_qemu_img
def test_a_part_of_an_image_is_refused(raw: Path, tmp_path: Path) -> None:
    overlay, split = tmp_path / "overlay.qcow2", tmp_path / "split.qcow2"
    qemu_img("create", "-f", "qcow2", "-b", raw, "-F", "raw", overlay)
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={tmp_path / 'data'}", split, "1M")
    for path in (overlay, split):
        with pytest.raises(BadInput, match=r"only a part: the rest is in .*qemu-img convert"):
            disk.examine(path)


@needs_qemu_img
def test_a_damaged_qcow2_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.qcow2"
    path.write_bytes(b"QFI\xfb\0\0\0\x03")
    with pytest.raises(BadInput, match="qemu-img cannot read it"):
        disk.examine(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"KDMV\1\0", r"is VMDK, not raw or qcow2 \(convert it: qemu-img convert -O qcow2 x.img x.qcow2\)"),
        (b"vhdxfile", "is VHDX"),
        (b"<<< Oracle VM VirtualBox Disk Image >>>", "is VDI"),
        (b"\xfd7zXZ\0", r"is xz.*unpack it: xz -d x.img"),
    ],
)
def test_what_is_no_disk_image_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.img"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=said):
        disk.examine(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is no file"):
        disk.examine(tmp_path)
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        disk.examine(tmp_path / "missing")
