"""PCI devices of the host that a guest is given: from libvirt's XML to the network device inside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from virtvet.check import Case, Control, Severity, check
from virtvet.expect import Anything
from virtvet.probes import hostdevs, nodedev
from virtvet.profile.devices import driver_of
from virtvet.profile.hostdevs import Hostdev
from virtvet.remedies.devices import ASSIGN
from virtvet.target import GuestTarget, HostTarget

FORMAT = "https://libvirt.org/formatdomain.html#host-device-assignment"
VFIO = "https://docs.kernel.org/driver-api/vfio.html"
SYSFS = "https://docs.kernel.org/PCI/sysfs-pci.html"
NETWORK = "https://docs.kernel.org/admin-guide/abi-testing.html#abi-sys-class-net-iface-address"
EDIT = "virsh -c qemu:///system edit {guest}   # the <hostdev> of {address}: "


def _control(number: int, title: str, severity: Severity, rationale: str, hint: str, *references: str) -> Control:
    return Control(
        id=f"HOSTDEV-{number}",
        title=title,
        area="devices",
        severity=severity,
        requirement="R35",
        rationale=rationale,
        hint=hint,
        references=references,
    )


GIVEN = _control(
    1,
    "The guest has the host's device",
    Severity.CRITICAL,
    "A device can stand in libvirt's XML, and QEMU has let go of it, or the guest never saw it; one that is plugged in "
    "only while the guest runs is gone at the next start.",
    "virsh -c qemu:///system dumpxml {guest} --xpath //hostdev; ls -l /proc/$(cat /run/libvirt/qemu/{guest}.pid)/fd "
    "| grep vfio; lspci -nn   # in {guest}",
    FORMAT,
    VFIO,
)
TAKEN = _control(
    2,
    "The host reaches the guest's device by vfio only",
    Severity.CRITICAL,
    "Whatever driver of the host has the device, it is not the guest's alone.",
    "virsh -c qemu:///system nodedev-detach {node}; readlink /sys/bus/pci/devices/{address}/driver",
    VFIO,
)
MANAGED = _control(
    3,
    "libvirt manages the device, or leaves that to others",
    Severity.MEDIUM,
    "Unmanaged, the guest does not start until somebody has given the device to vfio-pci; managed, a host that is to "
    "have nothing to do with the card gets it back whenever the guest stops.",
    EDIT + "managed='yes' or 'no'",
    FORMAT,
)
PLACE = _control(
    4,
    "The guest has the device at its address",
    Severity.MEDIUM,
    "Names of network devices, and what is configured for them, follow the address inside the guest.",
    EDIT + "<address type='pci' …/> for {expected}; from the next start",
    FORMAT,
)
BOOT = _control(
    5,
    "The device is booted from, and shows its ROM, as stated",
    Severity.LOW,
    "A card's ROM can stop a guest's firmware for minutes while it looks for a network to boot from.",
    EDIT + "<boot order='…'/>, <rom bar='on'/> or 'off'; from the next start",
    FORMAT,
)
MAC = _control(
    6,
    "Inside the guest the device has its MAC address",
    Severity.HIGH,
    "Of two cards of a kind only the address tells which one the guest got.",
    "ip -br link   # in {guest}",
    NETWORK,
)
DRIVER = _control(
    7,
    "Inside the guest the device has a driver",
    Severity.HIGH,
    "Without a driver the device is there, and does nothing.",
    "modprobe {driver}; lspci -nnk   # in {guest}: kernel driver in use",
    SYSFS,
)
LINK = _control(
    8,
    "Inside the guest the device's link is up, or down",
    Severity.HIGH,
    "A card can be the guest's in every respect and carry nothing: cable out, switch port closed, never brought up.",
    "ip link set dev DEVICE {expected}; cat /sys/class/net/DEVICE/carrier   # in {guest}",
    NETWORK,
)


def _stated(host: HostTarget) -> Iterator[tuple[GuestTarget, str, Hostdev]]:
    for guest in host.guests:
        for address, wants in guest.wants.hostdevs.items() if guest.matched else ():
            yield guest, address, wants


def _case(guest: GuestTarget, address: str, expected: Any, *rest: Any, part: str = "") -> Case:
    subject = "/".join(filter(None, (guest.name, address, part)))
    driver = guest.wants.hostdevs[address].guest_driver or "DRIVER"
    words = {"address": address, "node": nodedev.asked(address).name, "driver": driver}
    return Case(subject, expected, (guest.name, address, *rest), guest.name, words)


def _cases(expected: Callable[[str, Hostdev], Any]) -> Callable[[HostTarget], Iterable[Case]]:
    """One case for each device of which something is expected."""

    def cases(host: HostTarget) -> Iterable[Case]:
        for guest, address, wants in _stated(host):
            if (wanted := expected(address, wants)) is not None:
                yield _case(guest, address, wanted)

    return cases


def drivers(host: HostTarget) -> Iterable[Case]:
    """Any driver where none is stated."""
    for guest, address, wants in _stated(host):
        yield _case(guest, address, driver_of(wants.guest_driver) if wants.guest_driver else Anything())


def macs(host: HostTarget) -> Iterable[Case]:
    """Every device with a MAC address stated."""
    for guest, address, wants in _stated(host):
        if wants.mac is not None:
            yield _case(guest, address, wants.mac, wants.mac)


def links(host: HostTarget) -> Iterable[Case]:
    """Every device with a link stated."""
    for guest, address, wants in _stated(host):
        if wants.link is not None:
            yield _case(guest, address, wants.link, wants.mac)


@check(
    GIVEN,
    cases=_cases(lambda address, _wants: address),
    sources=hostdevs.sources,
    guest_sources=hostdevs.guest_sources,
    config=hostdevs.given_config,
    live=hostdevs.given_live,
    actual=hostdevs.given_actual,
    guest=hostdevs.given_guest,
    remedy=ASSIGN,
)
def test_guest_has_the_device(case: Case, observed: object) -> None:
    """Guest: it sees a device of the same vendor and device."""
    assert observed == case.expected


@check(
    TAKEN, cases=_cases(lambda _address, wants: wants.driver), sources=hostdevs.sources, actual=hostdevs.driver_actual
)
def test_host_reaches_it_by_vfio_only(case: Case, observed: object) -> None:
    """While the guest runs."""
    assert observed == case.expected


@check(
    MANAGED,
    cases=_cases(lambda _address, wants: wants.managed),
    sources=hostdevs.sources,
    config=hostdevs.stored(hostdevs.managed_of),
    live=hostdevs.running(hostdevs.managed_of),
)
def test_libvirt_manages_it(case: Case, observed: object) -> None:
    """Or does not."""
    assert observed == case.expected


@check(
    PLACE,
    cases=_cases(lambda _address, wants: wants.address),
    sources=hostdevs.sources,
    config=hostdevs.stored(hostdevs.place_of),
    live=hostdevs.running(hostdevs.place_of),
)
def test_device_is_at_its_address(case: Case, observed: object) -> None:
    """By the XML: on a bus that the firmware numbers, another address may show inside."""
    assert observed == case.expected


BOOT_PARTS = {"boot_order": hostdevs.boot_order_of, "rom": hostdevs.rom_of}


def boots(host: HostTarget) -> Iterable[Case]:
    """Boot order and ROM of every device that states them."""
    for guest, address, wants in _stated(host):
        for part in BOOT_PARTS:
            if (wanted := getattr(wants, part)) is not None:
                yield _case(guest, address, wanted, part, part=part)


@check(
    BOOT,
    cases=boots,
    sources=hostdevs.sources,
    config=lambda snapshot, guest, address, part: hostdevs.stored(BOOT_PARTS[part])(snapshot, guest, address),
    live=lambda snapshot, guest, address, part: hostdevs.running(BOOT_PARTS[part])(snapshot, guest, address),
)
def test_boot_order_and_rom(case: Case, observed: object) -> None:
    """As the firmware will find it."""
    assert observed == case.expected


@check(MAC, cases=macs, sources=hostdevs.sources, guest_sources=hostdevs.guest_sources, guest=hostdevs.mac_guest)
def test_device_has_its_mac_address(case: Case, observed: object) -> None:
    """The host cannot tell: it has no network device of it."""
    assert observed == case.expected


@check(
    DRIVER, cases=drivers, sources=hostdevs.sources, guest_sources=hostdevs.guest_sources, guest=hostdevs.driver_guest
)
def test_device_has_a_driver_inside(case: Case, observed: object) -> None:
    """The stated one, if one is stated."""
    assert observed == case.expected


@check(LINK, cases=links, sources=hostdevs.sources, guest_sources=hostdevs.guest_sources, guest=hostdevs.link_guest)
def test_device_has_a_link(case: Case, observed: object) -> None:
    """A device that the guest has not brought up has none."""
    assert observed == case.expected
