"""A guest's memory follows its balloon: done, seen, and taken back."""

from __future__ import annotations

from collections.abc import Iterable

from virtvet.check import Case, Control, PerLayer, Severity, check
from virtvet.expect import Between
from virtvet.judge import Observed
from virtvet.probes import memory_size
from virtvet.profile.memory_size import tolerated
from virtvet.remedies.balloon import SHRINK
from virtvet.target import HostTarget

FOLLOWS = Control(
    id="MEM-BALLOON-3",
    title="A guest gives memory back and takes it again",
    area="memory",
    severity=Severity.MEDIUM,
    requirement="R21",
    rationale="A balloon that is there, driven, and right as long as nobody moves it may still be stuck: then memory "
    "is not there when the host needs it.",
    hint="virsh -c qemu:///system setmem {guest} {kib} --live; inside: free -k; dmesg | grep -i balloon",
    references=("https://libvirt.org/formatdomain.html#memory-balloon-device",),
)


def balloons(host: HostTarget) -> Iterable[Case]:
    """Every guest whose current memory and virtio balloon are stated. It must be as stated at first."""
    for guest in host.guests:
        wants = guest.wants.memory.size if guest.matched else None
        if wants and wants.current and wants.balloon == "virtio":
            size = wants.current
            inside = Between(size - tolerated(size, wants.tolerance), size)
            expected = PerLayer(live=size, actual=size, guest=inside)
            yield Case(guest.name, expected, (guest.name, "currentMemory"), guest.name, {"kib": size // 1024}, "bytes")


@check(
    FOLLOWS,
    cases=balloons,
    live=memory_size.live,
    actual=memory_size.current,
    guest=memory_size.mem_total,
    sources=memory_size.sources,
    guest_sources=memory_size.guest_sources,
    exercise=SHRINK,
)
def test_guest_gives_memory_back(observed: Observed) -> None:
    """Bytes, while the balloon is bigger."""
    assert observed == observed.case.expected
