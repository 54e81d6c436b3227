"""How fast a guest's disk may be used: `<iotune>`, and what QEMU throttles it to.

QEMU limits a disk by itself, no control group is involved; the limits can be changed behind libvirt while the guest
runs (block_set_io_throttle), so query-block is asked. What is not limited has 0 in both.
Source: QEMU QMP Reference Manual, BlockDeviceInfo; libvirt src/qemu/qemu_monitor_json.c.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import blockdev, disks, domain_xml
from virtvet.probes.blockdev import Options
from virtvet.profile import throttle
from virtvet.profile.disks import LIMITS
from virtvet.snapshot.model import Snapshot

Value = int | str | None
KEYS = (*LIMITS, *(f"{name}{end}" for end in ("_max", "_max_length") for name in LIMITS), "size_iops")
"""All that is a number, by its key in the profile."""
_QMP = {"total_bytes": "bps", "read_bytes": "bps_rd", "write_bytes": "bps_wr"} | {
    "total_iops": "iops",
    "read_iops": "iops_rd",
    "write_iops": "iops_wr",
}


def config(snapshot: Snapshot, guest: str, target: str, key: str) -> Reading:
    """One limit of the stored XML by its key in the profile, bytes or requests a second; "unlimited".

    `<read_bytes_sec>20971520</read_bytes_sec>` -> 20971520. Raises NotApplicable for a disk that is not there.
    """
    return _told(domain_xml.config(snapshot, guest), target, key, f"virsh dumpxml --inactive {guest}")


def live(snapshot: Snapshot, guest: str, target: str, key: str) -> Reading:
    """As `config`, of the running domain."""
    return _told(domain_xml.live(snapshot, guest), target, key, f"virsh dumpxml {guest}")


def _told(domain: etree._Element, target: str, key: str, source: str) -> Reading:
    disk = disks.existing(domain, target)
    tuned = disk.find("iotune")
    excerpt = "no <iotune>" if tuned is None else disks.shown(tuned)
    return Reading(of_disk(disk, key, source), source, excerpt)


def of_disk(disk: etree._Element, key: str, source: str) -> Value:
    """One limit of a `<disk>`."""
    if key == "group":
        name = disk.findtext("iotune/group_name")
        return None if name in _own_groups(alias_of(disk) or "") else name
    return meaning(key, numbers_of(disk, source))


def numbers_of(disk: etree._Element, source: str) -> dict[str, int]:
    """All numbers of a `<disk>` as they are written, by key; 0 for those that are not."""
    return {key: _number(disk, key, source) for key in KEYS}


def alias_of(disk: etree._Element) -> str | None:
    """`<alias name='virtio-disk0'/>`."""
    alias = disk.find("alias")
    return None if alias is None else alias.get("name")


def element(key: str) -> str:
    """The element of `<iotune>`: "read_bytes_max" -> "read_bytes_sec_max", "group" -> "group_name"."""
    return "group_name" if key == "group" else re.sub(r"_(bytes|iops)", r"_\1_sec", key, count=1)


def _number(disk: etree._Element, key: str, source: str) -> int:
    text = disk.findtext(f"iotune/{element(key)}") or "0"
    if not re.fullmatch(r"\d{1,19}", text, re.ASCII):
        raise CannotLook(source, f"<{element(key)}> holds no number")
    return int(text)


def meaning(key: str, numbers: Mapping[str, int]) -> int | str:
    """One of the numbers as checks compare it. A limit of 0 is none; a burst whose length is not told lasts a second
    (throttle_config_init in util/throttle.c)."""
    if key.endswith("_max_length"):
        return max(numbers[key], 1) if numbers[key.removesuffix("_length")] else 0
    return throttle.shown(numbers[key]) if key in LIMITS else numbers[key]


def expected(key: str, wanted: int | str) -> int | str:
    """What the profile states, as checks compare it."""
    return throttle.shown(int(wanted)) if key in LIMITS else wanted


def actual(snapshot: Snapshot, guest: str, target: str, key: str) -> Reading:
    """The same in QEMU. query-block: `"bps_rd": 20971520, "iops_max": 800, "iops_max_length": 2, "iops_size": 4096`.

    Bursts have no key while there are none; the group has the device's path while it has no name of its own.
    """
    device = disks.device_id(snapshot, guest, target)
    if guest in snapshot.by_hand:
        raise NotApplicable("the guest was started by hand: its monitor cannot be asked")
    seen = blockdev.medium(blockdev.entry(snapshot, guest, device))
    source = f"query-block of {guest}'s QEMU"
    return Reading(_seen(seen, device, key, source), source, _excerpt(seen))


def _seen(seen: Options, device: str, key: str, source: str) -> Value:
    if key == "group":
        return None if seen.get("group") in (None, *_own_groups(device)) else str(seen["group"])
    return meaning(key, numbers_in(seen, source))


def numbers_in(seen: Options, source: str) -> dict[str, int]:
    """All numbers that query-block tells, by key; 0 for those that it does not."""
    numbers = {key: seen.get(answered(key), 0) for key in KEYS}
    if not all(type(number) is int for number in numbers.values()):
        raise CannotLook(source, "tells a limit that is no number")
    return numbers


def answered(key: str) -> str:
    """The key of query-block: "read_bytes_max" -> "bps_rd_max", "size_iops" -> "iops_size"."""
    if key == "size_iops":
        return "iops_size"
    name = next(name for name in LIMITS if key.startswith(name))
    return _QMP[name] + key.removeprefix(name)


def _own_groups(device: str) -> tuple[str, ...]:
    """What QEMU calls a group without a name: by its only device (blk_get_attached_dev_id, block/block-backend.c)."""
    return blockdev.paths_of(device)


def _excerpt(seen: Options) -> str:
    told = {key: value for key, value in sorted(seen.items()) if re.match("bps|iops|group", key) and value}
    return ", ".join(f"{key}={value}" for key, value in told.items())[:500] or "no limits"
