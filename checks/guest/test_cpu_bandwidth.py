"""Shares, periods and quotas of CPU time, of a guest's vCPUs, emulator, iothreads and of the whole guest."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from virtvet.check import Case, Control, Severity, check
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
