"""What a profile demands that this host does not have: told once, with the place in the profile where it is demanded.

Nothing is wrong with the host then. The checks of each demand depart, too, and say less clearly why.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations
from typing import Generic, TypeVar

from virtvet.check import Reading
from virtvet.errors import Position
from virtvet.expect import ranges
from virtvet.probes import cgroup, neighbours, pins
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import File, Source
from virtvet.units import Share

PRESENT = File("/sys/devices/system/cpu/present")
"""CPUs that are there, online or not: `0-3` (Documentation/admin-guide/cputopology.rst)."""
NODES = File("/sys/devices/system/node/online")
"""NUMA nodes: `0-1`."""
SOURCES: tuple[Source, ...] = (PRESENT, pins.ONLINE, NODES, cgroup.MEMORY_INFO)

WHOLE = Share(Decimal(100))
"""All of the host's memory."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Demand(Generic[T]):
    """Something wanted. `who` wants it ("web1", "/machine"), as `key` of the profile, which stands `at` a place."""

    who: str
    key: str
    wanted: T
    at: Position

    def complaint(self, why: str) -> str:
        """`site.yaml:9:7: web1: cpu.pins.vcpu.0: there is no CPU 7 (the host has 0-3)`"""
        return f"{self.at}: {self.who}: {self.key}: {why}"


Numbers = Demand[frozenset[int]]
Bytes = Demand[int]


@dataclass(frozen=True, slots=True)
class Together:
    """Hard limits of guests, and what they must fit in: a partition's limit as the profile states it, or the host."""

    demands: tuple[Bytes, ...]
    name: str
    room: int | Share


def cpus(snapshot: Snapshot, demands: Iterable[Numbers]) -> Reading:
    """CPUs that the host has not, and lists of which none is online."""
    there, online = _list(snapshot, PRESENT), pins.online(snapshot)
    lost = [
        *(one.complaint(_missing("CPU", one.wanted, there)) for one in demands if one.wanted - there),
        *(one.complaint("none of these CPUs is online") for one in demands if _all_off(one.wanted, there, online)),
    ]
    return _reading(lost, f"{PRESENT}, {pins.ONLINE}", f"present {ranges(there)}, online {ranges(online)}")


def _all_off(wanted: frozenset[int], there: frozenset[int], online: frozenset[int]) -> bool:
    return wanted <= there and not wanted & online


def nodes(snapshot: Snapshot, demands: Iterable[Numbers]) -> Reading:
    """NUMA nodes that the host has not; a kernel without NUMA has node 0."""
    there = frozenset({0}) if snapshot.maybe(NODES) is None else _list(snapshot, NODES)
    lost = [one.complaint(_missing("node", one.wanted, there)) for one in demands if one.wanted - there]
    return _reading(lost, str(NODES), ranges(there))


def _missing(what: str, wanted: frozenset[int], there: frozenset[int]) -> str:
    return f"there is no {what} {ranges(wanted - there)} (the host has {ranges(there)})"


def memory(snapshot: Snapshot, demands: Iterable[Bytes]) -> Reading:
    """Guests with more memory than the host has."""
    total = cgroup.memory_total(snapshot)
    lost = [one.complaint(f"the host has {total >> 20} MiB") for one in demands if one.wanted > total]
    return _reading(lost, str(cgroup.MEMORY_INFO), f"MemTotal {total}")


def together(snapshot: Snapshot, demands: Iterable[Together]) -> Reading:
    """Guests whose memory, each by itself small enough, is more than there is for all of them."""
    total = cgroup.memory_total(snapshot)
    lost = [line for one in demands for line in _too_much(one, total)]
    return _reading(lost, str(cgroup.MEMORY_INFO), f"MemTotal {total}")


def _too_much(every: Together, total: int) -> list[str]:
    room = every.room.of(total) if isinstance(every.room, Share) else every.room
    asked = sum(one.wanted for one in every.demands)
    if asked <= room:
        return []
    first, *others = every.demands
    names = f" with {', '.join(one.who for one in others)}" if others else ""
    return [first.complaint(f"{asked >> 20} MiB{names}, and {every.name} has {room >> 20} MiB")]


def exclusive(_snapshot: Snapshot, demands: Iterable[Numbers]) -> Reading:
    """CPUs that are to be two guests' alone; guests that are to be alone on CPUs nobody named."""
    demands = tuple(demands)
    lost = [one.complaint("neither vcpu: nor default: says on which CPUs") for one in demands if not one.wanted]
    for first, second in combinations(demands, 2):
        if common := first.wanted & second.wanted:
            lost.append(second.complaint(f"CPU {ranges(common)} is {first.who}'s alone ({first.at})"))
    return _reading(lost, "the profile", "\n".join(f"{one.who}: {ranges(one.wanted)}" for one in demands))


def _reading(lost: Iterable[str], source: str, excerpt: str) -> Reading:
    return Reading(frozenset(lost), source, excerpt)


def _list(snapshot: Snapshot, source: File) -> frozenset[int]:
    return neighbours.cpus_of(snapshot.read(source).decode("ascii", "replace"), source)
