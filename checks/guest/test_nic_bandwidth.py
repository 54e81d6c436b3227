"""How much traffic each interface of a guest may carry, in its XML and in the kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from virtvet.check import Case, Control, PerLayer, Severity, check
from virtvet.expect import Between, Unit
from virtvet.probes import interfaces, nic_bandwidth
from virtvet.profile.interfaces import Interface, for_virsh
from virtvet.profile.nic_bandwidth import KIB, KILOBYTE, Traffic
from virtvet.snapshot.sources import Source
from virtvet.target import GuestTarget, HostTarget


def _control(number: int, title: str, rationale: str, hint: str) -> Control:
    return Control(
        id=f"NIC-BW-{number}",
        title=title,
        area="network",
        severity=Severity.MEDIUM,
        requirement="R29",
        rationale=rationale,
        hint=hint,
        references=(
            "https://libvirt.org/formatdomain.html#quality-of-service",
            "https://libvirt.org/formatnetwork.html#quality-of-service",
            "https://man7.org/linux/man-pages/man8/tc-htb.8.html",
            "https://man7.org/linux/man-pages/man8/tc-police.8.html",
        ),
    )


TUNE = "virsh -c qemu:///system domiftune {guest} {key} --{way} {tuned} --live --config"
INBOUND = _control(
    1,
    "What comes to the guest is limited as stated",
    "libvirt keeps the numbers in its XML; whether the tap has the class is for the kernel to say.",
    TUNE,
)
OUTBOUND = _control(
    2,
    "What the guest sends is limited as stated",
    "A guest without a limit can fill the host's uplink; the policing filter is lost when somebody resets the tap.",
    TUNE,
)
FLOOR = _control(
    3,
    "What comes to the guest has its guaranteed rate",
    "The bridge shares its bandwidth out by classes: without one of its own, the guest gets what others leave.",
    "virsh -c qemu:///system edit {guest}   # the <interface> {key}: <inbound floor='{tuned}'/>",
)


def _limited(host: HostTarget) -> Iterator[tuple[GuestTarget, str, Interface]]:
    for guest in host.guests:
        for key, wants in guest.wants.interfaces.items() if guest.matched else ():
            if wants.inbound or wants.outbound:
                yield guest, key, wants


def sources(host: HostTarget) -> Iterable[Source]:
    """Those of the interfaces, and tc where a limit is stated."""
    if any(_limited(host)):
        yield from interfaces.sources(host)
        yield nic_bandwidth.TC


def _expected(what: str, wanted: int | str) -> object:
    """tc cuts rates off, and the kernel keeps a burst as the time it takes."""
    if isinstance(wanted, str):
        return wanted
    if what != "burst":
        return PerLayer(config=wanted, live=wanted, actual=nic_bandwidth.shown(wanted))
    slack = max(wanted // 50, 2 * KIB)
    return PerLayer(config=wanted, live=wanted, actual=Between(wanted - slack, wanted + slack))


def _case(guest: GuestTarget, key: str, wants: Interface, way: str, what: str) -> Case | None:
    traffic: Traffic | None = getattr(wants, way)
    wanted = getattr(traffic, what, None)
    if traffic is None or wanted is None:
        return None
    words = {
        "key": for_virsh(key, wants),
        "way": way,
        "tuned": tuned(traffic) if what != "floor" else wanted // KILOBYTE,
    }
    unit: Unit = "bytes" if what == "burst" else "bits/s"
    subject, args = f"{guest.name}/{key}/{way}/{what}", (guest.name, key, way, what)
    return Case(subject, _expected(what, wanted), args, guest.name, words, unit)


def tuned(traffic: Traffic) -> str:
    """What domiftune takes: average, peak and burst in libvirt's units, 0 for no limit."""
    if not isinstance(traffic.average, int):
        return "0"
    numbers = (traffic.average // KILOBYTE, (traffic.peak or 0) // KILOBYTE, (traffic.burst or 0) // KIB)
    return ",".join(map(str, numbers))


def _cases(way: str, *parts: str) -> Callable[[HostTarget], Iterable[Case]]:
    def cases(host: HostTarget) -> Iterable[Case]:
        for guest, key, wants in _limited(host):
            for what in parts:
                if case := _case(guest, key, wants, way, what):
                    yield case

    return cases


@check(
    INBOUND,
    cases=_cases("inbound", "average", "peak", "burst"),
    sources=sources,
    config=nic_bandwidth.config,
    live=nic_bandwidth.live,
    actual=nic_bandwidth.actual,
)
def test_inbound_is_limited_as_stated(case: Case, observed: object) -> None:
    """Actual: the htb class of the tap; of a macvtap, the policing filter."""
    assert observed == case.expected


@check(
    OUTBOUND,
    cases=_cases("outbound", "average", "peak", "burst"),
    sources=sources,
    config=nic_bandwidth.config,
    live=nic_bandwidth.live,
    actual=nic_bandwidth.actual,
)
def test_outbound_is_limited_as_stated(case: Case, observed: object) -> None:
    """Actual: the policing filter of the tap; of a macvtap, the htb class."""
    assert observed == case.expected


@check(
    FLOOR,
    cases=_cases("inbound", "floor"),
    sources=sources,
    config=nic_bandwidth.config,
    live=nic_bandwidth.live,
    actual=nic_bandwidth.actual,
)
def test_guaranteed_rate_is_as_stated(case: Case, observed: object) -> None:
    """Actual: the class of the bridge that the interface's address leads to."""
    assert observed == case.expected
