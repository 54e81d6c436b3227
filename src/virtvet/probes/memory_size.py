"""How much memory a guest has, and its balloon: what was asked for, what QEMU has, and what the guest sees.

QEMU's monitor is asked since a balloon and DIMMs move while QEMU runs: its arguments tell how it was started, libvirt's
XML what libvirt was told last. Sources: https://libvirt.org/formatdomain.html#memory-allocation, QEMU's
docs/interop/qemu-qmp-ref (query-balloon, query-memory-devices) and hw/virtio/virtio-balloon.c.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook
from virtvet.probes import cgroup, domain_xml, qemu, qmp
from virtvet.probes.qemu import Process
from virtvet.profile.memory_hotplug import MemoryHotplug
from virtvet.profile.memory_size import MIB, MemorySize
from virtvet.snapshot.model import Absent, Snapshot, text_of
from virtvet.snapshot.sources import Glob, HostSource, Qmp, Source
from virtvet.target import GuestTarget, HostTarget
from virtvet.units import parse_size

DEVICES, BALLOON = "query-memory-devices", "query-balloon"
POLLING = {"path": "/machine/peripheral/balloon0", "property": "guest-stats-polling-interval"}
"""libvirt calls a domain's only balloon balloon0 (src/qemu/qemu_alias.c)."""

VIRTIO = Glob("/sys/bus/virtio/devices/virtio*/device")
STATUS = Glob("/sys/bus/virtio/devices/virtio*/status")
BALLOON_ID, DRIVER_OK = 5, 4
"""VIRTIO_ID_BALLOON and VIRTIO_CONFIG_S_DRIVER_OK (include/uapi/linux/virtio_{ids,config}.h)."""


def sources(host: HostTarget) -> Iterable[Source]:
    """Domain XML, QEMU's arguments, and the monitor of each guest whose memory, balloon or DIMMs are stated."""
    yield from (*domain_xml.SOURCES, *qemu.SOURCES)
    for guest in host.guests:
        if guest.matched:
            yield from _asked(guest)


def _asked(guest: GuestTarget) -> Iterable[Qmp]:
    size, hotplug = guest.wants.memory.size or MemorySize(), guest.wants.memory.hotplug or MemoryHotplug()
    if size.memory or size.current or hotplug.dimms is not None:
        yield qmp.asked(guest.name, DEVICES)
    if size.current:
        yield qmp.asked(guest.name, BALLOON)
    if size.stats_period is not None:
        yield qmp.asked(guest.name, "qom-get", **POLLING)


def guest_sources(guest: GuestTarget) -> Iterable[HostSource]:
    """What is read inside a guest whose current memory or balloon is stated."""
    size = guest.wants.memory.size
    if size and size.current:
        yield cgroup.MEMORY_INFO
    if size and size.balloon:
        yield from (VIRTIO, STATUS)


# --- sizes


def config(snapshot: Snapshot, guest: str, element: str) -> Reading:
    """Bytes of `memory` or `currentMemory` in the stored XML; without `<currentMemory>` it is all of the memory.

    `<currentMemory unit='KiB'>360448</currentMemory>` -> 369098752
    """
    return told(domain_xml.config(snapshot, guest), element, f"virsh dumpxml --inactive {guest}")


def live(snapshot: Snapshot, guest: str, element: str) -> Reading:
    """As `config`, of the running domain: both grow by a DIMM that is plugged; currentMemory follows the balloon."""
    return told(domain_xml.live(snapshot, guest), element, f"virsh dumpxml {guest}")


def told(domain: etree._Element, element: str, source: str) -> Reading:
    """As `config`, of any domain XML. Raises CannotLook without `<memory>`."""
    for name in (element, "memory"):
        if (found := domain.find(name)) is not None:
            return Reading(domain_xml.size(found, source), source, domain_xml.shown(found))
    raise CannotLook(source, f"has no <{element}>")


def memory(snapshot: Snapshot, guest: str, _element: str = "") -> Reading:
    """Bytes that QEMU was started with, and those of every DIMM that is plugged now.

    `-m size=262144k,slots=4,maxmem=1048576k` and `[{"type":"dimm","data":{"size":134217728,…}}]` -> 402653184
    """
    process = qemu.of_guest(snapshot, guest)
    plugged = devices(snapshot, guest, process)
    size = base(process) + sum(device.most for device in plugged)
    return Reading(size, _where(process, plugged), _evidence(process, plugged))


def current(snapshot: Snapshot, guest: str, _element: str = "") -> Reading:
    """Bytes that the balloon leaves the guest *now*: not what it was last asked to leave. Without one, all.

    `{"actual":369098752}` -> 369098752. libvirt adds what virtio-mem devices have, and so do we.
    """
    process = qemu.of_guest(snapshot, guest)
    plugged = devices(snapshot, guest, process)
    if _balloon(process) is None:
        size = base(process) + sum(device.size for device in plugged)
        return Reading(size, _where(process, plugged), f"no balloon; {_evidence(process, plugged)}")
    answer = qmp.answer(snapshot, guest, BALLOON)
    moved = sum(device.size for device in plugged if device.kind == "virtio-mem")
    return Reading(_number(answer, "actual", BALLOON) + moved, BALLOON, json.dumps(answer)[:500])


def mem_total(snapshot: Snapshot, guest: str, _element: str = "") -> Reading:
    """Bytes of MemTotal inside the guest: what its kernel kept for itself and the balloon took is not in it.

    `MemTotal:         242000 kB` -> 247808000
    """
    size = cgroup.memory_total(snapshot.guest(guest))
    return Reading(size, str(cgroup.MEMORY_INFO), f"MemTotal: {size // 1024} kB")


@dataclass(frozen=True, slots=True)
class Plugged:
    """A memory device as QEMU has it: what it holds now, and what libvirt counts it for."""

    kind: str
    size: int
    most: int
    node: int


def devices(snapshot: Snapshot, guest: str, process: Process) -> tuple[Plugged, ...]:
    """What is plugged now. QEMU without `maxmem` takes nothing, and is not asked. Raises as qmp.answer."""
    if "maxmem" not in started(process):
        return ()
    return tuple(_plugged(row) for row in qmp.rows(snapshot, guest, DEVICES))


def _plugged(row: Mapping[str, Any]) -> Plugged:
    """`{"type":"virtio-mem","data":{"size":0,"max-size":1073741824,"node":0,…}}`; only virtio-mem has a max-size."""
    data = row.get("data")
    size = _number(data, "size", DEVICES)
    most = _number(data, "max-size", DEVICES) if isinstance(data, dict) and "max-size" in data else size
    node = data.get("node", 0) if isinstance(data, dict) else 0
    return Plugged(str(row.get("type")), size, most, node)


def _number(answer: Any, key: str, source: str) -> int:
    found = answer.get(key) if isinstance(answer, dict) else None
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise CannotLook(source, f"names no {key}: {str(answer)[:100]}")
    return found


def started(process: Process) -> Mapping[str, str]:
    """`-m`: `size=262144k,slots=4,maxmem=1048576k`, or by hand `512,maxmem=1G`, of which `512` becomes "size"."""
    option = process.option("m") or DEFAULT
    return qemu.keywords(option if option.startswith(("size=", "slots=", "maxmem=")) else f"size={option}")


DEFAULT = "128"
"""MiB that QEMU gives where nobody says (default_ram_size, hw/i386/pc.c)."""


def base(process: Process) -> int:
    """Bytes that QEMU was started with, without DIMMs. A plain number is MiB (softmmu/vl.c). Raises CannotLook."""
    size = started(process).get("size", DEFAULT)
    return qemu_size(f"{size}M" if size.isdigit() else size, process.source)


def qemu_size(written: object, source: str) -> int:
    """Bytes of a size as QEMU writes it: `262144k`, 268435456, `"1G"`. Raises CannotLook."""
    try:
        return parse_size(written)
    except ValueError as mistake:
        raise CannotLook(source, str(mistake)) from None


def _where(process: Process, plugged: Iterable[Plugged]) -> str:
    return f"{process.source} and {DEVICES}" if plugged else process.source


def _evidence(process: Process, plugged: Iterable[Plugged]) -> str:
    parts = (f"{one.kind} of {one.most // MIB} MiB" for one in plugged)
    return ", ".join((f"-m {process.option('m') or DEFAULT}", *parts))[:500]


# --- the balloon


def model_config(snapshot: Snapshot, guest: str) -> Reading:
    """The model of the stored XML's `<memballoon>`; libvirt adds one of model virtio where the XML says nothing."""
    return _model(domain_xml.config(snapshot, guest), f"virsh dumpxml --inactive {guest}")


def model_live(snapshot: Snapshot, guest: str) -> Reading:
    """As `model_config`, of the running domain."""
    return _model(domain_xml.live(snapshot, guest), f"virsh dumpxml {guest}")


def _model(domain: etree._Element, source: str) -> Reading:
    found = domain.find("devices/memballoon")
    if found is None:
        return Reading("none", source, "no <memballoon>")
    return Reading(found.get("model"), source, domain_xml.shown(found))


def model_actual(snapshot: Snapshot, guest: str) -> Reading:
    """The balloon among QEMU's devices; none is plugged later.

    `{"driver":"virtio-balloon-pci-non-transitional","id":"balloon0",…}` -> virtio-non-transitional
    """
    process = qemu.of_guest(snapshot, guest)
    if (found := _balloon(process)) is None:
        return Reading("none", process.source, "no device virtio-balloon")
    kinds = ("non-transitional", "transitional")
    kind = next((f"-{kind}" for kind in kinds if str(found["driver"]).endswith(f"-{kind}")), "")
    return Reading(f"virtio{kind}", process.source, json.dumps(found)[:500])


def _balloon(process: Process) -> Mapping[str, Any] | None:
    return next((part for part in process.parts() if str(part.get("driver", "")).startswith("virtio-balloon")), None)


NO_BALLOON, DRIVEN, IDLE = "no balloon", "driven", "not driven"
"""What a guest makes of its balloon."""


def driver(snapshot: Snapshot, guest: str) -> Reading:
    """Whether the guest drives its balloon; without a driver libvirt accepts every size, and nothing moves.

    `0x0005` in …/virtio1/device and `0x0000000f` in …/virtio1/status -> driven
    """
    inside = snapshot.guest(guest)
    states = inside.read(STATUS)
    for path, found in inside.read(VIRTIO).items():
        if _hex(path, text_of(path, found)) == BALLOON_ID:
            where = path.removesuffix("device") + "status"
            text = text_of(where, states.get(where, Absent()))
            return Reading(DRIVEN if _hex(where, text) & DRIVER_OK else IDLE, where, text.strip())
    return Reading(NO_BALLOON, str(VIRTIO), "no device 0x0005")


def _hex(path: str, text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        raise CannotLook(path, f"holds no number: {text[:40]!r}") from None


# --- its statistics


def period_config(snapshot: Snapshot, guest: str) -> Reading:
    """Seconds of `<stats period='5'/>` in the stored XML; 0 where it says nothing."""
    return _period(domain_xml.config(snapshot, guest), f"virsh dumpxml --inactive {guest}")


def period_live(snapshot: Snapshot, guest: str) -> Reading:
    """As `period_config`, of the running domain."""
    return _period(domain_xml.live(snapshot, guest), f"virsh dumpxml {guest}")


def _period(domain: etree._Element, source: str) -> Reading:
    found = domain.find("devices/memballoon/stats")
    if found is None:
        return Reading(0, source, "no <stats>")
    written = found.get("period", "")
    if not (written.isascii() and written.isdigit()):
        raise CannotLook(source, f"<stats>: no number of seconds: {written[:40]!r}")
    return Reading(int(written), source, domain_xml.shown(found))


def period_actual(snapshot: Snapshot, guest: str) -> Reading:
    """Seconds of the balloon's property `guest-stats-polling-interval`, which is no argument: `5` -> 5."""
    process = qemu.of_guest(snapshot, guest)
    if _balloon(process) is None:
        return Reading(0, process.source, "no device virtio-balloon")
    source = qmp.asked(guest, "qom-get", **POLLING)
    seconds = _number({"period": qmp.answer(snapshot, guest, "qom-get", **POLLING)}, "period", str(source))
    return Reading(seconds, str(source), str(seconds))
