"""Shared folders: the host's directory, the guest's filesystem device on each layer, and the mount inside the guest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import domain_xml, kernel, mounts, qemu, v9fs
from virtvet.probes.qemu import Process, keywords
from virtvet.snapshot.model import Snapshot, Status, text_of
from virtvet.snapshot.sources import Glob, HostSource, Libvirt, Processes, Source, Stat

if TYPE_CHECKING:
    from virtvet.target import GuestTarget, HostTarget

VIRTIOFSD = Processes("virtiofsd", ("cmdline",))
VIRTIOFSD_PIDS = Glob("/run/libvirt/qemu/*-fs.pid")
"""`1-web1-fs0-fs.pid` (src/qemu/qemu_virtiofs.c, qemuVirtioFSCreatePidFilename)."""

TAGS = Glob("/sys/bus/virtio/drivers/9pnet_virtio/*/mount_tag")

NOTHING = "nothing mounted"
"""The value of a directory at which nothing is mounted, now or after the next boot."""


def sources(host: HostTarget) -> Iterable[Source]:
    """What the device's layers are read from, and a stat of each directory; nothing when no guest has a share."""
    shares = [share for guest in host.guests for share in guest.wants.shares.values()]
    if shares:
        # a share wanted over 9p may be there over virtiofs
        yield from (Libvirt(), *qemu.SOURCES, VIRTIOFSD, VIRTIOFSD_PIDS)
        yield from (Stat(share.source) for share in shares)


def guest_sources(guest: GuestTarget) -> Iterable[HostSource]:
    """What is read inside a guest that is to mount a share."""
    if any(share.mount for share in guest.wants.shares.values()):
        yield from (mounts.MOUNTS, mounts.FSTAB, mounts.UNITS, mounts.SYSTEMD, kernel.OSRELEASE, TAGS)


# --- the directory on the host


def kind(snapshot: Snapshot, directory: str) -> Reading:
    """`directory`, or what else stands there; None when nothing does."""
    found = snapshot.maybe_stat(Stat(directory))
    return Reading(found.kind if found else None, directory)


def account(snapshot: Snapshot, directory: str, part: str, numeric: bool) -> Reading:
    """The directory's `owner` or `group`: its name, or with `numeric` its number as text."""
    status = _status(snapshot, directory)
    names = {"owner": (status.owner, status.uid), "group": (status.group, status.gid)}
    return Reading(str(names[part][numeric]), directory, _listed(status))


def mode(snapshot: Snapshot, directory: str) -> Reading:
    """`0755`."""
    status = _status(snapshot, directory)
    return Reading(f"{status.mode:04o}", directory, _listed(status))


def _status(snapshot: Snapshot, directory: str) -> Status:
    if (status := snapshot.maybe_stat(Stat(directory))) is None:
        raise NotApplicable(f"{directory} does not exist")
    return status


def _listed(status: Status) -> str:
    return f"{status.kind} {status.mode:04o} {status.owner}({status.uid}):{status.group}({status.gid})"


# --- the device


@dataclass(frozen=True, slots=True)
class Device:
    """One filesystem device as one layer shows it; without a type there is none. The first two are the evidence."""

    read_from: str
    excerpt: str
    type: str | None = None
    driver: str | None = None
    directory: str | None = None
    accessmode: str | None = None
    readonly: bool | None = None
    unserved: str = ""
    """Why nobody knows its directory, nor whether that is read-only."""


Find = Callable[[Snapshot, str, str], Device]


def configured(snapshot: Snapshot, guest: str, tag: str) -> Device:
    """The device of the stored domain XML."""
    return from_xml(domain_xml.config(snapshot, guest), tag, f"virsh dumpxml --inactive {guest}")


def running(snapshot: Snapshot, guest: str, tag: str) -> Device:
    """The device of the running domain's XML."""
    return from_xml(domain_xml.live(snapshot, guest), tag, f"virsh dumpxml {guest}")


def exported(snapshot: Snapshot, guest: str, tag: str) -> Device:
    """The device of QEMU's own arguments; for virtiofs, the directory that its virtiofsd serves.

    Of a guest that was started by hand, nothing says which virtiofsd that is.
    """
    by_hand = guest in snapshot.by_hand
    domain = None if by_hand else domain_xml.live(snapshot, guest)
    device = from_process(qemu.of_guest(snapshot, guest), tag)
    if device.driver != "virtiofs":
        return device
    if domain is None:
        return replace(device, unserved="the guest was started by hand: which virtiofsd serves it cannot be told")
    return _virtiofs(snapshot, domain, tag, device)


def from_xml(domain: etree._Element, tag: str, read_from: str) -> Device:
    """`<filesystem type='mount' accessmode='mapped'><source dir='/srv/share'/><target dir='hostshare'/></filesystem>`.

    Defaults as src/conf/domain_conf.c: type mount, accessmode passthrough, driver path (9p).
    """
    for element in domain.iterfind("devices/filesystem"):
        if _attribute(element, "target", "dir") == tag:
            driver = _attribute(element, "driver", "type")
            return Device(
                directory=_attribute(element, "source", "dir"),
                driver="virtiofs" if driver == "virtiofs" else "9p",
                accessmode=element.get("accessmode", "passthrough"),
                readonly=element.find("readonly") is not None,
                type=element.get("type", "mount"),
                read_from=read_from,
                excerpt=domain_xml.shown(element),
            )
    return _none(tag, read_from)


def _none(tag: str, read_from: str) -> Device:
    return Device(read_from, f"no filesystem device has the tag {tag}")


def _attribute(element: etree._Element, child: str, name: str) -> str | None:
    found = element.find(child)
    return None if found is None else found.get(name)


def from_process(process: Process, tag: str) -> Device:
    """The device with this tag out of `-device` and `-fsdev`, or of `-virtfs`, which is both; for virtiofs they do not
    name the directory."""
    local = [(keywords(one), one) for one in process.arguments if one.startswith("local,")]
    if both := next((one for words, one in local if words.get("mount_tag") == tag), ""):
        return _nine_p(both, process.source)
    backends = {words.get("id"): one for words, one in local}
    for device in process.parts():
        if device.get("tag") == tag:
            shown = json.dumps(device)[:500]
            return Device(process.source, shown, "mount", "virtiofs", accessmode="passthrough", readonly=False)
        if device.get("mount_tag") == tag:
            return _nine_p(backends.get(device.get("fsdev"), ""), process.source)
    return _none(tag, process.source)


ACCESSMODES = {"mapped": "mapped", "mapped-xattr": "mapped", "passthrough": "passthrough", "none": "squash"}
"""security_model of -fsdev to libvirt's accessmode (src/qemu/qemu_command.c, qemuBuildFSDevCmd)."""


def _nine_p(fsdev: str, read_from: str) -> Device:
    """`local,security_model=mapped,id=fsdev-fs0,path=/srv/share,readonly`."""
    backend = keywords(fsdev)
    model = backend.get("security_model")
    return Device(
        read_from,
        fsdev[:500],
        type="mount",
        driver="9p",
        directory=backend.get("path"),
        accessmode=ACCESSMODES.get(model, model) if model else None,
        readonly=backend.get("readonly", "off") in ("", "on"),
    )


def _virtiofs(snapshot: Snapshot, domain: etree._Element, tag: str, device: Device) -> Device:
    """The device completed by the directory its virtiofsd serves."""
    path, arguments = _virtiofsd(snapshot, _pid(snapshot, domain, tag))
    return replace(
        device,
        directory=served(arguments),
        readonly="--readonly" in arguments,
        read_from=path,
        excerpt=" ".join(arguments)[:500],
    )


def _pid(snapshot: Snapshot, domain: etree._Element, tag: str) -> str:
    alias = next(
        _attribute(one, "alias", "name")
        for one in domain.iterfind("devices/filesystem")
        if _attribute(one, "target", "dir") == tag
    )
    for path, found in snapshot.read(VIRTIOFSD_PIDS).items():
        if path.rpartition("/")[2].startswith(f"{domain.get('id')}-") and path.endswith(f"-{alias}-fs.pid"):
            return text_of(path, found).strip()
    raise CannotLook(VIRTIOFSD_PIDS, f"no virtiofsd of {domain.findtext('name')} serves {tag}")


def _virtiofsd(snapshot: Snapshot, pid: str) -> tuple[str, tuple[str, ...]]:
    path = f"/proc/{pid}/cmdline"
    files = snapshot.read(VIRTIOFSD)
    if path not in files:
        raise CannotLook(path, "the virtiofsd of libvirt's pid file is not running")
    return path, tuple(text_of(path, files[path]).rstrip("\0").split("\0"))


def served(arguments: tuple[str, ...]) -> str | None:
    """`--shared-dir /srv/share` (virtiofsd in Rust) or `-o source=/srv/share,cache=auto` (in C)."""
    for flag, value in pairwise(arguments):
        if flag == "--shared-dir":
            return value
        if flag == "-o" and "source" in (options := keywords(value)):
            return options["source"]
    return None


def directory_of(find: Find) -> Callable[[Snapshot, str, str], Reading]:
    """A probe: the host directory behind a tag; None when there is no such device."""

    def probe(snapshot: Snapshot, guest: str, tag: str) -> Reading:
        device = find(snapshot, guest, tag)
        if device.unserved:
            raise NotApplicable(device.unserved)
        return Reading(device.directory, device.read_from, device.excerpt)

    return probe


def attribute_of(find: Find, name: str) -> Callable[[Snapshot, str, str], Reading]:
    """A probe: an attribute of the device with a tag. Raises NotApplicable without one: SHARE-DEV-1 judges that."""

    def probe(snapshot: Snapshot, guest: str, tag: str) -> Reading:
        device = find(snapshot, guest, tag)
        if device.type is None or (device.unserved and name == "readonly"):
            raise NotApplicable(device.unserved or device.excerpt)
        return Reading(getattr(device, name), device.read_from, device.excerpt)

    return probe


# --- inside the guest


def tags(snapshot: Snapshot, guest: str) -> Reading:
    """The 9p tags that the guest's virtio bus offers. Raises NotApplicable while 9pnet_virtio is not loaded."""
    files = snapshot.guest(guest).read(TAGS)
    if not files:
        raise NotApplicable("the guest has no 9p device, or has not loaded 9pnet_virtio")
    # the kernel ends the tag with a NUL byte (net/9p/trans_virtio.c, p9_mount_tag_show)
    found = [text_of(path, content).rstrip("\0\n") for path, content in files.items()]
    return Reading(frozenset(found), str(TAGS), " ".join(sorted(found))[:500])


Look = Callable[[Snapshot, str], "mounts.Mounted | None"]


def filesystem(snapshot: Snapshot, guest: str, at: str) -> Reading:
    """The type of what is mounted at a directory: `9p`, `virtiofs` …"""
    found = mounts.mounted(snapshot.guest(guest), at)
    return Reading(found.fstype, found.where, found.line) if found else Reading(NOTHING, str(mounts.MOUNTS))


def mounted_tag(snapshot: Snapshot, guest: str, at: str, fstype: str) -> Reading:
    """The tag that is mounted at a directory."""
    found = _share_at(mounts.mounted, snapshot, guest, at, fstype)
    return Reading(found.source, found.where, found.line)


def mounted_setting(snapshot: Snapshot, guest: str, at: str, fstype: str, key: str) -> Reading:
    """One setting of the mount, by its profile key."""
    return _setting(mounts.mounted, snapshot, guest, at, fstype, key)


def next_boot(snapshot: Snapshot, guest: str, at: str, fstype: str) -> Reading:
    """The tag that the next boot mounts at a directory."""
    found = mounts.next_boot(snapshot.guest(guest), at)
    if found is None:
        return Reading(NOTHING, f"{mounts.FSTAB} and enabled mount units")
    return Reading(found.source if found.fstype in (fstype, "auto") else found.fstype, found.where, found.line)


def next_boot_setting(snapshot: Snapshot, guest: str, at: str, fstype: str, key: str) -> Reading:
    """One setting of the mount that the next boot makes."""
    return _setting(mounts.next_boot, snapshot, guest, at, fstype, key)


def _setting(look: Look, snapshot: Snapshot, guest: str, at: str, fstype: str, key: str) -> Reading:
    found = _share_at(look, snapshot, guest, at, fstype)
    release = snapshot.guest(guest).read(kernel.OSRELEASE).decode("ascii", "replace")
    values = v9fs.settings(found.options, kernel.version(release, kernel.OSRELEASE))
    return Reading(values[key], found.where, found.line)


def _share_at(look: Look, snapshot: Snapshot, guest: str, at: str, fstype: str) -> mounts.Mounted:
    found = look(snapshot.guest(guest), at)
    if found is None or found.fstype not in (fstype, "auto"):
        raise NotApplicable(f"no {fstype} file system is mounted at {at}")
    return found
