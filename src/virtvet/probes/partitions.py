"""Partitions of the host: in which controllers they exist, and what they allow all their guests together."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping

from virtvet.check import Reading
from virtvet.errors import NotApplicable
from virtvet.probes import blkio, cgroup, demands, pins, slices, tmpfiles
from virtvet.probes.cgroup import Amount, Group, Hierarchy, Setting
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import Source
from virtvet.units import Share, parse_size

SOURCES = (*cgroup.SOURCES, cgroup.MEMORY_INFO)
Told = Callable[[Snapshot, str, str], Reading]
"""`slices.config` or `slices.live`."""
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


def unit(partition: str) -> str:
    """The slice that is this partition under systemd: "/machine/prod" -> "machine-prod.slice"."""
    return directories(partition)[1].rpartition("/")[2]


def kept(partition_paths: Collection[str]) -> Iterator[Source]:
    """What says which limits these partitions have at every boot, and what systemd holds of them now."""
    if partition_paths:
        yield from (*SOURCES, *tmpfiles.SOURCES, pins.ONLINE, demands.NODES, *slices.files(map(unit, partition_paths)))
        yield from (slices.shown(unit(path)) for path in partition_paths)


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


def controllers(snapshot: Snapshot, partition: str, wanted: tuple[str, ...]) -> Iterator[Reading]:
    """Those of the wanted controllers in which the partition exists; and that no tree without controllers lacks it."""
    groups = {name: find(snapshot, partition, name) for name in wanted}
    found = {name: group for name, group in groups.items() if group and cgroup.controls(snapshot, group, name)}
    places = {name: str(groups[name]) if name in found else _missing(snapshot, groups[name], name) for name in wanted}
    lines = [
        f"{', '.join(name for name in wanted if places[name] == place)}: {place}"
        for place in dict.fromkeys(places.values())
    ]
    yield Reading(frozenset(found), f"{cgroup.FILES.root}/*{partition}", "\n".join(lines))
    if why := trap(snapshot, partition):
        yield Reading(frozenset(), str(cgroup.MOUNTS), why)


def _missing(snapshot: Snapshot, group: Group | None, controller: str) -> str:
    if group:
        return f"missing in cgroup.controllers of {group}"
    hierarchy = cgroup.hierarchies(snapshot).get(controller)
    return f"missing in {hierarchy.mountpoint}" if hierarchy else "missing: this host has no such controller"


def trap(snapshot: Snapshot, partition: str) -> str:
    """Why libvirt starts no guest in a partition that a tree without controllers lacks (`cgroup.hybrid`); else ""."""
    empty = cgroup.hybrid(snapshot)
    return _HYBRID.format(empty.mountpoint, partition) if empty and not _within(snapshot, empty, partition) else ""


_HYBRID = (
    "cgroup v2 is mounted at {0} beside cgroup v1, without controllers of its own and without {1}: libvirt looks for "
    "its groups there, too, and starts no guest. umount {0}, or boot with systemd.unified_cgroup_hierarchy=1"
)


def _within(snapshot: Snapshot, hierarchy: Hierarchy, partition: str) -> bool:
    return any(cgroup.exists(snapshot, Group(hierarchy, path)) for path in directories(partition))


CPUSET: Mapping[str, Setting] = {"cpus": cgroup.CPUS, "nodes": cgroup.NODES}
_ONLINE: Mapping[str, Callable[[Snapshot], frozenset[int]]] = {"cpus": pins.online, "nodes": demands.online_nodes}


def cpuset(snapshot: Snapshot, partition: str, what: str, _stated: bool = False) -> Reading:
    """The "cpus" or the NUMA "nodes" its guests may use at most. An empty set: nothing can start in it (cgroup v1)."""
    return cgroup.value(snapshot, existing(snapshot, partition, "cpuset"), CPUSET[what])


def cpuset_config(snapshot: Snapshot, partition: str, what: str, stated: bool) -> Reading:
    """The same after a boot, by the slice's unit files: `AllowedCPUs=0-1`; all that are online where they do not
    say. Raises NotApplicable where nothing is stated that must be kept."""
    return _cpuset(snapshot, partition, what, stated, slices.config)


def cpuset_live(snapshot: Snapshot, partition: str, what: str, stated: bool) -> Reading:
    """As `cpuset_config`, by systemd's answer."""
    existing(snapshot, partition, "cpuset")
    return _cpuset(snapshot, partition, what, stated, slices.live)


def _cpuset(snapshot: Snapshot, partition: str, what: str, stated: bool, told: Told) -> Reading:
    if not stated:
        raise NotApplicable("the profile does not say which ones")
    seen = told(snapshot, _slice(snapshot, partition, CPUSET[what]), what)
    return seen if seen.value else Reading(_ONLINE[what](snapshot), seen.source, f"{seen.excerpt}: all there are")


def limit(snapshot: Snapshot, partition: str, name: str, wanted: Amount | Share) -> tuple[Reading, ...]:
    """What the partition was told and, where a group above it has less, that too. Bytes, µs, or a plain number."""
    setting = LIMITS[name]
    group = existing(snapshot, partition, setting.controller)
    if name == "io_weight" and isinstance(wanted, int):
        return cgroup.io_weights(snapshot, group, wanted)
    own = cgroup.value(snapshot, group, setting)
    if setting.controller == "memory":
        own = cgroup.as_wanted(snapshot, wanted, own)
    return own, *(cgroup.tighter_above(snapshot, group, _NESTED[name]) if name in _NESTED else ())


def limit_config(snapshot: Snapshot, partition: str, name: str, wanted: Amount | Share) -> Reading:
    """What a boot gives the partition, by the unit files of its slice, or by tmpfiles.d to one that was made by hand,
    in the same units as `limit`."""
    if (seen := _written(snapshot, partition, LIMITS[name])) is not None:
        return cgroup.as_wanted(snapshot, wanted, seen) if name in IN_BYTES else seen
    return _limit(snapshot, partition, name, wanted, slices.config)


def limit_live(snapshot: Snapshot, partition: str, name: str, wanted: Amount | Share) -> Reading:
    """What systemd says it gave the partition, as `limit_config`."""
    existing(snapshot, partition, LIMITS[name].controller)
    return _limit(snapshot, partition, name, wanted, slices.live)


def _limit(snapshot: Snapshot, partition: str, name: str, wanted: Amount | Share, told: Told) -> Reading:
    seen = told(snapshot, _slice(snapshot, partition, LIMITS[name]), name)
    if isinstance(seen.value, Share):
        size = seen.value.of(cgroup.memory_total(snapshot))
        seen = Reading(cgroup.whole_pages(size, cgroup.page_size(snapshot)), seen.source, seen.excerpt)
    in_bytes = isinstance(seen.value, int) and name in IN_BYTES
    return cgroup.as_wanted(snapshot, wanted, seen) if in_bytes else seen


def _written(snapshot: Snapshot, partition: str, setting: Setting) -> Reading | None:
    """What tmpfiles.d writes at boot into a partition that systemd does not make; None where it writes nothing."""
    group = find(snapshot, partition, setting.controller)
    if group is None or group.path.endswith(".slice") or snapshot.maybe_stat(slices.RUNS) is None:
        return None
    path = cgroup.file(snapshot, group, setting)
    told = tmpfiles.written(snapshot, path) if path else None
    return told and cgroup.understood(group, setting, _in_bytes(told.value), told.source)


def _in_bytes(text: str) -> str:
    """`2G` as the kernel takes it (memparse, lib/cmdline.c): `2147483648`."""
    return str(parse_size(text)) if re.fullmatch(r"\d{1,15}[KMGTkmgt]", text, re.ASCII) else text


def throttle(snapshot: Snapshot, partition: str, what: str, device: str) -> tuple[Reading, ...]:
    """How much of a device all its guests together may use ("read_bytes" and its like), groups above counted."""
    group = existing(snapshot, partition, "blkio")
    return cgroup.throttled(snapshot, group, what, blkio.number_of(snapshot, device))


def throttle_config(snapshot: Snapshot, partition: str, what: str, device: str) -> Reading:
    """The same after a boot, by the slice's unit files, where they name the device by the same path."""
    return _throttle(snapshot, partition, what, device, slices.config)


def throttle_live(snapshot: Snapshot, partition: str, what: str, device: str) -> Reading:
    """As `throttle_config`, by systemd's answer."""
    existing(snapshot, partition, "blkio")
    return _throttle(snapshot, partition, what, device, slices.live)


def _throttle(snapshot: Snapshot, partition: str, what: str, device: str, told: Told) -> Reading:
    seen = told(snapshot, _slice(snapshot, partition, cgroup.THROTTLES[what]), what)
    value = seen.value if seen.value == slices.MASKED else seen.value.get(device, cgroup.UNLIMITED)
    return Reading(value, seen.source, seen.excerpt)


def _slice(snapshot: Snapshot, partition: str, setting: Setting) -> str:
    """The slice that is the partition. Raises NotApplicable where systemd does not make it, or converts the setting."""
    if snapshot.maybe_stat(slices.RUNS) is None:
        raise NotApplicable("no systemd on this host: nothing but its owner's own scripts makes partitions at boot")
    group = find(snapshot, partition, setting.controller)
    if group and not group.path.endswith(".slice"):
        raise NotApplicable("the partition was made by hand: neither systemd nor tmpfiles.d keeps it")
    if not cgroup.as_told(snapshot, setting):
        raise NotApplicable("on cgroup v1 systemd does not write this number as it is told")
    return unit(partition)


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
