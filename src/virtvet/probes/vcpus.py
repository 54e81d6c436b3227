"""How many vCPUs a guest has, now and at most, what each of them can, and whether plugged ones come online.

libvirt's two documents say what it believes. QEMU itself says what is plugged in (query-cpus-fast: a vCPU can be added
through its monitor behind libvirt) and its command line how many there can be, which no one changes while it runs.
The guest's kernel must have each of them online before it is of any use.
"""

from __future__ import annotations

import re
from math import prod
from typing import Any

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import domain_xml, hotplug_rules, pins, qemu, qmp, threads, topology
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import File, Qmp

SOURCES = pins.SOURCES
PLUGGED = "query-cpus-fast"
SYSTEM = "/sys/devices/system/cpu"
ONLINE, PRESENT, POSSIBLE = (File(f"{SYSTEM}/{name}") for name in ("online", "present", "possible"))
GUEST_SOURCES = (ONLINE, PRESENT, POSSIBLE)
NEW = hotplug_rules.Event("cpu", "cpu9", "online", "0")
Cpus = frozenset[int]


def asked(guest: str) -> Qmp:
    """What QEMU is asked: nothing else tells what is plugged in."""
    return qmp.asked(guest, PLUGGED)


# --- what libvirt was told


def config(snapshot: Snapshot, guest: str, what: str) -> Reading:
    """`what` ("maximum", "current", "placement") of the stored XML.

    `<vcpu placement='static' cpuset='0-1' current='3'>4</vcpu>` -> 4, 3, "static"
    """
    return told(domain_xml.config(snapshot, guest), what, f"virsh dumpxml --inactive {guest}")


def live(snapshot: Snapshot, guest: str, what: str) -> Reading:
    """As `config`, of the running domain."""
    return told(domain_xml.live(snapshot, guest), what, f"virsh dumpxml {guest}")


def told(domain: etree._Element, what: str, source: str) -> Reading:
    """As `config`, of any domain XML.

    Defaults as virDomainVcpuParse (src/conf/domain_conf.c): one vCPU, all of them at once, static.
    """
    vcpu, excerpt = _vcpu(domain)
    text = vcpu.text or "1"
    match what:
        case "maximum":
            return Reading(_number(text, source), source, excerpt)
        case "current":
            return Reading(_number(vcpu.get("current", text), source), source, excerpt)
    return Reading(vcpu.get("placement", "static"), source, excerpt)


def _vcpu(domain: etree._Element) -> tuple[etree._Element, str]:
    found = domain.find("vcpu")
    vcpu = etree.Element("vcpu") if found is None else found
    return vcpu, f"{pins.tag(vcpu)[:-2]}>{vcpu.text or '1'}</vcpu>"


def _number(text: str, source: object) -> int:
    if not re.fullmatch(r"\d{1,5}", text.strip(), re.ASCII):
        raise CannotLook(source, f"{text[:40]!r} is no number of vCPUs")
    return int(text)


def config_cpuset(snapshot: Snapshot, guest: str, _wanted: Cpus) -> Reading:
    """The CPUs of `<vcpu cpuset='0-1'>` in the stored XML; None without any."""
    return _told_cpuset(domain_xml.config(snapshot, guest), f"virsh dumpxml --inactive {guest}")


def live_cpuset(snapshot: Snapshot, guest: str, _wanted: Cpus) -> Reading:
    """As `config_cpuset`, of the running domain."""
    return _told_cpuset(domain_xml.live(snapshot, guest), f"virsh dumpxml {guest}")


def _told_cpuset(domain: etree._Element, source: str) -> Reading:
    vcpu, excerpt = _vcpu(domain)
    cpuset = vcpu.get("cpuset")
    return Reading(pins.cpus_of(cpuset, source) if cpuset else None, source, excerpt)


def config_one(snapshot: Snapshot, guest: str, number: int, what: str) -> Reading:
    """`what` ("enabled", "hotpluggable", "order") of one vCPU of the stored XML's `<vcpus>`; None without it.

    `<vcpu id='2' enabled='yes' hotpluggable='yes' order='3'/>` -> True, True, 3
    """
    return _told_one(domain_xml.config(snapshot, guest), number, what, f"virsh dumpxml --inactive {guest}")


def live_one(snapshot: Snapshot, guest: str, number: int, what: str) -> Reading:
    """As `config_one`, of the running domain."""
    return _told_one(domain_xml.live(snapshot, guest), number, what, f"virsh dumpxml {guest}")


def _told_one(domain: etree._Element, number: int, what: str, source: str) -> Reading:
    listed = domain.findall("vcpus/vcpu")
    if not listed:
        return _unlisted(domain, number, what, source)
    found = next((one for one in listed if one.get("id") == str(number)), None)
    if found is None:
        return Reading(None, source, f"<vcpus> has no vCPU {number}")
    said = found.get(what)
    value: Any = said and _number(said, source) if what == "order" else said == "yes"
    return Reading(value, source, pins.tag(found))


def _unlisted(domain: etree._Element, number: int, what: str, source: str) -> Reading:
    """Without `<vcpus>` the first ones are enabled, in order, and cannot be unplugged (virDomainDefSetVcpus)."""
    there, most = told(domain, "current", source), told(domain, "maximum", source)
    if number >= most.value:
        return Reading(None, source, f"{most.excerpt}, no <vcpus>")
    enabled = number < there.value
    value = {"enabled": enabled, "hotpluggable": not enabled, "order": number + 1 if enabled else None}[what]
    return Reading(value, source, f"{there.excerpt}, no <vcpus>")


# --- what QEMU and the kernel do


def actual_maximum(snapshot: Snapshot, guest: str, _what: str) -> Reading:
    """`-smp 2,maxcpus=4,sockets=1,dies=1,cores=2,threads=2` -> 4; without maxcpus the product, or the first number."""
    process = qemu.of_guest(snapshot, guest)
    said = process.option("smp") or "1"
    words = qemu.keywords(f"cpus={said}" if said[:1].isdecimal() else said)
    stated = [words[key] for key in ("maxcpus", "cpus") if key in words][:1]
    counted = stated or [words[part] for part in topology.PARTS if part in words]
    return Reading(prod(_number(one, process.source) for one in counted), process.source, f"-smp {said}")


def actual_current(snapshot: Snapshot, guest: str, _what: str) -> list[Reading]:
    """The number of vCPUs that QEMU has, and of vCPU threads that libvirt knows and that live; the threads alone where
    no monitor can be asked. QEMU's single-threaded TCG has no thread a vCPU, and libvirt then knows none."""
    roles = sorted({one.role for one in threads.threads(snapshot, guest) if one.role.startswith("vcpu")})
    alive = [Reading(len(roles), f"/proc/PID/task of {guest}", ", ".join(roles))] if roles else []
    try:
        plugged = _plugged(snapshot, guest)
    except NotApplicable:
        if not alive:
            raise
        return alive
    return [Reading(len(plugged), str(asked(guest)), ", ".join(plugged.values())), *alive]


def _plugged(snapshot: Snapshot, guest: str) -> dict[int, str]:
    """`{"cpu-index": 2, "qom-path": "/machine/peripheral/vcpu2", …}` -> {2: "/machine/peripheral/vcpu2"}"""
    found = [(one.get("cpu-index"), one.get("qom-path")) for one in qmp.rows(snapshot, guest, PLUGGED)]
    named = {index: path for index, path in found if isinstance(index, int) and isinstance(path, str)}
    if len(named) != len(found) or not named:
        raise CannotLook(asked(guest), "does not name each vCPU once")
    return named


def actual_one(snapshot: Snapshot, guest: str, number: int, what: str) -> Reading:
    """Whether QEMU has the vCPU now, or ("hotpluggable") whether it was plugged in and can be unplugged: those of the
    start are /machine/unattached/device[0], others /machine/peripheral/vcpu2. QEMU keeps no order."""
    if what == "order":
        raise NotApplicable("QEMU keeps no order of its vCPUs")
    path = _plugged(snapshot, guest).get(number)
    if what == "enabled":
        return Reading(path is not None, str(asked(guest)), path or f"no cpu-index {number}")
    if path is None:
        raise NotApplicable(f"vCPU {number} is not plugged in now")
    return Reading(not path.startswith("/machine/unattached/"), str(asked(guest)), path)


def actual_cpuset(snapshot: Snapshot, guest: str, wanted: Cpus) -> list[Reading]:
    """The CPUs of every thread that has no pin of its own. Raises NotApplicable when all have one."""
    domain = domain_xml.live(snapshot, guest)
    pinned = [role for role in pins.roles(domain) if pins.own_pin(domain, role) is not None]
    return pins.actual_others(snapshot, guest, pinned, wanted)


# --- inside the guest


def possible(snapshot: Snapshot, guest: str, _what: str) -> Reading:
    """As many as the guest's kernel could ever have. possible: `0-3` -> 4"""
    return _counted(snapshot.guest(guest), POSSIBLE)


def online(snapshot: Snapshot, guest: str, _what: str) -> Reading:
    """As many as the guest's kernel uses. online: `0-2` -> 3; present, beside it, counts those that are plugged in."""
    inside = snapshot.guest(guest)
    used, there = _counted(inside, ONLINE), _counted(inside, PRESENT)
    return Reading(used.value, used.source, f"online {used.excerpt}, present {there.excerpt}")


def _counted(inside: Snapshot, file: File) -> Reading:
    cpus = cpus_in(inside, file)
    return Reading(len(cpus), str(file), inside.read(file).decode("ascii", "replace").strip())


def cpus_in(inside: Snapshot, file: File) -> Cpus:
    """`0-2` -> {0, 1, 2}. Raises CannotLook."""
    return pins.cpus_of(inside.read(file).decode("ascii", "replace"), file)


def comes_online(snapshot: Snapshot, guest: str) -> Reading:
    """Whether a CPU that is plugged in comes online by itself ("automatic") or waits for somebody ("by hand").

    x86 and arm64 leave it to user space: a rule of udev, or of mdev, must write 1 to its `online` file.
    """
    return hotplug_rules.comes_online(snapshot.guest(guest), NEW, frozenset({"1"}))
