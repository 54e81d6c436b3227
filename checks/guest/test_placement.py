"""A guest names its partition, and its QEMU process and every thread really are there, each in its own group."""

from __future__ import annotations

from collections.abc import Iterable

from virtvet.check import Case, Control, PerLayer, Severity, check
from virtvet.probes import placement
from virtvet.target import GuestTarget, HostTarget

PARTITION = Control(
    id="PLACE-1",
    title="A guest and all its threads are in the partition it names",
    area="cgroup",
    severity=Severity.HIGH,
    requirement="R10",
    rationale="A partition's limits bound only what is in it. libvirt writes down where it put a guest, not where "
    "the guest is now: a thread moved by another tool, or a guest started before its partition was set, escapes.",
    hint="virsh -c qemu:///system dumpxml {guest} | grep partition; cat /proc/$(cat /run/libvirt/qemu/{guest}.pid)/"
    "task/*/cgroup   # a wrong <partition> takes a restart; put a thread back with: echo TID > GROUP/tasks",
    references=(
        "https://libvirt.org/cgroups.html#using-custom-partitions",
        "https://man7.org/linux/man-pages/man7/cgroups.7.html",
    ),
)
OWN_GROUP = Control(
    id="PLACE-2",
    title="Each thread of a guest is in the control group made for it",
    area="cgroup",
    severity=Severity.HIGH,
    requirement="R10",
    rationale="Pins, quotas and memory limits are files of control groups: a right number in a group that its thread "
    "left limits nothing.",
    hint="grep . /proc/$(cat /run/libvirt/qemu/{guest}.pid)/task/*/cgroup   # then: echo TID > GROUP/tasks, "
    "or restart {guest}",
    references=("https://libvirt.org/cgroups.html", "https://man7.org/linux/man-pages/man7/cgroups.7.html"),
)


def placed(host: HostTarget) -> Iterable[Case]:
    """Every guest whose partition is stated."""
    for guest in host.guests:
        if guest.matched and (path := guest.wants.partition):
            yield Case(guest.name, PerLayer(config=path, live=path, actual=frozenset()), (guest.name, path), guest.name)


@check(
    PARTITION,
    cases=placed,
    config=placement.config,
    live=placement.live,
    actual=placement.outside,
    sources=placement.SOURCES,
)
def test_guest_is_in_its_partition(case: Case, observed: object) -> None:
    """On the actual layer: no thread is anywhere else."""
    assert observed == case.expected


def controlled(host: HostTarget) -> Iterable[Case]:
    """Every guest of which anything is stated that a control group does."""
    for guest in host.guests:
        if guest.matched and _controlled(guest):
            yield Case(guest.name, frozenset(), (guest.name, guest.wants.partition), guest.name)


def _controlled(guest: GuestTarget) -> bool:
    wants = guest.wants
    cpu = (wants.cpu.pins, wants.cpu.bandwidth, wants.cpu.vcpus and wants.cpu.vcpus.cpuset)
    return any((wants.partition, *cpu, wants.memory.limits, wants.memory.numatune, wants.blkio))


@check(OWN_GROUP, cases=controlled, actual=placement.misplaced, sources=placement.SOURCES)
def test_threads_are_in_their_own_groups(case: Case, observed: object) -> None:
    """No thread is in another group."""
    assert observed == case.expected
