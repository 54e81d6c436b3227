"""The lab's hv1/app1 as it was recorded (a look saved by `virtvet check --save-snapshot`, then written as text): of its
domain XML name, boot, blkiotune and disks, of its threads comm and group, of the control groups those of blkio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tests.unit import cgroup_looks
from virtvet.probes import blkio, blockdev, qemu, qmp
from virtvet.snapshot.model import Completed, Content, Snapshot

APP1 = "../disks/app1"
LIVE, CONFIG = "virsh dumpxml app1", "virsh dumpxml --inactive app1"
QUERY, ARGUMENTS = "query-block", "cmdline"
PID = 105
GROUP = "/sys/fs/cgroup/blkio/machine/qemu-3-app1.libvirt-qemu"
DISK = "/srv/lab-disk"
NODE = Completed(0, b"fe 0 block special file\n", b"")


def look(edits: Mapping[str, str | None] | None = None, by_hand: bool = False) -> Snapshot:
    """The recorded snapshot with these edits; `by_hand`: as if nobody had told libvirt of the guest."""
    said = {**cgroup_looks.recorded(APP1), **(edits or {})}
    host = cgroup_looks.look(APP1, edits)
    found = "".join(f"/proc/{PID}/cmdline:{line}\0" for line in (said[ARGUMENTS] or "").splitlines())
    answers = {
        **host.answers,
        qemu.ARGUMENTS: Completed(0, found.encode(), b""),
        qmp.asked("app1", "query-block"): Content((said[QUERY] or "").encode()),
        qmp.asked("app1", "qom-list", path=blockdev.PERIPHERAL): Content((said["qom-list"] or "").encode()),
        blkio.node(DISK): NODE,
    }
    return replace(host, machine="hv1", answers=answers, by_hand={"app1": PID} if by_hand else {})


def changed(where: str, old: str, new: str) -> dict[str, str | None]:
    """The edit that replaces `old` in one answer."""
    return cgroup_looks.changed(APP1, where, old, new)
