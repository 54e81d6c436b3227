"""Which host NUMA nodes a guest's memory comes from: `<numatune>`, the kernel's policy for the guest's memory, the
nodes its threads may allocate from, and the nodes where its pages are.

libvirt does by mode (qemuBuildMemoryBackendProps, qemuProcessSetupPid): strict: both the memory's policy and the
threads' cpuset.mems; restrictive: the cpuset alone; preferred, interleave: the policy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.expect import matches
from virtvet.probes import cgroup, domain_xml, ram, threads
from virtvet.probes.ram import Mapping
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import Source
from virtvet.units import parse_cpuset

if TYPE_CHECKING:
    from virtvet.target import HostTarget

SOURCES = (*cgroup.SOURCES, *threads.SOURCES)
POLICIES = {"strict": "bind", "preferred": "prefer", "interleave": "interleave", "restrictive": "default"}
"""The kernel's word in numa_maps for what each mode makes of the guest's memory."""
Where = Callable[[int | None], bool]


def sources(host: HostTarget) -> Iterable[Source]:
    """What the guests' layers are read from."""
    stated = [guest.name for guest in host.guests if guest.matched and guest.wants.memory.numatune]
    if stated:
        yield from SOURCES
        yield from map(ram.mapped, stated)


# --- what libvirt was told


def config_mode(snapshot: Snapshot, guest: str, cell: int | None, *_more: object) -> Reading:
    """The mode of a NUMA cell (None: of the whole guest) in the stored XML; None without `<numatune>`.

    `<memory mode='strict' nodeset='0'/>` -> "strict". A cell without a `<memnode>` goes by `<memory>`.
    """
    return _mode(domain_xml.config(snapshot, guest), cell, f"virsh dumpxml --inactive {guest}")


def live_mode(snapshot: Snapshot, guest: str, cell: int | None, *_more: object) -> Reading:
    """As `config_mode`, of the running domain."""
    return _mode(domain_xml.live(snapshot, guest), cell, f"virsh dumpxml {guest}")


def config_nodes(snapshot: Snapshot, guest: str, cell: int | None, *_more: object) -> Reading:
    """The host nodes of a NUMA cell (None: of the whole guest) in the stored XML; None without `<numatune>`.

    `<memnode cellid='0' mode='strict' nodeset='0-1'/>` -> {0, 1}. Raises NotApplicable where numad chooses them.
    """
    return _nodes(domain_xml.config(snapshot, guest), cell, f"virsh dumpxml --inactive {guest}")


def live_nodes(snapshot: Snapshot, guest: str, cell: int | None, *_more: object) -> Reading:
    """As `config_nodes`, of the running domain."""
    return _nodes(domain_xml.live(snapshot, guest), cell, f"virsh dumpxml {guest}")


def _mode(domain: etree._Element, cell: int | None, source: str) -> Reading:
    found = _element(domain, cell)
    if found is None:
        return Reading(None, source, "no <numatune>")
    return Reading(found.get("mode", "strict"), source, domain_xml.shown(found))


def _nodes(domain: etree._Element, cell: int | None, source: str) -> Reading:
    found = _element(domain, cell)
    if found is None:
        return Reading(None, source, "no <numatune>")
    if found.get("placement") == "auto":
        raise NotApplicable("the placement of this guest's memory is automatic: numad chooses its nodes at every start")
    try:
        return Reading(parse_cpuset(found.get("nodeset")), source, domain_xml.shown(found))
    except ValueError as mistake:
        raise CannotLook(source, f"{domain_xml.shown(found)}: {mistake}") from None


def _element(domain: etree._Element, cell: int | None) -> etree._Element | None:
    own = None if cell is None else domain.find(f"numatune/memnode[@cellid='{cell}']")
    return domain.find("numatune/memory") if own is None else own


# --- what the kernel does


def actual_mode(snapshot: Snapshot, guest: str, cell: int | None, cells: Collection[int], wanted: str) -> list[Reading]:
    """The kernel's policy for each part of the memory: "bind", "prefer", "interleave" or "default"."""
    return _mapped(snapshot, guest, _part(cell, cells), lambda one: one.policy, POLICIES[wanted])


def actual_nodes(
    snapshot: Snapshot, guest: str, cell: int | None, cells: Collection[int], wanted: object
) -> list[Reading]:
    """The nodes of that policy. Raises NotApplicable for the mode restrictive, which has none."""
    told = _element(domain_xml.live(snapshot, guest), cell)
    if told is not None and told.get("mode") == "restrictive":
        raise NotApplicable("memory of the mode restrictive has no policy: the threads' nodes bind it")
    return _mapped(snapshot, guest, _part(cell, cells), lambda one: one.policy_nodes, wanted)


def _part(cell: int | None, cells: Collection[int]) -> Where:
    """Of the whole guest the cells that are stated by themselves are left out."""
    return ram.outside(cells) if cell is None else ram.within({cell})


def actual_pages(snapshot: Snapshot, guest: str, wanted: object) -> list[Reading]:
    """The nodes where the pages of each part of the memory are.

    /proc/PID/numa_maps: `7fae6ffff000 bind:0 file=… dirty=37795 N0=37803 kernelpagesize_kB=4` -> {0}
    """
    return _mapped(snapshot, guest, ram.everything, lambda one: one.nodes, wanted)


def _mapped(
    snapshot: Snapshot, guest: str, of: Where, value: Callable[[Mapping], Any], wanted: object
) -> list[Reading]:
    found = ram.mappings(snapshot, guest, lambda one: matches(wanted, value(one)), of)
    return [Reading(value(one), one.source, one.line) for one in found]


def actual_threads(snapshot: Snapshot, guest: str) -> Iterator[Reading]:
    """The nodes each thread may allocate from, and those of the cpuset group of each role.

    /proc/PID/task/TID/status: `Mems_allowed_list:\\t0` -> {0}; cpuset.mems: `0-1` -> {0, 1}
    """
    groups = cgroup.of_guest(snapshot, guest)
    for thread in groups.threads:
        yield threads.nodes(snapshot, thread)
    if cgroup.mounted(snapshot, ("cpuset",)):
        for role in groups.roles(""):
            yield cgroup.value(snapshot, groups.of_role(role, "cpuset"), cgroup.NODES)
