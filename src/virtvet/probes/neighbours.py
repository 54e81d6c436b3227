"""What all running guests of a host do to each other: whose CPUs and cores they run on, how far from their memory.

Every guest counts, stated in the profile or not: those libvirt knows, those started by hand, and QEMU processes that
bear no name. `live` is what libvirt was told of its own; `actual` is every QEMU process with all its threads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.expect import ranges
from virtvet.probes import cgroup, domain_xml, partitions, pins, placement, qemu, threads
from virtvet.probes.threads import Thread
from virtvet.snapshot.model import FileAnswer, Snapshot, text_of
from virtvet.snapshot.sources import File, Glob, Libvirt

CORES = Glob("/sys/devices/system/cpu/cpu[0-9]*/topology/thread_siblings_list")
"""CPUs of each online CPU's core: `0,4` or `0-1`; `0` where a core has one thread
(Documentation/admin-guide/cputopology.rst)."""
NODE_CPUS = Glob("/sys/devices/system/node/node[0-9]*/cpulist")
"""Online CPUs of each NUMA node: `0-3,8-11`; an empty line where a node has memory only."""
NODES_WITH_MEMORY = File("/sys/devices/system/node/has_memory")
"""`0-1`."""
SOURCES = pins.SOURCES
SMT_SOURCES = (*SOURCES, CORES)
NUMA_SOURCES = (*SOURCES, NODE_CPUS, NODES_WITH_MEMORY)
LIVE, ACTUAL = "virsh dumpxml of every running guest", "/proc/PID of every QEMU process"
Cpus = frozenset[int]


@dataclass(frozen=True, slots=True)
class Use:
    """Where a thread of a guest may run. `role`: vcpu0, emulator, iothread1."""

    guest: str
    role: str
    cpus: Cpus


# --- who there is, and where each may run


def running(snapshot: Snapshot) -> dict[str, etree._Element]:
    """The live XML of every guest that runs in libvirt's hands. Raises CannotLook."""
    return {name: domain_xml.live(snapshot, name) for name in _names(snapshot)}


def _names(snapshot: Snapshot) -> list[str]:
    return [one.name for one in snapshot.read(Libvirt()).domains.values() if one.live_xml is not None]


def at_work(snapshot: Snapshot) -> dict[str, int]:
    """Every QEMU process by its guest's name, or `process 4711` where it has none. Raises CannotLook."""
    known = {threads.pid(snapshot, name): name for name in _names(snapshot)}
    known |= {number: name for name, number in snapshot.by_hand.items()}
    every = {*known, *qemu.processes(snapshot)}
    return {known.get(number, f"process {number}"): number for number in sorted(every)}


def threads_of(snapshot: Snapshot, name: str, process: int) -> tuple[Thread, ...]:
    """All threads of a process; libvirt says which of its own are vCPUs. Raises CannotLook."""
    return threads.threads(snapshot, name) if name in _names(snapshot) else threads.every(snapshot, process)


def told(snapshot: Snapshot) -> list[Use]:
    """What libvirt was told for each thread: its pin, `<vcpu cpuset>`, or, without either, all CPUs of its partition.

    Guests whose CPUs numad chooses (placement='auto') are left out: the XML does not say which.
    """
    return [use for name, domain in running(snapshot).items() for use in _told(snapshot, name, domain)]


def _told(snapshot: Snapshot, name: str, domain: etree._Element) -> Iterator[Use]:
    vcpu = domain.find("vcpu")
    if vcpu is not None and vcpu.get("placement") == "auto":
        return
    for role in pins.roles(domain):
        pin = pins.own_pin(domain, role)
        pin = vcpu if pin is None else pin
        stated = pin.get("cpuset") if pin is not None else None
        yield Use(name, role, pins.cpus_of(stated, f"virsh dumpxml {name}") if stated else _unpinned(snapshot, domain))


def _unpinned(snapshot: Snapshot, domain: etree._Element) -> Cpus:
    there = pins.online(snapshot)
    group = partitions.find(snapshot, partition_of(domain), "cpuset")
    return there & cgroup.value(snapshot, group, cgroup.CPUS).value if group else there


def partition_of(domain: etree._Element) -> str:
    """`<resource><partition>/machine/a</partition></resource>` -> "/machine/a"; "/machine" without."""
    return (domain.findtext("resource/partition") or placement.DEFAULT).strip()


def kept(snapshot: Snapshot) -> list[Use]:
    """Where the kernel lets every thread of every QEMU process run."""
    return [
        Use(name, thread.role, threads.allowed(snapshot, thread).value)
        for name, process in at_work(snapshot).items()
        for thread in threads_of(snapshot, name, process)
    ]


# --- exclusive CPUs


def told_intruders(snapshot: Snapshot, owners: Mapping[str, Cpus]) -> Reading:
    """The guests that libvirt lets run on another's exclusive CPUs: {"db1 (emulator, vcpu0) on CPU 1 of web1"}.

    owners: exclusive CPUs by guest; of those that run. Raises NotApplicable when none does.
    """
    return _intruders(told(snapshot), owners, _names(snapshot), LIVE)


def kept_intruders(snapshot: Snapshot, owners: Mapping[str, Cpus]) -> Reading:
    """As `told_intruders`, of what the kernel lets run there."""
    return _intruders(kept(snapshot), owners, at_work(snapshot), f"{ACTUAL}, task/*/status")


def _intruders(uses: Iterable[Use], owners: Mapping[str, Cpus], there: Collection[str], source: str) -> Reading:
    owners = {owner: cpus for owner, cpus in owners.items() if owner in there}
    if not owners:
        raise NotApplicable("no guest with exclusive CPUs runs")
    found: dict[tuple[str, str, Cpus], set[str]] = defaultdict(set)
    for use in uses:
        for owner, cpus in owners.items():
            if use.guest != owner and (common := use.cpus & cpus):
                found[use.guest, owner, common].add(use.role)
    lines = (
        f"{who} ({', '.join(sorted(roles))}) on CPU {ranges(on)} of {owner}"
        for (who, owner, on), roles in found.items()
    )
    return _listed(lines, source)


# --- cores


def told_sharing(snapshot: Snapshot) -> Reading:
    """Cores whose sibling threads two guests' vCPUs may use at once: {"db1, web1 share core 0,4"}; none if all is
    well."""
    return _sharing(snapshot, told(snapshot), LIVE)


def kept_sharing(snapshot: Snapshot) -> Reading:
    """As `told_sharing`, of what the kernel lets run there."""
    return _sharing(snapshot, kept(snapshot), f"{ACTUAL}, task/*/status")


def _sharing(snapshot: Snapshot, uses: Iterable[Use], source: str) -> Reading:
    guests = _vcpu_cpus(uses)
    shared: dict[str, list[Cpus]] = defaultdict(list)
    for core in sorted(cores(snapshot), key=min):
        inside = {name: cpus & core for name, cpus in guests.items() if cpus & core}
        if len(inside) > 1 and len(frozenset[int]().union(*inside.values())) > 1:
            shared[", ".join(sorted(inside))].append(core)
    lines = (f"{names} share core {' and '.join(map(ranges, found))}" for names, found in shared.items())
    return _listed(lines, f"{source}; {CORES}")


def _vcpu_cpus(uses: Iterable[Use]) -> dict[str, Cpus]:
    """Where each guest's vCPUs may run; where none of its threads is known to be one (single-threaded TCG), all."""
    of_vcpus: dict[str, Cpus] = defaultdict(frozenset)
    of_all: dict[str, Cpus] = defaultdict(frozenset)
    for use in uses:
        of_all[use.guest] |= use.cpus
        if use.role.startswith("vcpu"):
            of_vcpus[use.guest] |= use.cpus
    return of_all | of_vcpus


def cores(snapshot: Snapshot) -> frozenset[Cpus]:
    """The CPUs of each core: {{0, 4}, {1, 5}}. Raises CannotLook."""
    return frozenset(_lists(snapshot, CORES).values())


# --- NUMA nodes


@dataclass(frozen=True, slots=True)
class Nodes:
    """Which CPUs and which memory belong together."""

    cpus: Mapping[int, Cpus]
    with_memory: frozenset[int]

    @property
    def both(self) -> frozenset[int]:
        """Nodes that have CPUs and memory."""
        return frozenset(node for node, cpus in self.cpus.items() if cpus) & self.with_memory

    def of_cpus(self, cpus: Cpus) -> frozenset[int]:
        """`{0, 5}` -> the nodes these CPUs are on."""
        return frozenset(node for node, own in self.cpus.items() if own & cpus)


def nodes(snapshot: Snapshot) -> Nodes:
    """Raises NotApplicable for a kernel that knows no NUMA, CannotLook."""
    if snapshot.maybe(NODES_WITH_MEMORY) is None:
        raise NotApplicable("this kernel was built without NUMA")
    lists = _lists(snapshot, NODE_CPUS)
    cpus = {int(PurePosixPath(path).parent.name.removeprefix("node")): found for path, found in lists.items()}
    return Nodes(cpus, pins.cpus_of(snapshot.read(NODES_WITH_MEMORY).decode("ascii", "replace"), NODES_WITH_MEMORY))


def told_remote(snapshot: Snapshot) -> Reading:
    """Guests whose vCPUs are pinned to other nodes than their memory comes from, guest cell by guest cell:
    {"web1: vCPUs 0-1 on node 1, memory of node 0"}; none if all is well."""
    there = nodes(snapshot)
    lines = [
        line
        for name, domain in running(snapshot).items()
        for line in _told_remote(there, name, domain, {use.role: use.cpus for use in _told(snapshot, name, domain)})
    ]
    return _listed(lines, f"{LIVE}; {NODE_CPUS}")


def _told_remote(there: Nodes, name: str, domain: etree._Element, own: Mapping[str, Cpus]) -> Iterator[str]:
    for vcpus, memory in _cells(domain, there, f"virsh dumpxml {name}") if own else ():
        numbers = [one for one in sorted(vcpus) if f"vcpu{one}" in own]
        run = there.of_cpus(frozenset[int]().union(*(own[f"vcpu{one}"] for one in numbers)))
        yield from _mismatch(there, name, f"vCPUs {ranges(numbers)}", run, memory)


def _mismatch(there: Nodes, name: str, what: str, run: frozenset[int], memory: frozenset[int]) -> Iterator[str]:
    """A node without CPUs is near to nobody: its memory is remote only where it was asked for by itself. One without
    memory gives none."""
    gives = memory & there.with_memory
    near = gives & there.both if gives == there.with_memory else gives
    if run & there.with_memory != near:
        yield f"{name}: {what} on node {ranges(run)}, memory of node {ranges(memory)}"


def _cells(domain: etree._Element, there: Nodes, source: str) -> Iterator[tuple[Cpus, frozenset[int]]]:
    """The vCPUs of each guest NUMA cell with the host nodes its memory comes from; one pair for a guest without cells.

    `<numatune><memory nodeset='0-1'/><memnode cellid='1' nodeset='1'/></numatune>`
    """
    whole = domain.find("numatune/memory")
    nodeset = whole.get("nodeset") if whole is not None else None
    usual = pins.cpus_of(nodeset, source) if nodeset else there.with_memory
    own = {
        one.get("cellid"): pins.cpus_of(one.get("nodeset") or "", source) for one in domain.iterfind("numatune/memnode")
    }
    cells = domain.findall("cpu/numa/cell")
    every = frozenset(int(role[4:]) for role in pins.roles(domain) if role.startswith("vcpu"))
    for cell in cells:
        if cell.get("cpus"):
            yield pins.cpus_of(cell.get("cpus") or "", source), own.get(cell.get("id"), usual)
    if not cells:
        yield every, usual


def kept_remote(snapshot: Snapshot) -> Reading:
    """Guests whose vCPU threads may run on other nodes than they may take memory from (Mems_allowed_list)."""
    there = nodes(snapshot)
    found = (_kept_remote(snapshot, there, name, process) for name, process in at_work(snapshot).items())
    return _listed((line for lines in found for line in lines), f"{ACTUAL}, task/*/status; {NODE_CPUS}")


def _kept_remote(snapshot: Snapshot, there: Nodes, name: str, process: int) -> Iterator[str]:
    every = threads_of(snapshot, name, process)
    vcpus = [one for one in every if one.role.startswith("vcpu")] or every
    run = frozenset[int]().union(*(threads.allowed(snapshot, one).value for one in vcpus))
    memory = frozenset[int]().union(*(threads.nodes(snapshot, one).value for one in vcpus))
    if vcpus:
        yield from _mismatch(there, name, "vCPUs", there.of_cpus(run), memory)


def _listed(lines: Iterable[str], source: str) -> Reading:
    found = frozenset(lines)
    return Reading(found, source, "\n".join(sorted(found)))


def _lists(snapshot: Snapshot, source: Glob) -> dict[str, Cpus]:
    """CPU lists by the paths of their files; there must be one at least."""
    files: Mapping[str, FileAnswer] = snapshot.read(source)
    if not files:
        raise CannotLook(source, "there is no such file")
    texts = {path: text_of(path, found).strip() for path, found in files.items()}
    return {path: pins.cpus_of(text, path) if text else frozenset() for path, text in texts.items()}
