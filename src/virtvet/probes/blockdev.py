"""What QEMU itself has made of a disk, by the id of its device: from its monitor, or from its arguments.

query-block tells what may change while a guest runs: image, format, cache, read-only, limits; qom-list names a device
that was plugged in later. Arguments (`-device`, `-blockdev`, `-drive`) tell the rest, which stays as it was.
Source: QEMU QMP Reference Manual, BlockInfo and BlockDeviceInfo (qapi/block-core.json).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import qemu, qmp
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import Qmp

Options = Mapping[str, Any]
PERIPHERAL = "/machine/peripheral"
"""Where QEMU keeps the devices that have an id."""
PROTOCOLS = frozenset(
    "file host_device host_cdrom rbd nbd iscsi gluster nvme nfs ssh http https ftp ftps nvme-io_uring "
    "virtio-blk-vhost-user virtio-blk-vhost-vdpa".split()
)
"""Drivers of where an image is. libvirt >= 10.0 puts no format `raw` above them where it need not
(qemuBlockStorageSourceNeedsFormatLayer, src/qemu/qemu_block.c): then one of them is all there is."""
FILTERS = ("copy-on-read", "throttle")
"""Drivers that stand above the format."""


def asked(guest: str) -> tuple[Qmp, ...]:
    """What is asked of a guest's monitor."""
    return qmp.asked(guest, "query-block"), qmp.asked(guest, "qom-list", path=PERIPHERAL)


def device(snapshot: Snapshot, guest: str, name: str) -> Reading:
    """The kind of a device: "disk", "cdrom", "lun"; None when QEMU has none of this id.

    qom-list: `{"name": "ide0-1-0", "type": "child<ide-cd>"}` -> "cdrom"; by hand `-device ide-cd,id=…`.
    """
    if guest in snapshot.by_hand:
        process = qemu.of_guest(snapshot, guest)
        part = _device(tuple(process.parts()), name)
        return Reading(part and _kind(str(part.get("driver"))), process.source, json.dumps(part)[:500])
    children = qmp.rows(snapshot, guest, "qom-list", path=PERIPHERAL)
    types = [str(one.get("type")) for one in children if one.get("name") == name]
    kind = _kind(types[0].removeprefix("child<")) if types else None
    return Reading(kind, f"qom-list {PERIPHERAL} of {guest}'s QEMU", f"{name}: {' '.join(types) or 'none'}"[:500])


def _kind(driver: str) -> str:
    """scsi-cd, ide-cd: cdrom. scsi-block, scsi-generic: lun. virtio-blk-pci, scsi-hd, ide-hd, usb-storage: disk."""
    if driver.startswith(("scsi-cd", "ide-cd")):
        return "cdrom"
    return "lun" if driver.startswith(("scsi-block", "scsi-generic")) else "disk"


def attribute(snapshot: Snapshot, guest: str, name: str, what: str) -> Reading:
    """One thing of a disk, by its key in the profile ("driver.cache"). Raises NotApplicable for what nothing tells."""
    if what in _MONITOR and guest not in snapshot.by_hand:
        found = entry(snapshot, guest, name)
        return Reading(_MONITOR[what](found), f"query-block of {guest}'s QEMU", json.dumps(found)[:500])
    drive = started_with(snapshot, guest, name)
    if what not in _ARGUMENTS:
        raise NotApplicable("QEMU has no word for it")
    excerpt = json.dumps([drive.device, drive.top, drive.storage])[:500]
    return Reading(_ARGUMENTS[what](drive), drive.source, excerpt)


# --- the monitor


def entry(snapshot: Snapshot, guest: str, name: str) -> Options:
    """The entry of query-block for a device. Raises CannotLook when there is none: libvirt knows of one.

    `{"qdev": "/machine/peripheral/virtio-disk0/virtio-backend", "inserted": {…}}`; others are named by their id alone.
    """
    paths = paths_of(name)
    for one in qmp.rows(snapshot, guest, "query-block"):
        if one.get("qdev") in paths:
            return one
    raise CannotLook(qmp.asked(guest, "query-block"), f"names no device {name}")


def paths_of(name: str) -> tuple[str, ...]:
    """What QEMU may call the device itself: usb-storage has a SCSI disk within (hw/usb/dev-storage-classic.c)."""
    path = f"{PERIPHERAL}/{name}"
    return name, f"{path}/virtio-backend", path, f"{path}/{name}.0/legacy[0]"


def medium(found: Options) -> Options:
    """What is in the drive. Raises NotApplicable when it is empty."""
    if not isinstance(inserted := found.get("inserted"), dict):
        raise NotApplicable("there is no medium in the drive")
    return inserted


def _mode(cache: Options, writeback: bool) -> str:
    """libvirt's name of a cache mode: {"direct": true, "no-flush": false} with writeback -> "none"."""
    if cache.get("no-flush"):
        return "unsafe"
    if cache.get("direct"):
        return "none" if writeback else "directsync"
    return "writeback" if writeback else "writethrough"


def _format(driver: object) -> object:
    """The image's format by the driver on top: host_device -> "raw". Raises NotApplicable for a filter."""
    if driver in FILTERS:
        raise NotApplicable(f"{driver} stands above the image's format")
    return "raw" if driver in PROTOCOLS else driver


def _cache_now(found: Options) -> str:
    cache = medium(found).get("cache") or {}
    return _mode(cache, bool(cache.get("writeback")))


def _located(found: Options) -> Options:
    """Where the image is; nothing for an empty drive."""
    image = (found.get("inserted") or {}).get("image") or {}
    return location(options(str(image["filename"]))) if "filename" in image else {}


def options(filename: str) -> Options:
    """What QEMU calls an image, as the options it was opened with.

    `/a.img` -> {"filename": "/a.img"}; `json:{"driver":"raw","file":{"driver":"rbd","pool":"p","image":"i",
    "server.0.host":"mon1"}}` -> {"driver": "rbd", "pool": "p", …}; `nbd://h:10809/x` -> {"filename": …}.
    """
    if not filename.startswith("json:"):
        return {"filename": filename}
    try:
        written = json.loads(filename.removeprefix("json:"))
    except (ValueError, RecursionError) as mistake:
        raise CannotLook("query-block", f"names an image that is not JSON: {mistake}") from None
    while isinstance(written, dict) and isinstance(written.get("file"), dict):
        written = written["file"]
    return dict(_flat(written))


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """{"server": [{"host": "a"}]} -> ("server.0.host", "a"): QEMU writes it either way."""
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _flat(one, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def location(opened: Options) -> Options:
    """Path, or protocol, name and hosts: as a domain XML has them."""
    if opened.get("driver") == "rbd":
        parts = (opened.get(key) for key in ("pool", "namespace", "image"))
        return {"protocol": "rbd", "name": "/".join(str(one) for one in parts if one), "hosts": _servers(opened)}
    if opened.get("driver") == "nbd":
        return {"protocol": "nbd", "name": opened.get("export"), "hosts": _servers(opened)}
    filename = str(opened.get("filename", ""))
    if re.match(r"[a-z+]{2,12}://", filename):
        url = urlsplit(filename)
        return {
            "protocol": url.scheme,
            "name": url.path.lstrip("/"),
            "hosts": frozenset({url.netloc.rpartition("@")[2]}),
        }
    return {"path": filename or None}


def _servers(opened: Options) -> frozenset[str]:
    """server.0.host, server.0.port; of nbd server.host, server.port."""
    keys = sorted(key for key in opened if re.fullmatch(r"server\.(\d+\.)?host", key))
    return frozenset(host(opened[key], opened.get(key.removesuffix("host") + "port")) for key in keys)


def host(name: object, port: object) -> str:
    """("mon1", "6789") -> "mon1:6789"; without a port the name alone."""
    return f"{name}:{port}" if port else str(name)


_MONITOR: Mapping[str, Callable[[Options], Any]] = {
    "readonly": lambda found: medium(found).get("ro"),
    "source.path": lambda found: _located(found).get("path"),
    "source.protocol": lambda found: _located(found).get("protocol"),
    "source.name": lambda found: _located(found).get("name"),
    "source.hosts": lambda found: _located(found).get("hosts", frozenset()),
    "driver.type": lambda found: _format(medium(found).get("drv")),
    "driver.cache": _cache_now,
}


# --- the arguments


@dataclass(frozen=True, slots=True)
class Drive:
    """A device of QEMU's arguments; `top`: what it reads through (format, cache); `storage`: what is read in the end.
    Both are empty for an empty drive. `-drive` says all in one, as libvirt before 5.10 did."""

    device: Options
    top: Options
    storage: Options
    source: str

    @property
    def medium(self) -> Options:
        """`top`. Raises NotApplicable when the drive is empty."""
        if not self.top:
            raise NotApplicable("there was no medium in the drive at the guest's start")
        return self.top


def started_with(snapshot: Snapshot, guest: str, name: str) -> Drive:
    """A disk by the id of its device. Raises NotApplicable when it was plugged in later.

    `-device {"driver":"virtio-blk-pci","drive":"libvirt-1-format","id":"virtio-disk0","bootindex":1}`,
    `-blockdev {"node-name":"libvirt-1-format","driver":"raw","file":"libvirt-1-storage"}`,
    `-blockdev {"driver":"file","filename":"/a.img","aio":"threads","node-name":"libvirt-1-storage"}`
    """
    process = qemu.of_guest(snapshot, guest)
    parts = tuple(process.parts())
    if (part := _device(parts, name)) is None:
        raise NotApplicable(f"the disk {name} came after QEMU's start: its arguments do not name it")
    if (drive := part.get("drive")) is None:
        return Drive(part, {}, {}, process.source)
    nodes = {one.get("node-name") or one.get("id"): one for one in parts if _is_node(one)}
    if drive not in nodes:
        raise CannotLook(process.source, f"names no drive {drive}")
    storage = _storage(nodes, nodes[drive], process.source)
    return Drive(part, _unfiltered(nodes, nodes[drive]), storage, process.source)


def _unfiltered(nodes: Mapping[Any, Options], top: Options) -> Options:
    """The node below those of FILTERS: `{"driver":"copy-on-read","file":"libvirt-1-format",…}`. All are known ones,
    and `_storage` found an end to them."""
    return _unfiltered(nodes, nodes[top["file"]]) if top.get("driver") in FILTERS else top


def _is_node(part: Options) -> bool:
    return "node-name" in part or "driver" not in part


def _device(parts: tuple[Options, ...], name: str) -> Options | None:
    return next((one for one in parts if one.get("id") == name and not _is_node(one)), None)


def _storage(nodes: Mapping[Any, Options], top: Options, source: str) -> Options:
    """The last node: a format's `file`, by name or in place. `-drive file=/a.img` has its file's name there."""
    below = top.get("file")
    if "node-name" not in top:
        return {**top, "filename": below}
    if below is None:
        return top
    if isinstance(below, dict):
        return below
    if below not in nodes:
        raise CannotLook(source, f"names no node {below}")
    return _storage(nodes, nodes[below], source)


def _is_on(value: object) -> bool:
    return value in (True, "on", "yes", "true")


def _bus(drive: Drive) -> str | None:
    """virtio-blk-pci -> "virtio". IDE and SATA disks are both ide-hd."""
    driver = str(drive.device.get("driver"))
    names = {"virtio-blk": "virtio", "scsi-": "scsi", "ide-": "ide", "usb-": "usb"}
    return next((bus for start, bus in names.items() if driver.startswith(start)), None)


def _whole(value: object) -> int | None:
    return int(str(value)) if re.fullmatch(r"\d{1,9}", str(value), re.ASCII) else None


def _iothread(drive: Drive) -> int | str | None:
    """`iothread1` -> 1; by hand it may have any name."""
    name = drive.device.get("iothread")
    return None if name is None else _whole(str(name).removeprefix("iothread")) or str(name)


def _is_posix(storage: Options) -> bool:
    return storage.get("driver", "file") in ("file", "host_device", "host_cdrom")


def _aio(drive: Drive) -> str:
    if drive.medium and not _is_posix(drive.storage):
        raise NotApplicable("only files and block devices are read by threads, native or io_uring")
    return str(drive.storage.get("aio", "threads"))


def _discard(drive: Drive) -> str:
    told = str(drive.medium.get("discard", "ignore"))
    return {"on": "unmap", "off": "ignore"}.get(told, told)


def _type(drive: Drive) -> str:
    """Of a `-drive` nobody can tell a file from a block device by its path."""
    if "driver" not in drive.medium and "driver" not in drive.storage:
        raise NotApplicable("-drive does not say whether it is a file or a block device")
    if not _is_posix(drive.storage):
        return "network"
    return "file" if drive.storage.get("driver") == "file" else "block"


def _cache_at_start(drive: Drive) -> str:
    cache = drive.medium.get("cache", {})
    if isinstance(cache, dict):
        return _mode(cache, drive.device.get("write-cache", "on") != "off")
    return str(cache)


_ARGUMENTS: Mapping[str, Callable[[Drive], Any]] = {
    "bus": _bus,
    "boot_order": lambda drive: _whole(drive.device.get("bootindex")),
    "readonly": lambda drive: _is_on(drive.medium.get("read-only", drive.medium.get("readonly"))),
    "shareable": lambda drive: _is_on(drive.device.get("share-rw")),
    "source.type": _type,
    "source.path": lambda drive: location(dict(_flat(drive.storage))).get("path"),
    "source.protocol": lambda drive: location(dict(_flat(drive.storage))).get("protocol"),
    "source.name": lambda drive: location(dict(_flat(drive.storage))).get("name"),
    "source.hosts": lambda drive: location(dict(_flat(drive.storage))).get("hosts", frozenset()),
    "driver.type": lambda drive: drive.medium.get("format") or _format(drive.medium.get("driver")),
    "driver.cache": _cache_at_start,
    "driver.io": _aio,
    "driver.discard": _discard,
    "driver.iothread": _iothread,
    "driver.queues": lambda drive: _whole(drive.device.get("num-queues")),
}
