"""What a guest's memory is made of: huge pages, locking, merging, source, access, allocation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from virtvet.check import Case, Control, PerLayer, Severity, check
from virtvet.expect import AtLeast, OneOf
from virtvet.probes import memory_backing
from virtvet.profile.memory_backing import SMALLEST_HUGE, HugePages, MemoryBacking
from virtvet.target import GuestTarget, HostTarget

DOMAIN = "https://libvirt.org/formatdomain.html#memory-backing"


def _control(number: int, title: str, severity: Severity, rationale: str, *references: str) -> Control:
    return Control(
        id=f"MEM-BACK-{number}",
        title=title,
        area="memory",
        severity=severity,
        requirement="R25",
        rationale=rationale,
        hint="virsh -c qemu:///system edit {guest}   # in <memoryBacking>: {element}; holds from the next start",
        references=(DOMAIN, *references),
    )


HUGE = _control(
    1,
    "A guest's memory is on huge pages, or not",
    Severity.MEDIUM,
    "Huge pages save the host page tables and the guest TLB misses; a guest without them takes memory that others were "
    "to have.",
    "https://docs.kernel.org/admin-guide/mm/hugetlbpage.html",
)
LOCKED = _control(
    2,
    "A guest's memory is locked, or not",
    Severity.HIGH,
    "Locked memory is never swapped out: real-time guests stall without it, secrets reach the host's disk.",
    "https://man7.org/linux/man-pages/man2/mlock.2.html",
)
UNMERGED = _control(
    3,
    "A guest's memory is not merged with that of others, or may be",
    Severity.MEDIUM,
    "Merged pages (KSM) tell by the time a write takes what another guest holds in its memory, and break the placement "
    "on NUMA nodes.",
    "https://docs.kernel.org/admin-guide/mm/ksm.html",
)
SOURCE = _control(
    4,
    "A guest's memory comes from its source",
    Severity.MEDIUM,
    "Files on a disk are slow and may outlive the guest; memory that others are to share must have a file behind it.",
)
ACCESS = _control(
    5,
    "A guest's memory is shared, or private",
    Severity.MEDIUM,
    "virtiofs and vhost-user see nothing of private memory; shared memory is seen by every process that has its file.",
)
ALLOCATION = _control(
    6,
    "A guest's memory is allocated at its start, or on demand",
    Severity.LOW,
    "On demand a guest starts on a host that cannot hold it, and stalls later.",
)
DISCARD = _control(
    7,
    "A guest's memory is thrown away when it ends, or not",
    Severity.LOW,
    "Without it a guest's last memory is written to its file, for nobody.",
)


def _backed(host: HostTarget) -> Iterable[tuple[GuestTarget, MemoryBacking]]:
    for guest in host.guests:
        if guest.matched and guest.wants.memory.backing:
            yield guest, guest.wants.memory.backing


def huge(host: HostTarget) -> Iterable[Case]:
    """Every guest whose pages are stated."""
    for guest, wants in _backed(host):
        if wants.hugepages is not None:
            expected, cells, element = _pages(wants.hugepages)
            yield Case(guest.name, expected, (guest.name, cells, expected), guest.name, {"element": element})


def _pages(wanted: bool | HugePages) -> tuple[object, Collection[int] | None, str]:
    """What is expected, of which NUMA cells, and the element that makes it so."""
    if isinstance(wanted, HugePages):
        nodeset = f" nodeset='{','.join(map(str, sorted(wanted.nodes)))}'" if wanted.nodes else ""
        page = f"<page size='{wanted.size // 1024}' unit='KiB'{nodeset}/>"
        return wanted.size, wanted.nodes, f"<hugepages>{page}</hugepages>"
    if wanted:
        return AtLeast(SMALLEST_HUGE, "bytes"), None, "<hugepages/>"
    return memory_backing.NORMAL, None, "no <hugepages>"


def _stated(key: str, element: Callable[[Any], str]) -> Callable[[HostTarget], Iterable[Case]]:
    """One case a guest that states `key`."""

    def cases(host: HostTarget) -> Iterable[Case]:
        for guest, wants in _backed(host):
            if (wanted := getattr(wants, key)) is not None:
                expected = _expected(key, wanted, wants)
                words = {"element": element(wanted)}
                yield Case(guest.name, expected, (guest.name, key, _actual(expected)), guest.name, words)

    return cases


def _expected(key: str, wanted: object, wants: MemoryBacking) -> object:
    """libvirt allocates huge pages at once, whatever else is stated."""
    if (key, wanted) == ("allocation", "ondemand") and wants.hugepages:
        return PerLayer(config=wanted, live=wanted, actual=OneOf(("ondemand", "immediate")))
    return wanted


def _actual(expected: object) -> object:
    return expected["actual"] if isinstance(expected, PerLayer) else expected


def _switch(name: str) -> Callable[[bool], str]:
    return lambda on: f"<{name}/>" if on else f"no <{name}>"


def _choice(name: str, attribute: str) -> Callable[[str], str]:
    return lambda value: f"<{name} {attribute}='{value}'/>"


@check(
    HUGE,
    cases=huge,
    sources=memory_backing.sources,
    config=memory_backing.config_pages,
    live=memory_backing.live_pages,
    actual=memory_backing.actual_pages,
)
def test_memory_has_its_pages(case: Case, observed: object) -> None:
    """Each part of the memory by itself, DIMMs too."""
    assert observed == case.expected


@check(
    LOCKED,
    cases=_stated("locked", _switch("locked")),
    sources=memory_backing.sources,
    config=memory_backing.config,
    live=memory_backing.live,
    actual=memory_backing.actual_locked,
)
def test_memory_is_locked(case: Case, observed: object) -> None:
    """Told, done, and allowed for all of it."""
    assert observed == case.expected


@check(
    UNMERGED,
    cases=_stated("nosharepages", _switch("nosharepages")),
    sources=memory_backing.sources,
    config=memory_backing.config,
    live=memory_backing.live,
    actual=memory_backing.actual_nosharepages,
)
def test_memory_is_not_merged(case: Case, observed: object) -> None:
    """Neither by QEMU's advice nor by what KSM did."""
    assert observed == case.expected


@check(
    SOURCE,
    cases=_stated("source", _choice("source", "type")),
    sources=memory_backing.sources,
    config=memory_backing.config,
    live=memory_backing.live,
    actual=memory_backing.actual_source,
)
def test_memory_comes_from_its_source(case: Case, observed: object) -> None:
    """The file behind each mapping."""
    assert observed == case.expected


@check(
    ACCESS,
    cases=_stated("access", _choice("access", "mode")),
    sources=memory_backing.sources,
    config=memory_backing.config,
    live=memory_backing.live,
    actual=memory_backing.actual_access,
)
def test_memory_has_its_access(case: Case, observed: object) -> None:
    """In the XML that of each NUMA cell, which may have its own."""
    assert observed == case.expected


@check(
    ALLOCATION,
    cases=_stated("allocation", _choice("allocation", "mode")),
    sources=memory_backing.sources,
    config=memory_backing.config,
    live=memory_backing.live,
    actual=memory_backing.actual_allocation,
)
def test_memory_is_allocated(case: Case, observed: object) -> None:
    """As QEMU was told at its start."""
    assert observed == case.expected


@check(
    DISCARD,
    cases=_stated("discard", _switch("discard")),
    sources=memory_backing.sources,
    config=memory_backing.config,
    live=memory_backing.live,
    actual=memory_backing.actual_discard,
)
def test_memory_is_discarded(case: Case, observed: object) -> None:
    """As QEMU was told at its start."""
    assert observed == case.expected
