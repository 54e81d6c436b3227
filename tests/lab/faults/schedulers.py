"""Schedulers of threads: in the file, and changed by chrt behind libvirt. Live ones: see vcpus."""

from __future__ import annotations

from tests.lab.faults import Fault
from tests.lab.faults.definitions import STORED_BACK, stored

FIND = (
    "pid=$(cat /run/libvirt/qemu/app1.pid); named() { for t in /proc/$pid/task/*; do "
    '[ "$(cat $t/comm)" != "$1" ] || echo ${t##*/}; done; }; '
)
"""Shell: app1's process, and the thread of a name."""


WITHOUT_WORKERS = "for i in $(seq 60); do grep -qsx worker /proc/$pid/task/*/comm || break; sleep 0.3; done; "
"""QEMU's workers end when they were idle for ten seconds. One that lives runs as its maker did when it was made."""


def _chrt(name: str, thread: str, right: str, wrong: str, control: str) -> Fault:
    breaks, restores = (f"{FIND} {WITHOUT_WORKERS} chrt --{policy} -p 0 {thread}" for policy in (wrong, right))
    return Fault(name, "hv1", breaks, restores, {control: "actual"})


FAULTS = (
    _chrt("chrt makes a vCPU idle", '$(named "CPU 0/TCG")', "batch", "idle", "CPU-SCHED-1 app1/vcpu0"),
    _chrt("chrt makes QEMU's main thread an ordinary one", "$pid", "batch", "other", "CPU-SCHED-2 app1/emulator"),
    _chrt(
        "chrt makes an iothread an ordinary one",
        '$(named "IO iothread1")',
        "idle",
        "other",
        "CPU-SCHED-3 app1/iothread1",
    ),
    _chrt("chrt makes a vCPU that no setting names idle", '$(named "CPU 2/TCG")', "other", "idle", "CPU-SCHED-4"),
    _chrt("chrt makes a helper of QEMU idle", '$(named "IO mon_iothread")', "other", "idle", "CPU-SCHED-4"),
    Fault(
        "an iothread that is plugged in inherits the emulator's scheduler",
        "hv1",
        "virsh iothreadadd app1 2 --live",
        "virsh iothreaddel app1 2 --live",
        {"CPU-SCHED-4 app1/others": "actual"},
    ),
    Fault(
        "the file has other schedulers",
        "hv1",
        stored(
            "s,vcpusched vcpus='0',vcpusched vcpus='2',",
            "s,<emulatorsched.*,<emulatorsched scheduler='idle'/>,",
            "s,<iothreadsched.*,<iothreadsched iothreads='1' scheduler='rr' priority='5'/>,",
        ),
        STORED_BACK,
        {
            "CPU-SCHED-1 app1/vcpu0": "config",
            "CPU-SCHED-2 app1/emulator": "config",
            "CPU-SCHED-3 app1/iothread1": "config",
            "CPU-SCHED-4 app1/others": "config",
        },
    ),
)
