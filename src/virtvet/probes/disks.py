"""A guest's disks: what libvirt was told of each, and what QEMU has made of it.

config, live: `<disk>` of the domain XML; what is not in it has QEMU's default (src/qemu/qemu_block.c, qemu_command.c).
actual: what can change while a guest runs (image, format, cache, read-only) is asked of QEMU's monitor by query-block;
the rest stands in the arguments of its process, which do not change. A disk that was plugged in later is not among
those, and nothing tells them of it. For a guest that was started by hand there are the arguments alone, and a disk is
named by the id of its device.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import blockdev, domain_xml, qemu
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import Libvirt, Source

if TYPE_CHECKING:
    from virtvet.target import HostTarget


def sources(host: HostTarget) -> Iterable[Source]:
    """Nothing when no guest has a disk that is stated."""
    guests = [guest for guest in host.guests if guest.matched and guest.wants.disks]
    if guests:
        yield from (Libvirt(), *qemu.SOURCES)
    for guest in guests:
        yield from blockdev.asked(guest.name)


def config(snapshot: Snapshot, guest: str, target: str, what: str) -> Reading:
    """One thing of a disk in the stored XML. Raises NotApplicable for a disk that is not there: DISK-1 judges that."""
    return _told(domain_xml.config(snapshot, guest), target, what, f"virsh dumpxml --inactive {guest}")


def live(snapshot: Snapshot, guest: str, target: str, what: str) -> Reading:
    """As `config`, of the running domain."""
    return _told(domain_xml.live(snapshot, guest), target, what, f"virsh dumpxml {guest}")


# --- the domain XML


def find(domain: etree._Element, target: str) -> etree._Element | None:
    """The `<disk>` with `<target dev='vda'>`; None when there is none."""
    return next((disk for disk in domain.iterfind("devices/disk") if _of(disk, "target", "dev") == target), None)


def existing(domain: etree._Element, target: str) -> etree._Element:
    """As `find`. Raises NotApplicable when there is none."""
    if (disk := find(domain, target)) is None:
        raise NotApplicable(f"the guest has no disk {target} (DISK-1)")
    return disk


def _told(domain: etree._Element, target: str, what: str, source: str) -> Reading:
    if what == "device":
        return _device(find(domain, target), target, source)
    disk = existing(domain, target)
    return Reading(_XML[what](domain, disk), source, shown(disk))


def _device(disk: etree._Element | None, target: str, source: str) -> Reading:
    if disk is None:
        return Reading(None, source, f"no disk has the target {target}")
    return Reading(disk.get("device", "disk"), source, shown(disk))


def shown(element: etree._Element) -> str:
    """An element as evidence: on one line, not too long."""
    return re.sub(r">\s+<", "><", etree.tostring(element, encoding="unicode", with_tail=False)).strip()[:500]


def _of(element: etree._Element, child: str, name: str) -> str | None:
    found = element.find(child)
    return None if found is None else found.get(name)


def _driver(name: str, default: str | None = None) -> Callable[[etree._Element, etree._Element], str | None]:
    return lambda _domain, disk: _of(disk, "driver", name) or default


def _driver_number(name: str) -> Callable[[etree._Element, etree._Element], int | None]:
    return lambda _domain, disk: _number(_of(disk, "driver", name))


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\d{1,9}", text, re.ASCII) else None


def _cache(_domain: etree._Element, disk: etree._Element) -> str:
    """Without a mode of its own QEMU's, writeback; none where guests share it (qemuDomainPrepareDiskCachemode)."""
    shared = disk.find("shareable") is not None and disk.find("readonly") is None
    told = _of(disk, "driver", "cache") or "default"
    return told if told != "default" else "none" if shared else "writeback"


def _name(_domain: etree._Element, disk: etree._Element) -> str | None:
    """Of a network disk, or a volume: `<source pool='default' volume='a.img'/>` -> "default/a.img"."""
    pool, volume = _of(disk, "source", "pool"), _of(disk, "source", "volume")
    return f"{pool}/{volume}" if pool and volume else _of(disk, "source", "name")


def _hosts(_domain: etree._Element, disk: etree._Element) -> frozenset[str]:
    """`<host name='mon1' port='6789'/>` -> {"mon1:6789"}."""
    return frozenset(blockdev.host(one.get("name"), one.get("port")) for one in disk.iterfind("source/host"))


def boot_order(domain: etree._Element, disk: etree._Element) -> int | None:
    """`<boot order='1'/>` of the disk, or the place of its kind in `<os><boot dev='hd'/></os>`, which only the first
    disk of the kind gets (qemuProcessPrepareDeviceBootorder in src/qemu/qemu_process.c)."""
    if order := _of(disk, "boot", "order"):
        return _number(order)
    kinds = [one.get("dev") for one in domain.iterfind("os/boot")]
    kind = _BOOTED_AS.get(disk.get("device", "disk"))
    alike = [one for one in domain.iterfind("devices/disk") if _BOOTED_AS.get(one.get("device", "disk")) == kind]
    return kinds.index(kind) + 1 if kind in kinds and alike[0] is disk else None


_BOOTED_AS = {"disk": "hd", "lun": "hd", "cdrom": "cdrom", "floppy": "fd"}

_XML: Mapping[str, Callable[[etree._Element, etree._Element], Any]] = {
    "bus": lambda _domain, disk: _of(disk, "target", "bus"),
    "boot_order": boot_order,
    "readonly": lambda _domain, disk: disk.find("readonly") is not None,
    "shareable": lambda _domain, disk: disk.find("shareable") is not None,
    "source.type": lambda _domain, disk: disk.get("type"),
    "source.path": lambda _domain, disk: _of(disk, "source", "file") or _of(disk, "source", "dev"),
    "source.protocol": lambda _domain, disk: _of(disk, "source", "protocol"),
    "source.name": _name,
    "source.hosts": _hosts,
    "driver.name": _driver("name", "qemu"),
    "driver.type": _driver("type", "raw"),
    "driver.cache": _cache,
    "driver.io": _driver("io", "threads"),
    "driver.discard": _driver("discard", "ignore"),
    "driver.iothread": _driver_number("iothread"),
    "driver.queues": _driver_number("queues"),
}
"""What libvirt's XML says, by the key in the profile."""


# --- QEMU


def device_id(snapshot: Snapshot, guest: str, target: str) -> str:
    """The id of the disk's device: `<alias name='virtio-disk0'/>`; by hand, the target itself is that id.

    Raises NotApplicable when the guest does not run or libvirt knows no such disk.
    """
    if guest in snapshot.by_hand:
        return target
    disk = existing(domain_xml.live(snapshot, guest), target)
    if (alias := _of(disk, "alias", "name")) is None:
        raise CannotLook(f"virsh dumpxml {guest}", f"names no alias of {target}")
    return alias


def actual(snapshot: Snapshot, guest: str, target: str, what: str) -> Reading:
    """The same in QEMU. Raises NotApplicable for what nothing tells, CannotLook when QEMU has no such disk."""
    device = device_id(snapshot, guest, target)
    if what == "device":
        return blockdev.device(snapshot, guest, device)
    if what in ("source.type", "source.name") and _is_volume(snapshot, guest, target):
        raise NotApplicable("QEMU knows no volumes: libvirt gives it their files")
    return blockdev.attribute(snapshot, guest, device, what)


def _is_volume(snapshot: Snapshot, guest: str, target: str) -> bool:
    if guest in snapshot.by_hand:
        return False
    return existing(domain_xml.live(snapshot, guest), target).get("type") == "volume"
