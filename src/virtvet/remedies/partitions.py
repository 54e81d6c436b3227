"""Create a partition in every controller that lacks it (cgroup v1, by hand, as libvirt without systemd wants it).

What it allows is not this remedy's business, but CPUs and memory nodes are: an empty cpuset takes no guest, so they are
copied from the group above (Documentation/admin-guide/cgroup-v1/cpusets.rst).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from virtvet.check import Case
from virtvet.expect import ranges
from virtvet.probes import cgroup, partitions
from virtvet.probes.cgroup import Group, Hierarchy
from virtvet.remedies.change import CannotMend, Change, Remedy, Step
from virtvet.remedies.modes import Risk
from virtvet.remedies.operations import Given, Run
from virtvet.snapshot.model import Snapshot
from virtvet.target import HostTarget

CPUSET = {"cpus": cgroup.CPUS, "nodes": cgroup.NODES}
"""Settings by the words of PART-CPUSET-1's cases; an empty one takes no guest."""


def plan(snapshot: Snapshot, case: Case, _target: HostTarget) -> tuple[Change, ...]:
    """One change: a directory in each hierarchy that lacks one, with those above it."""
    partition, wanted = case.args[:2]
    missing = [name for name in wanted if partitions.find(snapshot, partition, name) is None]
    steps = tuple(
        step for hierarchy in _hierarchies(snapshot, missing) for step in _steps(snapshot, hierarchy, partition)
    )
    return (Change(f"create the partition {partition} in {', '.join(missing)}", Risk.LIVE, steps),) if steps else ()


CREATE = Remedy("create the partition in every controller", Risk.LIVE, plan)


def plan_filling(snapshot: Snapshot, case: Case, _target: HostTarget) -> tuple[Change, ...]:
    """One change: the stated CPUs or nodes written, or, where none are stated, those of the group above copied."""
    partition, what = case.args[:2]
    group = partitions.existing(snapshot, partition, "cpuset")
    if (path := cgroup.told_in(group, CPUSET[what])) is None:
        raise CannotMend(
            "on cgroup v2 systemd keeps it: systemctl set-property SLICE AllowedCPUs=… AllowedMemoryNodes=…"
        )
    seen = cgroup.value(snapshot, group, CPUSET[what]).value
    do = _copied(snapshot.machine, path)
    if isinstance(case.expected, frozenset):
        do = Run(snapshot.machine, ("tee", path), ranges(case.expected) + "\n")
    back = Run(snapshot.machine, ("tee", path), ranges(seen) + "\n", Given(path))
    return (Change(f"fill {path}", Risk.LIVE, (Step(do, (back,)),)),)


FILL = Remedy("give the partition CPUs and memory nodes", Risk.LIVE, plan_filling)


def _hierarchies(snapshot: Snapshot, controllers: Iterable[str]) -> list[Hierarchy]:
    """Those of the controllers, each once. Raises CannotMend where a directory is not the way."""
    mounted = cgroup.hierarchies(snapshot)
    if absent := [name for name in controllers if name not in mounted]:
        raise CannotMend(f"this host has no controller {', '.join(absent)}")
    found = list(dict.fromkeys(mounted[name] for name in controllers))
    if not all(cgroup.made_by_hand(snapshot, one) for one in found):
        raise CannotMend(
            "here partitions are systemd's slices, which systemd makes when the first guest starts in them"
        )
    return found


def _steps(snapshot: Snapshot, hierarchy: Hierarchy, partition: str) -> Iterator[Step]:
    path, _slice = partitions.directories(partition)
    cpuset = cgroup.hierarchies(snapshot).get("cpuset") == hierarchy
    for group in reversed(tuple(Group(hierarchy, path).upwards())):
        if not cgroup.exists(snapshot, group):
            yield _made(snapshot.machine, group)
            yield from _filled(snapshot.machine, group) if cpuset else ()


def _made(host: str, group: Group) -> Step:
    made = Run(host, ("mkdir", "--", group.directory))
    return Step(made, (Run(host, ("rmdir", "--", group.directory), given=Given(group.directory)),))


def _filled(host: str, group: Group) -> Iterator[Step]:
    for path in filter(None, (cgroup.told_in(group, setting) for setting in CPUSET.values())):
        yield Step(_copied(host, path))


def _copied(host: str, path: str) -> Run:
    """The same file of the group above."""
    file = PurePosixPath(path)
    return Run(host, ("cp", "--", str(file.parent.parent / file.name), path))
