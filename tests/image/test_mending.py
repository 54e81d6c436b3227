"""Image hosts are mended for real: tried, and as before; kept, and right; undone, and as before. The host tells."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.image import ImageLab
from tests.image.conftest import PROFILE, TOP
from tests.image.faults.devices import DEFINE, STORED, XML
from tests.lab.conftest import Ended

CARD = "pci_0000_03_02_0"
SYSFS = "/sys/bus/pci/devices/0000:03:02.0"


@dataclass(frozen=True)
class Fault:
    """A departure, what shows the state it is about, and the case that is mended."""

    breaks: str
    restores: str
    shows: str
    mends: str


FAULTS = {
    "a card that its driver has again": Fault(
        breaks=f"virsh -q nodedev-reattach {CARD}; udevadm settle",
        restores=f"virsh -q nodedev-detach {CARD}",
        shows=f"cat {SYSFS}/uevent {SYSFS}/driver_override; ls {SYSFS}/net 2>&1",
        mends="HOST-PCI-2 hv3/0000:03:02.0",
    ),
    "a card that is not written down": Fault(
        # without any <boot order> libvirt would store a <boot dev>, beside which there can be none
        breaks=f"{STORED}; sed \"/<hostdev/,/<.hostdev>/d; s#<model type='virtio'/>#&<boot order='2'/>#\" {XML} | "
        "virsh -q define /dev/stdin",
        restores=DEFINE,
        shows="virsh dumpxml --inactive nic; virsh dumpxml nic",
        mends="HOSTDEV-1 hv3/nic/0000:01:00.0",
    ),
    "a sysctl that is otherwise, now and after the next boot": Fault(
        breaks="sysctl -qw vm.swappiness=60; echo vm.swappiness=60 >/etc/sysctl.d/99-zz.conf",
        restores="rm -f /etc/sysctl.d/99-zz.conf; sysctl -qw vm.swappiness=10",
        shows="sysctl vm.swappiness; grep -rs swappiness /etc/sysctl.d",
        mends="HOST-SYSCTL-1 hv3/vm.swappiness",
    ),
    "a module that is not loaded": Fault(
        breaks="modprobe -r loop",
        restores="modprobe loop",
        shows="lsmod | grep -c ^loop",
        mends="HOST-MOD-1 hv3/loop",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_tried_kept_and_undone(name: str, image_lab: ImageLab, tmp_path: Path) -> None:
    fault, host = FAULTS[name], image_lab.hosts["hv3"]

    def virtvet(*arguments: str) -> Ended:
        command = [sys.executable, "-m", "virtvet", *arguments, "--reports", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=TOP, check=False)
        return Ended(done.returncode, done.stdout, done.stderr, tmp_path)

    def mended(mode: str) -> tuple[Ended, Any]:
        which = ("-H", "hv3", "--control", fault.mends.split()[0], "--deadline", "60")
        ended = virtvet("check", str(PROFILE), "--inventory", str(image_lab.inventory), *which, f"--fix={mode}")
        found = {f"{one['control']} {one['host']}/{one['subject']}": one["mending"] for one in ended.run["results"]}
        return ended, found[fault.mends]["outcome"]

    def state() -> str:
        return host.sh(fault.shows, check=False).stdout

    try:
        host.sh(f"set -e\n{fault.breaks}")
        before = state()
        assert mended("try")[1] == "tried"
        assert state() == before
        kept, outcome = mended("keep")
        assert (outcome, kept.outcomes[fault.mends], kept.code) == ("kept", "passed", 0), kept.out
        assert state() != before
        assert virtvet("undo", "latest").code == 0
        assert state() == before
    finally:
        host.sh(f"set -e\n{fault.restores}", check=False)
