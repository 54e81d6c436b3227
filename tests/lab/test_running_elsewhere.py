"""A fault that takes both sides: the guest keeps its vCPU busy, and the host lets that thread run on another CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab
from tests.lab.conftest import PROFILE
from tests.lab.judging import departures, inventory_without_uri

BUSY = "(trap 'exit 0' TERM; while :; do :; done) </dev/null >/dev/null 2>&1 & echo $! >/run/busy"
GROUP = "group=$(ls -d /sys/fs/cgroup/cpuset/machine/*-db1.libvirt-qemu/vcpu0)"
THREAD = "thread=$(sed -n \"s/.*<vcpu id='0' pid='\\([0-9]*\\)'.*/\\1/p\" /run/libvirt/qemu/db1.xml)"
MOVED = f"{GROUP}; {THREAD}; echo 0-1 >$group/cpuset.cpus; taskset -pc 1 $thread; sleep 0.5"
BACK = f"{GROUP}; {THREAD}; echo 0 >$group/cpuset.cpus; taskset -pc 0 $thread"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """The lab's own, asking for the sample too: what sleeps is skipped, and the demo is to be the same every time."""
    path = tmp_path / "sampled.yaml"
    path.write_text(f"virtvet: 1\nextends: {PROFILE}\nguests: {{db1: {{cpu: {{pins: {{sampled: true}}}}}}}}\n")
    return path


@pytest.fixture
def busy_elsewhere(lab: Lab) -> Iterator[None]:
    host, guest = lab.hosts["hv1"], lab.guests["hv1/db1"]
    guest.run(["sh", "-euc", BUSY])
    try:
        host.run(["sh", "-euc", MOVED])
        yield
    finally:
        host.run(["sh", "-euc", BACK])
        guest.run(["sh", "-euc", "kill $(cat /run/busy); rm /run/busy"])


@pytest.mark.usefixtures("busy_elsewhere")
def test_vcpu_was_seen_on_another_cpu(lab: Lab, tmp_path: Path, profile: Path) -> None:
    inventory = inventory_without_uri(lab, tmp_path)
    # even a busy vCPU sleeps for moments, waiting for QEMU's own lock: the check then has nothing to say
    looks = (departures(inventory, profile, "hv1") for _ in range(3))
    found = next((one for one in looks if len(one) > 1), {})
    assert found == {"CPU-PIN-4 db1/others": "actual", "CPU-PIN-5 db1": "actual"}
