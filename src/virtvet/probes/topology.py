"""How a guest's vCPUs are arranged in sockets, dies, cores and threads: as written, as started, and as it sees them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from math import prod

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.expect import ranges
from virtvet.probes import domain_xml, qemu
from virtvet.snapshot.model import Files, Snapshot, text_of
from virtvet.snapshot.sources import File, HostSource, Source, Tree
from virtvet.target import GuestTarget
from virtvet.units import parse_cpuset

PARTS = ("sockets", "dies", "cores", "threads")
SOURCES: tuple[Source, ...] = (*domain_xml.SOURCES, *qemu.SOURCES)
INSIDE = Tree(
    "/sys/devices/system/cpu", ("physical_package_id", "die_id", "thread_siblings_list"), within="*/cpu*/topology"
)
"""Documentation/ABI/stable/sysfs-devices-system-cpu: only CPUs that are online have these. die_id: since Linux 5.2."""
POSSIBLE = File("/sys/devices/system/cpu/possible")
"""`0-3`: CPUs that are online, or can be plugged in or brought online."""

_CPU = re.compile(r"/sys/devices/system/cpu/cpu(\d{1,5})/topology", re.ASCII)
_NUMBER = re.compile(r"[1-9]\d{0,4}", re.ASCII)


def guest_sources(guest: GuestTarget) -> Iterable[HostSource]:
    """What is read inside a guest whose topology is stated."""
    return (INSIDE, POSSIBLE) if guest.wants.cpu.topology else ()


def config(snapshot: Snapshot, guest: str, part: str, _wanted: int) -> Reading:
    """`sockets`, `dies`, `cores` or `threads` of the stored XML.

    `<topology sockets='1' dies='1' cores='2' threads='2'/>`: "cores" -> 2. Without it libvirt gives each vCPU a socket
    of its own (qemuBuildSmpCommandLine, src/qemu/qemu_command.c). Older versions write no dies: 1.
    """
    return _written(domain_xml.config(snapshot, guest), part, f"virsh dumpxml --inactive {guest}")


def live(snapshot: Snapshot, guest: str, part: str, _wanted: int) -> Reading:
    """As `config`, of the running domain."""
    return _written(domain_xml.live(snapshot, guest), part, f"virsh dumpxml {guest}")


def _written(domain: etree._Element, part: str, source: str) -> Reading:
    found = domain.find("cpu/topology")
    if found is None:
        maximum = str(domain.findtext("vcpu", "1")).strip()
        told = {**dict.fromkeys(PARTS, "1"), "sockets": maximum}
        return Reading(_number(told[part], source), source, f"no <topology>, <vcpu>{maximum}</vcpu>"[:500])
    told = {name: str(found.get(name, "1")) for name in PARTS}
    return Reading(_number(told[part], source), source, " ".join(f"{name}='{told[name]}'" for name in PARTS)[:500])


def _number(text: str, source: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise CannotLook(source, f"{text[:40]!r} is no number of CPUs")
    return int(text)


def started(snapshot: Snapshot, guest: str, part: str, _wanted: int) -> Reading:
    """The same out of QEMU's -smp argument, which never changes.

    `2,maxcpus=4,sockets=1,dies=1,cores=2,threads=2`: "cores" -> 2
    """
    process = qemu.of_guest(snapshot, guest)
    argument = process.option("smp") or "1"
    return Reading(arranged(argument, process.source)[part], process.source, f"-smp {argument}"[:500])


def arranged(argument: str, source: str) -> Mapping[str, int]:
    """All four numbers of an -smp argument; what is left out, as QEMU fills it in (hw/core/machine-smp.c).

    A guest started by hand with `4` or `4,cores=2` leaves both or one of sockets and cores to QEMU: one follows from
    the number of CPUs; which of both grows depends on the machine's version. Raises CannotLook then, and where a number
    should stand and does not.
    """
    written = qemu.keywords(argument)
    told = {"dies": 1} | {part: _number(written[part], source) for part in PARTS if part in written}
    missing = [part for part in PARTS if part not in told]
    if len(missing) > 1 and "threads" in missing:
        missing.remove("threads")
        told["threads"] = 1
    rest = (_cpus(written, source) or prod(told.values())) // prod(told.values())
    if len(missing) > 1 and rest > 1:
        raise CannotLook(source, f"-smp {argument[:100]} leaves sockets and cores to QEMU")
    return told | dict.fromkeys(missing, rest)


def _cpus(written: Mapping[str, str], source: str) -> int | None:
    """How many there can be: `maxcpus=4`, else `cpus=2` or its short form, the bare `2`; None if -smp has no number."""
    bare = next((key for key, value in written.items() if not value), None)
    count = written.get("maxcpus") or written.get("cpus") or bare
    return _number(count, source) if count else None


def seen(snapshot: Snapshot, guest: str, part: str, wanted: int) -> list[Reading]:
    """What the guest's kernel sees, by the CPUs that are online: one reading for each different number.

    cpu0 and cpu1 with `thread_siblings_list` 0-1, cpu2 with 2, all of `physical_package_id` 0: "cores" -> 2, "threads"
    -> 2 and, when no CPU is missing, 1. While CPUs can still come online a number is the largest seen, and judged
    when it reaches what is wanted: no CPU that comes takes any away. Raises NotApplicable while it is less.
    """
    inside = snapshot.guest(guest)
    places = _places(inside)
    if part == "dies" and not all(die for _package, die, *_rest in places.values()):
        raise NotApplicable("the guest's kernel is older than Linux 5.2 and tells no dies")
    numbers = _numbers(places.values(), part)
    missing = _possible(inside) - places.keys()
    if missing and max(numbers) < wanted:
        raise NotApplicable(f"the guest sees {max(numbers)} {part}, and CPU {ranges(missing)} is not online yet")
    excerpt = "; ".join(f"cpu{cpu}: {_shown(place)}" for cpu, place in sorted(places.items()))[:500]
    return [Reading(number, INSIDE.root, excerpt) for number in ({max(numbers)} if missing else numbers)]


Place = tuple[str, str, str, int]
"""Of a CPU: package, die, the CPUs of its core, and its own number."""


def _numbers(places: Iterable[Place], part: str) -> frozenset[int]:
    """How many of `part` each of the next larger has: cores by die, dies by socket."""
    depth = PARTS.index(part)
    ones = {place[: depth + 1] for place in places}
    return frozenset(Counter(one[:depth] for one in ones).values())


def _shown(place: Place) -> str:
    package, die, core, _cpu = place
    return f"package {package}, die {die or 'not told'}, threads {core}"


def _places(inside: Snapshot) -> Mapping[int, Place]:
    """Where each CPU that is online is. Raises CannotLook."""
    files = inside.read(INSIDE)
    found = {int(match[1]): match[0] for path in files if (match := _CPU.match(path))}
    if not found:
        raise CannotLook(INSIDE, "shows no CPU")
    return {cpu: _place(files, cpu, folder) for cpu, folder in found.items()}


def _place(files: Files, cpu: int, folder: str) -> Place:
    package, core = (_line(files, f"{folder}/{name}") for name in ("physical_package_id", "thread_siblings_list"))
    die = _line(files, f"{folder}/die_id") if f"{folder}/die_id" in files else ""
    return package, die, core, cpu


def _line(files: Files, path: str) -> str:
    if path not in files:
        raise CannotLook(path, "does not exist")
    return text_of(path, files[path]).strip()


def _possible(inside: Snapshot) -> frozenset[int]:
    text = inside.read(POSSIBLE).decode("ascii", "backslashreplace").strip()
    try:
        return parse_cpuset(text)
    except ValueError as mistake:
        raise CannotLook(POSSIBLE, str(mistake)) from None
