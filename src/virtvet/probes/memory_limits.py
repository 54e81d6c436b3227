"""How much host memory a guest may use: `<memtune>`, the control group's files, and what the groups above leave."""

from __future__ import annotations

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import NotApplicable
from virtvet.probes import cgroup, domain_xml, threads
from virtvet.probes.cgroup import Amount
from virtvet.snapshot.model import Snapshot

SOURCES = (*cgroup.SOURCES, *threads.SOURCES)
NO_LIMIT_KIB = 9007199254740991
"""libvirt's VIR_DOMAIN_MEMORY_PARAM_UNLIMITED in KiB."""
_SETTINGS = {"hard": cgroup.MEMORY, "soft": cgroup.MEMORY_SOFT, "swap_hard": cgroup.SWAP}


def as_kib(size: Amount) -> Amount:
    """The bytes libvirt keeps of a size: whole KiB, rounded up (virDomainParseMemory). 1000 -> 1024."""
    return size if isinstance(size, str) else -(-size // 1024) * 1024


def config(snapshot: Snapshot, guest: str, name: str, _wanted: Amount) -> Reading:
    """Bytes of `name` ("hard", "soft", "swap_hard") in the stored XML, or "unlimited".

    `<hard_limit unit='KiB'>524288</hard_limit>` -> 536870912
    """
    return _told(domain_xml.config(snapshot, guest), name, f"virsh dumpxml --inactive {guest}")


def live(snapshot: Snapshot, guest: str, name: str, _wanted: Amount) -> Reading:
    """As `config`, of the running domain."""
    return _told(domain_xml.live(snapshot, guest), name, f"virsh dumpxml {guest}")


def _told(domain: etree._Element, name: str, source: str) -> Reading:
    found = domain.find(f"memtune/{name}_limit")
    if found is None:
        return Reading(cgroup.UNLIMITED, source, f"no <{name}_limit>")
    size = domain_xml.size(found, source)
    limited = size < NO_LIMIT_KIB * 1024
    return Reading(size if limited else cgroup.UNLIMITED, source, domain_xml.shown(found))


def actual(snapshot: Snapshot, guest: str, name: str, wanted: Amount) -> Reading:
    """Bytes in the guest's memory group: `wanted` when they are what the kernel makes of it (whole pages)."""
    group = cgroup.of_guest(snapshot, guest).inner("memory")
    return cgroup.as_wanted(snapshot, wanted, cgroup.value(snapshot, group, _SETTINGS[name]))


def room(snapshot: Snapshot, guest: str) -> Reading:
    """Bytes the groups above the guest leave it; a very large number when none has a limit."""
    _own, *above = cgroup.of_guest(snapshot, guest).inner("memory").upwards()
    if not above:
        raise NotApplicable("there is no group above the guest's")
    return cgroup.room(snapshot, above[0])
