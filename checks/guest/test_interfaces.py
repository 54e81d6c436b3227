"""A guest's network interfaces: address, type, what they are connected to, model, ends, MTU, link and VLANs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from virtvet.check import Case, Control, PerLayer, Severity, check
from virtvet.expect import Anything, OneOf
from virtvet.probes import interfaces
from virtvet.profile.interfaces import SOURCES, Interface, for_virsh, position
from virtvet.remedies.interfaces import BRING_UP, PLUG
from virtvet.target import GuestTarget, HostTarget

FORMAT = "https://libvirt.org/formatdomain.html#network-interfaces"
SYSFS = "https://docs.kernel.org/admin-guide/abi-testing.html#abi-sys-class-net-iface-address"
BRIDGE = "https://docs.kernel.org/networking/bridge.html"
EDIT = "virsh -c qemu:///system edit {guest}   # the <interface> {key}: "


def _control(number: int, title: str, severity: Severity, rationale: str, hint: str, *more: str) -> Control:
    return Control(
        id=f"NIC-DEV-{number}",
        title=title,
        area="network",
        severity=severity,
        requirement="R30",
        rationale=rationale,
        hint=hint,
        references=(FORMAT, *more),
    )


MAC = _control(
    1,
    "The guest has the interface, with its MAC address",
    Severity.HIGH,
    "Leases, licences and firewall rules go by the address; a guest that takes another can pose as its neighbour.",
    "virsh -c qemu:///system domiflist {guest}; ip -br link   # in {guest}: its devices have the same addresses",
    SYSFS,
)
TYPE = _control(
    2,
    "The interface is of its type",
    Severity.MEDIUM,
    "The type decides who connects the guest: a network of libvirt, a bridge of the host, or a device by itself.",
    EDIT + "type='{expected}'; from the next start",
)
CONNECTED = _control(
    3,
    "The interface is connected to its bridge, network or device",
    Severity.HIGH,
    "An end on another bridge puts the guest into somebody else's network, and libvirt's XML does not show it.",
    "ip link set dev {end} master {bridge}   # the end on the host; and " + EDIT + "{to}='{expected}'",
    BRIDGE,
)
MODEL = _control(
    4,
    "The interface is of its model",
    Severity.MEDIUM,
    "An emulated card costs many times the CPU of a virtio one; a guest without the driver has no network at all.",
    EDIT + "<model type='{expected}'/>; from the next start",
)
TARGET = _control(
    5,
    "The interface's end on the host has its name",
    Severity.MEDIUM,
    "Firewall rules, counters and traffic control on the host go by the name.",
    EDIT + "<target dev='{expected}'/>; from the next start",
)
MTU = _control(
    6,
    "The interface has its MTU",
    Severity.MEDIUM,
    "Where two ends differ, small packets pass and large ones vanish: connections hang instead of failing.",
    "ip link set dev {end} mtu {expected}; and " + EDIT + "<mtu size='{expected}'/>",
)
LINK = _control(
    7,
    "The interface's link is up, or down",
    Severity.HIGH,
    "An interface can be there, right in every word, and carry nothing: cable out, end down, port blocked.",
    "virsh -c qemu:///system domif-setlink {guest} {key} {expected}; ip link set dev {end} {expected}",
    BRIDGE,
)
VLAN = _control(
    8,
    "The interface has its VLAN tags",
    Severity.HIGH,
    "Another tag is another network.",
    EDIT + "<vlan><tag id='…'/></vlan>",
)


def _stated(host: HostTarget) -> Iterator[tuple[GuestTarget, str, Interface]]:
    for guest in host.guests:
        for key, wants in guest.wants.interfaces.items() if guest.matched else ():
            yield guest, key, wants


def _case(guest: GuestTarget, key: str, wants: Interface, expected: Any, *rest: Any, part: str = "") -> Case:
    subject = "/".join(filter(None, (guest.name, key, part)))
    words = {"key": for_virsh(key, wants), "end": wants.target or "TAP", "bridge": wants.bridge or "BRIDGE", "to": part}
    return Case(subject, expected, (guest.name, key, *rest), guest.name, words)


def _cases(name: str, expected: Callable[[Any], Any] = lambda wanted: wanted) -> Callable[[HostTarget], Iterable[Case]]:
    """One case for each interface that states this key."""

    def cases(host: HostTarget) -> Iterable[Case]:
        for guest, key, wants in _stated(host):
            if (wanted := getattr(wants, name)) is not None:
                yield _case(guest, key, wants, expected(wanted))

    return cases


def macs(host: HostTarget) -> Iterable[Case]:
    """Every interface of the profile: by position without an address, any will do."""
    for guest, key, wants in _stated(host):
        mac = wants.mac or (key if position(key) is None else None)
        yield _case(guest, key, wants, mac or Anything())


def connections(host: HostTarget) -> Iterable[Case]:
    """What an interface is stated to be connected to."""
    for guest, key, wants in _stated(host):
        for to in SOURCES:
            if (wanted := getattr(wants, to)) is not None:
                yield _case(guest, key, wants, wanted, to, part=to)


def links(host: HostTarget) -> Iterable[Case]:
    """Every interface with a link stated."""
    for guest, key, wants in _stated(host):
        if wants.link is not None:
            yield _case(guest, key, wants, wants.link, wants.link)


def _model(model: str) -> PerLayer:
    drivers = interfaces.drivers(model)
    return PerLayer(config=model, live=model, actual=model, guest=OneOf(drivers) if len(drivers) > 1 else drivers[0])


def _mtu(size: int) -> PerLayer:
    """Without `<mtu>` libvirt takes the bridge's, usually 1500."""
    told = OneOf((size, None)) if size == 1500 else size
    return PerLayer(config=told, live=told, actual=size, guest=size)


def _tags(wanted: int | list[int]) -> tuple[int, ...]:
    return (wanted,) if isinstance(wanted, int) else tuple(wanted)


@check(
    MAC,
    cases=macs,
    sources=interfaces.sources,
    guest_sources=interfaces.guest_sources,
    config=interfaces.mac_config,
    live=interfaces.mac_live,
    actual=interfaces.mac_actual,
    guest=interfaces.mac_guest,
)
def test_guest_has_the_interface(case: Case, observed: object) -> None:
    """In libvirt, in QEMU, and as a device of the guest."""
    assert observed == case.expected


@check(
    TYPE,
    cases=_cases("type"),
    sources=interfaces.sources,
    config=interfaces.stored(interfaces.type_of),
    live=interfaces.running(interfaces.type_of),
)
def test_interface_is_of_its_type(case: Case, observed: object) -> None:
    """QEMU has one kind of backend for several types."""
    assert observed == case.expected


@check(
    CONNECTED,
    cases=connections,
    sources=interfaces.sources,
    config=interfaces.connected_config,
    live=interfaces.connected_live,
    actual=interfaces.connected_actual,
    remedy=PLUG,
)
def test_interface_is_connected(case: Case, observed: object) -> None:
    """Actual: the bridge whose port the end on the host really is."""
    assert observed == case.expected


@check(
    MODEL,
    cases=_cases("model", _model),
    sources=interfaces.sources,
    guest_sources=interfaces.guest_sources,
    config=interfaces.stored(interfaces.model_of),
    live=interfaces.running(interfaces.model_of),
    actual=interfaces.model_actual,
    guest=interfaces.driver_guest,
)
def test_interface_is_of_its_model(case: Case, observed: object) -> None:
    """In the guest: the driver that goes with it."""
    assert observed == case.expected


@check(
    TARGET,
    cases=_cases("target"),
    sources=interfaces.sources,
    config=interfaces.stored(interfaces.target_of),
    live=interfaces.running(interfaces.target_of),
    actual=interfaces.target_actual,
)
def test_end_has_its_name(case: Case, observed: object) -> None:
    """Actual: the tap that QEMU's descriptor belongs to."""
    assert observed == case.expected


@check(
    MTU,
    cases=_cases("mtu", _mtu),
    sources=interfaces.sources,
    guest_sources=interfaces.guest_sources,
    config=interfaces.stored(interfaces.mtu_of),
    live=interfaces.running(interfaces.mtu_of),
    actual=interfaces.mtu_actual,
    guest=interfaces.mtu_guest,
)
def test_interface_has_its_mtu(case: Case, observed: object) -> None:
    """At both ends."""
    assert observed == case.expected


@check(
    LINK,
    cases=links,
    sources=interfaces.sources,
    guest_sources=interfaces.guest_sources,
    config=interfaces.stored(interfaces.link_of),
    live=interfaces.running(interfaces.link_of),
    actual=interfaces.link_actual,
    guest=interfaces.link_guest,
    remedy=BRING_UP,
)
def test_link_is_as_stated(case: Case, observed: object) -> None:
    """Actual: the end on the host is up, and its bridge forwards."""
    assert observed == case.expected


@check(
    VLAN,
    cases=_cases("vlan", _tags),
    sources=interfaces.sources,
    config=interfaces.stored(interfaces.vlan_of),
    live=interfaces.running(interfaces.vlan_of),
)
def test_interface_has_its_vlan_tags(case: Case, observed: object) -> None:
    """In their order: the first may be the native one."""
    assert observed == case.expected
