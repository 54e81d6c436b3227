"""Snapshots of one guest from recorded text: `===== PATH`, then the content; see tests/probes/memory/app1.txt.

Recorded from the lab's hv1/app1 by `virtvet check profiles/lab.yaml --area memory --save-snapshot`: both domain XMLs,
what is taken of QEMU's arguments (an argument a line), the monitor's answers, and what stands inside the guest.
An edit replaces one answer; None takes it away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from virtvet.probes import cgroup, memory_hotplug, memory_size, qemu, qmp
from virtvet.snapshot.model import Absent, Answer, Completed, Content, Domain, Failed, LibvirtAnswer, Snapshot, Status
from virtvet.snapshot.sources import File, Glob, Libvirt, Source

RECORDED = Path(__file__).parents[1] / "probes" / "memory" / "app1.txt"
APP1 = "app1"
LIVE, CONFIG, ARGUMENTS = "virsh dumpxml app1", "virsh dumpxml --inactive app1", "/proc/105/cmdline"
BALLOON, DEVICES = memory_size.BALLOON, memory_size.DEVICES
POLLING = " ".join(["qom-get", *(f"{key}={value}" for key, value in memory_size.POLLING.items())])
SYSTEM = "inside /sys/devices/system"
Edits = Mapping[str, str | None]


@cache
def recorded() -> Mapping[str, str]:
    """What was seen, by path."""
    parts = re.split(r"^===== (.*)\n", RECORDED.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def changed(path: str, old: str, new: str) -> dict[str, str | None]:
    """The edit that replaces `old` in one answer."""
    assert old in recorded()[path], f"{old!r} is not in {path}"
    return {path: recorded()[path].replace(old, new)}


def look(edits: Edits | None = None, *, by_hand: bool = False) -> Snapshot:
    """The recorded snapshot with these edits; `by_hand`: as if libvirt had not started it."""
    said = {path: text for path, text in {**recorded(), **(edits or {})}.items() if text is not None}
    pid = int(said["/run/libvirt/qemu/app1.pid"])
    arguments = "".join(f"/proc/{pid}/cmdline:{one}\0" for one in said[f"/proc/{pid}/cmdline"].splitlines())
    live, config = said.get(LIVE), said.get(CONFIG)
    domain = Domain(APP1, "", "running" if live else "shut off", config is not None, live, config)
    domains = {} if by_hand else {APP1: domain}
    answers: dict[Source, Answer] = {
        Libvirt(): LibvirtAnswer("qemu:///system", "hv1", 9000000, 7002000, "", domains),
        qemu.ARGUMENTS: Completed(0, arguments.encode(), b""),
        qemu.PIDS: {} if by_hand else {f"{qemu.STATE}/app1.pid": Content(str(pid).encode())},
        qmp.asked(APP1, BALLOON): _said(said, BALLOON),
        qmp.asked(APP1, DEVICES): _said(said, DEVICES),
        qmp.asked(APP1, "qom-get", **memory_size.POLLING): _said(said, POLLING),
    }
    guests = {APP1: _inside(said)}
    return Snapshot("hv1", datetime(2026, 11, 23, tzinfo=UTC), answers, guests, by_hand={APP1: pid} if by_hand else {})


def _said(said: Mapping[str, str], path: str) -> Content | Failed:
    return Content(said[path].encode()) if path in said else Failed("QEMU answered: no")


def _inside(said: Mapping[str, str]) -> Snapshot:
    files = {path.removeprefix("inside "): Content(text.encode()) for path, text in said.items()}

    def below(glob: Glob) -> dict[str, Content]:
        return {path: found for path, found in files.items() if fnmatchcase(path, glob.pattern)}

    singles = (cgroup.MEMORY_INFO, memory_hotplug.BLOCK_SIZE, memory_hotplug.AUTO_ONLINE, memory_hotplug.ONLINE_CPUS)
    globs = (
        *(memory_size.VIRTIO, memory_size.STATUS, memory_hotplug.BLOCKS, memory_hotplug.NODE_BLOCKS),
        *(memory_hotplug.NODE_CPUS, memory_hotplug.NODE_MEMORY, *memory_hotplug.RULES),
    )
    answers: dict[Source, Answer] = {File(one.path): files.get(one.path, Absent()) for one in singles}
    answers |= {one: below(one) for one in globs}
    socket = Status("socket", 0o600, "root", "root", 0, 0, 0)
    answers[memory_hotplug.UDEV] = socket if memory_hotplug.UDEV.path in files else Absent()
    return Snapshot(f"hv1/{APP1}", datetime(2026, 11, 23, tzinfo=UTC), answers)
