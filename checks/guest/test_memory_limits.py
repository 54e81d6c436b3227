"""Limits of host memory: what libvirt was told, what the kernel holds, and what the groups above leave."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from virtvet.check import Case, Control, Severity, check
from virtvet.expect import AtLeast
from virtvet.probes import cgroup, memory_limits
from virtvet.target import HostTarget

REFERENCES = (
    "https://libvirt.org/formatdomain.html#memory-tuning",
    "https://docs.kernel.org/admin-guide/cgroup-v1/memory.html",
    "https://docs.kernel.org/admin-guide/cgroup-v2.html#memory",
)


def _control(number: int, title: str, severity: Severity, rationale: str, hint: str) -> Control:
    return Control(
        id=f"MEM-LIMIT-{number}",
        title=title,
        area="memory",
        severity=severity,
        requirement="R19",
        rationale=rationale,
        hint=hint,
        references=REFERENCES,
    )


MEMTUNE = "virsh -c qemu:///system memtune {guest} --{option} {kib} --live --config   # KiB, -1: unlimited"

HARD = _control(
    1,
    "A guest has its hard limit of memory",
    Severity.HIGH,
    "Without it one guest can take the host's memory; set too low, the kernel kills the guest.",
    MEMTUNE,
)
SOFT = _control(
    2,
    "A guest has its soft limit of memory",
    Severity.MEDIUM,
    "It says whom the kernel takes memory from first (cgroup v1), or throttles the guest (v2).",
    MEMTUNE,
)
SWAP = _control(
    3,
    "A guest has its limit of swap",
    Severity.MEDIUM,
    "Without it a guest at its hard limit goes on into the host's swap. Memory and swap together on cgroup v1, swap "
    "alone on v2.",
    MEMTUNE,
)
ROOM = _control(
    4,
    "No group above a guest leaves it less memory than its hard limit",
    Severity.HIGH,
    "The tightest limit on the way to the root holds: a partition with less kills the guest below its own limit.",
    "find /sys/fs/cgroup/memory/machine* -maxdepth 2 -name memory.limit_in_bytes | xargs grep .",
)


def _limited(name: str) -> Callable[[HostTarget], Iterable[Case]]:
    def cases(host: HostTarget) -> Iterable[Case]:
        for guest in host.guests:
            if guest.matched and (wanted := getattr(guest.wants.memory.limits, name, None)) is not None:
                kept = memory_limits.as_kib(wanted)
                kib = -1 if kept == cgroup.UNLIMITED else kept // 1024
                words = {"option": f"{name.replace('_', '-')}-limit", "kib": kib}
                yield Case(f"{guest.name}/{name}", kept, (guest.name, name, kept), guest.name, words, "bytes")

    return cases


@check(
    HARD,
    cases=_limited("hard"),
    config=memory_limits.config,
    live=memory_limits.live,
    actual=memory_limits.actual,
    sources=memory_limits.SOURCES,
)
def test_guest_has_its_hard_limit(case: Case, observed: object) -> None:
    """Bytes; the kernel's whole pages are taken into account."""
    assert observed == case.expected


@check(
    SOFT,
    cases=_limited("soft"),
    config=memory_limits.config,
    live=memory_limits.live,
    actual=memory_limits.actual,
    sources=memory_limits.SOURCES,
)
def test_guest_has_its_soft_limit(case: Case, observed: object) -> None:
    """Bytes."""
    assert observed == case.expected


@check(
    SWAP,
    cases=_limited("swap_hard"),
    config=memory_limits.config,
    live=memory_limits.live,
    actual=memory_limits.actual,
    sources=memory_limits.SOURCES,
)
def test_guest_has_its_swap_limit(case: Case, observed: object) -> None:
    """Bytes."""
    assert observed == case.expected


def roomy(host: HostTarget) -> Iterable[Case]:
    """Guests with a hard limit whose partition is not stated; of stated ones PART-ROOM-1 asks more."""
    for guest in host.guests:
        hard = getattr(guest.wants.memory.limits, "hard", None)
        if guest.matched and guest.wants.partition is None and isinstance(hard, int):
            yield Case(guest.name, AtLeast(hard), (guest.name,), guest.name, unit="bytes")


@check(ROOM, cases=roomy, actual=memory_limits.room, sources=memory_limits.SOURCES)
def test_groups_above_leave_the_guest_its_memory(case: Case, observed: object) -> None:
    """Of the groups above, not of the guest's own."""
    assert observed == case.expected
