"""Which host NUMA nodes a guest's memory comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virtvet.check import Case, Control, PerLayer, Severity, check
from virtvet.expect import Contains, Within, ranges
from virtvet.probes import numatune
from virtvet.profile.numatune import Binding, Numatune
from virtvet.target import GuestTarget, HostTarget

NUMATUNE = "https://libvirt.org/formatdomain.html#numa-node-tuning"
POLICY = "https://docs.kernel.org/admin-guide/mm/numa_memory_policy.html"
CPUSETS = "https://docs.kernel.org/admin-guide/cgroup-v1/cpusets.html"


def _control(number: int, title: str, rationale: str, *references: str, hint: str) -> Control:
    return Control(
        id=f"MEM-NUMA-{number}",
        title=title,
        area="memory",
        severity=Severity.MEDIUM,
        requirement="R46",
        rationale=rationale,
        hint=hint,
        references=(NUMATUNE, *references),
    )


MODE = _control(
    1,
    "A guest's memory has its NUMA mode",
    "strict fails where preferred takes memory elsewhere; the mode of a running guest cannot be changed.",
    POLICY,
    hint="virsh -c qemu:///system numatune {guest} --mode {expected} --config   # of a cell: virsh edit, <memnode>; "
    "holds from the next start",
)
NODES = _control(
    2,
    "A guest's memory comes from its NUMA nodes",
    "Memory of a node far from the vCPUs costs each access half as much time again, or more.",
    POLICY,
    hint="virsh -c qemu:///system numatune {guest} --nodeset {nodes} --config   # of a cell: virsh edit, <memnode>",
)
THREADS = _control(
    3,
    "A guest's threads may allocate from its NUMA nodes, and no others where they bind",
    "The control group binds what QEMU allocates later. virsh numatune shows what was asked for, not the cpuset.",
    CPUSETS,
    hint="virsh -c qemu:///system numatune {guest} --nodeset {nodes} --live --config",
)
PAGES = _control(
    4,
    "The pages of a guest's memory are on its NUMA nodes",
    "What was allocated before a change, or moved by migratepages or NUMA balancing, stays where it is.",
    POLICY,
    hint="migratepages $(cat /run/libvirt/qemu/{guest}.pid) all {nodes}",
)
BINDING = ("strict", "restrictive")


def _bound(host: HostTarget) -> Iterator[tuple[GuestTarget, Numatune]]:
    for guest in host.guests:
        if guest.matched and guest.wants.memory.numatune:
            yield guest, guest.wants.memory.numatune


def _parts(wants: Numatune) -> Iterator[tuple[int | None, Binding]]:
    """The whole guest, and each cell that is stated."""
    yield None, wants
    yield from wants.cells.items()


def _subject(guest: GuestTarget, cell: int | None) -> str:
    return guest.name if cell is None else f"{guest.name}/cell{cell}"


def modes(host: HostTarget) -> Iterable[Case]:
    """Every stated mode."""
    for guest, wants in _bound(host):
        for cell, part in _parts(wants):
            if mode := part.mode:
                expected = PerLayer(config=mode, live=mode, actual=numatune.POLICIES[mode])
                args = (guest.name, cell, tuple(wants.cells), mode)
                yield Case(_subject(guest, cell), expected, args, guest.name)


def nodes(host: HostTarget) -> Iterable[Case]:
    """Every stated set of nodes."""
    for guest, wants in _bound(host):
        for cell, part in _parts(wants):
            if part.nodes:
                args = (guest.name, cell, tuple(wants.cells), part.nodes)
                yield Case(_subject(guest, cell), part.nodes, args, guest.name, {"nodes": ranges(part.nodes)})


def threads(host: HostTarget) -> Iterable[Case]:
    """Every guest with nodes; where they bind, those of the cells count as well."""
    for guest, wants in _bound(host):
        if wants.nodes:
            every = _every(wants)
            binding = Within(every) if wants.cells else wants.nodes
            expected = binding if wants.mode in BINDING else Contains(wants.nodes)
            yield Case(guest.name, expected, (guest.name,), guest.name, {"nodes": ranges(every)})


def pages(host: HostTarget) -> Iterable[Case]:
    """Every guest whose memory may be nowhere else."""
    for guest, wants in _bound(host):
        if wants.nodes and wants.mode in BINDING:
            every = Within(_every(wants))
            yield Case(guest.name, every, (guest.name, every), guest.name, {"nodes": ranges(every.members)})


def _every(wants: Numatune) -> frozenset[int]:
    return frozenset[int]().union(*(part.nodes or () for _cell, part in _parts(wants)))


@check(
    MODE,
    cases=modes,
    sources=numatune.sources,
    config=numatune.config_mode,
    live=numatune.live_mode,
    actual=numatune.actual_mode,
)
def test_memory_has_its_mode(case: Case, observed: object) -> None:
    """Actual: the kernel's policy of each mapping."""
    assert observed == case.expected


@check(
    NODES,
    cases=nodes,
    sources=numatune.sources,
    config=numatune.config_nodes,
    live=numatune.live_nodes,
    actual=numatune.actual_nodes,
)
def test_memory_comes_from_its_nodes(case: Case, observed: object) -> None:
    """Actual: the nodes of the kernel's policy."""
    assert observed == case.expected


@check(THREADS, cases=threads, sources=numatune.sources, actual=numatune.actual_threads)
def test_threads_may_allocate_from_the_nodes(case: Case, observed: object) -> None:
    """Every thread, and the group of every role."""
    assert observed == case.expected


@check(PAGES, cases=pages, sources=numatune.sources, actual=numatune.actual_pages)
def test_pages_are_on_the_nodes(case: Case, observed: object) -> None:
    """Those that there are."""
    assert observed == case.expected
