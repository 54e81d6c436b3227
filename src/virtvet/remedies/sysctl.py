"""Set a sysctl, in the kernel and in a file of sysctl.d that is read last."""

from __future__ import annotations

from collections.abc import Iterator

from virtvet.check import Case
from virtvet.errors import NotApplicable
from virtvet.expect import matches
from virtvet.probes import dropins, sysctl
from virtvet.probes.settings import nearest
from virtvet.remedies.change import CannotMend, Change, Remedy, Step
from virtvet.remedies.modes import Risk
from virtvet.remedies.operations import Given, Run, WriteFile
from virtvet.snapshot.model import Snapshot
from virtvet.target import HostTarget


def plan(snapshot: Snapshot, case: Case, _target: HostTarget) -> tuple[Change, ...]:
    """One change of the kernel and of a file of our own, as far as each departs."""
    steps = (*_live(snapshot, case), *_stored(snapshot, case))
    return (Change(f"set {case.args[0]}", Risk.LIVE, steps),) if steps else ()


SET = Remedy("set the sysctl, now and at boot", Risk.LIVE, plan)


def _live(snapshot: Snapshot, case: Case) -> Iterator[Step]:
    name, persistent = case.args
    seen = sysctl.actual(snapshot, name, persistent)
    if matches(case.expected, seen.value):
        return
    if seen.value == sysctl.NO_SUCH:
        raise CannotMend(f"this kernel has no {sysctl.file(name)}: perhaps the module that brings it is not loaded")
    path = str(sysctl.file(name))
    back = Run(snapshot.machine, ("tee", path), f"{seen.value}\n", Given(path))
    yield Step(Run(snapshot.machine, ("tee", path), f"{nearest(case.expected, seen.value)}\n"), (back,))


def _stored(snapshot: Snapshot, case: Case) -> Iterator[Step]:
    """The file is named so that it is read after all others that people have."""
    name, persistent = case.args
    try:
        seen = sysctl.config(snapshot, name, persistent)
    except NotApplicable:
        return
    if not matches(case.expected, seen.value):
        path = f"/etc/{sysctl.DIRECTORY}/zz-virtvet-{name.replace('/', '.')}.conf"
        before = dict(dropins.texts(snapshot, sysctl.DIRECTORY)).get(path)
        write = WriteFile(snapshot.machine, path, before, f"{name} = {nearest(case.expected, seen.value)}\n")
        yield Step(write, (write.back(),))
