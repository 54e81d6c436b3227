"""Which partition a guest is in, and whether each of its threads is in the control groups made for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lxml import etree

from virtvet.check import Reading
from virtvet.probes import cgroup, domain_xml, partitions, threads
from virtvet.probes.cgroup import Group, GuestGroups
from virtvet.probes.threads import Thread
from virtvet.snapshot.model import Snapshot

SOURCES = (*cgroup.SOURCES, *threads.SOURCES)
DEFAULT = "/machine"
"""Where libvirt's QEMU driver places a domain that names no partition (virDomainCgroupInitCgroup)."""
MEMBERSHIP = "/proc/PID/task/*/cgroup"


def config(snapshot: Snapshot, guest: str, _partition: str) -> Reading:
    """`<resource><partition>/machine/a</partition></resource>` of the stored XML -> "/machine/a"."""
    return _partition_of(domain_xml.config(snapshot, guest), f"virsh dumpxml --inactive {guest}")


def live(snapshot: Snapshot, guest: str, _partition: str) -> Reading:
    """As `config`, of the running domain."""
    return _partition_of(domain_xml.live(snapshot, guest), f"virsh dumpxml {guest}")


def _partition_of(domain: etree._Element, source: str) -> Reading:
    text = domain.findtext("resource/partition")
    excerpt = "" if text is None else f"<partition>{text}</partition>"
    return Reading(DEFAULT if text is None else text.strip(), source, excerpt)


def outside(snapshot: Snapshot, guest: str, partition: str) -> Reading:
    """The threads outside the partition, with the controllers and groups they are in: none if all is well."""
    groups = cgroup.of_guest(snapshot, guest)
    return _strays(
        (thread, controller, group)
        for thread, controller, group in _memberships(groups)
        if not within(group, partition)
    )


def misplaced(snapshot: Snapshot, guest: str, partition: str | None) -> Reading:
    """The threads that are in another group than libvirt's for their role. Those outside the stated partition are
    left to `outside`."""
    groups = cgroup.of_guest(snapshot, guest)
    own = {(role, name): groups.of_role(role, name) for role in groups.roles("") for name in groups.controllers}
    return _strays(
        (thread, controller, group)
        for thread, controller, group in _memberships(groups)
        if group != own[thread.role, controller] and (partition is None or within(group, partition))
    )


def within(group: Group, partition: str) -> bool:
    """Whether a group is in the partition, however deep."""
    return any(group.path.startswith(f"{directory}/") for directory in partitions.directories(partition))


def _memberships(groups: GuestGroups) -> Iterator[tuple[Thread, str, Group]]:
    for controller in groups.controllers:
        for thread in groups.threads:
            yield thread, controller, cgroup.group_of(groups.snapshot, thread, controller)


def _strays(found: Iterator[tuple[Thread, str, Group]]) -> Reading:
    """{"vcpu0 (thread 4713, CPU 0/TCG): cpuset in /, memory in /"}"""
    where: dict[Thread, dict[str, str]] = {}
    for thread, controller, group in found:
        where.setdefault(thread, {})[controller] = group.path
    lines = [_line(thread, paths) for thread, paths in where.items()]
    return Reading(frozenset(lines), MEMBERSHIP, "\n".join(lines))


def _line(thread: Thread, paths: Mapping[str, str]) -> str:
    return f"{thread}: " + ", ".join(f"{controller} in {path}" for controller, path in paths.items())
