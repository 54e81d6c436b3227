"""`virtvet image` as its users run it, on the lab's disk: as it is, and broken in one way. Each costs a cold boot."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import shell, state
from lab.image import spec
from lab.image.build import Image, image
from lab.progress import Progress
from tests.image.disks import Change, changed

HERE = Path(__file__).parent
PROFILE = HERE / "gate.yaml"
WANTS = "/etc/systemd/system"
KEY = "/etc/pki/libvirt/private/serverkey.pem"
AT_ONCE = 2
PATIENT = ("--timeout=240", "--deadline=240")
"""Seconds, beside other tests: it boots in 31 when it is alone."""
LOCKUPS = 2
"""Now and then a boot under TCG stands still for good: it is begun anew, as the lab does (lab/image/warm.py)."""
SILENT = 20

# What the lab's hosts need not have, and the gate's profile asks for; the slice, whether libvirt is started or not
READY = Change(
    writes=(("/etc/modules-load.d/9p.conf", "9p\n"),),
    commands=(f"cd {WANTS}/multi-user.target.wants", f"symlink machine-prod.slice {WANTS}/machine-prod.slice"),
)


@dataclass(frozen=True)
class Boot:
    """The lab's disk, changed and booted in some way; and what must fail then: {"CONTROL subject": "layers"}."""

    name: str
    change: Change = field(default_factory=Change)
    departs: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ("--firmware=bios",)
    """In them {image} is the lab's."""
    file: str = "disk.raw"
    booted: Mapping[str, str] = field(default_factory=lambda: {"format": "raw", "firmware": "bios"})
    """Of what the reports say."""


DIRECT = f"root={spec.ROOT} {' '.join(spec.CMDLINE)}"
GOOD = (
    Boot(
        "a qcow2 by UEFI",
        options=(),
        file="hypervisor-12.qcow2",
        booted={"name": "hypervisor-12.qcow2", "format": "qcow2", "firmware": "uefi", "iommu": "intel"},
    ),
    Boot(
        "on a machine of AMD's",
        options=("--firmware=bios", "--iommu=amd", f"--profile={HERE / 'gate-amd.yaml'}"),
        booted={"firmware": "bios", "iommu": "amd"},
    ),
)
BROKEN = (
    Boot(
        "the IOMMU is off in the command line",
        Change(replaces=(("/boot/grub/grub.cfg", r"\bintel_iommu=on\b", "intel_iommu=off"),)),
        {"HOST-IOMMU-3 enabled": "config actual"},
    ),
    Boot(
        "libvirtd is not enabled",
        Change(commands=(f"rm {WANTS}/multi-user.target.wants/libvirtd.service",)),
        {"SERVICE-UNIT-1 libvirtd.service": "config"},
    ),
    Boot(
        "the plaintext port is open",
        Change(
            commands=(
                f"cd {WANTS}/sockets.target.wants",
                "symlink libvirtd-tcp.socket /lib/systemd/system/libvirtd-tcp.socket",
            )
        ),
        {"LISTEN-TCP-1 port 16509": "actual"},
    ),
    Boot(
        "the private key is for all to read",
        Change(commands=(f"set_inode_field {KEY} mode 0100644",)),
        {"TLS-KEY-1 server key": "config"},
    ),
    Boot(
        "the partition's slice is missing",
        Change(
            commands=tuple(
                f"rm {WANTS}/{place}machine-prod.slice"
                for place in ("", "machine.slice.wants/", "multi-user.target.wants/")
            ),
        ),
        {"PART-EXIST-1 /machine/prod": "actual"},
    ),
    Boot(
        "the module vfio-pci is not there",
        Change(commands=("cd /usr/lib/modules/RELEASE/kernel/drivers/vfio/pci", "rm vfio-pci.ko")),
        {"HOST-MOD-1 vfio_pci": "actual"},
    ),
    Boot(
        "the module 9p is not there",
        Change(commands=("cd /usr/lib/modules/RELEASE/kernel/fs/9p", "rm 9p.ko")),
        {"HOST-MOD-1 9p": "actual"},
        options=("--direct-kernel={image.vmlinux}", "--initrd={image.initrd}", f"--append={DIRECT}"),
        booted={"firmware": "bios", "direct_kernel": f"vmlinux {DIRECT}"},
    ),
    Boot(
        "the machine has no IOMMU",
        departs={"HOST-IOMMU-3 enabled": "actual", "HOST-IOMMU-5 interrupt_remapping": "actual"},
        options=("--firmware=bios", "--iommu=none"),
        booted={"firmware": "bios", "iommu": "none"},
    ),
)


@dataclass(frozen=True)
class Gated:
    """One run of the gate."""

    code: int
    output: str
    run: dict[str, Any]
    sha256: str
    """The image's, afterwards."""

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
    argv = [
        sys.executable,
        "-m",
        "virtvet",
        "image",
        str(disk),
        f"--profile={PROFILE}",
        f"--reports={reports}",
        "--name=localhost",
        *PATIENT,
    ]
    done = subprocess.run(
        [*argv, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=1200,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(disk.parent)},
    )
    found = reports / "latest/run.json"
    run = json.loads(found.read_bytes()) if found.exists() else {"results": []}
    return Gated(done.returncode, done.stdout, run, digest(disk))


def digest(disk: Path) -> str:
    with disk.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def gate_changed(image: Image, boot: Boot, folder: Path) -> Gated:
    folder.mkdir()
    disk = changed(image.disk, folder / "disk.raw", READY, boot.change)
    if boot.file.endswith(".qcow2"):
        raw, disk = disk, folder / boot.file
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(disk)], check=True)
        raw.unlink()
    try:
        for attempt in range(LOCKUPS):
            seen = gate(disk, folder / f"reports{attempt}", *(option.format(image=image) for option in boot.options))
            if seen.code != SILENT:
                break
        return seen
    finally:
        disk.unlink()


@contextmanager
def under_way(wanted: Collection[str], folder: Path) -> Iterator[Mapping[str, Future[Gated]]]:
    """The runs of those whose name is in one of these, two at a time."""
    boots = [one for one in (*GOOD, *BROKEN) if any(one.name in name for name in wanted)]
    shell.find_system_commands()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = {}
        if boots:
            built = image(state.cache(), Progress())
            runs = {one.name: pool.submit(gate_changed, built, one, folder / f"{n}") for n, one in enumerate(boots)}
        yield runs
        for run in runs.values():
            run.cancel()
