"""Snapshots of app1's network from recorded text: `===== WHAT`, then the content; tests/probes/interfaces/app1.txt.

It was recorded from the lab's hv1: both XMLs, QEMU's arguments as `qemu.ARGUMENTS` took them (NUL made a newline), the
commands' output, and the files of each glob; files inside the guest have `guest ` before their path. An edit replaces
one of them; None takes it away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from virtvet.probes import interfaces, nic_bandwidth, pci, qemu
from virtvet.snapshot.model import Answer, Completed, Content, Domain, FileAnswer, LibvirtAnswer, Snapshot, Unreadable
from virtvet.snapshot.sources import Glob, Libvirt, Source

RECORDED = Path(__file__).parents[1] / "probes" / "interfaces" / "app1.txt"
LIVE, CONFIG = "virsh dumpxml app1", "virsh dumpxml --inactive app1"
HOST = (interfaces.MASTERS, interfaces.LOWERS, interfaces.STATES, interfaces.FLAGS, interfaces.MTUS, qemu.PIDS)
GUEST = (
    *(interfaces.ADDRESSES, interfaces.PERMANENT, interfaces.DRIVERS, interfaces.CARRIERS),
    *(interfaces.FLAGS, interfaces.MTUS, pci.UEVENTS),
)
FIRST, SECOND = "52:54:00:77:01:14", "52:54:00:77:01:24"

Edits = Mapping[str, str | None]


@cache
def recorded() -> Mapping[str, str]:
    """What was seen, by what was asked."""
    parts = re.split(r"^===== (.*)\n", RECORDED.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def changed(what: str, old: str, new: str) -> Edits:
    """The edit that replaces `old` in one answer."""
    assert old in recorded()[what], f"{old!r} is not in {what}"
    return {what: recorded()[what].replace(old, new)}


def look(edits: Edits | None = None, by_hand: bool = False) -> Snapshot:
    """hv1 and app1 in it, with these edits; by_hand: libvirt does not know the guest."""
    said = {what: text for what, text in {**recorded(), **(edits or {})}.items() if text is not None}
    pid = int(recorded()["/run/libvirt/qemu/app1.pid"])
    known = {} if by_hand else {"app1": Domain("app1", "", "running", True, said.get(LIVE), said.get(CONFIG))}
    answers: dict[Source, Answer] = {source: _files(said, source) for source in HOST}
    inside: dict[Source, Answer] = {source: _files(said, source, "guest ") for source in GUEST}
    answers |= {
        Libvirt(): LibvirtAnswer("qemu:///system", "hv1", 9000000, 7002000, "", known),
        qemu.ARGUMENTS: Completed(0, said["arguments"].replace("\n", "\0").encode(), b""),
        interfaces.TAPS: Completed(0, said["taps"].encode(), b""),
        nic_bandwidth.TC: Completed(0, said["tc"].encode(), b""),
    }
    taken = datetime(2026, 11, 23, tzinfo=UTC)
    guest = Snapshot("hv1/app1", taken, inside)
    return Snapshot("hv1", taken, answers, {"app1": guest}, by_hand={"app1": pid} if by_hand else {})


def _files(said: Mapping[str, str], source: Glob, where: str = "") -> dict[str, FileAnswer]:
    paths = {what.removeprefix(where): text for what, text in said.items() if what.startswith(f"{where}/")}
    return {path: _content(text) for path, text in paths.items() if fnmatchcase(path, source.pattern)}


def _content(text: str) -> FileAnswer:
    return Unreadable(text.split(" ", 1)[1]) if text.startswith("UNREADABLE ") else Content(text.encode())
