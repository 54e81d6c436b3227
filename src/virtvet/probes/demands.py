"""What a profile demands that this host does not have: told once, with the place in the profile where it is demanded.

Nothing is wrong with the host then. The checks of each demand depart, too, and say less clearly why.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from virtvet.check import Reading
from virtvet.errors import Problem
from virtvet.expect import ranges
from virtvet.probes import cgroup, domain_xml, pins
from virtvet.profile.demands import Names, Numbers, Together, clashes
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import File, Libvirt, Network, Source
from virtvet.target import HostTarget

PRESENT = File("/sys/devices/system/cpu/present")
"""CPUs that are there, online or not: `0-3` (Documentation/admin-guide/cputopology.rst)."""
NODES = File("/sys/devices/system/node/online")
"""NUMA nodes: `0-1`."""
SOURCES: tuple[Source, ...] = (PRESENT, pins.ONLINE, NODES, cgroup.MEMORY_INFO)


def sources(host: HostTarget) -> Iterable[Source]:
    """What the host has; the networks that floors are taken from."""
    interfaces = [one for guest in host.guests for one in guest.wants.interfaces.values()]
    networks = {one.network for one in interfaces if one.network and one.inbound and one.inbound.floor}
    return (*SOURCES, *map(Network, networks))


def cpus(snapshot: Snapshot, demands: Iterable[Numbers]) -> Reading:
    """CPUs that the host has not, and lists of which none is online."""
    there, online = _list(snapshot, PRESENT), pins.online(snapshot)
    lost = [
        *(one.problem(_missing("CPU", one.wanted, there)) for one in demands if one.wanted - there),
        *(one.problem("none of these CPUs is online") for one in demands if _all_off(one.wanted, there, online)),
    ]
    return _reading(lost, f"{PRESENT}, {pins.ONLINE}", f"present {ranges(there)}, online {ranges(online)}")


def floors(snapshot: Snapshot, demands: Iterable[Names]) -> Reading:
    """Networks that promise nobody a floor: libvirt starts no such guest (networkCheckBandwidth, bridge_driver.c).

    `<bandwidth><inbound average='2000'/></bandwidth>` of a network is what floors are taken from.
    """
    names = sorted({one.wanted for one in demands})
    without = {name: why for name in names if (why := _promises_nothing(snapshot, name))}
    lost = [one.problem(without[one.wanted]) for one in demands if one.wanted in without]
    return _reading(lost, "virsh net-dumpxml", ", ".join(names))


def _promises_nothing(snapshot: Snapshot, name: str) -> str:
    """Why; "" where it has an average to take floors from. Raises Unreachable without libvirt, CannotLook."""
    snapshot.read(Libvirt())
    if (said := snapshot.maybe(Network(name))) is None:
        return f"there is no network {name}"
    network = domain_xml.parse(said.decode("utf-8", "backslashreplace"), str(Network(name)), "network")
    if network.find("bandwidth/inbound[@average]") is None:
        return f"the network {name} has no inbound average to take it from"
    return ""


def _all_off(wanted: frozenset[int], there: frozenset[int], online: frozenset[int]) -> bool:
    return wanted <= there and not wanted & online


def online_nodes(snapshot: Snapshot) -> frozenset[int]:
    """The host's NUMA nodes; node 0 of a kernel without NUMA."""
    return frozenset({0}) if snapshot.maybe(NODES) is None else _list(snapshot, NODES)


def nodes(snapshot: Snapshot, demands: Iterable[Numbers]) -> Reading:
    """NUMA nodes that the host has not; a kernel without NUMA has node 0."""
    there = online_nodes(snapshot)
    lost = [one.problem(_missing("node", one.wanted, there)) for one in demands if one.wanted - there]
    return _reading(lost, str(NODES), ranges(there))


def _missing(what: str, wanted: frozenset[int], there: frozenset[int]) -> str:
    return f"there is no {what} {ranges(wanted - there)} (the host has {ranges(there)})"


def memory(snapshot: Snapshot, demands: Iterable[Together]) -> Reading:
    """Sizes that are more than there is, alone or together."""
    total = cgroup.memory_total(snapshot)
    lost = [problem for one in demands if (problem := one.problem(total))]
    return _reading(lost, str(cgroup.MEMORY_INFO), f"MemTotal {total >> 20} MiB")


def exclusive(_snapshot: Snapshot, demands: Sequence[Numbers]) -> Reading:
    """CPUs that are to be alone two guests' of this host, or nobody knows which."""
    claims = "\n".join(f"{one.who}: {ranges(one.wanted)}" for one in demands)
    return _reading(clashes(demands), "the profile, and the guests of this host", claims)


def _reading(lost: Iterable[Problem], source: str, excerpt: str) -> Reading:
    return Reading(frozenset(map(str, lost)), source, excerpt)


def _list(snapshot: Snapshot, source: File) -> frozenset[int]:
    return pins.cpus_of(snapshot.read(source).decode("ascii", "replace"), source)
