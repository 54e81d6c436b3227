"""Partitions of the host: in which controllers they exist, and what they allow all their guests together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from virtvet.check import Reading
from virtvet.errors import NotApplicable
from virtvet.probes import cgroup
from virtvet.probes.cgroup import Amount, Group, Setting
from virtvet.snapshot.model import Snapshot
from virtvet.units import Share

SOURCES = (*cgroup.SOURCES, cgroup.MEMORY_INFO)
IN_BYTES = frozenset({"memory", "memory_soft", "swap"})
LIMITS: Mapping[str, Setting] = {
    "memory": cgroup.MEMORY,
    "memory_soft": cgroup.MEMORY_SOFT,
    "swap": cgroup.SWAP,
    "cpu_shares": cgroup.SHARES,
    "cpu_period": cgroup.PERIOD,
    "cpu_quota": cgroup.QUOTA,
    "pids": cgroup.PIDS,
    "io_weight": cgroup.IO_WEIGHT,
}
"""Settings by their keys in the profile."""
_TOP = ("machine", "system", "user")
"""Partitions that libvirt takes as they are at the top level (virCgroupSetPartitionSuffix)."""
_NESTED: Mapping[str, Callable[[Snapshot, Group], Reading]] = {
    "memory": cgroup.reader(cgroup.MEMORY),
    "swap": cgroup.reader(cgroup.SWAP),
    "cpu_quota": cgroup.cpus_worth,
    "pids": cgroup.reader(cgroup.PIDS),
}
"""What a group above may have less of. A quota is compared as the number of CPUs it is worth."""


def directories(partition: str) -> tuple[str, str]:
    """Where libvirt keeps a partition: made by hand, or by systemd.

    "/machine/prod" -> ("/machine/prod.partition", "/machine.slice/machine-prod.slice")
    (virCgroupSetPartitionSuffix in src/util/vircgroup.c; virSystemdMakeSliceName in src/util/virsystemd.c)
    """
    names = partition.strip("/").split("/")
    top, *below = names
    by_hand = [top if top in _TOP else _suffixed(top), *map(_suffixed, below)]
    escaped = [_escape(name) for name in names]
    slices = ["-".join(escaped[: depth + 1]) + ".slice" for depth in range(len(names))]
    return "/" + "/".join(by_hand), "/" + "/".join(slices)


def _suffixed(name: str) -> str:
    return name if "." in name else f"{name}.partition"


def _escape(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9:_.]", lambda match: f"\\x{ord(match[0]):02x}", name)


def controllers(snapshot: Snapshot, partition: str, wanted: tuple[str, ...]) -> Reading:
    """Those of the wanted controllers in which the partition exists."""
    groups = {name: find(snapshot, partition, name) for name in wanted}
    found = {name: group for name, group in groups.items() if group and cgroup.controls(snapshot, group, name)}
    lines = [f"{name}: {groups[name] or 'missing'}" for name in wanted]
    return Reading(frozenset(found), f"{cgroup.FILES.root}/*{partition}", "\n".join(lines))


def cpuset(snapshot: Snapshot, partition: str, what: str) -> Reading:
    """The "cpus" or the NUMA "nodes" its guests may use at most. An empty set: nothing can start in it (cgroup v1)."""
    setting = cgroup.CPUS if what == "cpus" else cgroup.NODES
    return cgroup.value(snapshot, existing(snapshot, partition, "cpuset"), setting)


def limit(snapshot: Snapshot, partition: str, name: str, wanted: Amount | Share) -> tuple[Reading, ...]:
    """What the partition was told and, where a group above it has less, that too. Bytes, µs, or a plain number."""
    setting = LIMITS[name]
    group = existing(snapshot, partition, setting.controller)
    own = cgroup.value(snapshot, group, setting)
    if setting.controller == "memory":
        own = cgroup.as_wanted(snapshot, wanted, own)
    return own, *(cgroup.tighter_above(snapshot, group, _NESTED[name]) if name in _NESTED else ())


def room(snapshot: Snapshot, partition: str) -> Reading:
    """Bytes of memory its guests may use together, groups above counted; a very large number without a limit."""
    return cgroup.room(snapshot, existing(snapshot, partition, "memory"))


def find(snapshot: Snapshot, partition: str, controller: str) -> Group | None:
    """The partition in one controller; None when it, or the controller, is not there."""
    hierarchy = cgroup.hierarchies(snapshot).get(controller)
    candidates = [Group(hierarchy, path) for path in directories(partition)] if hierarchy else []
    return next((group for group in candidates if cgroup.exists(snapshot, group)), None)


def existing(snapshot: Snapshot, partition: str, controller: str) -> Group:
    """As `find`; raises NotApplicable where there is none: PART-EXIST-1 reports that, once."""
    if (group := find(snapshot, partition, controller)) is None:
        raise NotApplicable(f"{partition} does not exist in {controller} (PART-EXIST-1)")
    return group
