"""Threads that work for a guest and are not QEMU's own, and threads that are plugged in, in real time: Linux 6.1 makes
vhost's as processes of their own, and has no CONFIG_RT_GROUP_SCHED."""

from __future__ import annotations

from tests.image.faults.cgroup2 import FIND
from tests.lab.faults import Fault


def _vhost(guest: str) -> str:
    """Shell: the first of the kernel's threads for a guest's network."""
    named = f"vhost-$(cat /run/libvirt/qemu/{guest}.pid)"
    return f'vhost=$(grep -lxs "{named}" /proc/[0-9]*/comm | head -n 1 | cut -d/ -f3); '


NIC = f"{_vhost('nic')}set -- /sys/fs/cgroup/machine.slice/*nic.scope; in=$1/libvirt; "

FAULTS = (
    Fault(
        "a vhost thread of the kernel is bound to one of the emulator's CPUs",
        "hv3",
        f"{_vhost('tuned')}taskset -pc 1 $vhost",
        f"{_vhost('tuned')}taskset -pc 0-1 $vhost",
        {"CPU-PIN-2 tuned/emulator": "actual"},
    ),
    Fault(
        "a vhost thread of the kernel is in a vCPU's group",
        "hv3",
        f"{NIC}echo $vhost >$in/vcpu0/cgroup.threads",
        f"{NIC}echo $vhost >$in/emulator/cgroup.threads",
        {"PLACE-2 nic": "actual"},
    ),
    Fault(
        "an iothread that is plugged in runs in real time, as the emulator did",
        "hv3",
        f"{FIND}chrt --fifo -p 1 $pid; virsh -q iothreadadd tuned 2 --live; chrt --other -p 0 $pid",
        f"{FIND}chrt --other -p 0 $pid; virsh -q iothreaddel tuned 2 --live",
        {"CPU-SCHED-4 tuned/others": "actual"},
    ),
)
