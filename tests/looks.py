"""Looks at recorded hosts: tests/probes/CONCERN/NAME.txt, written by `python -m tests.record` (tests/recorded_text.py).

An edit replaces one answer, or takes it away (None): `look(V1, {"/run/libvirt/qemu/web1.pid": "x\\n"})`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests import recorded_text
from tests.recorded_text import Said
from virtvet.probes import cgroup, pins, qemu, threads
from virtvet.snapshot.model import Absent, Answer, Snapshot
from virtvet.snapshot.sources import HostSource, Source

PROBES = Path(__file__).parent / "probes"
Edits = Mapping[str, str | Answer | None]


@dataclass(frozen=True, slots=True)
class Recording:
    """What is recorded: of one host, of these of its guests, what its sources and those inside the guests answer.

    elements: what is kept of the guests' XML, by the names of elements of the domain and of its devices; all if empty.
    in_lab: whether the lab has such a host; else the text is written by hand, and says where it is from.
    """

    host: str
    guests: tuple[str, ...]
    sources: tuple[Source, ...]
    inside: tuple[HostSource, ...] = ()
    elements: tuple[str, ...] = ()
    in_lab: bool = True


GROUPS = (*cgroup.SOURCES, cgroup.MEMORY_INFO, pins.ONLINE, *threads.SOURCES)
V1, V2 = "cgroup/hv1", "cgroup/v2_systemd"
RECORDINGS: Mapping[str, Recording] = {
    V1: Recording(
        "hv1", ("web1", "db1"), GROUPS, elements=("memory", "memtune", "vcpu", "iothreads", "cputune", "resource")
    ),
    V2: Recording("systemd", ("anchor",), GROUPS, in_lab=False),
}


@cache
def _parts(name: str) -> Mapping[str, Said]:
    return recorded_text.read((PROBES / f"{name}.txt").read_text())


def recorded(name: str) -> Mapping[str, str]:
    """The text of every answer, by what was asked."""
    return {what: said.text for what, said in _parts(name).items()}


def look(name: str, edits: Edits | None = None) -> Snapshot:
    """The recorded snapshot with these edits."""
    recording = RECORDINGS[name]
    answers: dict[str, Answer] = {what: said.answer() for what, said in _parts(name).items()}
    answers |= {what: _edited(name, what, edit) for what, edit in (edits or {}).items()}
    inside = dict.fromkeys(recording.guests, recording.inside) if recording.inside else {}
    return recorded_text.snapshot(recording.host, answers, recording.sources, inside)


def _edited(name: str, what: str, edit: str | Answer | None) -> Answer:
    if edit is None:
        return Absent()
    if not isinstance(edit, str):
        return edit
    mark = _parts(name).get(what, Said()).mark
    return Said(edit, mark if mark == recorded_text.ZEROS else "").answer()


def changed(name: str, what: str, old: str, new: str) -> dict[str, str]:
    """The edit that replaces `old` in one answer."""
    return {what: replaced(recorded(name)[what], old, new)}


def replaced(said: str, old: str, new: str) -> str:
    """As str.replace, of what is there."""
    assert old in said, f"{old!r} is not there"
    return said.replace(old, new)


# --- what differs from one recording to the next


def pid(name: str, guest: str) -> int:
    """Of its QEMU."""
    return int(recorded(name)[f"{qemu.STATE}/{guest}.pid"])


def thread(name: str, guest: str, comm: str) -> int:
    """The id of the first thread of a guest's QEMU with this name that is not the main thread."""
    process = pid(name, guest)
    found = {path.split("/")[4] for path, said in recorded(name).items() if _is_comm(path, process, said, comm)}
    return min(int(tid) for tid in found if int(tid) != process)


def _is_comm(path: str, process: int, said: str, comm: str) -> bool:
    return path.startswith(f"/proc/{process}/task/") and path.endswith("/comm") and said == f"{comm}\n"


def group(name: str, guest: str) -> str:
    """Where its control groups are, below each controller: `/machine/qemu-2-web1.libvirt-qemu`."""
    paths = (path for path in recorded(name) if path.endswith(f"-{guest}.libvirt-qemu/notify_on_release"))
    return "/" + next(paths).split("/", 5)[5].rpartition("/")[0]
