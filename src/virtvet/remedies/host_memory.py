"""Write what the running kernel must have into /sys: huge pages, KSM, transparent huge pages.

Only the running kernel: what the next boot sets stands in the files of whoever set the host up.
"""

from __future__ import annotations

from virtvet.check import Case
from virtvet.probes import host_memory
from virtvet.remedies.change import CannotMend, Change, Remedy, Step
from virtvet.remedies.modes import Risk
from virtvet.remedies.operations import Given, Run
from virtvet.snapshot.model import Snapshot
from virtvet.target import HostTarget


def plan_pages(snapshot: Snapshot, case: Case, _target: HostTarget) -> tuple[Change, ...]:
    """One change: so many pages; the kernel gives as many as it finds memory for, and the check looks again."""
    size = case.args[0]
    path = f"{host_memory.pool(size)}/nr_hugepages"
    seen = host_memory.count(snapshot, size).value
    return _written(snapshot, f"keep {case.expected} huge pages of {case.subject}", path, seen, case.expected)


PAGES = Remedy("keep so many huge pages", Risk.LIVE, plan_pages)


def plan_ksm(snapshot: Snapshot, case: Case, _target: HostTarget) -> tuple[Change, ...]:
    """One change: KSM runs, or it stops and takes apart what it merged."""
    run = "1" if case.expected == "on" else "2"
    seen = host_memory.ksm(snapshot)
    if seen.value == case.expected:
        return _nothing()
    return _written(snapshot, f"turn KSM {case.expected}", str(host_memory.KSM_RUN), host_memory.ksm_run(snapshot), run)


KSM = Remedy("turn KSM on or off", Risk.LIVE, plan_ksm)


def plan_transparent(snapshot: Snapshot, case: Case, _target: HostTarget) -> tuple[Change, ...]:
    """One change: the word written."""
    name = case.args[0]
    seen = host_memory.transparent(snapshot, name).value
    return _written(snapshot, f"set {name} of transparent huge pages", str(host_memory.THP[name]), seen, case.expected)


TRANSPARENT = Remedy("choose transparent huge pages", Risk.LIVE, plan_transparent)


def _written(snapshot: Snapshot, title: str, path: str, before: object, after: object) -> tuple[Change, ...]:
    if before == after:
        return _nothing()
    do, back = (Run(snapshot.machine, ("tee", path), f"{value}\n", Given(path)) for value in (after, before))
    return (Change(title, Risk.LIVE, (Step(do, (back,)),)),)


def _nothing() -> tuple[Change, ...]:
    raise CannotMend("the running kernel has it; what the next boot sets is not this remedy's to write")
