"""Memory that is plugged: how much a guest can take, its DIMMs and NUMA cells, and whether all of it is online.

QEMU's arguments tell its limits and its cells, which never change; what is plugged its monitor tells. Inside the guest
the kernel's memory blocks tell: https://docs.kernel.org/admin-guide/mm/memory-hotplug.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook
from virtvet.probes import domain_xml, hotplug_rules, memory_size, qemu
from virtvet.probes.qemu import Process
from virtvet.profile.memory_size import MIB
from virtvet.snapshot.model import Files, Snapshot, text_of
from virtvet.snapshot.sources import File, Glob, HostSource
from virtvet.target import GuestTarget
from virtvet.units import parse_cpuset

SYSTEM = "/sys/devices/system"
BLOCKS = Glob(f"{SYSTEM}/memory/memory*/state")
NODE_BLOCKS = Glob(f"{SYSTEM}/node/node*/memory*/state")
"""The same blocks below their nodes."""
BLOCK_SIZE = File(f"{SYSTEM}/memory/block_size_bytes")
AUTO_ONLINE = File(f"{SYSTEM}/memory/auto_online_blocks")
ONLINE_CPUS = File(f"{SYSTEM}/cpu/online")
NODE_CPUS = Glob(f"{SYSTEM}/node/node*/cpulist")
NODE_MEMORY = Glob(f"{SYSTEM}/node/node*/meminfo")

NEW = hotplug_rules.Event("memory", "memory99", "state", "offline")
ONLINE = frozenset({"online", "online_movable", "online_kernel", "$env{.state}", "%E{.state}"})
"""What brings a block online; Red Hat's rule writes what it has put in ENV{.state} before: one of the first two."""


def guest_sources(guest: GuestTarget) -> Iterable[HostSource]:
    """What is read inside a guest with DIMMs, cells, or memory that must be online."""
    wants = guest.wants.memory.hotplug
    if wants and wants.dimms is not None:
        yield from (NODE_BLOCKS, BLOCK_SIZE)
    if wants and wants.cells:
        yield from (ONLINE_CPUS, NODE_CPUS, NODE_MEMORY)
    if wants and wants.online:
        yield from (BLOCKS, AUTO_ONLINE, *hotplug_rules.SOURCES)


# --- limits


def limit_config(snapshot: Snapshot, guest: str, key: str) -> Reading:
    """`maximum` (bytes) or `slots` of the stored XML's `<maxMemory slots='4' unit='KiB'>1048576</maxMemory>`; None
    where there is none."""
    return _limit(domain_xml.config(snapshot, guest), key, f"virsh dumpxml --inactive {guest}")


def limit_live(snapshot: Snapshot, guest: str, key: str) -> Reading:
    """As `limit_config`, of the running domain."""
    return _limit(domain_xml.live(snapshot, guest), key, f"virsh dumpxml {guest}")


def _limit(domain: etree._Element, key: str, source: str) -> Reading:
    if (found := domain.find("maxMemory")) is None:
        return Reading(None, source, "no <maxMemory>")
    value = domain_xml.size(found, source) if key == "maximum" else _whole(found.get("slots", ""), source)
    return Reading(value, source, domain_xml.shown(found))


def limit_actual(snapshot: Snapshot, guest: str, key: str) -> Reading:
    """The same of QEMU's arguments: `-m size=262144k,slots=4,maxmem=1048576k`."""
    process = qemu.of_guest(snapshot, guest)
    written = memory_size.started(process).get("maxmem" if key == "maximum" else key)
    read = memory_size.qemu_size if key == "maximum" else _whole
    value = None if written is None else read(written, process.source)
    return Reading(value, process.source, f"-m {process.option('m')}"[:500])


def _whole(written: str, source: str) -> int:
    if not re.fullmatch(r"\d{1,9}", written, re.ASCII):
        raise CannotLook(source, f"no number: {written[:40]!r}")
    return int(written)


# --- DIMMs


def dimms_config(snapshot: Snapshot, guest: str) -> Reading:
    """All DIMMs of the stored XML, sorted: `("128 MiB in cell 0",)`."""
    source = f"virsh dumpxml --inactive {guest}"
    return _listed(_dimms(domain_xml.config(snapshot, guest), source), source)


def dimms_live(snapshot: Snapshot, guest: str) -> Reading:
    """As `dimms_config`, of the running domain."""
    source = f"virsh dumpxml {guest}"
    return _listed(_dimms(domain_xml.live(snapshot, guest), source), source)


def dimms_actual(snapshot: Snapshot, guest: str) -> Reading:
    """The DIMMs QEMU has now: `[{"type":"dimm","data":{"size":134217728,"node":0,"slot":0,…}}]`."""
    process = qemu.of_guest(snapshot, guest)
    plugged = memory_size.devices(snapshot, guest, process)
    found = [Dimm(one.size, one.node) for one in plugged if one.kind == "dimm"]
    return _listed(found, memory_size.DEVICES if plugged else process.source)


def dimms_inside(snapshot: Snapshot, guest: str) -> Reading:
    """The DIMMs of the running domain whose every memory block the guest has in their node, online or not.

    `<address type='dimm' slot='0' base='0x100000000'/>` and 128 MiB, with blocks of `8000000` bytes (in base 16):
    …/node0/memory32
    """
    inside = snapshot.guest(guest)
    size = _block_size(inside)
    blocks = {(block.node, block.number) for block in _blocks(inside.read(NODE_BLOCKS))}
    told = _dimms(domain_xml.live(snapshot, guest), f"virsh dumpxml {guest}")
    return _listed([dimm for dimm in told if set(dimm.blocks(size)) <= blocks], str(NODE_BLOCKS))


@dataclass(frozen=True, slots=True)
class Dimm:
    """A memory module: bytes, the guest's node, and its address in the guest where that is known."""

    size: int
    node: int
    base: int = 0

    def blocks(self, size: int) -> Iterator[tuple[int, int]]:
        """(node, number) of each memory block that it fills; a part of a block is one that no guest has."""
        if self.base % size or self.size % size:
            yield self.node, -1
        yield from ((self.node, number) for number in range(self.base // size, (self.base + self.size) // size))


def shown(size: int, node: int) -> str:
    """How a DIMM is compared and shown: `128 MiB in cell 0`."""
    return f"{size // MIB} MiB in cell {node}" if size % MIB == 0 else f"{size} bytes in cell {node}"


def _listed(dimms: Iterable[Dimm], source: str) -> Reading:
    found = tuple(sorted(shown(dimm.size, dimm.node) for dimm in dimms))
    return Reading(found, source, ", ".join(found)[:500] or "no DIMM")


def _dimms(domain: etree._Element, source: str) -> list[Dimm]:
    """`<memory model='dimm'><target><size unit='KiB'>131072</size><node>0</node></target></memory>`"""
    return [_dimm(one, source) for one in domain.iterfind("devices/memory[@model='dimm']")]


def _dimm(element: etree._Element, source: str) -> Dimm:
    if (size := element.find("target/size")) is None:
        raise CannotLook(source, f"a DIMM without a size: {domain_xml.shown(element)}")
    address = element.find("address")
    base = "0x0" if address is None else address.get("base", "0x0")
    if not re.fullmatch(r"0x[0-9a-f]{1,16}", base):
        raise CannotLook(source, f"no address of a DIMM: {base[:40]!r}")
    node = _whole((element.findtext("target/node") or "0").strip(), source)
    return Dimm(domain_xml.size(size, source), node, int(base, 16))


@dataclass(frozen=True, slots=True)
class Block:
    """A memory block of the guest's kernel. `node` is -1 where it was not found below one."""

    path: str
    node: int
    number: int
    state: str


_BLOCK = re.compile(r".*/(?:node(\d{1,5})|memory)/memory(\d{1,12})/state", re.ASCII)


def _blocks(files: Files) -> list[Block]:
    matches = ((path, _BLOCK.fullmatch(path)) for path in files)
    return [
        Block(path, int(match[1] or -1), int(match[2]), text_of(path, files[path]).strip())
        for path, match in matches
        if match
    ]


def _block_size(inside: Snapshot) -> int:
    """`8000000` (in base 16) -> 134217728"""
    text = inside.read(BLOCK_SIZE).decode("ascii", "replace").strip()
    if not re.fullmatch(r"[0-9a-f]{5,12}", text):
        raise CannotLook(BLOCK_SIZE, f"holds no size: {text[:40]!r}")
    return int(text, 16)


# --- NUMA cells

Cpus = frozenset[int]
NOBODY: Cpus = frozenset()


def cell_config(snapshot: Snapshot, guest: str, number: int, key: str, _wanted: Cpus = NOBODY) -> Reading:
    """`cpus`, `memory` or `access` of a NUMA cell in the stored XML; None where there is no such cell.

    `<cell id='0' cpus='0-3' memory='262144' unit='KiB' memAccess='shared'/>` -> {0, 1, 2, 3}, 268435456, shared
    """
    return _cell_of(domain_xml.config(snapshot, guest), number, key, f"virsh dumpxml --inactive {guest}")


def cell_live(snapshot: Snapshot, guest: str, number: int, key: str, _wanted: Cpus = NOBODY) -> Reading:
    """As `cell_config`, of the running domain."""
    return _cell_of(domain_xml.live(snapshot, guest), number, key, f"virsh dumpxml {guest}")


def _cell_of(domain: etree._Element, number: int, key: str, source: str) -> Reading:
    cells = domain.findall("cpu/numa/cell")
    found = next((one for place, one in enumerate(cells) if one.get("id", str(place)) == str(number)), None)
    if found is None:
        return Reading(None, source, f"no cell {number}")
    return Reading(_told(domain, found, key, source), source, domain_xml.shown(found))


def _told(domain: etree._Element, cell: etree._Element, key: str, source: str) -> Any:
    match key:
        case "cpus":
            return _cpus(cell.get("cpus", ""), source)
        case "memory":
            return domain_xml.size(cell, source, "memory")
    for element, attribute in ((cell, "memAccess"), (domain.find("memoryBacking/access"), "mode")):
        if element is not None and (written := element.get(attribute)):
            return written
    return "private"


def _cpus(written: str, source: str) -> Cpus:
    """A cell, and a node, may have memory only."""
    try:
        return parse_cpuset(written) if written.strip() else NOBODY
    except ValueError as mistake:
        raise CannotLook(source, str(mistake)) from None


def cell_actual(snapshot: Snapshot, guest: str, number: int, key: str, _wanted: Cpus = NOBODY) -> Reading:
    """The same of QEMU's arguments.

    `-numa node,nodeid=0,cpus=0-3,memdev=ram-node0` with
    `-object {"qom-type":"memory-backend-memfd","id":"ram-node0","share":true,"size":268435456}`
    """
    process = qemu.of_guest(snapshot, guest)
    if (written := _numa(process).get(number)) is None:
        return Reading(None, process.source, f"no -numa node,nodeid={number}")
    words = qemu.keywords(written)
    backend = next((one for one in process.parts() if "memdev" in words and one.get("id") == words["memdev"]), {})
    evidence = f"-numa {written} -object {backend}"[:500]
    return Reading(_had(process, written, backend, key), process.source, evidence)


def _had(process: Process, written: str, backend: Mapping[str, Any], key: str) -> Any:
    match key:
        case "cpus":
            # the only key that may stand several times
            return _cpus(",".join(re.findall(r"(?<=,cpus=)[^,]*", written)), process.source)
        case "memory":
            mem = qemu.keywords(written).get("mem", "")
            size = backend.get("size", f"{mem}M" if mem.isdigit() else mem)
            return memory_size.qemu_size(size, process.source)
    return "shared" if backend.get("share") in (True, "on", "yes", "true") else "private"


def _numa(process: Process) -> Mapping[int, str]:
    """`-numa node,…` by number. Raises CannotLook for `-numa cpu,…`, which names vCPUs by their place."""
    values = process.options("numa")
    if odd := [one for one in values if one.startswith(("{", "cpu,"))]:
        raise CannotLook(process.source, f"-numa {odd[0][:100]}: not understood")
    nodes = [one for one in values if one.startswith("node")]
    return {
        _whole(qemu.keywords(one).get("nodeid", str(place)), process.source): one for place, one in enumerate(nodes)
    }


def cell_inside(snapshot: Snapshot, guest: str, number: int, key: str, wanted: Cpus = NOBODY) -> Reading:
    """`cpus` or `memory` (bytes of MemTotal) of a node inside the guest; None where it has no such node.

    Only CPUs that are online stand in a node: those wanted that are offline are counted as being where they must.
    `0-2` in …/node0/cpulist, with vCPU 3 wanted and offline -> {0, 1, 2, 3}
    """
    inside = snapshot.guest(guest)
    source = NODE_CPUS if key == "cpus" else NODE_MEMORY
    path = source.pattern.replace("node*", f"node{number}")
    if (found := inside.read(source).get(path)) is None:
        return Reading(None, path, f"no node {number}")
    text = text_of(path, found)
    value = _node_cpus(inside, path, text, wanted) if key == "cpus" else _node_memory(path, text)
    return Reading(value, path, text.splitlines()[0][:200] if text else "")


def _node_cpus(inside: Snapshot, path: str, text: str, wanted: Cpus) -> Cpus:
    online = _cpus(inside.read(ONLINE_CPUS).decode("ascii", "replace").strip(), str(ONLINE_CPUS))
    return _cpus(text.strip(), path) | (wanted - online)


def _node_memory(path: str, text: str) -> int:
    """`Node 0 MemTotal:         242000 kB` -> 247808000"""
    match = re.search(r"^Node \d+ MemTotal:\s+(\d{1,15}) kB$", text, re.MULTILINE | re.ASCII)
    if match is None:
        raise CannotLook(path, "names no MemTotal")
    return int(match[1]) * 1024


# --- online


def offline(snapshot: Snapshot, guest: str) -> Reading:
    """The numbers of all memory blocks that are not online: `offline` in …/memory33/state -> {33}."""
    found = blocks(snapshot, guest)
    asleep = [block for block in found if block.state != "online"]
    evidence = ", ".join(f"memory{one.number}: {one.state}" for one in asleep) or f"{len(found)} blocks, all online"
    return Reading(frozenset(block.number for block in asleep), str(BLOCKS), evidence[:500])


def blocks(snapshot: Snapshot, guest: str) -> list[Block]:
    """All memory blocks of a guest. Raises CannotLook where its kernel shows none."""
    if not (found := _blocks(snapshot.guest(guest).read(BLOCKS))):
        raise CannotLook(BLOCKS, "the guest's kernel shows no memory blocks")
    return sorted(found, key=lambda block: block.number)


def onlining(snapshot: Snapshot, guest: str) -> Reading:
    """Whether plugged memory comes online by itself: by the kernel, or by a rule of udev or mdev.

    `online_movable` in auto_online_blocks (which `memhp_default_state=online_movable` on the kernel's command line
    sets) -> automatic; `offline`, and no rule that surely writes to `state` -> by hand
    """
    inside = snapshot.guest(guest)
    policy = inside.read(AUTO_ONLINE).decode("ascii", "replace").strip()
    if policy.startswith("online"):
        return Reading(hotplug_rules.AUTOMATIC, str(AUTO_ONLINE), policy)
    found = hotplug_rules.comes_online(inside, NEW, ONLINE)
    return Reading(found.value, found.source, f"{policy} in {AUTO_ONLINE}; {found.excerpt}"[:500])
