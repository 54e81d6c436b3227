"""Which operating system a guest runs: what the domain's metadata says, and what the guest says itself.

libosinfo's metadata is written by virt-install, virt-manager and Cockpit; nothing keeps it true. Sources:
https://libosinfo.org, os-release(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import domain_xml
from virtvet.profile.guest_os import refusal, windows_version
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import File, HostSource

if TYPE_CHECKING:
    from virtvet.target import GuestTarget

SOURCES = domain_xml.SOURCES
OSINFO = "{http://libosinfo.org/xmlns/libvirt/domain/1.0}"
OS_RELEASE = (File("/etc/os-release"), File("/usr/lib/os-release"))
"""The second where the first is missing, as os-release(5) has it."""
PLUGS = "memory can be plugged"
NAMES = {
    "alpinelinux": ("alpine",),
    "archlinux": ("arch",),
    "centos-stream": ("centos",),
    "silverblue": ("fedora",),
    "coreos": ("fedora",),
    "opensuse": ("opensuse-leap", "opensuse-tumbleweed", "opensuse"),
    "sle": ("sles", "sled", "sle_hpc"),
}
"""libosinfo's name of a system to ID of its os-release, where they differ."""
ANY = "linux"
"""libosinfo's name of any Linux: http://libosinfo.org/linux/2022."""


def guest_sources(guest: GuestTarget) -> Iterable[HostSource]:
    """What is read inside a guest that is to run a stated system, which is no Windows."""
    wanted = guest.wants.os.named if guest.wants.os else None
    if wanted and windows_version(wanted) is None:
        yield from OS_RELEASE


# --- what the domain's metadata says


def config(snapshot: Snapshot, guest: str, *_wanted: str) -> Reading:
    """libosinfo's id of the system in the stored XML; None without.

    `<libosinfo:os id="http://debian.org/debian/12"/>` -> "http://debian.org/debian/12"
    """
    return _named(domain_xml.config(snapshot, guest), f"virsh dumpxml --inactive {guest}")


def live(snapshot: Snapshot, guest: str, *_wanted: str) -> Reading:
    """As `config`, of the running domain."""
    return _named(domain_xml.live(snapshot, guest), f"virsh dumpxml {guest}")


def _named(domain: etree._Element, source: str) -> Reading:
    found = domain.find(f"metadata/{OSINFO}libosinfo/{OSINFO}os")
    excerpt = "no <libosinfo:os>" if found is None else domain_xml.shown(found)
    return Reading(None if found is None else found.get("id"), source, excerpt)


def config_plugs(snapshot: Snapshot, guest: str, edition: str | None, unplug: bool) -> Reading:
    """PLUGS, or why the system that the stored XML names takes no memory while it runs, or gives none back.

    Raises NotApplicable where it names none.
    """
    return _plugs(config(snapshot, guest), edition, unplug)


def live_plugs(snapshot: Snapshot, guest: str, edition: str | None, unplug: bool) -> Reading:
    """As `config_plugs`, of the running domain."""
    return _plugs(live(snapshot, guest), edition, unplug)


def _plugs(named: Reading, edition: str | None, unplug: bool) -> Reading:
    if named.value is None:
        raise NotApplicable("the domain's metadata names no operating system")
    return Reading(refusal(named.value, edition, unplug) or PLUGS, named.source, named.excerpt)


# --- what the guest says


def inside(snapshot: Snapshot, guest: str, wanted: str) -> Reading:
    """The wanted id where the guest's os-release agrees with it, else what that says: "debian 13".

    `ID=debian` and `VERSION_ID="12"` agree with http://debian.org/debian/12. Raises NotApplicable for Windows, and
    where the guest has no os-release.
    """
    if windows_version(wanted):
        raise NotApplicable("Windows has no os-release")
    file, text = _os_release(snapshot.guest(guest))
    name, version = _field(text, "ID", "linux", file), _field(text, "VERSION_ID", "", file)
    said = f"{name} {version}".strip()
    return Reading(wanted if agrees(wanted, name, version) else said, str(file), said)


def _os_release(inside: Snapshot) -> tuple[File, str]:
    for file in OS_RELEASE:
        if (found := inside.maybe(file)) is not None:
            return file, found.decode("utf-8", "backslashreplace")
    raise NotApplicable(f"the guest has neither {' nor '.join(map(str, OS_RELEASE))}")


def _field(text: str, key: str, absent: str, file: File) -> str:
    """`VERSION_ID="12"` -> "12". Raises CannotLook for what os-release(5) does not allow."""
    lines = re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)
    if not lines:
        return absent
    if not (match := re.fullmatch(r"""(["']?)([A-Za-z0-9._-]{0,64})\1\s*""", lines[-1], re.ASCII)):
        raise CannotLook(file, f"{key}={lines[-1][:60]} is not as os-release(5) has it")
    return match[2]


def agrees(wanted: str, name: str, version: str) -> bool:
    """Whether an id of libosinfo names this system. One of both may tell more of the version: 3.19 and 3.19.1.

    Versions of libosinfo that begin with no digit ("rolling", "unknown") say nothing; of "9-unknown" the 9 counts.
    """
    system, _, release = wanted.rstrip("/").rpartition("/")
    system, number = system.rpartition("/")[2], re.match(r"[\d.]*", release, re.ASCII)
    if system == ANY:
        return True
    if name not in NAMES.get(system, (system,)):
        return False
    stated = number[0].rstrip(".") if number else ""
    return not stated or f"{version}.".startswith(f"{stated}.") or f"{stated}.".startswith(f"{version}.")
