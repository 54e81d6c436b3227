"""Memory that can be plugged: its limits, DIMMs and NUMA cells, and that all of it is online in the guest."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from virtvet.check import Case, Control, PerLayer, Severity, check
from virtvet.expect import Between, Expectation, Unit
from virtvet.probes import domain_xml, hotplug_rules, memory_hotplug, memory_size
from virtvet.profile.memory_hotplug import Cell, MemoryHotplug
from virtvet.profile.memory_size import MIB, MemorySize, tolerated
from virtvet.remedies.memory_hotplug import AUTOMATE, WAKE
from virtvet.target import GuestTarget, HostTarget
from virtvet.units import MAX_BYTES

ALLOCATION = "https://libvirt.org/formatdomain.html#memory-allocation"
DIMMS = "https://libvirt.org/formatdomain.html#memory-devices"
NUMA = "https://libvirt.org/formatdomain.html#cpu-model-and-topology"
HOTPLUG = "https://docs.kernel.org/admin-guide/mm/memory-hotplug.html"

LIMIT = Control(
    id="MEM-PLUG-1",
    title="A guest's memory can grow as far as it must",
    area="memory",
    severity=Severity.MEDIUM,
    requirement="R22",
    rationale="Maximum and slots are fixed when QEMU starts: what is missing then cannot be plugged until the next "
    "start.",
    hint="virsh -c qemu:///system edit {guest}   # <maxMemory slots='{slots}' unit='MiB'>{maximum}</maxMemory>, then "
    "start the guest anew",
    references=(ALLOCATION,),
)
DIMM = Control(
    id="MEM-PLUG-2",
    title="A guest has its DIMMs",
    area="memory",
    severity=Severity.HIGH,
    requirement="R22",
    rationale="A DIMM plugged live only is gone after the next start, one in the configuration only is not there yet, "
    "and one that does not fit the guest's memory blocks is never seen inside.",
    hint="virsh -c qemu:///system attach-device {guest} FILE --live --config   # FILE: <memory model='dimm'><target>"
    "<size unit='MiB'>128</size><node>0</node></target></memory>; virsh detach-device-alias takes one away",
    references=(DIMMS, HOTPLUG),
)
CPUS = Control(
    id="MEM-CELL-1",
    title="Each NUMA cell of a guest has its vCPUs",
    area="memory",
    severity=Severity.MEDIUM,
    requirement="R22",
    rationale="A guest places tasks by its cells: a vCPU in the wrong one works on memory that is far away.",
    hint="virsh -c qemu:///system edit {guest}   # <numa><cell id='{number}' cpus='{cpus}' …>, then start it anew",
    references=(NUMA,),
)
MEMORY = Control(
    id="MEM-CELL-2",
    title="Each NUMA cell of a guest has its memory",
    area="memory",
    severity=Severity.MEDIUM,
    requirement="R22",
    rationale="Cells and DIMMs together are the guest's memory; a cell that is too small swaps while others are empty.",
    hint="virsh -c qemu:///system edit {guest}   # <numa><cell id='{number}' memory='{mib}' unit='MiB' …>, then start "
    "the guest anew",
    references=(NUMA,),
)
ACCESS = Control(
    id="MEM-CELL-3",
    title="Each NUMA cell's memory is shared or private as it must be",
    area="memory",
    severity=Severity.MEDIUM,
    requirement="R22",
    rationale="vhost-user and virtiofs work on shared memory only; private memory nobody else can map.",
    hint="virsh -c qemu:///system edit {guest}   # <numa><cell id='{number}' memAccess='{expected}' …>, then start the "
    "guest anew",
    references=(NUMA, "https://libvirt.org/kbase/virtiofs.html"),
)
ONLINE = Control(
    id="MEM-ONLINE-1",
    title="No memory of a guest is offline",
    area="memory",
    severity=Severity.HIGH,
    requirement="R23",
    rationale="A plugged DIMM that nobody brought online is memory the host gave away and the guest does not use.",
    hint="grep -l offline /sys/devices/system/memory/memory*/state   # inside; echo online_movable into each",
    references=(HOTPLUG,),
)
AUTOMATIC = Control(
    id="MEM-ONLINE-2",
    title="Memory that is plugged comes online by itself",
    area="memory",
    severity=Severity.MEDIUM,
    requirement="R23",
    rationale="Else somebody must log in after every plug; who plugged it sees success, and the guest does without.",
    hint="cat /sys/devices/system/memory/auto_online_blocks   # inside: must be online, by memhp_default_state=online "
    "on the kernel's command line; or there must be a udev rule for SUBSYSTEM memory",
    references=(HOTPLUG, "https://www.freedesktop.org/software/systemd/man/latest/udev.html"),
)


def _plugging(host: HostTarget) -> Iterable[tuple[GuestTarget, MemoryHotplug]]:
    for guest in host.guests:
        if guest.matched and guest.wants.memory.hotplug:
            yield guest, guest.wants.memory.hotplug


def limits(host: HostTarget) -> Iterable[Case]:
    """Maximum and slots of every guest, as far as they are stated."""
    for guest, wants in _plugging(host):
        words = {"slots": wants.slots or "N", "maximum": wants.maximum // MIB if wants.maximum else "MIB"}
        for key, wanted in (("maximum", wants.maximum), ("slots", wants.slots)):
            if wanted is not None:
                unit: Unit = "bytes" if key == "maximum" else ""
                yield Case(f"{guest.name}/{key}", wanted, (guest.name, key), guest.name, words, unit)


@check(
    LIMIT,
    cases=limits,
    config=memory_hotplug.limit_config,
    live=memory_hotplug.limit_live,
    actual=memory_hotplug.limit_actual,
    sources=memory_size.sources,
)
def test_memory_can_grow(case: Case, observed: object) -> None:
    """Bytes, and a number of slots."""
    assert observed == case.expected


def dimms(host: HostTarget) -> Iterable[Case]:
    """Every guest whose DIMMs are stated, none too."""
    for guest, wants in _plugging(host):
        if wants.dimms is not None:
            wanted = tuple(sorted(memory_hotplug.shown(one.size, one.node) for one in wants.dimms))
            yield Case(guest.name, wanted, (guest.name,), guest.name)


@check(
    DIMM,
    cases=dimms,
    config=memory_hotplug.dimms_config,
    live=memory_hotplug.dimms_live,
    actual=memory_hotplug.dimms_actual,
    guest=memory_hotplug.dimms_inside,
    sources=memory_size.sources,
    guest_sources=memory_hotplug.guest_sources,
)
def test_guest_has_its_dimms(case: Case, observed: object) -> None:
    """Their sizes and cells, in any order."""
    assert observed == case.expected


CellCase = Callable[[GuestTarget, int, Cell], "Case | None"]


def _cells(make: CellCase) -> Callable[[HostTarget], Iterable[Case]]:
    def cases(host: HostTarget) -> Iterable[Case]:
        for guest, wants in _plugging(host):
            made = (make(guest, number, cell) for number, cell in wants.cells.items())
            yield from filter(None, made)

    return cases


def _subject(guest: GuestTarget, number: int) -> str:
    return f"{guest.name}/cell{number}"


def cpus(guest: GuestTarget, number: int, cell: Cell) -> Case | None:
    """The vCPUs of a cell."""
    if cell.cpus is None:
        return None
    words = {"number": number, "cpus": ",".join(map(str, sorted(cell.cpus)))}
    return Case(_subject(guest, number), cell.cpus, (guest.name, number, "cpus", cell.cpus), guest.name, words)


@check(
    CPUS,
    cases=_cells(cpus),
    config=memory_hotplug.cell_config,
    live=memory_hotplug.cell_live,
    actual=memory_hotplug.cell_actual,
    guest=memory_hotplug.cell_inside,
    sources=memory_size.sources,
    guest_sources=memory_hotplug.guest_sources,
)
def test_cell_has_its_vcpus(case: Case, observed: object) -> None:
    """Sets of numbers; inside the guest, of those that are online."""
    assert observed == case.expected


def memory(guest: GuestTarget, number: int, cell: Cell) -> Case | None:
    """The memory of a cell; inside the guest with its DIMMs, and without what the balloon and the kernel took."""
    if cell.memory is None:
        return None
    kept, inside = cell.memory, _inside(guest, number, cell.memory)
    expected = PerLayer(config=kept, live=kept, actual=kept, guest=inside)
    words = {"number": number, "mib": kept // MIB}
    return Case(_subject(guest, number), expected, (guest.name, number, "memory"), guest.name, words, "bytes")


def _inside(guest: GuestTarget, number: int, base: int) -> Expectation:
    """What a node's MemTotal must be: the cell and its DIMMs, less what the balloon and the kernel may have taken."""
    size = guest.wants.memory.size or MemorySize()
    hotplug = guest.wants.memory.hotplug or MemoryHotplug()
    plugged = sum(dimm.size for dimm in hotplug.dimms or () if dimm.node == number)
    taken = size.memory - size.current if size.memory and size.current else base + plugged
    least = base + plugged - taken - tolerated(base + plugged, size.tolerance)
    return Between(max(0, least), base + plugged if hotplug.dimms is not None else hotplug.maximum or MAX_BYTES)


@check(
    MEMORY,
    cases=_cells(memory),
    config=memory_hotplug.cell_config,
    live=memory_hotplug.cell_live,
    actual=memory_hotplug.cell_actual,
    guest=memory_hotplug.cell_inside,
    sources=memory_size.sources,
    guest_sources=memory_hotplug.guest_sources,
)
def test_cell_has_its_memory(case: Case, observed: object) -> None:
    """Bytes."""
    assert observed == case.expected


def access(guest: GuestTarget, number: int, cell: Cell) -> Case | None:
    """Whether others may map a cell's memory."""
    if cell.access is None:
        return None
    args = (guest.name, number, "access")
    return Case(_subject(guest, number), cell.access, args, guest.name, {"number": number})


@check(
    ACCESS,
    cases=_cells(access),
    config=memory_hotplug.cell_config,
    live=memory_hotplug.cell_live,
    actual=memory_hotplug.cell_actual,
    sources=memory_size.sources,
)
def test_cell_is_shared_or_private(case: Case, observed: object) -> None:
    """`shared` or `private`."""
    assert observed == case.expected


def _onlined(expected: object) -> Callable[[HostTarget], Iterable[Case]]:
    def cases(host: HostTarget) -> Iterable[Case]:
        for guest, wants in _plugging(host):
            if wants.online:
                yield Case(guest.name, expected, (guest.name,), guest.name)

    return cases


@check(
    ONLINE,
    cases=_onlined(frozenset()),
    guest=memory_hotplug.offline,
    guest_sources=memory_hotplug.guest_sources,
    sources=domain_xml.SOURCES,
    remedy=WAKE,
)
def test_no_memory_is_offline(case: Case, observed: object) -> None:
    """The numbers of the blocks that are."""
    assert observed == case.expected


@check(
    AUTOMATIC,
    cases=_onlined(hotplug_rules.AUTOMATIC),
    guest=memory_hotplug.onlining,
    guest_sources=memory_hotplug.guest_sources,
    sources=domain_xml.SOURCES,
    remedy=AUTOMATE,
)
def test_plugged_memory_comes_online(case: Case, observed: object) -> None:
    """By the kernel, or by a rule of udev or mdev."""
    assert observed == case.expected
