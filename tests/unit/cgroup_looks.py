"""Snapshots from recorded text: `===== PATH`, then the content; see tests/probes/cgroup/*.txt and vcpus/app1.txt.

An edit replaces one answer; None takes it away. In the place of a path stand, too, a command, `virsh dumpxml NAME`,
`arguments of QEMU` (one a line), `query-cpus-fast of NAME's QEMU`, and `NAME:PATH` for a file inside a guest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from virtvet.probes import cgroup, pins, qemu, threads
from virtvet.snapshot.model import Absent, Answer, Completed, Content, Domain, LibvirtAnswer, Snapshot
from virtvet.snapshot.sources import File, Libvirt, Qmp, Source

RECORDED = Path(__file__).parents[1] / "probes"
V1, V2, APP1 = "v1_by_hand", "v2_systemd", "app1"
"""The last is the lab's guest app1 alone, as a look at it was answered, while its iothread had a worker."""
WEB1 = "/machine/openstack.partition/qemu-2-web1.libvirt-qemu"
ANCHOR = "/sys/fs/cgroup/machine.slice/machine-prod.slice/machine-qemu\\x2d1\\x2danchor.scope"


@cache
def recorded(name: str) -> Mapping[str, str]:
    """What was seen, by path."""
    parts = re.split(r"^===== (.*)\n", next(RECORDED.glob(f"*/{name}.txt")).read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def look(name: str, edits: Mapping[str, str | None] | None = None) -> Snapshot:
    """The recorded snapshot with these edits."""
    said = {path: text for path, text in {**recorded(name), **(edits or {})}.items() if text is not None}
    files = {path: Content(text.encode()) for path, text in said.items()}

    def below(*patterns: str) -> dict[str, Content]:
        return {path: found for path, found in files.items() if any(fnmatchcase(path, one) for one in patterns)}

    singles = (cgroup.MOUNTS, *cgroup.UNIFIED, cgroup.MEMORY_INFO, pins.ONLINE)
    answers: dict[Source, Answer] = {File(one.path): files.get(one.path, Absent()) for one in singles}
    return Snapshot(
        name,
        datetime(2026, 11, 22, tzinfo=UTC),
        {
            **answers,
            cgroup.PAGE_SIZE: Completed(0, said["getconf PAGESIZE"].encode(), b""),
            cgroup.FILES: below("/sys/fs/cgroup/*machine*"),
            threads.QEMU: below("/proc/*/comm", "/proc/*/task/*"),
            qemu.PIDS: below(qemu.PIDS.pattern),
            threads.VCPUS: below(threads.VCPUS.pattern),
            Libvirt(): LibvirtAnswer("qemu:///system", name, 9000000, 7002000, "", _domains(said)),
            **{_asked(what): found for what, found in files.items() if what.endswith("'s QEMU")},
            **_arguments(said.get("arguments of QEMU")),
        },
        guests=_guests(files),
    )


def _asked(what: str) -> Qmp:
    execute, _, guest = what.removesuffix("'s QEMU").partition(" of ")
    return Qmp(guest, execute)


def _arguments(lines: str | None) -> dict[Source, Answer]:
    return {} if lines is None else {qemu.ARGUMENTS: Completed(0, lines.replace("\n", "\0").encode(), b"")}


def _guests(files: Mapping[str, Content]) -> dict[str, Snapshot]:
    inside: dict[str, dict[Source, Answer]] = {}
    for what, found in files.items():
        guest, colon, path = what.partition(":")
        if colon and not guest.startswith("/"):
            inside.setdefault(guest, {})[File(path)] = found
    return {guest: Snapshot(guest, datetime(2026, 11, 22, tzinfo=UTC), said) for guest, said in inside.items()}


def _domains(said: Mapping[str, str]) -> dict[str, Domain]:
    names = {path.rpartition(" ")[2] for path in said if path.startswith("virsh dumpxml ")}
    return {name: _domain(name, said) for name in names}


def _domain(name: str, said: Mapping[str, str]) -> Domain:
    live, config = said.get(f"virsh dumpxml {name}"), said.get(f"virsh dumpxml --inactive {name}")
    return Domain(name, "", "running" if live else "shut off", config is not None, live, config)


def by_hand(name: str, edits: dict[str, str | None] | None = None) -> Snapshot:
    """The process of web1, as if somebody had started it without libvirt: QEMU got this -name."""
    seen = look(V1, edits)
    said = f"/proc/93/cmdline:-name\0/proc/93/cmdline-{name}\0".encode()
    return replace(seen, answers={**seen.answers, qemu.ARGUMENTS: Completed(0, said, b"")}, by_hand={"hand": 93})


def changed(name: str, path: str, old: str, new: str) -> dict[str, str | None]:
    """The edit that replaces `old` in one answer."""
    assert old in recorded(name)[path], f"{old!r} is not in {path}"
    return {path: recorded(name)[path].replace(old, new)}
