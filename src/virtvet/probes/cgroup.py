"""Control groups: where a thread's really are, and what their files say, whatever the version of cgroup.

No path of a running guest is ever computed: it is read from /proc/PID/task/TID/cgroup. Version 1 or 2 is decided for
each controller by itself (a v1 mount wins, as in virCgroupNew). Nothing outside this module knows which it was.
Sources: cgroups(7); Documentation/admin-guide/cgroup-v1/ and cgroup-v2.rst; libvirt src/util/vircgroup*.c.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Literal

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import threads
from virtvet.probes.threads import Thread
from virtvet.snapshot.model import Absent, Snapshot, text_of
from virtvet.snapshot.sources import Command, File, Tree
from virtvet.units import Share, parse_cpuset

Amount = int | Literal["unlimited"]
UNLIMITED: Literal["unlimited"] = "unlimited"
NO_LIMIT = (1 << 63) - (1 << 16)
"""Bytes. v1's "no limit" is LONG_MAX in whole pages of at most 64 KiB (mm/page_counter.c): 9223372036854771712."""

MOUNTS = File("/proc/self/mountinfo")
UNIFIED = (File("/sys/fs/cgroup/cgroup.controllers"), File("/sys/fs/cgroup/unified/cgroup.controllers"))
PAGE_SIZE = Command(("getconf", "PAGESIZE"))
MEMORY_INFO = File("/proc/meminfo")
_MARKS = ("notify_on_release", "cgroup.type")
"""A small file of every group but the root: v1, v2."""
_ALWAYS_V2 = ("cpuacct", "devices", "freezer")
"""Controllers v2 has without listing them."""


# --- what can be set, and in which file of which version


def _amount(text: str) -> Amount:
    """`-1`, `max` and v1's largest number are no limit; `536870912` -> 536870912."""
    if text == "max" or not 0 <= int(text) < NO_LIMIT:
        return "unlimited"
    return int(text)


def _first(text: str) -> Amount:
    """cpu.max: `50000 100000` -> 50000, `max 100000` -> unlimited."""
    return _amount(text.split(maxsplit=1)[0])


def _second(text: str) -> int:
    """cpu.max: `50000 100000` -> 100000."""
    return int(text.split()[1])


def _list(text: str) -> frozenset[int]:
    """`0-1,3` -> {0, 1, 3}; an empty file is an empty set: v1 lets no thread into such a group."""
    return parse_cpuset(text) if text else frozenset()


def _weight(text: str) -> int:
    """io.weight: `default 100` -> 100; blkio.bfq.weight: `100` -> 100. Lines of single devices follow."""
    return int(text.splitlines()[0].removeprefix("default "))


Device = tuple[int, int]
"""Major and minor number of a device of the host."""


def _by_device(text: str) -> Mapping[Device, int]:
    """`254:0 1073741824` a line -> {(254, 0): 1073741824}; blkio.bfq.weight_device has a line `default 100`, too."""
    rows = (line.split() for line in text.splitlines() if ":" in line)
    return {_device(name): int(number) for name, number in rows}


def _device(name: str) -> Device:
    major, minor = name.split(":")
    return int(major), int(minor)


def _io_max(key: str) -> Callable[[str], Mapping[Device, int]]:
    """io.max: `253:0 rbps=10485760 wbps=max riops=max wiops=500`; key "rbps" -> {(253, 0): 10485760}."""

    def read(text: str) -> Mapping[Device, int]:
        rows = [line.split() for line in text.splitlines()]
        told = {_device(name): dict(pair.split("=") for pair in pairs)[key] for name, *pairs in rows}
        return {device: int(number) for device, number in told.items() if number != "max"}

    return read


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing a group can be told: its controller, its file in v1 and in v2 (the first that exists) and their values.

    `absent`: the value when the group has no such file, because the kernel was built or started without it.
    """

    controller: str
    v1: tuple[str, ...]
    v2: tuple[str, ...]
    read_v1: Callable[[str], Any]
    read_v2: Callable[[str], Any]
    absent: Any = None


MEMORY = Setting("memory", ("memory.limit_in_bytes",), ("memory.max",), _amount, _amount, UNLIMITED)
"""Bytes."""
MEMORY_SOFT = Setting("memory", ("memory.soft_limit_in_bytes",), ("memory.high",), _amount, _amount, UNLIMITED)
"""Bytes."""
SWAP = Setting("memory", ("memory.memsw.limit_in_bytes",), ("memory.swap.max",), _amount, _amount, UNLIMITED)
"""Bytes: with memory (v1), without it (v2). The v1 file is absent from a kernel that counts no swap."""
SHARES = Setting("cpu", ("cpu.shares",), ("cpu.weight",), int, int)
QUOTA = Setting("cpu", ("cpu.cfs_quota_us",), ("cpu.max",), _amount, _first, UNLIMITED)
"""Microseconds a period."""
PERIOD = Setting("cpu", ("cpu.cfs_period_us",), ("cpu.max",), int, _second)
"""Microseconds."""
CPUS = Setting("cpuset", ("cpuset.cpus",), ("cpuset.cpus.effective",), _list, _list)
NODES = Setting("cpuset", ("cpuset.mems",), ("cpuset.mems.effective",), _list, _list)
PIDS = Setting("pids", ("pids.max",), ("pids.max",), _amount, _amount, UNLIMITED)
IO_WEIGHT = Setting("blkio", ("blkio.bfq.weight", "blkio.weight"), ("io.bfq.weight", "io.weight"), _weight, _weight)
BFQ_WEIGHT = Setting("blkio", ("blkio.bfq.weight",), ("io.bfq.weight",), _weight, _weight)
PLAIN_WEIGHT = Setting("blkio", ("blkio.weight",), ("io.weight",), _weight, _weight)
BFQ_DEVICE_WEIGHT = Setting("blkio", ("blkio.bfq.weight_device",), ("io.bfq.weight",), _by_device, _by_device, {})
PLAIN_DEVICE_WEIGHT = Setting("blkio", ("blkio.weight_device",), ("io.weight",), _by_device, _by_device, {})
"""By device; without a line of its own a device has the group's weight."""
THROTTLES: Mapping[str, Setting] = {
    f"{which}_{what}": Setting(
        "blkio",
        (f"blkio.throttle.{which}_{short}_device",),
        ("io.max",),
        _by_device,
        _io_max(f"{which[0]}{short}"),
        {},
    )
    for which in ("read", "write")
    for what, short in (("bytes", "bps"), ("iops", "iops"))
}
"""Bytes and requests a second by device, by their key in the profile; a device without a line has no limit."""
SETTINGS = (
    *(MEMORY, MEMORY_SOFT, SWAP, SHARES, QUOTA, PERIOD, CPUS, NODES, PIDS),
    *(IO_WEIGHT, BFQ_WEIGHT, PLAIN_WEIGHT, BFQ_DEVICE_WEIGHT, PLAIN_DEVICE_WEIGHT, *THROTTLES.values()),
)

FILES = Tree(
    "/sys/fs/cgroup",
    tuple(dict.fromkeys([*_MARKS, "cgroup.controllers", *(name for one in SETTINGS for name in (*one.v1, *one.v2))])),
    within="*machine*",
)
SOURCES = (MOUNTS, *UNIFIED, PAGE_SIZE, FILES)
"""For groups of the host. Those of guests need threads.SOURCES as well."""


# --- where the groups are


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted cgroup filesystem. `root`: the group that is mounted there, as /proc/PID/cgroup names it."""

    version: Literal[1, 2]
    mountpoint: str
    root: str

    @property
    def unified(self) -> bool:
        """Whether it is cgroup v2, which has no devices and no freezer that libvirt would take for controllers."""
        return self.version == 2

    def group(self, named: str) -> Group:
        """The group of this name in /proc/PID/cgroup; inside a container the mount may begin deeper than names do."""
        root = self.root.rstrip("/")
        return Group(self, "/" + named.removeprefix(f"{root}/").lstrip("/") if named != root else "/")


@dataclass(frozen=True, slots=True)
class Group:
    """A control group. `path` begins at the mount point; "/" is the root group."""

    hierarchy: Hierarchy
    path: str

    @property
    def directory(self) -> str:
        """Where its files are."""
        return f"{self.hierarchy.mountpoint}{self.path}".rstrip("/")

    def child(self, name: str) -> Group:
        """The group of that name in this one."""
        return Group(self.hierarchy, f"{self.path.rstrip('/')}/{name}")

    def upwards(self) -> Iterator[Group]:
        """This group and every one above it, without the root, which has no limits."""
        parts = self.path.strip("/").split("/") if self.path != "/" else []
        for length in range(len(parts), 0, -1):
            yield Group(self.hierarchy, "/" + "/".join(parts[:length]))

    def __str__(self) -> str:
        return self.directory


def hierarchies(snapshot: Snapshot) -> Mapping[str, Hierarchy]:
    """The mounted hierarchy of every controller, by the controller's v1 name. Raises CannotLook."""
    mounts = parse_mounts(snapshot.read(MOUNTS))
    unified = next((mount for options, mount in mounts if mount.version == 2), None)
    listed = snapshot.read(File(f"{unified.mountpoint}/cgroup.controllers")) if unified else b""
    found = {name: unified for name in parse_controllers(listed) if unified}
    for options, mount in reversed(mounts):
        found |= {name: mount for name in options if mount.version == 1}
    return found


@lru_cache(maxsize=64)
def parse_mounts(mountinfo: bytes) -> tuple[tuple[tuple[str, ...], Hierarchy], ...]:
    """Options and hierarchy of every cgroup mount; a later mount hides one at the same place.

    `35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory`
    -> (("rw", "memory"), Hierarchy(1, "/sys/fs/cgroup/memory", "/"))
    """
    visible: dict[str, tuple[tuple[str, ...], Hierarchy]] = {}
    for line in mountinfo.decode("utf-8", "surrogateescape").splitlines():
        mount, _, filesystem = line.partition(" - ")
        kind, _, options = filesystem.partition(" ")
        if kind in ("cgroup", "cgroup2") and mount.count(" ") >= 4:
            root, mountpoint = (_unescape(word) for word in mount.split(" ")[3:5])
            found = Hierarchy(1 if kind == "cgroup" else 2, mountpoint, root)
            visible[mountpoint] = (tuple(options.rpartition(" ")[2].split(",")), found)
    return tuple(visible.values())


def _unescape(word: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)


def parse_controllers(listed: bytes) -> frozenset[str]:
    """Controllers of a v2 group, by their v1 names. cgroup.controllers: `cpuset cpu io memory pids`; none if empty."""
    names = frozenset("blkio" if name == "io" else name for name in listed.decode("ascii", "replace").split())
    return names.union(_ALWAYS_V2) if names else names


@lru_cache(maxsize=4096)
def parse_membership(text: str) -> Mapping[str, str]:
    """Group names by controller; v2's by "".

    /proc/PID/cgroup: `3:cpu,cpuacct:/a` -> {"cpu": "/a", "cpuacct": "/a"}; `0::/b` -> {"": "/b"}
    """
    lines = (line.split(":", 2) for line in text.splitlines() if line.count(":") >= 2)
    return {controller: path for _number, controllers, path in lines for controller in controllers.split(",")}


def group_of(snapshot: Snapshot, thread: Thread, controller: str) -> Group:
    """The group a thread really is in. Raises CannotLook."""
    hierarchy = _hierarchy(snapshot, controller)
    names = parse_membership(threads.task(snapshot, thread.pid, thread.tid, "cgroup"))
    if (name := names.get(controller if hierarchy.version == 1 else "")) is None:
        raise CannotLook(f"/proc/{thread.pid}/task/{thread.tid}/cgroup", f"names no group of {controller}")
    return hierarchy.group(name)


def _hierarchy(snapshot: Snapshot, controller: str) -> Hierarchy:
    try:
        return hierarchies(snapshot)[controller]
    except KeyError:
        raise CannotLook(MOUNTS, f"the controller {controller} is not mounted") from None


def mounted(snapshot: Snapshot, controllers: Iterable[str]) -> tuple[str, ...]:
    """Those of the controllers that this host has; of those that share a hierarchy the first."""
    there = hierarchies(snapshot)
    found: dict[Hierarchy, str] = {}
    for name in controllers:
        if name in there:
            found.setdefault(there[name], name)
    return tuple(found.values())


def exists(snapshot: Snapshot, group: Group) -> bool:
    """Whether there is such a group. Raises CannotLook, also for a group that FILES is too narrow to show."""
    if not fnmatchcase(group.directory, FILES.within):
        raise CannotLook(group, f"only control groups like {FILES.within} are looked at")
    files = snapshot.read(FILES)
    return any(f"{group.directory}/{mark}" in files for mark in _MARKS)


def hybrid(snapshot: Snapshot) -> Hierarchy | None:
    """A cgroup v2 tree beside v1's controllers that has none of its own (systemd's "hybrid" layout), or None.

    libvirt looks into it all the same: without systemd nobody made the groups there that it looks for, and every guest
    fails with "Unable to read from '/sys/fs/cgroup/unified/machine/cgroup.controllers'" (virCgroupV2DetectControllers).
    """
    there = hierarchies(snapshot).values()
    mounts = [mount for _options, mount in parse_mounts(snapshot.read(MOUNTS))]
    unified = next((mount for mount in mounts if mount.version == 2), None)
    return unified if there and unified not in there else None


def made_by_hand(snapshot: Snapshot, hierarchy: Hierarchy) -> bool:
    """Whether a partition is a directory that its owner makes there: on v1, where systemd has no slice of guests."""
    return hierarchy.version == 1 and not exists(snapshot, Group(hierarchy, "/machine.slice"))


def as_told(snapshot: Snapshot, setting: Setting) -> bool:
    """Whether systemd writes a unit's number into this setting's file as it is: on v1 it converts weights, and does
    not touch cpusets, soft limits, and requests a second (src/core/cgroup.c, cgroup_context_apply)."""
    hierarchy = hierarchies(snapshot).get(setting.controller)
    as_it_is = (MEMORY, QUOTA, PERIOD, PIDS, THROTTLES["read_bytes"], THROTTLES["write_bytes"])
    return hierarchy is None or hierarchy.version == 2 or setting in as_it_is


def controls(snapshot: Snapshot, group: Group, controller: str) -> bool:
    """Whether there is such a group and the controller works in it (v2 must be told: cgroup.subtree_control)."""
    if group.hierarchy.version == 1 or not exists(snapshot, group):
        return exists(snapshot, group)
    path = f"{group.directory}/cgroup.controllers"
    listed = text_of(path, snapshot.read(FILES).get(path, Absent()))
    return controller in (*parse_controllers(listed.encode()), *_ALWAYS_V2)


# --- what their files say


def value(snapshot: Snapshot, group: Group, setting: Setting) -> Reading:
    """What a group was told. Raises CannotLook when there is no such group or its file makes no sense."""
    if not exists(snapshot, group):
        raise CannotLook(group, "there is no such control group")
    if (path := file(snapshot, group, setting)) is None:
        missing = f"{group.directory}/{_names(group, setting)[0]}"
        return Reading(setting.absent, missing, "no such file: this kernel has no such limit")
    return understood(group, setting, text_of(path, snapshot.read(FILES)[path]).strip(), path)


def _names(group: Group, setting: Setting) -> tuple[str, ...]:
    return setting.v1 if group.hierarchy.version == 1 else setting.v2


def told_in(group: Group, setting: Setting) -> str | None:
    """The file that takes what `value` reads of a setting; None where that is what takes effect (v2's CPUs, nodes)."""
    name = _names(group, setting)[0]
    return None if name.endswith(".effective") else f"{group}/{name}"


def file(snapshot: Snapshot, group: Group, setting: Setting) -> str | None:
    """The one of a setting's files that the group has."""
    paths = (f"{group.directory}/{name}" for name in _names(group, setting))
    return next((path for path in paths if path in snapshot.read(FILES)), None)


def understood(group: Group, setting: Setting, text: str, source: str) -> Reading:
    """What a text means that a setting's file in this group holds, or is told. Raises CannotLook."""
    try:
        return Reading((setting.read_v1 if group.hierarchy.version == 1 else setting.read_v2)(text), source, text)
    except (ValueError, IndexError):
        raise CannotLook(source, f"says {text[:80]!r}, which is not understood") from None


def cpus_worth(snapshot: Snapshot, group: Group) -> Reading:
    """CPU time as a number of CPUs: a quota of 150 ms every 100 ms -> 1.5; or "unlimited"."""
    quota, period = value(snapshot, group, QUOTA), value(snapshot, group, PERIOD)
    if quota.value == UNLIMITED:
        return quota
    if not period.value:
        raise CannotLook(period.source, "a period cannot be 0")
    return Reading(quota.value / period.value, quota.source, f"{quota.excerpt} / {period.excerpt}")


def reader(setting: Setting) -> Callable[[Snapshot, Group], Reading]:
    """`value` of one setting."""
    return lambda snapshot, group: value(snapshot, group, setting)


def tighter_above(snapshot: Snapshot, group: Group, read: Callable[[Snapshot, Group], Reading]) -> tuple[Reading, ...]:
    """The tightest limit above this group, if it is tighter than the group's own: the one that takes effect."""
    own, *above = (read(snapshot, one) for one in group.upwards())
    tightest = min(above, key=_size, default=own)
    return (tightest,) if _size(tightest) < _size(own) else ()


def _size(limit: Reading) -> float:
    return math.inf if limit.value == UNLIMITED else limit.value


def room(snapshot: Snapshot, group: Group) -> Reading:
    """Bytes of memory a group may use, groups above counted; NO_LIMIT without any."""
    own = value(snapshot, group, MEMORY)
    tightest = next(iter(tighter_above(snapshot, group, reader(MEMORY))), own)
    return Reading(min(_size(tightest), NO_LIMIT), tightest.source, tightest.excerpt)


def throttled(snapshot: Snapshot, group: Group, what: str, device: Device) -> tuple[Reading, ...]:
    """How much of a device a group may use and, where a group above it may less, that too.

    On v1 groups above do not count: throttling is flat there (cgroup-v1/blkio-controller.rst, "Hierarchical Cgroups").
    """

    def read(snapshot: Snapshot, group: Group) -> Reading:
        told = value(snapshot, group, THROTTLES[what])
        return Reading(told.value.get(device, UNLIMITED), told.source, told.excerpt)

    above = tighter_above(snapshot, group, read) if group.hierarchy.version == 2 else ()
    return read(snapshot, group), *above


def io_weights(
    snapshot: Snapshot, group: Group, wanted: int | None, device: Device | None = None
) -> tuple[Reading, ...]:
    """What each file of the kernel has for a group's weight, or its weight on one device; `wanted` where the file holds
    what is made of it. bfq and the other policies have files of their own, and nobody knows which of them will count.

    systemd writes another number for bfq than it is told: 300 -> 118. A device without a weight of its own has None.
    """
    plain, bfq = (PLAIN_WEIGHT, BFQ_WEIGHT) if device is None else (PLAIN_DEVICE_WEIGHT, BFQ_DEVICE_WEIGHT)
    made = _made_by_systemd(wanted) if wanted and group.path.endswith((".scope", ".slice")) else {wanted}
    right: tuple[tuple[Setting, set[int | None]], ...] = ((plain, {wanted}), (bfq, made))
    there = [one for one in right if file(snapshot, group, one[0])] or right[1:]
    return tuple(_weighed(value(snapshot, group, one), numbers, wanted, device) for one, numbers in there)


def _weighed(told: Reading, right: set[int | None], wanted: int | None, device: Device | None) -> Reading:
    seen = told.value if device is None else told.value.get(device)
    return Reading(wanted if seen in right else seen, told.source, told.excerpt)


def _made_by_systemd(weight: int) -> set[int | None]:
    """BFQ_WEIGHT of systemd (src/basic/cgroup-util.h): 300 -> 100 + 200 * 900 // 9900 = 118; before v250 a tenth."""
    return {weight if weight <= 100 else 100 + (weight - 100) * 900 // 9900, -(-weight // 10)}


# --- a running guest's groups

PLACED = ("cpu", "cpuset", "memory", "blkio", "devices", "freezer", "cpuacct")
"""Controllers in which libvirt gives every guest a group of its own (vircgroup.h, VIR_CGROUP_CONTROLLER_*)."""
_THREADED = ("cpu", "cpuacct", "cpuset")
"""v1 controllers in which threads have groups of their own (virCgroupNewThread)."""
_CHILD = re.compile(r"/(?:emulator|vcpu\d+|iothread\d+)$", re.ASCII)


@dataclass(frozen=True)
class GuestGroups:
    """The groups of one running guest. `path` is its outermost one, the same in every controller."""

    snapshot: Snapshot
    path: str
    threads: tuple[Thread, ...]
    controllers: tuple[str, ...]
    """One name for each hierarchy: cpu stands for cpuacct where they share one, and for all of v2."""

    def scope(self, controller: str) -> Group:
        """The outermost: CPU shares and I/O weight are there."""
        return Group(_hierarchy(self.snapshot, controller), self.path)

    def inner(self, controller: str) -> Group:
        """The one with libvirt's limits of the whole guest: memory, global quota, throttling."""
        own = self.scope(controller).child("libvirt")
        return own if exists(self.snapshot, own) else self.scope(controller)

    def of_role(self, role: str, controller: str) -> Group:
        """The one threads of this role belong in: their own where the controller takes threads, else the guest's."""
        whole = self.inner(controller)
        return whole.child(role) if whole.hierarchy.version == 2 or controller in _THREADED else whole

    def roles(self, kind: str) -> tuple[str, ...]:
        """What runs now, of "vcpu", "iothread" or "emulator": ("vcpu0", "vcpu1")."""
        return tuple(dict.fromkeys(thread.role for thread in self.threads if thread.role.startswith(kind)))


def of_guest(snapshot: Snapshot, guest: str) -> GuestGroups:
    """Where most of QEMU's threads are in most controllers, whichever of them strayed.

    `/machine/openstack.partition/qemu-1-web1.libvirt-qemu`. Raises NotApplicable when it is shut off or was started by
    hand, CannotLook.
    """
    must_have_its_own(snapshot, guest)
    found = threads.threads(snapshot, guest)
    controllers = mounted(snapshot, PLACED)
    own = [one for one in found if not one.kernel]
    members = Counter(scope_of(group_of(snapshot, one, name).path) for name in controllers for one in own)
    if not members:
        raise CannotLook(MOUNTS, "no controller that libvirt places guests in is mounted")
    return GuestGroups(snapshot, members.most_common(1)[0][0], found, controllers)


def domain_of(group: Group) -> Group:
    """The group whose memory and I/O count for a thread: v2's groups of threads have none of their own."""
    return Group(group.hierarchy, _CHILD.sub("", group.path) or "/")


def must_have_its_own(snapshot: Snapshot, guest: str) -> None:
    """Raises NotApplicable for a guest that was started by hand: what its group says is of others, too."""
    if guest in snapshot.by_hand:
        raise NotApplicable("the guest was started by hand: it is in the control group of whoever did, not in its own")


def scope_of(path: str) -> str:
    """`/machine.slice/a.scope/libvirt/emulator` -> `/machine.slice/a.scope`; libvirt < 7.1 has no level `libvirt`."""
    return _CHILD.sub("", path).removesuffix("/libvirt") or "/"


# --- what the kernel makes of what it was told


def page_size(snapshot: Snapshot) -> int:
    """Bytes. `getconf PAGESIZE`: `4096`. Raises CannotLook."""
    done = snapshot.read(PAGE_SIZE)
    if done.returncode or not re.fullmatch(rb"\d{4,7}\n", done.stdout):
        raise CannotLook(PAGE_SIZE, f"answered {done.stdout[:40]!r}")
    return int(done.stdout)


def whole_pages(size: int, page: int) -> int:
    """The kernel counts pages: 1024001024 bytes (1000001 KiB) are kept as 1024000000 with pages of 4096."""
    return size // page * page


def as_wanted(snapshot: Snapshot, wanted: Amount | Share, seen: Reading) -> Reading:
    """`seen` in the profile's words when the file holds what the kernel makes of `wanted`, else as it is.

    A share of the host's memory becomes bytes by MemTotal, bytes become whole pages.
    """
    if wanted == UNLIMITED or seen.value == UNLIMITED:
        return seen
    size = wanted.of(memory_total(snapshot)) if isinstance(wanted, Share) else int(wanted)
    same = seen.value == whole_pages(size, page_size(snapshot))
    return Reading(wanted, seen.source, seen.excerpt) if same else seen


def memory_total(snapshot: Snapshot) -> int:
    """Bytes of host memory. /proc/meminfo: `MemTotal:       24689764 kB` -> 25282318336. Raises CannotLook."""
    match = re.search(rb"^MemTotal:\s+(\d{1,15}) kB$", snapshot.read(MEMORY_INFO), re.MULTILINE)
    if match is None:
        raise CannotLook(MEMORY_INFO, "names no MemTotal")
    return int(match[1]) * 1024
