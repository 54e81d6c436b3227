"""A guest that somebody started by hand, without libvirt."""

from __future__ import annotations

from tests.lab.faults import Fault
from tests.lab.faults.definitions import answers
from tests.lab.faults.shares import MEND

TASKS = "for t in /proc/$(cat /run/hand2.pid)/task/*; do"
ANSWERS = answers("hand2")
END = "kill $(cat /run/hand2.pid); while [ -e /run/hand2.pid ]; do sleep 0.1; done"
START = "sh /run/hand2.start"
SHARE, OTHER = "path=/srv/share,security_model=passthrough", "path=/srv,security_model=mapped,readonly=on"


def _pinned(name: str, cpus: str) -> str:
    """Have the threads with this name run on other CPUs."""
    return f'{TASKS} case $(cat $t/comm) in "{name}") taskset -pc {cpus} ${{t##*/}};; esac; done'


FAULTS = (
    Fault(
        name="a vCPU of a guest started by hand was moved",
        on="hv2",
        breaks=_pinned("CPU 0/TCG", "1"),
        restores=_pinned("CPU 0/TCG", "0-1"),
        departs={"CPU-PIN-1 hand2/vcpu0": "actual"},
    ),
    Fault(
        name="the main thread of a guest started by hand was moved",
        on="hv2",
        breaks=_pinned("qemu-system-x86", "1"),
        restores=_pinned("qemu-system-x86", "0-1"),
        departs={"CPU-PIN-2 hand2/emulator": "actual"},
    ),
    Fault(
        name="the share is not mounted in a guest started by hand",
        on="hv2/hand2",
        breaks="umount /mnt/share",
        restores=MEND,
        departs={"SHARE-MOUNT-1 hand2/hostshare": "guest"},
    ),
    Fault(
        name="somebody started a guest by hand with another share",
        on="hv2",
        breaks=f"{END}; sed 's|{SHARE}|{OTHER}|' /run/hand2.start | sh; {ANSWERS}",
        restores=f"{END}; {START}; {ANSWERS}",
        departs={
            "SHARE-DEV-1 hand2/hostshare": "actual",
            "SHARE-DEV-3 hand2/hostshare": "actual",
            "SHARE-DEV-4 hand2/hostshare": "actual",
        },
    ),
)
