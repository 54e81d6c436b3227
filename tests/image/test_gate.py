"""`virtvet image` as its users run it: the lab's disk passes; broken in one way, it fails with just that control.

Each image costs a cold boot. Two boot at a time, while the tests wait for theirs.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import shell, state
from lab.image.build import Image, image
from lab.progress import Progress
from tests.image.disks import Change, changed

HERE = Path(__file__).parent
PROFILE = HERE / "gate.yaml"
WANTS = "/etc/systemd/system"
KEY = "/etc/pki/libvirt/private/serverkey.pem"
AT_ONCE = 2

# What the lab's hosts need not have, and the gate's profile asks for; the slice, whether libvirt is started or not
READY = Change(
    writes=(("/etc/modules-load.d/9p.conf", "9p\n"),),
    commands=(f"cd {WANTS}/multi-user.target.wants", f"symlink machine-prod.slice {WANTS}/machine-prod.slice"),
)


@dataclass(frozen=True)
class Broken:
    """An image that is broken in one way, and what must fail: {"CONTROL subject": "layers"}."""

    name: str
    change: Change
    departs: dict[str, str]


BROKEN = (
    Broken(
        "the IOMMU is off in the command line",
        Change(replaces=(("/boot/grub/grub.cfg", r"\bintel_iommu=on\b", "intel_iommu=off"),)),
        {"HOST-IOMMU-3 enabled": "config actual"},
    ),
    Broken(
        "libvirtd is not enabled",
        Change(commands=(f"rm {WANTS}/multi-user.target.wants/libvirtd.service",)),
        {"SERVICE-UNIT-1 libvirtd.service": "config"},
    ),
    Broken(
        "the plaintext port is open",
        Change(
            commands=(
                f"cd {WANTS}/sockets.target.wants",
                "symlink libvirtd-tcp.socket /lib/systemd/system/libvirtd-tcp.socket",
            )
        ),
        {"LISTEN-TCP-1 port 16509": "actual"},
    ),
    Broken(
        "the private key is for all to read",
        Change(commands=(f"set_inode_field {KEY} mode 0100644",)),
        {"TLS-KEY-1 server key": "config"},
    ),
    Broken(
        "the partition's slice is missing",
        Change(
            commands=tuple(
                f"rm {WANTS}/{place}machine-prod.slice"
                for place in ("", "machine.slice.wants/", "multi-user.target.wants/")
            ),
        ),
        {"PART-EXIST-1 /machine/prod": "actual"},
    ),
    Broken(
        "the module vfio-pci is not there",
        Change(commands=("cd /usr/lib/modules/RELEASE/kernel/drivers/vfio/pci", "rm vfio-pci.ko")),
        {"HOST-MOD-1 vfio_pci": "actual"},
    ),
    Broken(
        "the module 9p is not there",
        Change(commands=("cd /usr/lib/modules/RELEASE/kernel/fs/9p", "rm 9p.ko")),
        {"HOST-MOD-1 9p": "actual"},
    ),
)


@dataclass(frozen=True)
class Gated:
    """One run of the gate."""

    code: int
    output: str
    run: dict[str, Any]
    untouched: bool
    """Whether the image has the digest it had before."""

    @property
    def departs(self) -> dict[str, str]:
        """As faults name it."""
        return {
            f"{result['control']} {result['subject']}": " ".join(
                layer for layer, seen in result["layers"].items() if seen["verdict"] == "departs"
            )
            for result in self.run["results"]
            if result["outcome"] in ("failed", "error")
        }


def gate(disk: Path, reports: Path, *options: str) -> Gated:
    before = digest(disk)
    argv = [
        sys.executable,
        "-m",
        "virtvet",
        "image",
        str(disk),
        f"--profile={PROFILE}",
        f"--reports={reports}",
        "--name=localhost",
    ]
    done = subprocess.run(
        [*argv, "--timeout=600", "--deadline=300", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=1200,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(disk.parent)},
    )
    found = reports / "latest/run.json"
    run = json.loads(found.read_bytes()) if found.exists() else {"results": []}
    return Gated(done.returncode, done.stdout, run, digest(disk) == before)


def digest(disk: Path) -> str:
    with disk.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def gate_broken(image: Image, broken: Broken, folder: Path) -> Gated:
    """By BIOS: the good one shows that UEFI works, too."""
    folder.mkdir()
    disk = changed(image.disk, folder / "disk.raw", READY, broken.change)
    try:
        return gate(disk, folder / "reports", "--firmware=bios")
    finally:
        disk.unlink()


def gate_good(image: Image, folder: Path) -> Gated:
    """A qcow2, by UEFI."""
    folder.mkdir()
    raw, disk = changed(image.disk, folder / "disk.raw", READY), folder / "hypervisor-12.qcow2"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(disk)], check=True)
    raw.unlink()
    try:
        return gate(disk, folder / "reports")
    finally:
        disk.unlink()


@pytest.fixture(scope="module")
def gated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Gated]]]:
    """The runs of those that were selected, under way."""
    shell.find_system_commands()
    built, folder = image(state.cache(), Progress()), tmp_path_factory.mktemp("gate")
    selected = {item.name for item in request.session.items}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = {}
        if any("good" in name for name in selected):
            runs["good"] = pool.submit(gate_good, built, folder / "good")
        for number, broken in enumerate(BROKEN):
            if any(broken.name in name for name in selected):
                runs[broken.name] = pool.submit(gate_broken, built, broken, folder / f"{number}")
        yield runs
        for run in runs.values():
            run.cancel()


def test_a_good_image_passes(gated: dict[str, Future[Gated]]) -> None:
    good = gated["good"].result()
    assert good.departs == {}, good.output
    assert good.code == 0, good.output
    assert good.untouched
    facts = good.run["image"]
    assert (facts["name"], facts["format"], facts["firmware"]) == ("hypervisor-12.qcow2", "qcow2", "uefi")
    assert facts["accelerator"] in ("kvm", "tcg")
    assert [host["name"] for host in good.run["hosts"]] == ["hypervisor-12"]


@pytest.mark.parametrize("broken", BROKEN, ids=[broken.name for broken in BROKEN])
def test_a_broken_image_fails_with_just_that_control(broken: Broken, gated: dict[str, Future[Gated]]) -> None:
    seen = gated[broken.name].result()
    assert seen.departs == broken.departs, seen.output
    assert seen.code == 1, seen.output
    assert seen.untouched
    assert seen.run["image"]["firmware"] == "bios"
