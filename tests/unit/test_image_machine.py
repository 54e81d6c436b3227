"""What is handed to QEMU, and what comes from its console."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
from base64 import b64decode
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import paramiko
import pytest

from virtvet.image import console, credentials, iso9660, machine
from virtvet.image.accelerator import Accelerator
from virtvet.image.disk import Disk
from virtvet.image.firmware import Flash
from virtvet.image.machine import DirectKernel, Plan

pytestmark = pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed")

PLAN = Plan(
    disk=Disk(Path("/srv/a,b.qcow2"), "qcow2", 10, 20, frozenset({"uefi"})),
    accelerator=Accelerator("tcg", "KVM hangs"),
    firmware="uefi",
    flash=Flash(Path("/usr/code.fd"), Path("/usr/vars.fd")),
    iommu="intel",
    bus="virtio",
    nic="virtio",
    memory=1024,
    cpus=2,
    direct=None,
    address="127.64.1.2",
    ports=(16514, 16514),
)
RUN = Path("/run/gate")


def command(plan: Plan = PLAN) -> str:
    return " ".join(machine.command(plan, RUN, ["-smbios", "type=11,value=x"], 7))


def test_the_image_is_never_written() -> None:
    assert "file=/srv/a,,b.qcow2,format=qcow2,snapshot=on" in command()


def test_the_machine_reaches_nobody_and_only_we_reach_it() -> None:
    said = command()
    assert "user,id=net,restrict=on,hostfwd=tcp:127.64.1.2:2222-:22,hostfwd=tcp:127.64.1.2:16514-:16514 " in said
    assert said.count("hostfwd=") == 2
    assert "-no-user-config" in said
    assert "spawn=deny" in said


def test_firmware_iommu_bus_and_card_are_those_of_the_plan() -> None:
    said = command()
    assert "-device intel-iommu,intremap=on" in said
    assert "kernel-irqchip=split" in said
    assert "if=pflash,format=raw,readonly=on,file=/usr/code.fd" in said
    assert "file=/run/gate/variables.fd" in said
    other = command(replace(PLAN, flash=None, firmware="bios", iommu="amd", bus="nvme", nic="e1000e"))
    assert "pflash" not in other
    assert "amd-iommu" in other
    assert "nvme,serial=virtvet,drive=disk" in other
    assert "e1000e,netdev=net" in other
    assert "iommu" not in command(replace(PLAN, iommu="none"))


def test_a_kernel_is_started_directly() -> None:
    said = command(replace(PLAN, flash=None, direct=DirectKernel(Path("/k"), Path("/i"), "root=/dev/vda quiet")))
    assert "-kernel /k -initrd /i -append root=/dev/vda quiet" in said


def test_each_run_has_an_address_of_its_own_on_loopback() -> None:
    drawn = {machine.own_address() for _ in range(50)}
    assert len(drawn) > 45
    assert all(ip_address(one) in ip_network("127.64.0.0/10") for one in drawn)


# --- credentials


def test_the_key_is_handed_in_as_systemd_and_cloud_init_take_it(tmp_path: Path) -> None:
    key = credentials.new_key(tmp_path)
    assert key.path.stat().st_mode & 0o777 == 0o600
    assert paramiko.PKey.from_path(key.path).get_base64() == key.public.split()[1]
    options = credentials.smbios(key.public)
    given = dict(
        option.removeprefix("type=11,value=io.systemd.credential.binary:").split("=", 1) for option in options[1::2]
    )
    assert b64decode(given["ssh.authorized_keys.root"]).decode() == f"{key.public}\n"
    line = b64decode(given["tmpfiles.extra"]).decode()
    assert line.startswith("w+ /root/.ssh/authorized_keys - - - - \\nssh-ed25519\\x20AAAA")
    assert line.count("\n") == 1
    assert "," not in "".join(given.values())
    assert key.public.encode() in credentials.seed(key.public, "i-1")


def test_the_seed_is_a_file_system_that_linux_knows(tmp_path: Path) -> None:
    path = tmp_path / "seed.iso"
    path.write_bytes(iso9660.image("cidata", {"user-data": b"u" * 5000, "meta-data": b"m"}))
    told = subprocess.run(["blkid", "-p", "-o", "export", str(path)], check=True, capture_output=True, text=True).stdout
    assert "LABEL=cidata" in told
    assert "TYPE=iso9660" in told
    assert files(path.read_bytes()) == {"meta-data": b"m", "user-data": b"u" * 5000}


def files(image: bytes) -> dict[str, bytes]:
    """As a reader finds them: from the volume descriptor to the root directory to each file (ECMA-119, 8.4, 9.1)."""
    volume = image[16 * 2048 :]
    assert struct.unpack_from("<I", volume, 80)[0] * 2048 == len(image)
    sector, length = struct.unpack_from("<I4xI", volume, 156 + 2)
    directory, found, at = image[sector * 2048 :][:length], {}, 0
    while size := directory[at]:
        record = directory[at : at + size]
        start, length = struct.unpack_from("<I4xI", record, 2)
        if not record[25] & 2:
            found[record[33 : 33 + record[32]].decode()] = image[start * 2048 :][:length]
        at += size
    return found


def test_a_directory_beyond_its_sector_is_refused() -> None:
    with pytest.raises(ValueError, match="too many"):
        iso9660.image("x", {f"file-{number}": b"" for number in range(60)})


# --- the console


def test_the_console_is_kept_as_text_and_bounded() -> None:
    ours, theirs = socket.socketpair()
    heard = console.Console(ours)
    with theirs:
        theirs.sendall(
            b"\x1b[2J\x1b[01;01HGRUB\r\n\n" + b"line\r\n" * 500 + b"\x1b]0;title\x07" + b"x" * 10_000 + b"\x00last"
        )
    heard.settle()
    tail = heard.tail(3)
    assert tail[:2] == ["line", "line"]
    assert tail[2].startswith("xxx")
    assert len(tail[2]) <= 300
    assert len(heard.tail(10_000)) == console.KEPT + 1
    heard.close()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (b"[    0.0] Linux\r", "[    0.0] Linux"),
        (b"\x1b[0;32m  OK  \x1b[0m] Started", "OK  ] Started"),
        (b"\xff\x00evil", "\ufffd\\x00evil"),
        (b"\x1b[?25l\x1b[m", ""),
    ],
)
def test_what_only_terminals_understand_is_left_out(said: bytes, shown: str) -> None:
    assert console.shown(said) == shown
