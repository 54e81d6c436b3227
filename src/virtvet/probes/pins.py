"""The host CPUs each thread of a guest may run on: what libvirt was told, and what the kernel does."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import cgroup, domain_xml, threads
from virtvet.probes.cgroup import GuestGroups
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import File
from virtvet.units import parse_cpuset

ONLINE = File("/sys/devices/system/cpu/online")
SOURCES = (*cgroup.SOURCES, *threads.SOURCES, ONLINE)
Cpus = frozenset[int]


# --- what libvirt was told


def config(snapshot: Snapshot, guest: str, role: str, _wanted: Cpus) -> Reading:
    """CPUs of one role ("vcpu0", "emulator", "iothread1") in the stored XML; None when the guest has no such thread."""
    return _configured(snapshot, domain_xml.config(snapshot, guest), role, f"virsh dumpxml --inactive {guest}")


def live(snapshot: Snapshot, guest: str, role: str, _wanted: Cpus) -> Reading:
    """As `config`, of the running domain."""
    return _configured(snapshot, domain_xml.live(snapshot, guest), role, f"virsh dumpxml {guest}")


def config_others(snapshot: Snapshot, guest: str, named: Collection[str], _wanted: Cpus) -> list[Reading]:
    """CPUs of every role that is not named, in the stored XML."""
    return _configured_others(snapshot, domain_xml.config(snapshot, guest), named, f"virsh dumpxml --inactive {guest}")


def live_others(snapshot: Snapshot, guest: str, named: Collection[str], _wanted: Cpus) -> list[Reading]:
    """As `config_others`, of the running domain."""
    return _configured_others(snapshot, domain_xml.live(snapshot, guest), named, f"virsh dumpxml {guest}")


def _configured_others(
    snapshot: Snapshot, domain: etree._Element, named: Collection[str], source: str
) -> list[Reading]:
    return [_configured(snapshot, domain, role, source) for role in others(roles(domain), named)]


def others(all_roles: tuple[str, ...], named: Collection[str]) -> list[str]:
    """The roles that are not named. Raises NotApplicable when all are."""
    if not (left := [role for role in all_roles if role not in named]):
        raise NotApplicable("every thread is named by itself")
    return left


def roles(domain: etree._Element) -> tuple[str, ...]:
    """`<vcpu>2</vcpu><iothreads>1</iothreads>` -> ("vcpu0", "vcpu1", "emulator", "iothread1")."""
    vcpus = [f"vcpu{number}" for number in range(_count(domain, "vcpu", 1))]
    numbered = [str(number + 1) for number in range(_count(domain, "iothreads", 0))]
    iothreads = [one.get("id", "") for one in domain.iterfind("iothreadids/iothread")] or numbered
    return (*vcpus, threads.EMULATOR, *(f"iothread{number}" for number in iothreads))


def _count(domain: etree._Element, tag: str, absent: int) -> int:
    text = domain.findtext(tag)
    if text is None:
        return absent
    if not re.fullmatch(r"\d{1,5}", text.strip(), re.ASCII):
        raise CannotLook("virsh dumpxml", f"<{tag}>{text[:40]}</{tag}> holds no number of threads")
    return int(text)


def _configured(snapshot: Snapshot, domain: etree._Element, role: str, source: str) -> Reading:
    """Own pin, else `<vcpu cpuset>`, else every CPU (qemuDomainEvaluateCPUMask). Raises NotApplicable, CannotLook."""
    vcpu = domain.find("vcpu")
    if vcpu is not None and vcpu.get("placement") == "auto":
        raise NotApplicable("the placement of this guest is automatic: numad chooses its CPUs at every start")
    if role not in roles(domain):
        return Reading(None, source, f"the guest has no {role}")
    pin = own_pin(domain, role)
    if pin is None and vcpu is not None and vcpu.get("cpuset"):
        pin = vcpu
    if pin is None:
        return Reading(online(snapshot), f"{source} (no pin: every CPU)")
    return Reading(cpus_of(pin.get("cpuset") or "", source), source, tag(pin))


def own_pin(domain: etree._Element, role: str) -> etree._Element | None:
    """`<vcpupin vcpu='0' cpuset='1-4,^2'/>`, `<emulatorpin cpuset=…/>`, `<iothreadpin iothread='1' cpuset=…/>`"""
    kind = role.rstrip("0123456789")
    pins = domain.iterfind(f"cputune/{kind}pin")
    return next((pin for pin in pins if role == kind + pin.get(kind, "")), None)


def tag(element: etree._Element) -> str:
    """The element as XML writes it: `<vcpupin vcpu='0' cpuset='1-4,^2'/>`."""
    attributes = " ".join(f"{key!s}='{value!s}'" for key, value in element.items())
    return f"<{element.tag!s} {attributes}/>"


def cpus_of(text: str, source: object) -> Cpus:
    """`1-4,^2` -> {1, 3, 4}. Raises CannotLook."""
    try:
        return parse_cpuset(text.strip())
    except ValueError as mistake:
        raise CannotLook(source, str(mistake)) from None


# --- what the kernel does


def actual(snapshot: Snapshot, guest: str, role: str, wanted: Cpus) -> list[Reading]:
    """For each thread of the role the CPUs the scheduler may use, and the CPUs of the group it belongs in.

    A guest that was started by hand has no such group.
    """
    if guest in snapshot.by_hand:
        return _by_hand(snapshot, guest, lambda one: one == role, wanted)
    groups = cgroup.of_guest(snapshot, guest)
    if role not in groups.roles(""):
        raise no_thread(domain_xml.live(snapshot, guest), guest, role)
    return list(_of_role(groups, role, wanted))


def actual_others(snapshot: Snapshot, guest: str, named: Collection[str], wanted: Cpus) -> list[Reading]:
    """As `actual`, for every role that is not named."""
    if guest in snapshot.by_hand:
        return _by_hand(snapshot, guest, lambda one: one not in named, wanted)
    groups = cgroup.of_guest(snapshot, guest)
    return [reading for role in others(groups.roles(""), named) for reading in _of_role(groups, role, wanted)]


def _by_hand(snapshot: Snapshot, guest: str, takes: Callable[[str], bool], wanted: Cpus) -> list[Reading]:
    found = [thread for thread in threads.threads(snapshot, guest) if takes(thread.role)]
    if not found:
        raise NotApplicable("the guest, which was started by hand, has no such thread now")
    return [offline_kept(threads.allowed(snapshot, one), wanted, online(snapshot)) for one in found]


def _of_role(groups: GuestGroups, role: str, wanted: Cpus) -> Iterator[Reading]:
    there = online(groups.snapshot)
    for thread in groups.threads:
        if thread.role == role:
            yield offline_kept(threads.allowed(groups.snapshot, thread), wanted, there)
    if cgroup.mounted(groups.snapshot, ("cpuset",)):  # of v2, `groups.controllers` names only the first controller
        group = groups.of_role(role, "cpuset")
        yield offline_kept(cgroup.value(groups.snapshot, group, cgroup.CPUS), wanted, there)


def offline_kept(seen: Reading, wanted: Cpus, there: Cpus) -> Reading:
    """The kernel names no CPU that is offline: those of the pin count as kept.

    wanted 1-4, online 0-3, seen 1-3 -> 1-4
    """
    return Reading(seen.value | (wanted - there), seen.source, seen.excerpt)


def no_thread(domain: etree._Element, guest: str, role: str) -> Exception:
    """A vCPU may be unplugged, and QEMU's single-threaded TCG has none; an iothread that libvirt lists must run."""
    if role in roles(domain) and role.startswith("iothread"):
        return CannotLook(f"/proc/PID/task/*/comm of {guest}", f"no thread is {role}")
    return NotApplicable(f"no thread is {role} now")


def elsewhere(snapshot: Snapshot, guest: str, pins: Mapping[str, Cpus], default: Cpus | None) -> Reading:
    """The threads that ran, at the moment of the look, on a CPU outside their pin: {"vcpu0 (…) on CPU 3"}.

    Raises NotApplicable when no thread with a pin was running just then.
    """
    running = [
        (thread, reading, pin)
        for thread in threads.threads(snapshot, guest)
        if (pin := pins.get(thread.role, default)) and (reading := threads.running_on(snapshot, thread))
    ]
    if not running:
        raise NotApplicable("no pinned thread of the guest was running at the moment of the look")
    strays = [f"{thread} on CPU {min(reading.value)}" for thread, reading, pin in running if not reading.value <= pin]
    return Reading(frozenset(strays), "/proc/PID/task/*/stat", "\n".join(reading.excerpt for _, reading, _ in running))


def online(snapshot: Snapshot) -> Cpus:
    """The host's CPUs that are online. /sys/devices/system/cpu/online: `0-1` -> {0, 1}. Raises CannotLook."""
    return cpus_of(snapshot.read(ONLINE).decode("ascii", "replace"), ONLINE)
