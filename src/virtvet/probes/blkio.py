"""A guest's share of the host's block devices: `<blkiotune>`, and the control groups that its threads really are in.

On v1 systemd moves a guest whose weight it is told out of its group, whose files are right all the same: so the files
of the groups that /proc/PID/task/TID/cgroup names are read, whichever libvirt made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook
from virtvet.probes import cgroup, domain_xml, threads
from virtvet.probes.cgroup import Device, Group
from virtvet.profile import throttle
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import Command, Libvirt, Source

if TYPE_CHECKING:
    from virtvet.target import HostTarget

Value = int | str | None


def sources(host: HostTarget) -> Iterable[Source]:
    """Control groups, and the numbers of every device that is named."""
    wanted = [guest.wants.blkio for guest in host.guests if guest.matched and guest.wants.blkio]
    if wanted:
        yield from (Libvirt(), *cgroup.SOURCES, *threads.SOURCES)
    yield from (node(path) for one in wanted for path in one.devices)


def config(snapshot: Snapshot, guest: str, what: str, _wanted: object, device: str = "") -> Reading:
    """ "weight", or "read_bytes" and its like of one device, in the stored XML; a limit that is not there is unlimited.

    `<device><path>/dev/vda</path><read_bytes_sec>1073741824</read_bytes_sec></device>` -> 1073741824
    """
    return _told(domain_xml.config(snapshot, guest), what, device, f"virsh dumpxml --inactive {guest}")


def live(snapshot: Snapshot, guest: str, what: str, _wanted: object, device: str = "") -> Reading:
    """As `config`, of the running domain."""
    return _told(domain_xml.live(snapshot, guest), what, device, f"virsh dumpxml {guest}")


def _told(domain: etree._Element, what: str, device: str, source: str) -> Reading:
    tuned = _device(domain, device) if device else domain.find("blkiotune")
    name = what if what == "weight" else f"{what}_sec"
    text = None if tuned is None else tuned.findtext(name)
    excerpt = f"no <{name}>" if text is None else f"<{name}>{text}</{name}>"
    if not re.fullmatch(r"\d{1,19}", text or "0", re.ASCII):
        raise CannotLook(source, f"{excerpt} holds no number")
    number = int(text or 0)
    return Reading((number or None) if what == "weight" else throttle.shown(number), source, excerpt)


def _device(domain: etree._Element, path: str) -> etree._Element | None:
    devices = domain.iterfind("blkiotune/device")
    return next((one for one in devices if one.findtext("path") == path), None)


def weight(snapshot: Snapshot, guest: str, _what: str, wanted: int | None, device: str = "") -> list[Reading]:
    """The weight in the outermost group of every thread, on a device or on all; `wanted` where the kernel has that."""
    number = number_of(snapshot, device) if device else None
    scopes = {Group(group.hierarchy, cgroup.scope_of(group.path)): None for group in _groups(snapshot, guest)}
    return [reading for scope in scopes for reading in cgroup.io_weights(snapshot, scope, wanted, number)]


def limit(snapshot: Snapshot, guest: str, what: str, _wanted: object, device: str) -> list[Reading]:
    """What the groups of all threads may use of a device, groups above counted: bytes or requests a second."""
    number = number_of(snapshot, device)
    return [
        reading for group in _groups(snapshot, guest) for reading in cgroup.throttled(snapshot, group, what, number)
    ]


def _groups(snapshot: Snapshot, guest: str) -> tuple[Group, ...]:
    """Each once. Raises NotApplicable for a guest without groups of its own."""
    cgroup.must_have_its_own(snapshot, guest)
    found = threads.threads(snapshot, guest)
    groups = (cgroup.group_of(snapshot, thread, "blkio") for thread in found)
    if not (own := tuple(dict.fromkeys(map(cgroup.domain_of, groups)))):
        raise CannotLook(threads.QEMU, f"no thread of {guest} was seen")
    return own


def number_of(snapshot: Snapshot, path: str) -> Device:
    """Major and minor number of a device node. Raises CannotLook when there is none.

    `stat -L -c '%t %T %F' -- /dev/vda`: `fe 0 block special file` -> (254, 0).
    """
    done = snapshot.read(node(path))
    said = (done.stdout or done.stderr).decode("utf-8", "replace").strip()
    match = re.fullmatch(r"([0-9a-f]{1,5}) ([0-9a-f]{1,5}) block special file", said, re.ASCII)
    if done.returncode or not match:
        raise CannotLook(node(path), f"is no block device: {said[:200]!r}")
    return int(match[1], 16), int(match[2], 16)


def node(path: str) -> Command:
    """What tells a device's numbers, links followed; GNU stat and busybox say the same."""
    return Command(("stat", "-L", "-c", "%t %T %F", "--", path))
