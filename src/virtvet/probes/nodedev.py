"""What libvirt says of the host's PCI devices (`virsh nodedev-list --cap pci`), asked of single devices."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook
from virtvet.probes import domain_xml
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import Libvirt, NodeDevice

_HEX = re.compile(r"0x[0-9a-fA-F]{1,8}|[0-9]{1,9}", re.ASCII)
_PARTS = {"domain": "0", "bus": "", "slot": "", "function": "0"}
"""Of an address, and what they are where they are not stated."""


def asked(address: str) -> NodeDevice:
    """By libvirt's name: "0000:01:00.0" is pci_0000_01_00_0 (udevGenerateDeviceName, node_device_udev.c)."""
    return NodeDevice("pci_" + re.sub(r"[:.]", "_", address))


def device(snapshot: Snapshot, address: str) -> etree._Element | None:
    """`<device>`; None when libvirt knows no such PCI device. Raises Unreachable without libvirt, CannotLook."""
    snapshot.read(Libvirt())
    source = asked(address)
    said = snapshot.maybe(source)
    return None if said is None else domain_xml.parse(said.decode("utf-8", "backslashreplace"), str(source), "device")


def capability(element: etree._Element, address: str) -> etree._Element:
    """`<capability type='pci'>`. Raises CannotLook."""
    found = element.find("capability[@type='pci']")
    if found is None:
        raise CannotLook(asked(address), "is no PCI device")
    return found


def number(element: etree._Element | None, attribute: str, source: object) -> int:
    """`0x8086` or `3`. Raises CannotLook."""
    written = "" if element is None else element.get(attribute, "")
    if not _HEX.fullmatch(written):
        raise CannotLook(source, f"{attribute}: is no number: {written[:40]!r}")
    return int(written, 0)


def address_of(element: etree._Element, source: object) -> str:
    """`<address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>` -> "0000:01:00.0". Raises CannotLook.

    Without a domain it is 0 (virPCIDeviceAddressParseXML, src/conf/device_conf.c).
    """
    given = [element.get(part, missing) for part, missing in _PARTS.items()]
    if not all(map(_HEX.fullmatch, given)):
        raise CannotLook(source, f"holds no PCI address: {domain_xml.shown(element)[:80]}")
    domain, bus, slot, function = (int(part, 0) for part in given)
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def addresses(element: etree._Element, source: object) -> Iterator[str]:
    """Of all `<address>` in an element."""
    return (address_of(one, source) for one in element.iterfind("address"))


def reading(value: object, address: str, element: etree._Element | None) -> Reading:
    """With the element as its evidence: it has the names of maker and product, too."""
    shown = "libvirt knows no such device" if element is None else domain_xml.shown(element)
    return Reading(value, str(asked(address)), shown)
