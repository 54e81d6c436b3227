"""What the profile demands of a host can be met there at all: else it is told once, with its place in the profile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from virtvet.check import Case, Control, Reading, Severity, check
from virtvet.probes import demands
from virtvet.probes.demands import Demand, Numbers, Together
from virtvet.snapshot.model import Snapshot
from virtvet.target import GuestTarget, HostTarget
from virtvet.units import UNLIMITED, Share

NONE: frozenset[str] = frozenset()
HOST = "the host"

POSSIBLE = Control(
    id="PROFILE-1",
    title="What the profile demands can be met on this host",
    area="profile",
    severity=Severity.HIGH,
    requirement="R45",
    rationale="A pin on a CPU that the host has not, or limits that together are above what there is, cannot be mended "
    "on any host: the profile, or the choice of the host, is wrong.",
    hint="virsh -c qemu:///system nodeinfo   # what the host has; then correct the profile where the message says",
    references=("https://docs.kernel.org/admin-guide/cputopology.html",),
)


def _matched(host: HostTarget) -> list[GuestTarget]:
    return [guest for guest in host.guests if guest.matched]


def _of(host: HostTarget, guest: GuestTarget, path: str, wanted: Any) -> Demand[Any]:
    """path: keys below the guest's entry, with slashes: `cpu/pins/vcpu/0`."""
    steps = [int(step) if step.isdigit() else step for step in path.split("/")]
    return Demand(guest.name, path.replace("/", "."), wanted, host.profile.place_of(guest.name, *steps))


def _of_partition(host: HostTarget, path: str, key: str, wanted: Any) -> Demand[Any]:
    return Demand(path, key, wanted, host.profile.place("host", "partitions", path, key))


def cpus(host: HostTarget) -> Iterator[Numbers]:
    """Every list of the host's CPUs."""
    for guest in _matched(host):
        for path, wanted in _cpu_lists(guest):
            yield _of(host, guest, path, wanted)
    for name, partition in host.wants.partitions.items():
        if partition.cpuset:
            yield _of_partition(host, name, "cpuset", partition.cpuset)


def _cpu_lists(guest: GuestTarget) -> Iterator[tuple[str, frozenset[int]]]:
    if pins := guest.wants.cpu.pins:
        yield from ((f"cpu/pins/vcpu/{number}", cpus) for number, cpus in pins.vcpu.items())
        yield from ((f"cpu/pins/iothread/{number}", cpus) for number, cpus in pins.iothread.items())
        named = {"emulator": pins.emulator, "default": pins.default}
        yield from ((f"cpu/pins/{name}", cpus) for name, cpus in named.items() if cpus)


def nodes(host: HostTarget) -> Iterator[Numbers]:
    """Every list of the host's NUMA nodes."""
    for name, partition in host.wants.partitions.items():
        if partition.memory_nodes:
            yield _of_partition(host, name, "memory_nodes", partition.memory_nodes)


def exclusive(host: HostTarget) -> Iterator[Numbers]:
    """The CPUs that are a guest's alone."""
    for guest in _matched(host):
        if guest.wants.cpu.pins and guest.wants.cpu.pins.exclusive:
            yield _of(host, guest, "cpu/pins/exclusive", guest.wants.cpu.pins.alone)


def hard_limits(host: HostTarget) -> Iterator[Together]:
    """The hard limits of all guests in each partition whose limit is stated, and of all on the host."""
    limits = [_of(host, guest, "memory/limits/hard", size) for guest in _matched(host) if (size := _hard(guest))]
    inside = {guest.name: guest.wants.partition for guest in _matched(host)}
    for name, partition in host.wants.partitions.items():
        members = tuple(one for one in limits if f"{inside[one.who]}/".startswith(f"{name}/"))
        if members and isinstance(partition.memory, int | Share) and partition.memory != UNLIMITED:
            yield Together(members, name, partition.memory)
    if limits:
        yield Together(tuple(limits), HOST, demands.WHOLE)


def _hard(guest: GuestTarget) -> int:
    limits = guest.wants.memory.limits
    return limits.hard if limits and isinstance(limits.hard, int) else 0


Kind = tuple[Callable[[HostTarget], Iterable[object]], Callable[..., Reading]]
KINDS: dict[str, Kind] = {
    "CPUs": (cpus, demands.cpus),
    "NUMA nodes": (nodes, demands.nodes),
    "exclusive CPUs": (exclusive, demands.exclusive),
    "hard limits": (hard_limits, demands.together),
}


def kinds(host: HostTarget) -> Iterator[Case]:
    """Every kind of demand that the profile has."""
    for kind, (wanted, _probe) in KINDS.items():
        if found := tuple(wanted(host)):
            yield Case(kind, NONE, (kind, found))


def met(snapshot: Snapshot, kind: str, wanted: tuple[object, ...]) -> Reading:
    """The demands that cannot be met, each with its place in the profile; none if all can."""
    return KINDS[kind][1](snapshot, wanted)


@check(POSSIBLE, cases=kinds, actual=met, sources=demands.SOURCES)
def test_what_is_demanded_can_be_met(case: Case, observed: object) -> None:
    """CPUs, nodes and memory that are not there; CPUs that are to be two guests' alone."""
    assert observed == case.expected
