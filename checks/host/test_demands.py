"""What the profile demands of a host can be met there at all: else it is told once, with its place in the profile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from virtvet.check import Case, Control, Reading, Severity, check
from virtvet.probes import demands
from virtvet.profile import Profile
from virtvet.profile import demands as wanted
from virtvet.profile.demands import Guests
from virtvet.snapshot.model import Snapshot
from virtvet.target import HostTarget

NONE: frozenset[str] = frozenset()

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


Kind = tuple[Callable[[Profile, Guests], Iterable[Any]], Callable[[Snapshot, tuple[Any, ...]], Reading]]
KINDS: dict[str, Kind] = {
    "CPUs": (wanted.cpus, demands.cpus),
    "NUMA nodes": (wanted.nodes, demands.nodes),
    "exclusive CPUs": (wanted.exclusive, demands.exclusive),
    "hard limits": (wanted.hard_limits, demands.memory),
    "memory": (wanted.memory, demands.memory),
    "floors": (wanted.floors, demands.floors),
}


def kinds(host: HostTarget) -> Iterator[Case]:
    """Every kind of demand that the profile has of this host and its guests."""
    guests = {guest.name: guest.wants for guest in host.guests if guest.matched}
    for kind, (demanded, _probe) in KINDS.items():
        if found := tuple(demanded(host.profile, guests)):
            yield Case(kind, NONE, (kind, found))


def met(snapshot: Snapshot, kind: str, demanded: tuple[Any, ...]) -> Reading:
    """The demands that cannot be met, each with its place in the profile; none if all can."""
    return KINDS[kind][1](snapshot, demanded)


@check(POSSIBLE, cases=kinds, actual=met, sources=demands.sources)
def test_what_is_demanded_can_be_met(case: Case, observed: object) -> None:
    """CPUs, nodes and memory that are not there; CPUs that are to be two guests' alone; floors nobody can promise."""
    assert observed == case.expected
