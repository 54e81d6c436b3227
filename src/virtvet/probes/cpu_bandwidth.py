"""How much CPU time a guest may use: shares, periods and quotas of its vCPUs, emulator, iothreads and of the whole."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import cgroup, domain_xml, threads
from virtvet.probes.cgroup import Group, GuestGroups
from virtvet.profile.cpu_bandwidth import MOST_QUOTA
from virtvet.snapshot.model import Snapshot

SOURCES = (*cgroup.SOURCES, *threads.SOURCES)
DEFAULT_PERIOD = 100_000
"""µs. The kernel's default_cfs_period (kernel/sched/fair.c), in v1 and v2."""
_SETTINGS = {"shares": cgroup.SHARES, "period": cgroup.PERIOD, "quota": cgroup.QUOTA}


def config(snapshot: Snapshot, guest: str, who: str, what: str) -> Reading:
    """`what` ("shares", "period", "quota") of `who` ("guest", "vcpu", "emulator", "iothread") in the stored XML.

    `<shares>2048</shares>` -> 2048, `<emulator_quota>50000</emulator_quota>` -> 50000 (µs); no shares: None.
    """
    return _told(domain_xml.config(snapshot, guest), who, what, f"virsh dumpxml --inactive {guest}")


def live(snapshot: Snapshot, guest: str, who: str, what: str) -> Reading:
    """As `config`, of the running domain."""
    return _told(domain_xml.live(snapshot, guest), who, what, f"virsh dumpxml {guest}")


def element(who: str, what: str) -> str:
    """The element of `<cputune>`: ("vcpu", "quota") -> "quota", ("guest", "quota") -> "global_quota"."""
    if what == "shares" or who == "vcpu":
        return what
    return f"{'global' if who == 'guest' else who}_{what}"


def parameter(who: str, what: str) -> str:
    """The parameter of `virsh schedinfo`: ("vcpu", "quota") -> "vcpu_quota", ("guest", "shares") -> "cpu_shares"."""
    if what == "shares":
        return "cpu_shares"
    return f"{'global' if who == 'guest' else who}_{what}"


def _told(domain: etree._Element, who: str, what: str, source: str) -> Reading:
    name = element(who, what)
    text = domain.findtext(f"cputune/{name}")
    excerpt = f"no <{name}>" if text is None else f"<{name}>{text}</{name}>"
    try:
        return Reading(meaning(what, None if text is None else int(text)), source, excerpt)
    except ValueError:
        raise CannotLook(source, f"{excerpt} holds no number") from None


def meaning(what: str, number: int | None) -> int | str | None:
    """What libvirt means by a number of `<cputune>` or by none: a quota that is absent, 0, negative or
    17592186044415 is unlimited; a period that is absent or 0 is the kernel's 100 ms."""
    match what:
        case "quota":
            return number if number and 0 < number < MOST_QUOTA else cgroup.UNLIMITED
        case "period":
            return number or DEFAULT_PERIOD
    return number


def actual(snapshot: Snapshot, guest: str, who: str, what: str) -> list[Reading]:
    """The same in the kernel's groups: one reading for each vCPU or iothread that runs."""
    groups = cgroup.of_guest(snapshot, guest)
    found = [cgroup.value(snapshot, group, _SETTINGS[what]) for group in _groups(groups, who, what)]
    if not found:
        raise NotApplicable(f"the guest runs no {who}")
    return found


def _groups(groups: GuestGroups, who: str, what: str) -> Iterator[Group]:
    if who != "guest":
        yield from (groups.of_role(role, "cpu") for role in groups.roles(who))
    else:
        yield groups.scope("cpu") if what == "shares" else groups.inner("cpu")


def room(snapshot: Snapshot, guest: str) -> Reading:
    """CPU time that the groups above the guest's leave it, in CPUs: 1.5; infinite when none has a quota.

    cgroup v1 refuses a group less than the groups in it were given, but not less than they would like; v2 refuses
    nothing (Documentation/scheduler/sched-bwc.rst). Raises NotApplicable, CannotLook.
    """
    _own, *above = cgroup.of_guest(snapshot, guest).inner("cpu").upwards()
    if not above:
        raise NotApplicable("there is no group above the guest's")
    own = cgroup.cpus_worth(snapshot, above[0])
    tightest = next(iter(cgroup.tighter_above(snapshot, above[0], cgroup.cpus_worth)), own)
    return Reading(
        math.inf if tightest.value == cgroup.UNLIMITED else tightest.value, tightest.source, tightest.excerpt
    )
