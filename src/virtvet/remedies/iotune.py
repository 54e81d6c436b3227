"""Give a disk its limits through libvirt, in the running QEMU and in the stored configuration.

Limits that the profile does not state stay, unless QEMU refuses them beside those that it states. Taken back, libvirt
and QEMU have what they had, also where somebody had changed QEMU behind libvirt. Groups are not mended: who leaves one
takes its limits from the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from lxml import etree

from virtvet.check import Case
from virtvet.errors import NotApplicable
from virtvet.probes import blockdev, disks, domain_xml, iotune, qemu
from virtvet.profile.disks import LIMITS
from virtvet.remedies.change import Change, Remedy, Step
from virtvet.remedies.modes import Risk
from virtvet.remedies.operations import Given, Run, Throttle
from virtvet.snapshot.model import Snapshot
from virtvet.target import HostTarget

Numbers = Mapping[str, int]


def plan(snapshot: Snapshot, case: Case, target: HostTarget) -> tuple[Change, ...]:
    """One change of the running disk and of its stored configuration, as far as each departs."""
    guest, disk, _key = case.args
    wanted = target.guests_by_name()[guest].wants.disks[disk].throttling.stated
    numbers = {key: int(value) for key, value in wanted.items() if key in iotune.KEYS}
    steps = (*_running(snapshot, guest, disk, numbers), *_stored(snapshot, guest, disk, numbers))
    return (Change(f"give the disk {disk} of {guest} its limits", Risk.LIVE, steps),) if steps else ()


RETUNE = Remedy("give the disk its limits through libvirt", Risk.LIVE, plan)


def _running(snapshot: Snapshot, guest: str, disk: str, wanted: Numbers) -> tuple[Step, ...]:
    try:
        domain = domain_xml.live(snapshot, guest)
        told = iotune.numbers_of(disks.existing(domain, disk), f"virsh dumpxml {guest}")
        entry = blockdev.entry(snapshot, guest, disks.device_id(snapshot, guest, disk))
        seen = iotune.numbers_in(blockdev.medium(entry), "query-block")
    except NotApplicable:
        return ()
    if _right(told, wanted) and _right(seen, wanted):
        return ()
    run = int(domain.get("id", ""))
    back = _throttle(snapshot, domain, disk, told, run)
    behind = () if seen == told else (_behind_libvirt(snapshot, guest, entry, seen),)
    return (Step(_throttle(snapshot, domain, disk, together(told, wanted), run), (back, *behind)),)


def _stored(snapshot: Snapshot, guest: str, disk: str, wanted: Numbers) -> tuple[Step, ...]:
    try:
        domain = domain_xml.config(snapshot, guest)
        told = iotune.numbers_of(disks.existing(domain, disk), f"virsh dumpxml --inactive {guest}")
    except NotApplicable:
        return ()
    if _right(told, wanted):
        return ()
    back = _throttle(snapshot, domain, disk, told, None)
    return (Step(_throttle(snapshot, domain, disk, together(told, wanted), None), (back,)),)


def _right(numbers: Numbers, wanted: Numbers) -> bool:
    return all(iotune.meaning(key, numbers) == iotune.expected(key, value) for key, value in wanted.items())


def together(told: Numbers, wanted: Numbers) -> dict[str, int]:
    """What is wanted, and of what is told all that QEMU takes beside it (as profile.disks.possible)."""
    kept = {key: value for key, value in told.items() if not _excluded(key, wanted)}
    numbers = dict.fromkeys(iotune.KEYS, 0) | kept | dict(wanted)
    for name in LIMITS:
        if numbers[f"{name}_max"] < numbers[name] or not numbers[name]:
            numbers |= {f"{name}_max": 0, f"{name}_max_length": 0}
    if not any(numbers[name] for name in LIMITS if name.endswith("iops")):
        numbers["size_iops"] = 0
    return numbers


def _excluded(key: str, wanted: Numbers) -> bool:
    """Whether a limit cannot be beside one that is wanted: a total beside one of its parts, or the reverse."""
    which, _, what = key.partition("_")
    others = ("read", "write") if which == "total" else ("total",)
    return which != "size" and any(wanted.get(f"{other}_{what.partition('_')[0]}") for other in others)


def _throttle(snapshot: Snapshot, domain: etree._Element, disk: str, numbers: Numbers, run: int | None) -> Throttle:
    limits = tuple((iotune.element(key), value) for key, value in numbers.items())
    name, uuid = domain.findtext("name") or "", domain.findtext("uuid") or ""
    return Throttle(snapshot.machine, name, uuid, disk, limits, run)


def _behind_libvirt(snapshot: Snapshot, guest: str, entry: blockdev.Options, seen: Numbers) -> Run:
    """What brings back limits that somebody gave QEMU without telling libvirt, while it is still the same QEMU."""
    limits = {iotune.answered(key): value for key, value in seen.items() if value or key in LIMITS}
    arguments = {"id": entry["qdev"], "group": blockdev.medium(entry).get("group"), **limits}
    command = {"execute": "block_set_io_throttle", "arguments": {k: v for k, v in arguments.items() if v is not None}}
    still = Given(f"{qemu.STATE}/{guest}.pid", str(qemu.pid(snapshot, guest)))
    virsh = ("virsh", "-q", "-c", "qemu:///system", "qemu-monitor-command", guest, json.dumps(command))
    return Run(snapshot.machine, virsh, given=still)
