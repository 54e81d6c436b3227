"""Looks at the lab's app1 (memfd, shared, not merged, strict on node 0, one DIMM) and plain1 (nothing stated), with
names for what tests replace in them: tests/probes/memory_backing/hv1.txt."""

from __future__ import annotations

from collections.abc import Mapping

from tests import looks
from tests.looks import replaced
from tests.recorded_text import label
from virtvet import catalogue
from virtvet.check import Case
from virtvet.inventory import from_hostspecs
from virtvet.probes import qmp, ram
from virtvet.profile import Profile
from virtvet.snapshot.model import Answer, Snapshot
from virtvet.snapshot.sources import Source
from virtvet.target import HostTarget

__all__ = ["ARGUMENTS", "MAPPED", "MEMDEV", "PID", "XML", "cases", "look", "replaced"]

HV1 = "memory_backing/hv1"
GUESTS = ("app1", "plain1")
RECORDED = looks.recorded(HV1)
XML = {guest: RECORDED[f"virsh dumpxml {guest}"] for guest in GUESTS}
MAPPED = {guest: RECORDED[label(ram.mapped(guest))] for guest in GUESTS}
MEMDEV = {guest: RECORDED[label(qmp.asked(guest, "query-memdev"))] for guest in GUESTS}
PID = {guest: looks.pid(HV1, guest) for guest in GUESTS}
ARGUMENTS = RECORDED["qemu.ARGUMENTS"]


def look(
    guest: str,
    *,
    xml: str | None = None,
    mapped: str | None = None,
    arguments: str = ARGUMENTS,
    files: Mapping[str, str] | None = None,
    answers: Mapping[Source, Answer] | None = None,
) -> Snapshot:
    """The recorded look, with both XMLs of a guest, its mappings, files or answers replaced."""
    documents = (
        {} if xml is None else dict.fromkeys((f"virsh dumpxml {guest}", f"virsh dumpxml --inactive {guest}"), xml)
    )
    mappings = {} if mapped is None else {label(ram.mapped(guest)): mapped}
    others = {label(source): answer for source, answer in (answers or {}).items()}
    return looks.look(HV1, documents | mappings | {"qemu.ARGUMENTS": arguments} | dict(files or {}) | others)


def cases(control: str, **memory: object) -> dict[str, Case]:
    """A control's cases by subject, of a profile that states this of the guest app1's memory."""
    profile = Profile.model_validate({"virtvet": 1, "guests": {"app1": {"memory": memory}}})
    target = HostTarget.unseen(from_hostspecs(["ssh://root@hv1"]).hosts["hv1"], profile)
    check = next(check for check in catalogue.shipped() if check.control.id == control)
    return {case.subject: case for case in check.cases(target)}
