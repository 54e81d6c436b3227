"""What a guest's memory is made of: `<memoryBacking>`, what QEMU was told of it, and what the kernel holds.

What the kernel shows is read there (`ram`). That memory may be merged QEMU tells alone, by QMP: whether a mapping is
mergeable can change while it runs (`qom-set`). Preallocation and discarding happen at the start and the end of a guest:
QEMU's arguments tell. Source: libvirt's qemuBuildMemoryBackendProps (src/qemu/qemu_command.c).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.expect import matches
from virtvet.probes import cgroup, domain_xml, qemu, qmp, ram, threads
from virtvet.probes.ram import Mapping
from virtvet.snapshot.model import Absent, Snapshot, text_of
from virtvet.snapshot.sources import Processes, Source
from virtvet.units import parse_cpuset

if TYPE_CHECKING:
    from virtvet.target import HostTarget

NORMAL = "normal pages"
LIMITS = Processes("qemu-*", ("limits", "ksm_merging_pages"))
"""ksm_merging_pages: since Linux 5.19, with KSM."""
SOURCES = (*threads.SOURCES, *qemu.SOURCES, cgroup.MEMORY_INFO, cgroup.PAGE_SIZE, LIMITS)
_MAPPED = ("hugepages", "source", "access")
_ON, _OFF = ("on", "yes", "true", "y"), ("off", "no", "false", "n")
_OTHER_MEMORY = ("nvdimm", "virtio-pmem-pci")
"""Devices whose memory `<memoryBacking>` says nothing of."""


def sources(host: HostTarget) -> Iterable[Source]:
    """What the guests' layers are read from; QEMU's monitor only where sharing is stated."""
    known = {guest.name: guest.wants.memory.backing for guest in host.guests if guest.matched}
    stated = {name: backing for name, backing in known.items() if backing}
    if stated:
        yield from SOURCES
    for name, backing in stated.items():
        if any(getattr(backing, key) is not None for key in _MAPPED):
            yield ram.mapped(name)
        if backing.nosharepages is not None:
            yield qmp.asked(name, "query-memdev")


# --- what libvirt was told


def config(snapshot: Snapshot, guest: str, key: str, *_wanted: object) -> list[Reading]:
    """`key` of `<memoryBacking>` in the stored XML, with libvirt's default where it is absent.

    `<nosharepages/>` -> True, `<source type='memfd'/>` -> "memfd", no `<allocation>` -> "ondemand".
    """
    return _told(domain_xml.config(snapshot, guest), key, f"virsh dumpxml --inactive {guest}")


def live(snapshot: Snapshot, guest: str, key: str, *_wanted: object) -> list[Reading]:
    """As `config`, of the running domain."""
    return _told(domain_xml.live(snapshot, guest), key, f"virsh dumpxml {guest}")


def _told(domain: etree._Element, key: str, source: str) -> list[Reading]:
    if key == "access":
        return [Reading(value, source, excerpt) for value, excerpt in _accesses(domain)]
    return [Reading(_VALUES[key](domain), source, _excerpt(domain))]


def _excerpt(domain: etree._Element) -> str:
    backing = domain.find("memoryBacking")
    return "no <memoryBacking>" if backing is None else domain_xml.shown(backing)


def _has(name: str) -> Callable[[etree._Element], bool]:
    return lambda domain: domain.find(f"memoryBacking/{name}") is not None


def _attribute(name: str, attribute: str, absent: str) -> Callable[[etree._Element], str]:
    def value(domain: etree._Element) -> str:
        found = domain.find(f"memoryBacking/{name}")
        return absent if found is None else found.get(attribute, absent)

    return value


_VALUES: dict[str, Callable[[etree._Element], Any]] = {
    "locked": _has("locked"),
    "nosharepages": _has("nosharepages"),
    "discard": _has("discard"),
    "source": _attribute("source", "type", "anonymous"),
    "allocation": _attribute("allocation", "mode", "ondemand"),
}


def _accesses(domain: etree._Element) -> Iterator[tuple[str, str]]:
    """Of each NUMA cell, or of a guest without: its own, else `<access>`, else private; QEMU shares a memfd unasked."""
    absent = "shared" if _VALUES["source"](domain) == "memfd" else "private"
    usual = _attribute("access", "mode", absent)(domain)
    cells = domain.findall("cpu/numa/cell")
    for cell in cells:
        own = cell.get("memAccess")
        yield (own, domain_xml.shown(cell)) if own else (usual, _excerpt(domain))
    if not cells:
        yield usual, _excerpt(domain)


# --- huge pages, as libvirt was told


def config_pages(snapshot: Snapshot, guest: str, cells: Collection[int] | None, _wanted: object) -> list[Reading]:
    """The size of the pages of these NUMA cells (None: of all the guest's memory) in the stored XML.

    `<hugepages><page size='2048' unit='KiB' nodeset='0'/></hugepages>` -> 2097152 of cell 0, NORMAL of cell 1;
    `<hugepages/>` -> the host's default size.
    """
    return _pages(snapshot, domain_xml.config(snapshot, guest), cells, f"virsh dumpxml --inactive {guest}")


def live_pages(snapshot: Snapshot, guest: str, cells: Collection[int] | None, _wanted: object) -> list[Reading]:
    """As `config_pages`, of the running domain."""
    return _pages(snapshot, domain_xml.live(snapshot, guest), cells, f"virsh dumpxml {guest}")


def _pages(snapshot: Snapshot, domain: etree._Element, cells: Collection[int] | None, source: str) -> list[Reading]:
    told = domain.find("memoryBacking/hugepages")
    excerpt = "no <hugepages>" if told is None else domain_xml.shown(told)
    there = {part.cell or 0 for part in ram.parts(domain)}
    if cells and (missing := set(cells) - there):
        return [Reading(None, source, f"the guest has no NUMA cell {min(missing)}")]
    sizes = [_page_of(snapshot, told, cell) for cell in sorted(cells or there)]
    return [Reading(size, source, excerpt) for size in sizes]


def _page_of(snapshot: Snapshot, told: etree._Element | None, cell: int) -> int | str:
    """Own `<page nodeset>`, else the `<page>` without one (qemuBuildMemoryGetPagesize)."""
    if told is None:
        return NORMAL
    if not (pages := told.findall("page")):
        return default_huge(snapshot)
    named = [page for page in pages if cell in _numbers(page.get("nodeset"))]
    page = next(iter([*named, *(one for one in pages if one.get("nodeset") is None)]), None)
    size = None if page is None else domain_xml.size(page, "virsh dumpxml", "size")
    return NORMAL if size in (None, cgroup.page_size(snapshot)) else size or NORMAL


def _numbers(nodeset: str | None) -> frozenset[int]:
    return parse_cpuset(nodeset) if nodeset else frozenset()


def default_huge(snapshot: Snapshot) -> int:
    """Bytes. /proc/meminfo: `Hugepagesize:       2048 kB` -> 2097152. Raises CannotLook."""
    match = re.search(rb"^Hugepagesize:\s+(\d{1,9}) kB$", snapshot.read(cgroup.MEMORY_INFO), re.MULTILINE)
    if match is None:
        raise CannotLook(cgroup.MEMORY_INFO, "names no Hugepagesize")
    return int(match[1]) * 1024


# --- what the kernel holds


def actual_pages(snapshot: Snapshot, guest: str, cells: Collection[int] | None, wanted: object) -> list[Reading]:
    """The size of the pages each part of the memory is mapped with: bytes of a huge page, or NORMAL."""
    of = ram.within(cells) if cells else ram.everything
    return _mapped(snapshot, guest, lambda one: one.page or NORMAL, wanted, of)


def actual_source(snapshot: Snapshot, guest: str, _key: str, wanted: object) -> list[Reading]:
    """What each part is mapped from: `/memfd:memory-backend-memfd (deleted)` is "memfd", another file "file", none (and
    /dev/zero, which is how the kernel calls shared anonymous memory) "anonymous".

    libvirt takes files for anonymous memory, too, that is to have huge pages or an access: they are "anonymous".
    """
    domain = domain_xml.live(snapshot, guest)
    told, access = _VALUES["source"](domain), _has_access(domain)

    def value(one: Mapping) -> str:
        kind = _kind_of(one.file)
        return told if (kind, told) == ("file", "anonymous") and (access or one.page) else kind

    return _mapped(snapshot, guest, value, wanted)


def _has_access(domain: etree._Element) -> bool:
    return domain.find("memoryBacking/access") is not None or domain.find("cpu/numa/cell[@memAccess]") is not None


def _kind_of(file: str) -> str:
    if file.startswith("/memfd:"):
        return "memfd"
    return "anonymous" if file in ("", "/dev/zero (deleted)") else "file"


def actual_access(snapshot: Snapshot, guest: str, _key: str, wanted: object) -> list[Reading]:
    """How each part is mapped: `rw-s` is "shared", `rw-p` "private"."""
    return _mapped(snapshot, guest, lambda one: "shared" if one.shared else "private", wanted)


def _mapped(
    snapshot: Snapshot,
    guest: str,
    value: Callable[[Mapping], Any],
    wanted: object,
    of: Callable[[int | None], bool] = ram.everything,
) -> list[Reading]:
    found = ram.mappings(snapshot, guest, lambda one: matches(wanted, value(one)), of)
    return [Reading(value(one), one.source, one.line) for one in found]


def actual_locked(snapshot: Snapshot, guest: str, _key: str, wanted: object) -> Iterator[Reading]:
    """Whether QEMU was told to lock its memory; of a guest that must be locked also whether all of it is, and whether
    as much may be. (VFIO's pinned memory counts as locked, too: of others VmLck says nothing.)

    `-overcommit mem-lock=on`; /proc/PID/status: `VmLck:\t  393216 kB`; /proc/PID/limits: `Max locked memory  unlimited`
    """
    process = qemu.of_guest(snapshot, guest)
    told = qemu.keywords(process.option("overcommit") or "").get("mem-lock", "off")
    yield Reading(_switch(told, process.source), process.source, f"-overcommit mem-lock={told}")
    if wanted is True:
        size = sum(part.size for part in ram.parts(domain_xml.live(snapshot, guest)))
        yield _at_least(size, f"/proc/{process.pid}/status", r"VmLck:\s+(\d{1,15}) kB", _status(snapshot, process.pid))
        limit = r"Max locked memory\s+(\d{1,20}|unlimited)\s.*"
        yield _at_least(size, f"/proc/{process.pid}/limits", limit, _limits(snapshot, process.pid, "limits"))


def _status(snapshot: Snapshot, pid: int) -> str:
    return threads.task(snapshot, pid, pid, "status")


def _limits(snapshot: Snapshot, pid: int, name: str) -> str:
    path = f"/proc/{pid}/{name}"
    return text_of(path, snapshot.read(LIMITS).get(path, Absent()))


def _at_least(size: int, path: str, pattern: str, text: str) -> Reading:
    match = re.search(rf"^{pattern}$", text, re.MULTILINE | re.ASCII)
    if match is None:
        raise CannotLook(path, "does not say how much memory is or may be locked")
    scale = 1024 if match[0].endswith("kB") else 1
    return Reading(match[1] == "unlimited" or int(match[1]) * scale >= size, path, match[0])


def _switch(text: str, source: str) -> bool:
    """How QEMU writes truth (qapi_bool_parse, qapi/qapi-util.c). Raises CannotLook."""
    if text not in (*_ON, *_OFF):
        raise CannotLook(source, f"{text[:40]!r} is neither on nor off")
    return text in _ON


def actual_nosharepages(snapshot: Snapshot, guest: str, _key: str, wanted: object) -> Iterator[Reading]:
    """Whether nothing may be merged: by QEMU's arguments, by what QEMU says now of each part, and, where nothing may
    be, whether the kernel merged nothing.

    `-machine …,mem-merge=off` -> True; query-memdev: `{"id": "ram-node0", "merge": true, …}` -> False;
    /proc/PID/ksm_merging_pages: `0` -> True
    """
    process = qemu.of_guest(snapshot, guest)
    told = qemu.keywords(process.option("machine", "M") or "").get("mem-merge", "on")
    yield Reading(not _switch(told, process.source), process.source, f"-machine mem-merge={told}")
    yield from _mergeable(snapshot, guest)
    path = f"/proc/{process.pid}/ksm_merging_pages"
    if wanted is True and path in snapshot.read(LIMITS):
        merged = _limits(snapshot, process.pid, "ksm_merging_pages").strip()
        yield Reading(merged == "0", path, f"{merged[:40]} pages are merged")


def _mergeable(snapshot: Snapshot, guest: str) -> list[Reading]:
    """None of a guest whose monitor cannot be asked: QEMU's arguments are read all the same."""
    try:
        rows = qmp.rows(snapshot, guest, "query-memdev")
    except NotApplicable:
        return []
    source = f"query-memdev of {guest}'s QEMU"
    if not all(isinstance(row.get("merge"), bool) for row in rows):
        raise CannotLook(source, "does not say whether memory may be merged")
    return [Reading(not row["merge"], source, f"{row.get('id')}: merge {row['merge']}"[:200]) for row in rows]


def actual_allocation(snapshot: Snapshot, guest: str, _key: str, _wanted: object) -> list[Reading]:
    """`"prealloc":true` of each memory backend in QEMU's arguments is "immediate", without it "ondemand"."""
    return [
        Reading("immediate" if on else "ondemand", source, shown)
        for on, source, shown in _backends(snapshot, guest, "prealloc")
    ]


def actual_discard(snapshot: Snapshot, guest: str, _key: str, _wanted: object) -> list[Reading]:
    """Whether `"discard-data":true` stands at each memory backend in QEMU's arguments."""
    return [Reading(on, source, shown) for on, source, shown in _backends(snapshot, guest, "discard-data")]


def _backends(snapshot: Snapshot, guest: str, key: str) -> Iterator[tuple[bool, str, str]]:
    """A switch of each memory backend that is ordinary memory, with where it was read. Raises NotApplicable."""
    process = qemu.of_guest(snapshot, guest)
    found = list(process.parts())
    others = {one.get("memdev") for one in found if one.get("driver") in _OTHER_MEMORY}
    backends = [one for one in found if _kind(one).startswith("memory-backend-") and one.get("id") not in others]
    if not backends:
        raise NotApplicable("QEMU's arguments name no memory backend")
    for one in backends:
        told = one.get(key, False)
        on = told if isinstance(told, bool) else _switch(str(told), process.source)
        yield on, process.source, f"{_kind(one)} {one.get('id')}: {key} {told}"[:200]


def _kind(part: dict[str, Any]) -> str:
    return str(part.get("qom-type", part.get("driver", "")))
