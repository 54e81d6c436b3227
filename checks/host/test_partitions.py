"""Partitions exist in every controller, can take guests, and allow what the profile says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virtvet.check import Case, Control, Severity, check
from virtvet.expect import AtLeast, NotEmpty, Unit
from virtvet.probes import blkio, cgroup, partitions, slices
from virtvet.profile import throttle
from virtvet.profile.partitions import Partition
from virtvet.remedies.partitions import CREATE, FILL
from virtvet.snapshot.sources import Source
from virtvet.target import GuestTarget, HostTarget
from virtvet.units import UNLIMITED

EXISTS = Control(
    id="PART-EXIST-1",
    title="A partition exists in every controller it needs",
    area="cgroup",
    severity=Severity.HIGH,
    requirement="R9",
    rationale="Without systemd nobody makes a partition but you; a guest that names one which is missing in any "
    "controller does not start.",
    hint="systemctl start {slice}   "
    "# without systemd: for c in {controllers}; do mkdir -p /sys/fs/cgroup/$c{by_hand}; done",
    references=("https://libvirt.org/cgroups.html#creating-custom-partitions",),
)
FILLED = Control(
    id="PART-CPUSET-1",
    title="A partition has CPUs and memory nodes, those stated",
    area="cgroup",
    severity=Severity.HIGH,
    requirement="R9",
    rationale="A new cgroup v1 cpuset is empty, and no thread can enter an empty one; its CPUs bound all its guests.",
    hint="echo {wanted} > /sys/fs/cgroup/cpuset{by_hand}/{file}   "
    "# empty ones: cat /sys/fs/cgroup/cpuset/machine/{file}; with systemd: systemctl set-property {slice} {assignment}",
    references=(
        "https://libvirt.org/cgroups.html#creating-custom-partitions",
        "https://docs.kernel.org/admin-guide/cgroup-v1/cpusets.html",
    ),
)
LIMITS = Control(
    id="PART-LIMIT-1",
    title="A partition's limit is as stated, and none above it is tighter",
    area="cgroup",
    severity=Severity.HIGH,
    requirement="R9",
    rationale="A partition bounds all its guests together. Limits nest: the tightest on the way to the root holds. "
    "What no unit file of systemd says is gone after a boot.",
    hint="systemctl set-property {slice} {assignment}   # without systemd: echo {write} > "
    "/sys/fs/cgroup/{controller}{by_hand}/{file}; and look at the groups above it",
    references=(
        "https://libvirt.org/cgroups.html",
        "https://docs.kernel.org/admin-guide/cgroup-v1/memory.html",
        "https://docs.kernel.org/scheduler/sched-bwc.html",
        "https://www.freedesktop.org/software/systemd/man/latest/systemd.resource-control.html",
    ),
)
THROTTLES = Control(
    id="PART-LIMIT-2",
    title="A partition may use a device of the host as stated, and none above it may less",
    area="cgroup",
    severity=Severity.MEDIUM,
    requirement="R9",
    rationale="It bounds all its guests together, whatever each may use by itself; on cgroup v2 the tightest limit on "
    "the way to the root holds.",
    hint="systemctl set-property {slice} '{assignment}'   # without systemd: "
    "echo $(lsblk -ndo MAJ:MIN {device}) {write} > /sys/fs/cgroup/blkio{by_hand}/{file}; "
    "and on cgroup v2 look at io.max of the groups above it",
    references=(
        "https://docs.kernel.org/admin-guide/cgroup-v2.html#io",
        "https://docs.kernel.org/admin-guide/cgroup-v1/blkio-controller.html",
        "https://www.freedesktop.org/software/systemd/man/latest/systemd.resource-control.html",
    ),
)
ROOM = Control(
    id="PART-ROOM-1",
    title="A partition has room for the memory limits of its guests",
    area="cgroup",
    severity=Severity.HIGH,
    requirement="R9",
    rationale="Guests that each stay within their own hard limit are still killed when their partition has less "
    "than the sum.",
    hint="echo {bytes} > /sys/fs/cgroup/memory{by_hand}/memory.limit_in_bytes   # guests: {guests}",
    references=("https://docs.kernel.org/admin-guide/cgroup-v1/memory.html#hierarchy-support",),
)


def _words(path: str) -> dict[str, object]:
    return {"by_hand": partitions.directories(path)[0], "slice": partitions.unit(path)}


def _kept(host: HostTarget) -> Iterable[Source]:
    return partitions.kept(host.wants.partitions)


def existing(host: HostTarget) -> Iterable[Case]:
    """Every partition with the controllers it needs."""
    for path, partition in host.wants.partitions.items():
        needed = _needed(partition)
        words = _words(path) | {"controllers": needed}
        yield Case(path, frozenset(needed), (path, needed), words=words)


@check(EXISTS, cases=existing, actual=partitions.controllers, sources=partitions.SOURCES, remedy=CREATE)
def test_partition_exists_in_every_controller(case: Case, observed: object) -> None:
    """A directory of that name in one controller is not enough."""
    assert observed == case.expected


def cpusets(host: HostTarget) -> Iterable[Case]:
    """CPUs and memory nodes of every partition that is in the controller cpuset."""
    for path, partition in host.wants.partitions.items():
        if "cpuset" in _needed(partition):
            yield _cpuset_case(path, "cpus", "cpuset.cpus", partition.cpuset)
            yield _cpuset_case(path, "nodes", "cpuset.mems", partition.memory_nodes)


def _cpuset_case(path: str, what: str, file: str, wanted: frozenset[int] | None) -> Case:
    shown = "0" if wanted is None else ",".join(map(str, sorted(wanted)))
    assignment = f"{slices.PROPERTIES[what].key}={shown}"
    words = _words(path) | {"file": file, "wanted": shown, "assignment": assignment}
    return Case(f"{path} {what}", wanted or NotEmpty(), (path, what, wanted is not None), words=words)


def _needed(partition: Partition) -> tuple[str, ...]:
    """Those listed and those of every limit: a limit in a controller that has no such partition limits nothing."""
    stated = [partitions.LIMITS[name].controller for name, _wanted in _stated(partition)]
    cpuset = ["cpuset"] if partition.cpuset or partition.memory_nodes else []
    devices = ["blkio"] if partition.io_devices else []
    return tuple(dict.fromkeys([*partition.controllers, *stated, *cpuset, *devices]))


@check(
    FILLED,
    cases=cpusets,
    sources=_kept,
    config=partitions.cpuset_config,
    live=partitions.cpuset_live,
    actual=partitions.cpuset,
    remedy=FILL,
)
def test_partition_has_cpus_and_nodes(case: Case, observed: object) -> None:
    """Empty ones take no thread."""
    assert observed == case.expected


def limits(host: HostTarget) -> Iterable[Case]:
    """Every limit that is stated, of every partition."""
    for path, partition in host.wants.partitions.items():
        yield from (_limit_case(path, name, wanted) for name, wanted in _stated(partition))


def _stated(partition: Partition) -> Iterator[tuple[str, object]]:
    for name in partitions.LIMITS:
        if (wanted := getattr(partition, name)) is not None:
            yield name, cgroup.UNLIMITED if wanted == UNLIMITED else wanted


def _limit_case(path: str, name: str, wanted: object) -> Case:
    setting = partitions.LIMITS[name]
    write = -1 if wanted == cgroup.UNLIMITED else wanted
    words = _words(path) | {"controller": setting.controller, "file": setting.v1[0], "write": write}
    words["assignment"] = slices.assignment(name, wanted)
    unit: Unit = "bytes" if name in partitions.IN_BYTES else ""
    return Case(f"{path} {name}", wanted, (path, name, wanted), words=words, unit=unit)


@check(
    LIMITS,
    cases=limits,
    sources=_kept,
    config=partitions.limit_config,
    live=partitions.limit_live,
    actual=partitions.limit,
)
def test_partition_limit_is_as_stated(case: Case, observed: object) -> None:
    """The slice's unit files, systemd's answer, its own file and every group above it."""
    assert observed == case.expected


def throttles(host: HostTarget) -> Iterable[Case]:
    """Every limit of every device, of every partition."""
    for path, partition in host.wants.partitions.items():
        for device, stated in partition.io_devices.items():
            yield from (_throttle_case(path, device, key, wanted) for key, wanted in stated.limits.items())


def _throttle_case(path: str, device: str, key: str, wanted: int) -> Case:
    shown = throttle.shown(wanted)
    words = _words(path) | {
        "assignment": slices.assignment(key, f"{device} {wanted or 'infinity'}"),
        "file": cgroup.THROTTLES[key].v1[0],
        "device": device,
        "write": wanted,
    }
    unit: Unit = "bytes/s" if key.endswith("bytes") else ""
    return Case(f"{path} {device}/{key}", shown, (path, key, device), words=words, unit=unit)


def _used(host: HostTarget) -> Iterable[Source]:
    yield from _kept(host)
    yield from (blkio.node(device) for one in host.wants.partitions.values() for device in one.io_devices)


@check(
    THROTTLES,
    cases=throttles,
    sources=_used,
    config=partitions.throttle_config,
    live=partitions.throttle_live,
    actual=partitions.throttle,
)
def test_partition_may_use_a_device_as_stated(case: Case, observed: object) -> None:
    """The slice's unit files, systemd's answer, its own file and, on v2, every group above it."""
    assert observed == case.expected


def rooms(host: HostTarget) -> Iterable[Case]:
    """Every partition, stated or named by a guest, whose guests have hard limits of memory."""
    named = [guest.wants.partition for guest in host.guests if guest.wants.partition]
    for path in dict.fromkeys([*host.wants.partitions, *named]):
        inside = [guest for guest in host.guests if _hard(guest) and _within(guest.wants.partition, path)]
        if inside:
            yield _room_case(path, inside)


def _room_case(path: str, inside: list[GuestTarget]) -> Case:
    total = sum(map(_hard, inside))
    words = _words(path) | {"bytes": total, "guests": ", ".join(guest.name for guest in inside)}
    return Case(path, AtLeast(total), (path,), words=words, unit="bytes")


def _hard(guest: GuestTarget) -> int:
    """Bytes; 0 when none is stated, or the guest is not there."""
    limits = guest.wants.memory.limits
    return limits.hard if guest.matched and limits and isinstance(limits.hard, int) else 0


def _within(partition: str | None, path: str) -> bool:
    return partition is not None and f"{partition}/".startswith(f"{path}/")


@check(ROOM, cases=rooms, actual=partitions.room, sources=partitions.SOURCES)
def test_partition_has_room_for_its_guests(case: Case, observed: object) -> None:
    """The sum of the hard limits stated for the guests in it."""
    assert observed == case.expected
