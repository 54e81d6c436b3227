"""A fault that takes both sides: the host offers a second tag, and the guest mounts that one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab
from tests.lab.conftest import PROFILE
from tests.lab.faults.shares import GOOD, MEND
from tests.lab.judging import departures, inventory_without_uri

# libvirt plugs no 9p device into a running guest; QEMU itself can, with the backend that is there
PLUG = "device_add virtio-9p-pci,fsdev=fsdev-fs0,mount_tag=othershare,id=other"
OFFERED = "until grep -q othershare /sys/bus/virtio/drivers/9pnet_virtio/*/mount_tag; do sleep 0.2; done"


@pytest.fixture
def mounted_from_another_tag(lab: Lab) -> Iterator[None]:
    host, guest = lab.hosts["hv1"], lab.guests["hv1/web1"]
    host.run(["virsh", "qemu-monitor-command", "web1", "--hmp", PLUG])
    try:
        guest.run(
            ["sh", "-euc", f"{OFFERED}; umount /mnt/share; mount -t 9p -o {GOOD} othershare /mnt/share"], timeout=30
        )
        yield
    finally:
        guest.run(["sh", "-euc", MEND])
        host.run(["virsh", "qemu-monitor-command", "web1", "--hmp", "device_del other"])


@pytest.mark.usefixtures("mounted_from_another_tag")
def test_share_mounted_from_another_tag(lab: Lab, tmp_path: Path) -> None:
    found = departures(inventory_without_uri(lab, tmp_path), PROFILE, "hv1")
    assert found == {"SHARE-MOUNT-2 web1/hostshare": "guest"}
