"""A guest's memory, what its balloon leaves of it, and the balloon itself."""

from __future__ import annotations

from collections.abc import Iterable

from virtvet.check import Case, Control, PerLayer, Severity, check
from virtvet.expect import Between
from virtvet.probes import memory_size
from virtvet.profile.memory_size import MemorySize, tolerated
from virtvet.target import GuestTarget, HostTarget

ALLOCATION = "https://libvirt.org/formatdomain.html#memory-allocation"
BALLOON = "https://libvirt.org/formatdomain.html#memory-balloon-device"
QMP = "https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html"

MEMORY = Control(
    id="MEM-SIZE-1",
    title="A guest has its memory",
    area="memory",
    severity=Severity.HIGH,
    requirement="R20",
    rationale="It is the ceiling of the balloon, and grows by every DIMM that is plugged: one forgotten is memory that "
    "others miss.",
    hint="virsh -c qemu:///system setmaxmem {guest} {kib} --config   # for its next start; with NUMA cells, virsh edit",
    references=(ALLOCATION, QMP),
)
CURRENT = Control(
    id="MEM-SIZE-2",
    title="A guest has its current memory",
    area="memory",
    severity=Severity.HIGH,
    requirement="R20",
    rationale="The size asked for and the size the balloon has differ while the guest's driver is missing or busy: "
    "libvirt says OK to both.",
    hint="virsh -c qemu:///system setmem {guest} {kib} --live --config",
    references=(ALLOCATION, QMP),
)
MODEL = Control(
    id="MEM-BALLOON-1",
    title="A guest has the balloon it must have, and drives it",
    area="memory",
    severity=Severity.MEDIUM,
    requirement="R20",
    rationale="Without a balloon, or a driver for it, memory cannot be taken back from a running guest; where memory "
    "is locked or assigned to devices, a balloon must not be there at all.",
    hint="virsh -c qemu:///system edit {guest}   # <memballoon model='{model}'/>, then start the guest anew; inside: "
    "modprobe virtio_balloon",
    references=(BALLOON, "https://docs.oasis-open.org/virtio/virtio/v1.2/virtio-v1.2.html"),
)
PERIOD = Control(
    id="MEM-BALLOON-2",
    title="A guest's memory statistics are collected as often as they must be",
    area="memory",
    severity=Severity.LOW,
    requirement="R20",
    rationale="Without a period virsh dommemstat shows old numbers, or none; what watches memory by them is blind.",
    hint="virsh -c qemu:///system dommemstat {guest} --period {expected} --live --config",
    references=(BALLOON,),
)


def _sized(host: HostTarget) -> Iterable[tuple[GuestTarget, MemorySize]]:
    for guest in host.guests:
        if guest.matched and guest.wants.memory.size:
            yield guest, guest.wants.memory.size


def memories(host: HostTarget) -> Iterable[Case]:
    """Every guest whose memory is stated."""
    for guest, wants in _sized(host):
        if wants.memory:
            words = {"kib": wants.memory // 1024}
            yield Case(guest.name, wants.memory, (guest.name, "memory"), guest.name, words, "bytes")


@check(
    MEMORY,
    cases=memories,
    config=memory_size.config,
    live=memory_size.live,
    actual=memory_size.memory,
    sources=memory_size.sources,
)
def test_guest_has_its_memory(case: Case, observed: object) -> None:
    """Bytes, DIMMs included."""
    assert observed == case.expected


def currents(host: HostTarget) -> Iterable[Case]:
    """Every guest whose current memory is stated. Its kernel may keep some of it for itself."""
    for guest, wants in _sized(host):
        if size := wants.current:
            inside = Between(size - tolerated(size, wants.tolerance), size)
            expected = PerLayer(config=size, live=size, actual=size, guest=inside)
            yield Case(guest.name, expected, (guest.name, "currentMemory"), guest.name, {"kib": size // 1024}, "bytes")


@check(
    CURRENT,
    cases=currents,
    config=memory_size.config,
    live=memory_size.live,
    actual=memory_size.current,
    guest=memory_size.mem_total,
    sources=memory_size.sources,
    guest_sources=memory_size.guest_sources,
)
def test_guest_has_its_current_memory(case: Case, observed: object) -> None:
    """Bytes."""
    assert observed == case.expected


def balloons(host: HostTarget) -> Iterable[Case]:
    """Every guest whose balloon is stated, "none" too."""
    for guest, wants in _sized(host):
        if model := wants.balloon:
            inside = memory_size.NO_BALLOON if model == "none" else memory_size.DRIVEN
            expected = PerLayer(config=model, live=model, actual=model, guest=inside)
            yield Case(guest.name, expected, (guest.name,), guest.name, {"model": model})


@check(
    MODEL,
    cases=balloons,
    config=memory_size.model_config,
    live=memory_size.model_live,
    actual=memory_size.model_actual,
    guest=memory_size.driver,
    sources=memory_size.sources,
    guest_sources=memory_size.guest_sources,
)
def test_guest_has_its_balloon(case: Case, observed: object) -> None:
    """The device, and its driver inside the guest."""
    assert observed == case.expected


def periods(host: HostTarget) -> Iterable[Case]:
    """Every guest whose statistics are stated, 0 too."""
    for guest, wants in _sized(host):
        if wants.stats_period is not None:
            yield Case(guest.name, wants.stats_period, (guest.name,), guest.name)


@check(
    PERIOD,
    cases=periods,
    config=memory_size.period_config,
    live=memory_size.period_live,
    actual=memory_size.period_actual,
    sources=memory_size.sources,
)
def test_statistics_are_collected(case: Case, observed: object) -> None:
    """Seconds."""
    assert observed == case.expected
