"""A guest's domain XML, live and inactive, parsed with neither entities nor network."""

from __future__ import annotations

import re

from lxml import etree

from virtvet.errors import CannotLook, NotApplicable
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import Libvirt
from virtvet.units import parse_size

SOURCES = (Libvirt(),)
MAX_XML = 4 << 20
"""Characters. A domain with a thousand disks has less than 1 MiB."""


def live(snapshot: Snapshot, guest: str) -> etree._Element:
    """`<domain>` as it runs. Raises NotApplicable when the guest is shut off, CannotLook."""
    if (text := snapshot.domain(guest).live_xml) is None:
        raise NotApplicable("guest is shut off")
    return parse(text, f"virsh dumpxml {guest}")


def config(snapshot: Snapshot, guest: str) -> etree._Element:
    """`<domain>` as it will be at the next start. Raises NotApplicable for a transient domain, CannotLook."""
    if (text := snapshot.domain(guest).config_xml) is None:
        raise NotApplicable("guest is transient: it has no stored configuration")
    return parse(text, f"virsh dumpxml --inactive {guest}")


def parse(text: str, source: str, tag: str = "domain") -> etree._Element:
    """The root element of a `<domain>` document. Raises CannotLook when it is none, or too large."""
    if len(text) > MAX_XML:
        raise CannotLook(source, f"is larger than {MAX_XML} characters")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(text.encode(), parser)
    except etree.XMLSyntaxError as mistake:
        raise CannotLook(source, f"is not XML: {mistake}") from None
    if root.tag != tag:
        raise CannotLook(source, f"is <{root.tag}>, not <{tag}>")
    return root


def size(element: etree._Element, source: str, attribute: str = "") -> int:
    """Bytes of an element's text, or of one of its attributes, by its `unit` (without one, KiB). Raises CannotLook.

    `<memory unit='KiB'>393216</memory>` -> 402653184
    """
    written = element.get(attribute, "") if attribute else (element.text or "")
    try:
        return parse_size(f"{written.strip()} {element.get('unit', 'KiB')}")
    except ValueError as mistake:
        raise CannotLook(source, f"<{element.tag}>: {mistake}") from None


def shown(element: etree._Element) -> str:
    """An element in one line, as evidence: bounded, and without the spaces between its parts."""
    return re.sub(r">\s+<", "><", etree.tostring(element, encoding="unicode", with_tail=False))[:500]
