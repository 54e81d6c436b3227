"""Real faults, as data: what is broken in the lab, and exactly which controls must then depart, on which layers.

Each area's faults stand in the module of its name; `proofs.ALL` gathers them. `tests/lab/test_faults.py` breaks, looks,
compares, restores, looks again. docs/proofs.md is made of them: `python -m tests.lab.faults > docs/proofs.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fault:
    """One way to break a host or a guest.

    name: what is broken, in words. on: "hv1" or "hv1/web1", where `breaks` and `restores` run by sh.
    departs: control id (or "control subject") -> the layers that must depart ("actual", "config live"), or "error"
    where looking itself must fail. Everything not named must stay as it was.
    deadline: seconds for the look, where something will not answer; 0: as for the others.
    anew: whether the looks after it and after its restoration log in anew: it is about the way in, or cuts it.
    """

    name: str
    on: str
    breaks: str
    restores: str
    departs: Mapping[str, str]
    anew: bool = False
    deadline: float = 0
    words: Mapping[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """The host it is on."""
        return self.on.partition("/")[0]


EXEMPT: Mapping[str, str] = {
    "CPU-PIN-5 actual": "a fault on both sides, host and guest: tests/lab/test_running_elsewhere.py",
    "CPU-VCPU-3 live": "such a guest does not start without numad: tests/unit/test_probe_vcpus.py",
    "MEM-BALLOON-3 live actual guest": "done only when asked for: tests/lab/test_exercise.py",
    "SHARE-MOUNT-2 guest": "a fault on both sides, host and guest: tests/lab/test_another_tag.py",
    "DISK-SOURCE-3 config live actual": "a disk over the network that comes and goes: tests/lab/test_network_disk.py",
    "DISK-DRIVER-7 config live": "libvirt's QEMU driver takes no other name: tests/unit/test_probe_disks.py",
    "BLKIO-3 live": "libvirt 9 dies of it on v2, and refuses it on v1 with bfq: tests/unit/test_probe_blkio.py",
    "SHARE-DEV-5 config live": "libvirt's QEMU driver defines no other type: tests/unit/test_probe_shares.py",
    "MEM-NUMA-3 actual": "the lab has one NUMA node: tests/unit/test_probe_numatune.py",
    "MEM-NUMA-4 actual": "the lab has one NUMA node: tests/unit/test_probe_numatune.py",
    "HOST-PCI-7 live actual": "no card of the lab has virtual functions: tests/unit/test_probe_devices.py",
    "NIC-DEV-8 live": "libvirt tags VLANs on Open vSwitch and SR-IOV only: tests/unit/test_probe_interfaces.py",
}
"""Control and layers that no fault of this list makes depart -> why, and the test that does."""
