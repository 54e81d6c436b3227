"""What /etc/libvirt/qemu.conf says of how QEMUs are confined, what libvirt made of it, and what the kernel has for it.

The file has the grammar of libvirtd.conf (`daemon_config`). Without it, and for keys that it does not have, libvirt
takes its defaults (virQEMUDriverConfigNew and its like in src/qemu/qemu_conf.c). That a key is obsolete in newer
versions (clear_emulator_capabilities) they say nowhere: such keys are not asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import accounts, daemon_config, host_validate
from virtvet.probes.accounts import GROUP, PASSWD, Account
from virtvet.probes.daemon_config import Entry
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import File, Libvirt, Source

FILE = File("/etc/libvirt/qemu.conf")
APPARMOR = File("/sys/module/apparmor/parameters/enabled")
SELINUX = File("/sys/fs/selinux/enforce")
ACCOUNT_SOURCES: tuple[Source, ...] = (FILE, *accounts.SOURCES, Libvirt())
DRIVER_SOURCES: tuple[Source, ...] = (FILE, Libvirt(), APPARMOR, SELINUX)

PROBED = "whichever the kernel has"
BUILT_IN = "libvirt's own list"

_BOOLS: Mapping[str, bool] = {
    "dynamic_ownership": True,
    "remember_owner": True,
    "security_default_confined": True,
    "security_require_confined": False,
    "dump_guest_core": False,
    "relaxed_acs_check": False,
}
_LISTS: Mapping[str, Any] = {
    "namespaces": frozenset({"mount"}),
    "cgroup_controllers": frozenset({"cpu", "devices", "memory", "blkio", "cpuset", "cpuacct"}),
    "cgroup_device_acl": BUILT_IN,
}
_OTHERS: Mapping[str, Any] = {"seccomp_sandbox": True, "stdio_handler": "logd", "max_core": 0}
"""Keys with what libvirt takes for an absent one, of a daemon that runs as root."""


# --- the file


def setting(snapshot: Snapshot, key: str) -> Reading:
    """A key in the profile's terms: yes/no, bytes or "unlimited", lists as sets."""
    entry = _entries(snapshot).get(key)
    if entry is None:
        return Reading({**_BOOLS, **_LISTS, **_OTHERS}[key], f"{FILE}: absent, so libvirt's default")
    where = f"{FILE}:{entry.line}"
    return Reading(_meaning(key, entry, where), where, entry.text)


def _entries(snapshot: Snapshot) -> Mapping[str, Entry]:
    return daemon_config.parse((snapshot.maybe(FILE) or b"").decode("utf-8", "backslashreplace"), FILE.path)


def _meaning(key: str, entry: Entry, where: str) -> Any:
    """The value if it is of the type libvirt wants (virConfGetValue*), else CannotLook."""
    value = entry.value
    match key, value:
        case "seccomp_sandbox", int():
            return value != 0  # below 0: where QEMU can
        case "stdio_handler", "logd" | "file":
            return value
        case "max_core", "unlimited":
            return value
        case "max_core", int() if value >= 0:
            return value
        case _, 0 | 1 if key in _BOOLS:
            return value == 1
        case _, tuple() if key in _LISTS and all(isinstance(one, str) for one in value):
            return frozenset(value)
    raise CannotLook(where, f"libvirt refuses this value: {entry.text}")


# --- the account


def account_config(snapshot: Snapshot, key: str) -> Reading:
    """The user or group that the file names. Raises NotApplicable where it names none: libvirt was built with one."""
    if (entry := _entries(snapshot).get(key)) is None:
        raise NotApplicable(f"{FILE} names no {key}: that which libvirt was built with")
    where = f"{FILE}:{entry.line}"
    if not isinstance(entry.value, str):
        raise CannotLook(where, f"libvirt refuses this value: {entry.text}")
    return Reading(accounts.written(snapshot, _database(key), entry.value, where), where, entry.text)


def account_live(snapshot: Snapshot, key: str) -> Reading:
    """The user or group that libvirt starts QEMU as, by `virsh capabilities`."""
    return Reading(default_account(snapshot, key), "virsh capabilities", "secmodel dac")


def default_account(snapshot: Snapshot, key: str) -> Account:
    """`<baselabel type='kvm'>+64055:+104</baselabel>` -> libvirt-qemu (64055), kvm (104). Raises CannotLook."""
    number = host_validate.qemu_account(snapshot.read(Libvirt()).capabilities_xml)[key == "group"]
    return accounts.numbered(snapshot, _database(key), number)


def _database(key: str) -> File:
    return GROUP if key == "group" else PASSWD


# --- AppArmor and SELinux


def driver_config(snapshot: Snapshot, _driver: str) -> Reading:
    """ "apparmor", "selinux" or "none"; PROBED where the file says nothing. `security_driver = [ "selinux" ]`"""
    if (entry := _entries(snapshot).get("security_driver")) is None:
        return Reading(PROBED, f"{FILE}: absent, so libvirt's default")
    where = f"{FILE}:{entry.line}"
    names = entry.value if isinstance(entry.value, tuple) else (entry.value,)
    if not names or not all(isinstance(name, str) for name in names):
        raise CannotLook(where, f"libvirt refuses this value: {entry.text}")
    return Reading(", ".join(map(str, names)), where, entry.text)


def driver_live(snapshot: Snapshot, _driver: str) -> Reading:
    """What libvirt uses: `<secmodel><model>apparmor</model>…` -> "apparmor". Raises CannotLook."""
    models = [one.findtext("model", "") for one in _secmodels(snapshot)]
    named = [model for model in models if model not in ("dac", "none")]
    return Reading(", ".join(named) or "none", "virsh capabilities", f"secmodels {' '.join(models)}"[:200])


def _secmodels(snapshot: Snapshot) -> list[etree._Element]:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        found = list(
            etree.fromstring(snapshot.read(Libvirt()).capabilities_xml.encode(), parser).iterfind(".//secmodel")
        )
    except etree.XMLSyntaxError as mistake:
        raise CannotLook("virsh capabilities", f"is not XML: {mistake}") from None
    if not found:
        raise CannotLook("virsh capabilities", "names no security model, not even dac")
    return found


def driver_actual(snapshot: Snapshot, driver: str) -> Reading:
    """Whether the kernel enforces it: "apparmor", or why it does not. Raises NotApplicable for "none"."""
    if driver == "none":
        raise NotApplicable("what libvirt does not use, the kernel may have")
    source, on = {"apparmor": (APPARMOR, b"Y"), "selinux": (SELINUX, b"1")}[driver]
    said = snapshot.maybe(source)
    if said is None:
        return Reading(f"the kernel has no {driver}", source.path, "does not exist")
    word = said.strip()
    return Reading(
        driver if word == on else f"{driver} is {_OFF[driver]}", source.path, word.decode("ascii", "replace")
    )


_OFF = {"apparmor": "off", "selinux": "permissive"}


def others(keys: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What is stated of keys that the file alone tells, as `setting` shows it."""
    for key in sorted({*_BOOLS, *_LISTS, *_OTHERS} & keys.keys()):
        if (value := keys[key]) is not None:
            yield key, frozenset(value) if key in _LISTS else value
