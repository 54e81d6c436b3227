"""What a profile demands of its host, each with its place in the files, and what its guests cannot all have at once.

Some is known when the profile is loaded, of guests known by name; the rest once a host's guests are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from glob import has_magic
from itertools import combinations
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from virtvet.errors import Position, Problem
from virtvet.expect import ranges
from virtvet.profile.pins import Pins
from virtvet.units import Share

if TYPE_CHECKING:
    from virtvet.profile.model import GuestWants, Profile

T = TypeVar("T")
Guests = Mapping[str, "GuestWants"]
"""Guests of one host by their names, with all entries that match."""
HOST = "the host"
WHOLE = Share(Decimal(100))
"""All of the host's memory."""


@dataclass(frozen=True, slots=True)
class Demand(Generic[T]):
    """Something wanted. `who` wants it ("web1", "/machine"), as `key` of the profile, which stands `at` a place."""

    who: str
    key: str
    wanted: T
    at: Position

    def problem(self, why: str) -> Problem:
        """`site.yaml:9:7: web1: cpu.pins.vcpu.0: there is no CPU 7 (the host has 0-3)`"""
        return Problem(f"{self.who}: {self.key}: {why}", at=self.at)


Numbers = Demand[frozenset[int]]
Bytes = Demand[int]
Names = Demand[str]


@dataclass(frozen=True, slots=True)
class Together:
    """Sizes that must fit together into one: the limit of a partition, or the host's memory."""

    demands: tuple[Bytes, ...]
    name: str
    room: int | Share

    def problem(self, host: int | None = None) -> Problem | None:
        """What is too much; None when all fit, or nobody knows yet how many bytes the host has."""
        room = self.room
        if isinstance(room, Share):
            if host is None:
                return None
            room = room.of(host)
        asked = sum(one.wanted for one in self.demands)
        first, *others = self.demands
        names = f" with {', '.join(one.who for one in others)}" if others else ""
        why = f"{asked >> 20} MiB{names}, and {self.name} has {room >> 20} MiB"
        return first.problem(why) if asked > room else None


# --- what is demanded


def cpus(profile: Profile, guests: Guests) -> Iterator[Numbers]:
    """Every list of the host's CPUs."""
    for name, wants in guests.items():
        yield from (_of(profile, name, path, wanted) for path, wanted in _cpu_lists(wants))
    for name, partition in profile.host.partitions.items():
        if partition.cpuset:
            yield _of_partition(profile, name, "cpuset", partition.cpuset)


def _cpu_lists(wants: GuestWants) -> Iterator[tuple[str, frozenset[int]]]:
    pins = wants.cpu.pins or Pins()
    yield from ((f"cpu.pins.vcpu.{number}", cpus) for number, cpus in pins.vcpu.items())
    yield from ((f"cpu.pins.iothread.{number}", cpus) for number, cpus in pins.iothread.items())
    single = {"cpu.pins.emulator": pins.emulator, "cpu.pins.default": pins.default}
    single["cpu.vcpus.cpuset"] = wants.cpu.vcpus.cpuset if wants.cpu.vcpus else None
    yield from ((path, cpus) for path, cpus in single.items() if cpus)


def nodes(profile: Profile, guests: Guests) -> Iterator[Numbers]:
    """Every list of the host's NUMA nodes."""
    for name, wants in guests.items():
        if numatune := wants.memory.numatune:
            bound = {"memory.numatune.nodes": numatune.nodes}
            bound |= {f"memory.numatune.cells.{number}.nodes": cell.nodes for number, cell in numatune.cells.items()}
            yield from (_of(profile, name, path, wanted) for path, wanted in bound.items() if wanted)
    for name, partition in profile.host.partitions.items():
        if partition.memory_nodes:
            yield _of_partition(profile, name, "memory_nodes", partition.memory_nodes)


def exclusive(profile: Profile, guests: Guests) -> Iterator[Numbers]:
    """The CPUs that are a guest's alone; an empty set where nobody said which."""
    for name, wants in guests.items():
        if wants.cpu.pins and wants.cpu.pins.exclusive:
            yield _of(profile, name, "cpu.pins.exclusive", wants.cpu.pins.alone)


def hard_limits(profile: Profile, guests: Guests) -> Iterator[Together]:
    """The hard limits of all guests in each partition whose limit is stated, and of all on the host."""
    limits = [_of(profile, name, "memory.limits.hard", size) for name, one in guests.items() if (size := _hard(one))]
    for path, partition in profile.host.partitions.items():
        members = tuple(one for one in limits if _within(guests[one.who].partition, path))
        if members and isinstance(partition.memory, int | Share):
            yield Together(members, path, partition.memory)
    if limits:
        yield Together(tuple(limits), HOST, WHOLE)


def _hard(wants: GuestWants) -> int:
    limits = wants.memory.limits
    return limits.hard if limits and isinstance(limits.hard, int) else 0


def _within(partition: str | None, path: str) -> bool:
    return f"{partition}/".startswith(f"{path}/")


def memory(profile: Profile, guests: Guests) -> Iterator[Together]:
    """Each guest's memory by itself; and of those whose memory cannot be swapped out, all together."""
    sizes = {name: wants.memory.size.memory for name, wants in guests.items() if wants.memory.size}
    every = [_of(profile, name, "memory.size.memory", size) for name, size in sizes.items() if size]
    yield from (Together((one,), HOST, WHOLE) for one in every)
    if len(held := tuple(one for one in every if _is_held(guests[one.who]))) > 1:
        yield Together(held, HOST, WHOLE)


def floors(profile: Profile, guests: Guests) -> Iterator[Names]:
    """The network of every interface that is promised a floor."""
    for name, wants in guests.items():
        for key, interface in wants.interfaces.items():
            if interface.network and interface.inbound and interface.inbound.floor:
                yield _of(profile, name, f"interfaces.{key}.inbound.floor", interface.network)


def _is_held(wants: GuestWants) -> bool:
    backing = wants.memory.backing
    return bool(backing and (backing.locked or backing.hugepages))


def _of(profile: Profile, guest: str, path: str, wanted: Any) -> Demand[Any]:
    steps = [int(step) if step.isdecimal() else step for step in path.split(".")]
    return Demand(guest, path, wanted, profile.place_of(guest, *steps))


def _of_partition(profile: Profile, path: str, key: str, wanted: Any) -> Demand[Any]:
    return Demand(path, key, wanted, profile.place("host", "partitions", path, key))


# --- what cannot be, on any host


def clashes(claims: Sequence[Numbers]) -> Iterator[Problem]:
    """Guests that are to be alone on CPUs that nobody named, or on the same CPU."""
    yield from _nowhere(claims)
    yield from _twice(claims)


def _nowhere(claims: Iterable[Numbers]) -> Iterator[Problem]:
    for one in claims:
        if not one.wanted:
            yield one.problem("neither vcpu: nor default: says on which CPUs")


def _twice(claims: Iterable[Numbers]) -> Iterator[Problem]:
    for first, second in combinations(claims, 2):
        if common := first.wanted & second.wanted:
            yield second.problem(f"CPU {ranges(common)} is {first.who}'s alone ({first.at})")


def impossible(profile: Profile) -> Iterator[Problem]:
    """What guests known by name can never have together; those that are optional may be on different hosts."""
    named = {name: wants for name in profile.guests if not has_magic(name) and (wants := profile.guest(name))}
    certain = {name: wants for name, wants in named.items() if not wants.optional}
    yield from _nowhere(exclusive(profile, named))
    yield from _twice(exclusive(profile, certain))
    for one in hard_limits(profile, certain):
        if problem := one.problem():
            yield problem
    yield from _outside_their_partition(profile, named)
    yield from _given_twice(profile, certain)
    yield from _kept_by_the_host(profile, certain)
    yield from _without_an_iommu(profile, certain)
    yield from _without_its_word(profile)


def _outside_their_partition(profile: Profile, guests: Guests) -> Iterator[Problem]:
    """A group's CPUs are some of those of the group above it (cpuset(7))."""
    for name, wants in guests.items():
        partition = profile.host.partitions.get(wants.partition or "")
        room = partition.cpuset if partition else None
        for path, wanted in _cpu_lists(wants) if room else ():
            if room and (lost := wanted - room):
                why = f"CPU {ranges(lost)} is not in the cpuset of its partition {wants.partition} ({ranges(room)})"
                yield _of(profile, name, path, wanted).problem(why)


def _hostdevs(profile: Profile, guests: Guests) -> Iterator[Demand[str]]:
    """Every PCI device of the host that a running guest has."""
    for name, wants in guests.items():
        for address in wants.hostdevs if wants.state == "running" else ():
            yield Demand(name, f"hostdevs.{address}", address, profile.place_of(name, "hostdevs", address))


def _given_twice(profile: Profile, guests: Guests) -> Iterator[Problem]:
    for first, second in combinations(_hostdevs(profile, guests), 2):
        if first.wanted == second.wanted:
            yield second.problem(f"{first.who} has it while it runs ({first.at})")


def _kept_by_the_host(profile: Profile, guests: Guests) -> Iterator[Problem]:
    """What a running guest has is bound to vfio, and no network device of the host."""
    for one in _hostdevs(profile, guests):
        device, driver = profile.host.devices.get(one.wanted), guests[one.who].hostdevs[one.wanted].driver
        if device and device.driver not in (None, driver):
            yield one.problem(f"its driver is {driver} then, but host.devices says {device.driver}")
        elif device and (device.netdev or device.mac):
            key = "netdev" if device.netdev else "mac"
            yield one.problem(f"the host has no network device of it then, but host.devices says {key}:")


def _without_an_iommu(profile: Profile, guests: Guests) -> Iterator[Problem]:
    """libvirt gives a guest no device that an IOMMU does not keep to the guest's memory."""
    if profile.host.iommu and profile.host.iommu.enabled is False:
        for one in _hostdevs(profile, guests):
            yield one.problem("needs an IOMMU, but host.iommu says enabled: false")


def _without_its_word(profile: Profile) -> Iterator[Problem]:
    """CPUs are isolated, and lose their tick, by a word of the kernel's command line alone."""
    isolation, kernel = profile.host.isolation, profile.host.kernel
    if isolation and kernel and kernel.cmdline:
        isolcpus = isolation.unscheduled.cpus if isolation.unscheduled else None
        for key, cpus in (("isolcpus", isolcpus), ("nohz_full", isolation.kept("nohz_full"))):
            if cpus and key in kernel.cmdline.absent:
                at = profile.place("host", "kernel", "cmdline", "absent", kernel.cmdline.absent.index(key))
                wanted = Demand(HOST, "kernel.cmdline.absent", key, at)
                yield wanted.problem(f"host.isolation wants CPU {ranges(cpus)}, which {key}= alone brings about")
