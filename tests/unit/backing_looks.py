"""Looks at the lab's app1 (memfd, shared, not merged, strict on node 0, one DIMM) and plain1 (nothing stated).

tests/probes/memory_backing/ holds what hv1 answered to the sources: `virsh dumpxml`, `query-memdev`, the arguments of
its QEMUs, of each guest /proc/PID/status and limits, and `ram.mapped`, its memory in /proc/PID/maps and numa_maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from virtvet import catalogue
from virtvet.check import Case
from virtvet.inventory import from_hostspecs
from virtvet.probes import cgroup, memory_backing, qemu, qmp, ram, threads
from virtvet.profile import Profile
from virtvet.snapshot.model import Answer, Completed, Content, Domain, LibvirtAnswer, Snapshot
from virtvet.snapshot.sources import Libvirt, Source
from virtvet.target import HostTarget

DATA = Path(__file__).parents[1] / "probes" / "memory_backing"
GUESTS = ("app1", "plain1")
XML = {guest: (DATA / f"{guest}_live.xml").read_text() for guest in GUESTS}
MAPPED = {guest: (DATA / f"{guest}_mapped").read_text() for guest in GUESTS}
PID = {guest: (DATA / f"{guest}_pid").read_text() for guest in GUESTS}
ARGUMENTS = (DATA / "arguments").read_text()


def text(guest: str, name: str) -> str:
    """What was recorded of a guest."""
    return (DATA / f"{guest}_{name}").read_text()


def look(
    guest: str,
    *,
    xml: str | None = None,
    mapped: str | None = None,
    arguments: str = ARGUMENTS,
    files: Mapping[str, str] | None = None,
    answers: Mapping[Source, Answer] | None = None,
) -> Snapshot:
    """The recorded look, with one guest's XML, mappings or /proc files replaced."""
    process = f"/proc/{PID[guest]}"
    proc = {f"{process}/task/{PID[guest]}/status": text(guest, "status"), f"{process}/limits": text(guest, "limits")}
    found = {path: Content(said.encode()) for path, said in {**proc, **(files or {})}.items()}
    told = xml or XML[guest]
    domain = Domain(guest, "", "running", True, told, told)
    usual: dict[Source, Answer] = {
        Libvirt(): LibvirtAnswer("", "hv1", 9_000_000, 7_002_000, "", {guest: domain}),
        qemu.ARGUMENTS: Completed(0, arguments.encode(), b""),
        qemu.PIDS: {f"{qemu.STATE}/{guest}.pid": Content(PID[guest].encode())},
        threads.QEMU: found,
        memory_backing.LIMITS: found,
        ram.mapped(guest): Completed(0, (mapped or MAPPED[guest]).encode(), b""),
        qmp.asked(guest, "query-memdev"): Content(text(guest, "memdev.json").encode()),
        cgroup.PAGE_SIZE: Completed(0, b"4096\n", b""),
        cgroup.MEMORY_INFO: Content(b"MemTotal:       24689764 kB\nHugepagesize:       2048 kB\n"),
    }
    return Snapshot("hv1", datetime(2026, 11, 22, tzinfo=UTC), usual | dict(answers or {}))


def replaced(said: str, old: str, new: str) -> str:
    """As str.replace, of what is there."""
    assert old in said, f"{old!r} is not there"
    return said.replace(old, new)


def cases(control: str, **memory: object) -> dict[str, Case]:
    """A control's cases by subject, of a profile that states this of the guest app1's memory."""
    profile = Profile.model_validate({"virtvet": 1, "guests": {"app1": {"memory": memory}}})
    target = HostTarget.unseen(from_hostspecs(["ssh://root@hv1"]).hosts["hv1"], profile)
    check = next(check for check in catalogue.shipped() if check.control.id == control)
    return {case.subject: case for case in check.cases(target)}
