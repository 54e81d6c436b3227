"""What all running guests of a host, or of a partition, ask for together: vCPUs and memory against what there is.

Which guests count is `neighbours`' answer: all of them. `partition` is a partition's path, or "" for the whole host.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import cgroup, memory_size, neighbours, partitions, pins, placement, qemu, threads, vcpus
from virtvet.probes.threads import Thread
from virtvet.snapshot.model import Snapshot

SOURCES = (*neighbours.SOURCES, *partitions.SOURCES)
NAMED = 8
"""So many guests are named, those that ask for the most."""


def told_vcpus(snapshot: Snapshot, partition: str) -> Reading:
    """vCPUs that run now, for each CPU: seven on two CPUs -> 3.5. `<vcpu current='3'>4</vcpu>` counts 3."""
    counted = {name: _current(domain, name) for name, domain in _told_inside(snapshot, partition).items()}
    return _share(counted, len(_cpus(snapshot, partition)), neighbours.LIVE, str)


def kept_vcpus(snapshot: Snapshot, partition: str) -> Reading:
    """As `told_vcpus`, of the vCPU threads there are; without any (single-threaded TCG), of QEMU's -smp."""
    inside = _at_work_inside(snapshot, "cpuset", partition)
    counted = {name: _vcpu_threads(snapshot, name, process) for name, process in inside.items()}
    return _share(counted, len(_cpus(snapshot, partition)), neighbours.ACTUAL, str)


def told_memory(snapshot: Snapshot, partition: str) -> Reading:
    """Memory that guests were given, balloons not counted, in percent of what there is. `<memory>` has DIMMs in it."""
    counted = {name: _memory(domain, name) for name, domain in _told_inside(snapshot, partition).items()}
    return _share(counted, _room(snapshot, partition), neighbours.LIVE, _mib, 100)


def kept_memory(snapshot: Snapshot, partition: str) -> list[Reading]:
    """As `told_memory`: what each QEMU was started with (-m and DIMMs), and what its process holds now (VmRSS)."""
    inside = _at_work_inside(snapshot, "memory", partition)
    started = {name: _started_with(_arguments(snapshot, process)) for name, process in inside.items()}
    held = {name: threads.resident(snapshot, process).value for name, process in inside.items()}
    room = _room(snapshot, partition)
    return [
        _share(started, room, "/proc/PID/cmdline of every QEMU process, -m and DIMMs", _mib, 100),
        _share(held, room, f"{neighbours.ACTUAL}, VmRSS", _mib, 100),
    ]


def _share(counted: Mapping[str, int], room: int, source: str, show: Callable[[int], str], whole: int = 1) -> Reading:
    """Rounded up to hundredths, so that nothing above a limit looks like the limit. The source names the guests."""
    lines = [f"{name} {show(counted[name])}" for name in sorted(counted, key=lambda name: (-counted[name], name))]
    largest = [*lines[:NAMED], *(["…"] if len(lines) > NAMED else [])]
    said = f"{source}: {show(sum(counted.values()))} of {show(room)}: {', '.join(largest) or 'no guest'}"
    return Reading(-(-sum(counted.values()) * whole * 100 // room) / 100, said, "\n".join(lines))


def _mib(size: int) -> str:
    return f"{size >> 20} MiB"


def _told_inside(snapshot: Snapshot, partition: str) -> dict[str, etree._Element]:
    every = neighbours.running(snapshot)
    return {name: one for name, one in every.items() if f"{neighbours.partition_of(one)}/".startswith(f"{partition}/")}


def _at_work_inside(snapshot: Snapshot, controller: str, partition: str) -> dict[str, int]:
    every = neighbours.at_work(snapshot)
    return {name: process for name, process in every.items() if _inside(snapshot, process, controller, partition)}


def _inside(snapshot: Snapshot, process: int, controller: str, partition: str) -> bool:
    main = Thread(process, process, "", threads.EMULATOR)
    return not partition or placement.within(cgroup.group_of(snapshot, main, controller), partition)


def _cpus(snapshot: Snapshot, partition: str) -> frozenset[int]:
    there = pins.online(snapshot)
    found = there & partitions.cpuset(snapshot, partition, "cpus").value if partition else there
    if not found:
        raise NotApplicable(f"{partition} has no CPUs (PART-CPUSET-1)")
    return found


def _room(snapshot: Snapshot, partition: str) -> int:
    """Bytes: of the host, or those the partition may use."""
    total = cgroup.memory_total(snapshot)
    return min(total, int(partitions.room(snapshot, partition).value)) if partition else total


def _current(domain: etree._Element, name: str) -> int:
    return int(vcpus.told(domain, "current", f"virsh dumpxml {name}").value)


def _vcpu_threads(snapshot: Snapshot, name: str, process: int) -> int:
    """Where no thread is known to be a vCPU: `-smp 4,maxcpus=8`, `-smp cpus=4` and `-smp sockets=2,cores=2` count 4."""
    if count := sum(one.role.startswith("vcpu") for one in neighbours.threads_of(snapshot, name, process)):
        return count
    words = qemu.keywords(_arguments(snapshot, process).option("smp") or "1")
    head = next((key for key, value in words.items() if not value), None)
    product = [words[key] for key in ("sockets", "dies", "cores", "threads") if key in words]
    stated = [one for one in (words.get("cpus"), head) if one]
    return math.prod(_number(one, f"/proc/{process}/cmdline -smp") for one in stated[:1] or product)


def _memory(domain: etree._Element, name: str) -> int:
    return int(memory_size.told(domain, "memory", f"virsh dumpxml {name}").value)


def _arguments(snapshot: Snapshot, process: int) -> qemu.Process:
    try:
        return qemu.processes(snapshot)[process]
    except KeyError:
        raise CannotLook(f"/proc/{process}/cmdline", "there is no QEMU process of this id that we may read") from None


def _started_with(process: qemu.Process) -> int:
    """`-m size=262144k,slots=4,maxmem=1048576k` and the backends of DIMMs: `{"qom-type":"memory-backend-ram",
    "id":"memdimm0","size":134217728}`. A plain number of -m is MiB, and without -m QEMU gives 128 MiB."""
    dimms = {str(part.get("memdev")) for part in process.parts() if part.get("driver") in ("pc-dimm", "nvdimm")}
    sizes = [part.get("size", "") for part in process.parts() if part.get("id") in dimms and "memdev" not in part]
    return memory_size.base(process) + sum(memory_size.qemu_size(size, process.source) for size in sizes)


def _number(text: str, source: str) -> int:
    if not re.fullmatch(r"\d{1,5}", text, re.ASCII):
        raise CannotLook(source, f"{text[:40]!r} is no number of vCPUs")
    return int(text)
