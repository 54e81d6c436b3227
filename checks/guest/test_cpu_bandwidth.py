"""Shares, periods and quotas of CPU time, of a guest's vCPUs, emulator, iothreads and of the whole guest."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from virtvet.check import Case, Control, Severity, check
from virtvet.expect import AtLeast
from virtvet.probes import cgroup, cpu_bandwidth
from virtvet.profile.cpu_bandwidth import Bandwidth, CpuBandwidth
from virtvet.target import GuestTarget, HostTarget
from virtvet.units import UNLIMITED

REFERENCES = (
    "https://libvirt.org/formatdomain.html#cpu-tuning",
    "https://libvirt.org/cgroups.html",
    "https://docs.kernel.org/scheduler/sched-bwc.html",
)


def _control(number: int, title: str, rationale: str) -> Control:
    return Control(
        id=f"CPU-BW-{number}",
        title=title,
        area="cpu",
        severity=Severity.MEDIUM,
        requirement="R16",
        rationale=rationale,
        hint="virsh -c qemu:///system schedinfo {guest} --set {parameter}={write} --live --config",
        references=REFERENCES,
    )


SHARES = _control(1, "A guest has its CPU shares", "They decide who gets the CPU when more is wanted than there is.")
VCPUS = _control(
    2,
    "Each vCPU has its CPU bandwidth",
    "The quota caps each vCPU by itself; virsh schedinfo reads vCPU 0 only, and its XML nothing of the kernel.",
)
EMULATOR = _control(
    3, "The emulator has its CPU bandwidth", "An unbounded emulator can use a CPU on the guest's behalf, unseen by it."
)
IOTHREADS = _control(
    4,
    "Each iothread has its CPU bandwidth",
    "A quota too small throttles the guest's disks, none lets them take a CPU.",
)
WHOLE = _control(
    5, "A guest as a whole has its CPU bandwidth", "It caps vCPUs, emulator and iothreads together, whatever each may."
)


ROOM = Control(
    id="CPU-BW-6",
    title="No group above a guest leaves it less CPU time than its own quota",
    area="cpu",
    severity=Severity.MEDIUM,
    requirement="R44",
    rationale="The tightest quota on the way to the root holds: with a partition or slice below the guest's own, every "
    "file of the guest is right and it is throttled all the same. virsh schedinfo shows nothing of it.",
    hint="find /sys/fs/cgroup/cpu/machine* /sys/fs/cgroup/machine* -maxdepth 2 -name cpu.cfs_quota_us -o "
    "-maxdepth 2 -name cpu.max | xargs grep .",
    references=REFERENCES,
)


def _bounded(host: HostTarget) -> Iterable[tuple[GuestTarget, CpuBandwidth]]:
    for guest in host.guests:
        if guest.matched and guest.wants.cpu.bandwidth:
            yield guest, guest.wants.cpu.bandwidth


def _case(guest: GuestTarget, who: str, what: str, wanted: int) -> Case:
    expected = cgroup.UNLIMITED if what == "quota" and wanted == UNLIMITED else wanted
    words = {"parameter": cpu_bandwidth.parameter(who, what), "write": wanted}
    return Case(f"{guest.name}/{who}/{what}", expected, (guest.name, who, what), guest.name, words)


def _cases(who: str, part: Callable[[CpuBandwidth], Bandwidth | None]) -> Callable[[HostTarget], Iterable[Case]]:
    def cases(host: HostTarget) -> Iterable[Case]:
        for guest, wants in _bounded(host):
            for what in ("period", "quota"):
                if (wanted := getattr(part(wants), what, None)) is not None:
                    yield _case(guest, who, what, wanted)

    return cases


def shares(host: HostTarget) -> Iterable[Case]:
    """Every guest with shares."""
    for guest, wants in _bounded(host):
        if wants.shares is not None:
            yield _case(guest, "guest", "shares", wants.shares)


@check(
    SHARES,
    cases=shares,
    config=cpu_bandwidth.config,
    live=cpu_bandwidth.live,
    actual=cpu_bandwidth.actual,
    sources=cpu_bandwidth.SOURCES,
)
def test_guest_has_its_cpu_shares(case: Case, observed: object) -> None:
    """The number is the same in the XML and in the kernel."""
    assert observed == case.expected


@check(
    VCPUS,
    cases=_cases("vcpu", lambda wants: wants),
    config=cpu_bandwidth.config,
    live=cpu_bandwidth.live,
    actual=cpu_bandwidth.actual,
    sources=cpu_bandwidth.SOURCES,
)
def test_each_vcpu_has_its_bandwidth(case: Case, observed: object) -> None:
    """Of every vCPU that runs, not of the first."""
    assert observed == case.expected


@check(
    EMULATOR,
    cases=_cases("emulator", lambda wants: wants.emulator),
    config=cpu_bandwidth.config,
    live=cpu_bandwidth.live,
    actual=cpu_bandwidth.actual,
    sources=cpu_bandwidth.SOURCES,
)
def test_emulator_has_its_bandwidth(case: Case, observed: object) -> None:
    """Microseconds."""
    assert observed == case.expected


@check(
    IOTHREADS,
    cases=_cases("iothread", lambda wants: wants.iothread),
    config=cpu_bandwidth.config,
    live=cpu_bandwidth.live,
    actual=cpu_bandwidth.actual,
    sources=cpu_bandwidth.SOURCES,
)
def test_each_iothread_has_its_bandwidth(case: Case, observed: object) -> None:
    """Of every iothread."""
    assert observed == case.expected


@check(
    WHOLE,
    cases=_cases("guest", lambda wants: wants.whole),
    config=cpu_bandwidth.config,
    live=cpu_bandwidth.live,
    actual=cpu_bandwidth.actual,
    sources=cpu_bandwidth.SOURCES,
)
def test_whole_guest_has_its_bandwidth(case: Case, observed: object) -> None:
    """Microseconds."""
    assert observed == case.expected


def roomy(host: HostTarget) -> Iterable[Case]:
    """Every guest with a quota, of the whole or of its vCPUs; without a limit no group above may have one."""
    for guest, wants in _bounded(host):
        if (needed := _needed(guest, wants)) is not None:
            yield Case(guest.name, AtLeast(needed, "CPUs"), (guest.name,), guest.name)


def _needed(guest: GuestTarget, wants: CpuBandwidth) -> float | None:
    """CPUs that the guest may keep busy. 150 ms every 100 ms -> 1.5; 50 ms every 100 ms for each of two vCPUs -> 1"""
    vcpus = guest.wants.cpu.vcpus
    number = (vcpus.current or vcpus.maximum or 1) if vcpus else 1
    if wants.whole and wants.whole.quota is not None:
        return _worth(wants.whole)
    return None if wants.quota is None else number * _worth(wants)


def _worth(bandwidth: Bandwidth) -> float:
    if bandwidth.quota is None or bandwidth.quota == UNLIMITED:
        return math.inf
    return bandwidth.quota / (bandwidth.period or cpu_bandwidth.DEFAULT_PERIOD)


@check(ROOM, cases=roomy, actual=cpu_bandwidth.room, sources=cpu_bandwidth.SOURCES)
def test_groups_above_leave_the_guest_its_cpu_time(case: Case, observed: object) -> None:
    """Of the groups above, not of the guest's own."""
    assert observed == case.expected
