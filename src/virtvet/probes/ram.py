"""A guest's memory as the kernel holds it: where QEMU mapped each part, from which file, pages and NUMA nodes.

The running domain's XML tells the parts and their sizes; the mapping of a part in QEMU's address space is the writable
one of just that size which QEMU guards by an inaccessible page behind it (qemu_ram_mmap, util/mmap-alloc.c).
Sources: proc_pid_maps(5), numa(7) for numa_maps, Documentation/filesystems/proc.rst.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache

from lxml import etree

from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import domain_xml, qemu
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import Command
from virtvet.units import parse_cpuset

XML = "virsh dumpxml"
LEAST = 16 << 20
"""Bytes of the smallest mapping that is looked at: QEMU has hundreds of smaller ones."""
_LARGE = r"""
function number(hex,  i, n) {
  for (i = 1; i <= length(hex); i++) n = n * 16 + index("0123456789abcdef", substr(hex, i, 1)) - 1
  return n
}
FILENAME ~ /numa_maps$/ { if ($1 in kept) print; next }
{
  split($1, ends, "-")
  if ($2 ~ /^---/ && ends[1] == last && large) { kept[first]; print line }
  first = ends[1]; last = ends[2]; line = $0
  large = $2 ~ /^rw/ && number(last) - number(first) >= least
}"""


def mapped(guest: str) -> Command:
    """The source: of a guest's large guarded mappings the lines in /proc/PID/maps, then those in /proc/PID/numa_maps.

    The kernel walks the guest's page tables to count pages: asked only for guests whose profile needs it.
    """
    read = f'read -r p <"{qemu.STATE}/$1.pid"; exec awk -v least={LEAST} "$2" "/proc/$p/maps" "/proc/$p/numa_maps"'
    return Command(("sh", "-c", read, "sh", guest, _LARGE))


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a guest's memory: bytes, and the NUMA cell of the guest it belongs to (None in a guest without)."""

    size: int
    cell: int | None


@dataclass(frozen=True, slots=True)
class Mapping:
    """Where QEMU mapped a part of the guest's memory. `line`: what numa_maps says of it."""

    size: int
    shared: bool
    file: str
    policy: str
    """default, local, prefer, bind, interleave, weighted interleave"""
    policy_nodes: frozenset[int]
    page: int | None
    """Bytes of a huge page; None for normal pages."""
    nodes: frozenset[int]
    """Where its pages are."""
    line: str
    source: str


def parts(domain: etree._Element) -> tuple[Part, ...]:
    """The memory of a running domain: its NUMA cells or, without cells, its initial memory; and what was plugged.

    `<cell id='0' memory='262144' unit='KiB'/>` -> Part(268435456, 0). Raises CannotLook.
    """
    devices = domain.findall("devices/memory")
    plugged = [Part(_size(one.find("target/size")), _cell(one.findtext("target/node"))) for one in devices]
    cells = [
        Part(_size(cell, "memory"), _cell(cell.get("id", str(number))))
        for number, cell in enumerate(domain.iterfind("cpu/numa/cell"))
    ]
    initial = _size(domain.find("memory")) - sum(one.size for one in plugged)
    usual = [part for part, one in zip(plugged, devices, strict=True) if one.get("model") in ("dimm", "virtio-mem")]
    return tuple(part for part in (*(cells or [Part(initial, None)]), *usual) if part.size)


def _size(element: etree._Element | None, attribute: str = "") -> int:
    if element is None:
        raise CannotLook(XML, "does not tell the size of a part of the memory")
    return domain_xml.size(element, XML, attribute)


def _cell(text: str | None) -> int | None:
    if text is not None and not re.fullmatch(r"\d{1,4}", text, re.ASCII):
        raise CannotLook(XML, f"{text[:40]!r} is no number of a NUMA cell")
    return None if text is None else int(text)


def everything(_cell: int | None) -> bool:
    """Of all cells."""
    return True


def within(cells: Collection[int]) -> Callable[[int | None], bool]:
    """Of these cells. A guest without cells is like one that has the cell 0 alone."""
    return lambda cell: (cell or 0) in cells


def outside(cells: Collection[int]) -> Callable[[int | None], bool]:
    """Of all other cells."""
    return lambda cell: (cell or 0) not in cells


def mappings(
    snapshot: Snapshot,
    guest: str,
    fits: Callable[[Mapping], bool],
    of: Callable[[int | None], bool] = everything,
) -> Iterator[Mapping]:
    """Where each part of the memory is mapped, of the cells that are wanted.

    Parts of one size cannot be told apart: those mappings of that size come first that fit. Raises NotApplicable when
    the guest is shut off, was started by hand or has no such cell; CannotLook.
    """
    wanted = Counter(part.size for part in parts(domain_xml.live(snapshot, guest)) if of(part.cell))
    if not wanted:
        raise NotApplicable("the guest has no memory in such a NUMA cell")
    known = _known(snapshot, guest)
    for size, count in wanted.items():
        found = sorted((one for one in known if one.size == size), key=lambda one: not fits(one))
        if len(found) < count:
            raise CannotLook(f"/proc/PID/maps of {guest}", f"{len(found)} of {count} mappings of {size} bytes found")
        yield from found[:count]


def _known(snapshot: Snapshot, guest: str) -> tuple[Mapping, ...]:
    source = mapped(guest)
    done = snapshot.read(source)
    if done.returncode:
        why = done.stderr.decode("utf-8", "backslashreplace").strip()[:200]
        raise CannotLook(f"/proc/PID/numa_maps of {guest}", why or f"exit status {done.returncode}")
    return parse(done.stdout, qemu.pid(snapshot, guest))


_MAP = re.compile(r"([0-9a-f]{8,16})-([0-9a-f]{8,16}) rw.([sp]) [0-9a-f]+ \S+ \d+ *(.*)")
_PLACE = re.compile(
    r"([0-9a-f]{8,16}) (default|local|prefer|bind|(?:weighted )?interleave)(?: \(many\))?(?:=[a-z|]+)?"
    r"(?::([0-9,-]*))?((?: .*)?)",
    re.ASCII,
)
_PAGE = re.compile(r" kernelpagesize_kB=(\d{1,9})\b", re.ASCII)
_NODE = re.compile(r" N(\d{1,4})=\d+", re.ASCII)


@lru_cache(maxsize=64)
def parse(said: bytes, pid: int) -> tuple[Mapping, ...]:
    """The answer to `mapped`. Raises CannotLook.

    `7fae6ffff000-7fae7ffff000 rw-s 00000000 00:01 33153      /memfd:memory-backend-memfd (deleted)` and
    `7fae6ffff000 bind:0 file=/memfd:memory-backend-memfd\\040(deleted) dirty=37795 N0=37803 kernelpagesize_kB=4`
    -> Mapping(268435456, True, "/memfd:memory-backend-memfd (deleted)", "bind", {0}, None, {0}, …)
    """
    lines = said.decode("utf-8", "backslashreplace").splitlines()
    places = {match[1]: match for line in lines if (match := _PLACE.fullmatch(line))}
    found = [match for line in lines if (match := _MAP.fullmatch(line))]
    if len(found) + len(places) != len(lines):
        raise CannotLook(f"/proc/{pid}/numa_maps", f"is not understood: {lines[:1]}")
    return tuple(_mapping(one, places.get(one[1]), pid) for one in found)


def _mapping(found: re.Match[str], place: re.Match[str] | None, pid: int) -> Mapping:
    source = f"/proc/{pid}/numa_maps"
    if place is None:
        raise CannotLook(source, f"says nothing of {found[1]}")
    return Mapping(
        size=int(found[2], 16) - int(found[1], 16),
        shared=found[3] == "s",
        file=found[4],
        policy=place[2],
        policy_nodes=parse_cpuset(place[3]) if place[3] else frozenset(),
        page=_huge(place[4], source),
        nodes=frozenset(map(int, _NODE.findall(place[4]))),
        line=place[0],
        source=source,
    )


def _huge(said: str, source: str) -> int | None:
    """` huge dirty=128 N0=128 kernelpagesize_kB=2048` -> 2097152; None without ` huge`."""
    if " huge" not in re.sub(r" file=\S*", "", said):
        return None
    if not (match := _PAGE.search(said)):
        raise CannotLook(source, "does not tell the size of huge pages before there is one")
    return int(match[1]) * 1024
