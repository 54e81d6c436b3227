"""How the kernel schedules each thread of a guest: what libvirt was told, and what the thread runs as.

A thread takes the scheduler of the one that makes it (sched(7)). So what is plugged in later, a vCPU or an iothread,
runs as QEMU's main thread does unless libvirt was told one for it: its XML then shows nothing of that. QEMU's workers
come and go with the guest's requests and legitimately run as whoever made them; every other helper was made before
libvirt set any scheduler (qemuProcessLaunch sets the emulator's last).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import domain_xml, pins, threads
from virtvet.probes.threads import EMULATOR, Thread
from virtvet.snapshot.model import Snapshot

SOURCES = threads.SOURCES
OTHER = "other"
_POLICIES = {0: OTHER, 1: "fifo", 2: "rr", 3: "batch", 5: "idle", 6: "deadline", 7: "ext"}
"""include/uapi/linux/sched.h, SCHED_*. libvirt sets neither of the last two."""
_REALTIME = ("fifo", "rr")
_PRIORITY, _POLICY = 37, 38
"""Places behind the command name, of fields 40 and 41 of proc_pid_stat(5)."""


# --- what libvirt was told


def config(snapshot: Snapshot, guest: str, role: str) -> Reading:
    """The scheduler of one role ("vcpu0", "emulator", "iothread1") in the stored XML; None without such a thread.

    `<vcpusched vcpus='0-1' scheduler='fifo' priority='1'/>` -> "fifo 1"; no element -> "other"
    """
    return _told(domain_xml.config(snapshot, guest), role, f"virsh dumpxml --inactive {guest}")


def live(snapshot: Snapshot, guest: str, role: str) -> Reading:
    """As `config`, of the running domain."""
    return _told(domain_xml.live(snapshot, guest), role, f"virsh dumpxml {guest}")


def config_others(snapshot: Snapshot, guest: str, named: Collection[str]) -> list[Reading]:
    """The schedulers of every role that is not named, in the stored XML."""
    return _told_others(domain_xml.config(snapshot, guest), named, f"virsh dumpxml --inactive {guest}")


def live_others(snapshot: Snapshot, guest: str, named: Collection[str]) -> list[Reading]:
    """As `config_others`, of the running domain."""
    return _told_others(domain_xml.live(snapshot, guest), named, f"virsh dumpxml {guest}")


def _told_others(domain: etree._Element, named: Collection[str], source: str) -> list[Reading]:
    return [_told(domain, role, source) for role in pins.others(pins.roles(domain), named)]


def _told(domain: etree._Element, role: str, source: str) -> Reading:
    if role not in pins.roles(domain):
        return Reading(None, source, f"the guest has no {role}")
    kind = role.rstrip("0123456789")
    for element in domain.iterfind(f"cputune/{kind}sched"):
        if role == EMULATOR or int(role.removeprefix(kind)) in pins.cpus_of(element.get(f"{kind}s") or "", source):
            return Reading(_policy(element, source), source, pins.tag(element))
    return Reading(OTHER, source, f"no <{kind}sched> for {role}")


def _policy(element: etree._Element, source: str) -> str:
    policy, priority = element.get("scheduler", ""), element.get("priority", "")
    if policy not in _REALTIME:
        return policy
    if not re.fullmatch(r"\d{1,3}", priority, re.ASCII):
        raise CannotLook(source, f"{pins.tag(element)} has no priority")
    return f"{policy} {int(priority)}"


# --- what the kernel does


def actual(snapshot: Snapshot, guest: str, role: str) -> Reading:
    """What the thread of one role runs as; of the emulator QEMU's main thread, as libvirt sets no other's."""
    return scheduler(snapshot, thread_of(snapshot, guest, role))


def thread_of(snapshot: Snapshot, guest: str, role: str) -> Thread:
    """The thread that the setting of a role is for. Raises NotApplicable, CannotLook."""
    found = (one for one in threads.threads(snapshot, guest) if one.role == role and _named(one))
    if (own := next(found, None)) is None:
        raise pins.no_thread(domain_xml.live(snapshot, guest), guest, role)
    return own


def actual_others(snapshot: Snapshot, guest: str, named: Collection[str]) -> list[Reading]:
    """As `actual`, of every thread that no setting names."""
    return [scheduler(snapshot, one) for one in unnamed(snapshot, guest, named)]


def unnamed(snapshot: Snapshot, guest: str, named: Collection[str]) -> list[Thread]:
    """The threads that no setting names, without workers that run as their maker does. Raises NotApplicable."""
    found = threads.threads(snapshot, guest)
    makers = {one.role: scheduler(snapshot, one).value for one in found if _named(one)}
    left = [one for one in found if not (_named(one) and one.role in named) and not _inherits(snapshot, one, makers)]
    if not left:
        raise NotApplicable("every thread is named by itself")
    return left


def _inherits(snapshot: Snapshot, thread: Thread, makers: Mapping[str, str]) -> bool:
    return threads.is_worker(thread) and scheduler(snapshot, thread).value == makers.get(thread.role)


def _named(thread: Thread) -> bool:
    """Whether a setting can name it: a vCPU, an iothread or QEMU's main thread, not a helper of theirs."""
    if thread.role == EMULATOR:
        return thread.tid == thread.pid and not thread.kernel
    return not threads.is_worker(thread)


def scheduler(snapshot: Snapshot, thread: Thread) -> Reading:
    """`4712 (CPU 0/KVM) S 1 … 0 3 0 0 0 …` -> "batch"; with 1 and 1 in fields 40 and 41 "fifo 1". Raises CannotLook."""
    fields = threads.stat(snapshot, thread)
    policy, source = _POLICIES.get(int(fields[_POLICY])), f"/proc/{thread.pid}/task/{thread.tid}/stat of {thread}"
    if policy is None:
        raise CannotLook(source, f"the policy {fields[_POLICY]} is not known")
    priority = f" {fields[_PRIORITY]}" if policy in _REALTIME else ""
    return Reading(f"{policy}{priority}", source, f"rt_priority {fields[_PRIORITY]}, policy {fields[_POLICY]}")
