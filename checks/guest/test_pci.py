"""The PCI devices that a guest sees, and the drivers they are bound to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virtvet.check import Case, Control, Severity, check
from virtvet.expect import AtLeast
from virtvet.probes import pci
from virtvet.profile.pci import PciDevice
from virtvet.target import GuestTarget, HostTarget

REFERENCES = (
    "https://docs.kernel.org/PCI/sysfs-pci.html",
    "https://www.qemu.org/docs/master/specs/pci-ids.html",
)
PRESENT = Control(
    id="GUEST-PCI-1",
    title="The guest sees its PCI devices",
    area="devices",
    severity=Severity.HIGH,
    requirement="R34",
    rationale="A device that the XML names may still not have arrived: not plugged in, or removed by the guest.",
    hint="grep -il PCI_ID={pci_id} /sys/bus/pci/devices/*/uevent; echo 1 > /sys/bus/pci/rescan   # in {guest}",
    references=REFERENCES,
)
DRIVER = Control(
    id="GUEST-PCI-2",
    title="The guest's PCI devices have their driver",
    area="devices",
    severity=Severity.HIGH,
    requirement="R34",
    rationale="Without its driver a device is there, and does nothing.",
    hint="modprobe {expected}; lspci -nnk -d {pci_id}   # in {guest}",
    references=REFERENCES,
)


def _stated(host: HostTarget) -> Iterator[tuple[GuestTarget, str, PciDevice]]:
    for guest in host.guests:
        for pci_id, wants in guest.wants.pci.items() if guest.matched else ():
            yield guest, pci_id, wants


def _case(guest: GuestTarget, pci_id: str, expected: object) -> Case:
    return Case(f"{guest.name}/{pci_id}", expected, (guest.name, pci_id), guest.name, {"pci_id": pci_id})


def counts(host: HostTarget) -> Iterable[Case]:
    """Every device of the profile."""
    for guest, pci_id, wants in _stated(host):
        yield _case(guest, pci_id, AtLeast(1) if wants.count is None else wants.count)


def drivers(host: HostTarget) -> Iterable[Case]:
    """Every device with a driver."""
    for guest, pci_id, wants in _stated(host):
        if wants.driver is not None:
            yield _case(guest, pci_id, wants.driver)


@check(PRESENT, cases=counts, guest_sources=pci.guest_sources, guest=pci.count)
def test_guest_sees_its_pci_devices(case: Case, observed: object) -> None:
    """By vendor and device."""
    assert observed == case.expected


@check(DRIVER, cases=drivers, guest_sources=pci.guest_sources, guest=pci.driver)
def test_pci_devices_have_their_driver(case: Case, observed: object) -> None:
    """Of every such device."""
    assert observed == case.expected
