"""Put threads of a guest back on their CPUs through libvirt, so that libvirt, its groups and the kernel agree again.

Taken back, every layer says what it said: libvirt the old pin, the cpuset group its old CPUs, each thread its old
affinity. One thing stays: where the running domain had no pin of its own it has one then, on the CPUs it had anyway.
"""

from __future__ import annotations

from lxml import etree

from virtvet.check import Case, Reading
from virtvet.errors import NotApplicable
from virtvet.expect import ranges
from virtvet.probes import cgroup, domain_xml, pins, threads
from virtvet.probes.cgroup import GuestGroups
from virtvet.probes.threads import Thread
from virtvet.remedies.change import CannotMend, Change, Remedy, Step
from virtvet.remedies.modes import Risk
from virtvet.remedies.operations import Given, Operation, Pin, Run, Unpin
from virtvet.snapshot.model import Snapshot
from virtvet.target import HostTarget

Cpus = frozenset[int]


def plan(snapshot: Snapshot, case: Case, _target: HostTarget) -> tuple[Change, ...]:
    """One change of the running guest and of its stored configuration, as far as each departs."""
    guest, role, wanted = case.args
    steps = (*_running(snapshot, guest, role, wanted), *_stored(snapshot, guest, role, wanted))
    return (Change(f"pin {role} of {guest} to CPUs {ranges(wanted)}", Risk.LIVE, steps),) if steps else ()


REPIN = Remedy("pin the thread to its CPUs through libvirt", Risk.LIVE, plan)


def _running(snapshot: Snapshot, guest: str, role: str, wanted: Cpus) -> tuple[Step, ...]:
    try:
        domain = domain_xml.live(snapshot, guest)
        told = pins.live(snapshot, guest, role, wanted)
        seen = [told, *pins.actual(snapshot, guest, role, wanted)]
    except NotApplicable:
        return ()
    if all(reading.value == wanted for reading in seen):
        return ()
    run = int(domain.get("id", ""))
    old = _pin(snapshot, domain, guest, role, _known(told, role), run)
    return (
        Step(_pin(snapshot, domain, guest, role, wanted, run), (old, *_behind_libvirt(snapshot, guest, role, told))),
    )


def _stored(snapshot: Snapshot, guest: str, role: str, wanted: Cpus) -> tuple[Step, ...]:
    try:
        domain = domain_xml.config(snapshot, guest)
        told = pins.config(snapshot, guest, role, wanted)
    except NotApplicable:
        return ()
    if told.value == wanted:
        return ()
    old: Operation = _pin(snapshot, domain, guest, role, _known(told, role), None)
    if pins.own_pin(domain, role) is None:
        old = Unpin(snapshot.machine, guest, _uuid(domain), role)
    return (Step(_pin(snapshot, domain, guest, role, wanted, None), (old,)),)


def _known(told: Reading, role: str) -> Cpus:
    if told.value is None:
        raise CannotMend(f"the guest has no {role}")
    cpus: Cpus = told.value
    return cpus


def _pin(snapshot: Snapshot, domain: etree._Element, guest: str, role: str, cpus: Cpus, run: int | None) -> Pin:
    return Pin(snapshot.machine, guest, _uuid(domain), role, tuple(sorted(cpus)), run)


def _uuid(domain: etree._Element) -> str:
    return domain.findtext("uuid") or ""


def _behind_libvirt(snapshot: Snapshot, guest: str, role: str, told: Reading) -> list[Operation]:
    """What brings back CPUs that somebody gave the group and the threads without telling libvirt."""
    groups = cgroup.of_guest(snapshot, guest)
    own = [thread for thread in groups.threads if thread.role == role]
    affinities = [_affinity(snapshot, groups, thread) for thread in own]
    return [*_group(snapshot, groups, role, told), *affinities]


def _group(snapshot: Snapshot, groups: GuestGroups, role: str, told: Reading) -> list[Operation]:
    if "cpuset" not in cgroup.hierarchies(snapshot):
        return []
    group = groups.of_role(role, "cpuset")
    seen = cgroup.value(snapshot, group, cgroup.CPUS)
    if seen.value == told.value:
        return []
    if (path := cgroup.told_in(group, cgroup.CPUS)) is None:
        raise CannotMend(f"{group} was changed without libvirt; on cgroup v2 that cannot be taken back exactly")
    return [Run(snapshot.machine, ("tee", path), ranges(seen.value) + "\n", Given(path))]


def _affinity(snapshot: Snapshot, groups: GuestGroups, thread: Thread) -> Run:
    """Only while the thread is still one of this guest: ids are used again."""
    allowed = ranges(threads.allowed(snapshot, thread).value)
    still = Given(f"/proc/{thread.pid}/task/{thread.tid}/cgroup", groups.path)
    return Run(snapshot.machine, ("taskset", "-pc", allowed, str(thread.tid)), given=still)
