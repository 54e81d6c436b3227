"""Give threads of a guest back their scheduler, with chrt(1): libvirt has no call for it once the guest runs.

Only the running guest: what it starts with next stands in its configuration, which is not this remedy's to write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virtvet.check import Case
from virtvet.probes import domain_xml, schedulers
from virtvet.probes.threads import Thread
from virtvet.remedies.change import CannotMend, Change, Remedy, Step
from virtvet.remedies.modes import Risk
from virtvet.remedies.operations import Given, Run
from virtvet.snapshot.model import Snapshot
from virtvet.target import HostTarget


def plan(snapshot: Snapshot, case: Case, _target: HostTarget) -> tuple[Change, ...]:
    """One change: every thread of the case that runs otherwise. Raises CannotMend where libvirt was told otherwise."""
    guest, who = case.args
    wanted = str(case.expected)
    domain_xml.live(snapshot, guest)
    steps = tuple(_steps(snapshot, guest, _concerned(snapshot, guest, who), wanted))
    if not steps:
        raise CannotMend("every thread runs as it must; virsh edit changes what libvirt starts the guest with")
    return (Change(f"let {case.subject} run as {wanted}", Risk.LIVE, steps),)


RESCHEDULE = Remedy("give the threads their scheduler with chrt", Risk.LIVE, plan)


def _concerned(snapshot: Snapshot, guest: str, who: str | tuple[str, ...]) -> Iterable[Thread]:
    if isinstance(who, str):
        return [schedulers.thread_of(snapshot, guest, who)]
    return schedulers.unnamed(snapshot, guest, who)


def _steps(snapshot: Snapshot, guest: str, found: Iterable[Thread], wanted: str) -> Iterator[Step]:
    for thread in found:
        seen = schedulers.scheduler(snapshot, thread).value
        if seen != wanted:
            yield Step(_chrt(snapshot, guest, thread, wanted), (_chrt(snapshot, guest, thread, seen),))


def _chrt(snapshot: Snapshot, guest: str, thread: Thread, scheduler: str) -> Run:
    """Only while the thread is still one of this guest: ids are used again. `fifo 1` -> chrt --fifo -p 1 TID"""
    policy, _, priority = scheduler.partition(" ")
    file, says = ("comm", thread.comm) if thread.kernel else ("cmdline", f"guest={guest},")
    still = Given(f"/proc/{thread.pid}/task/{thread.tid}/{file}", says)
    return Run(snapshot.machine, ("chrt", f"--{policy}", "-p", priority or "0", str(thread.tid)), given=still)
