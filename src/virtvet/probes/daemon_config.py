"""libvirtd.conf and virtproxyd.conf, read as strictly as libvirt reads them (src/util/virconf.c).

    listen_tls = 1            -> Entry(True, line 1)
    tls_port = "16514"        -> Entry("16514", …)
    tls_allowed_dn_list = ["CN=a", 'CN=b']

A key that is absent has libvirt's own default (daemonConfigNew in src/remote/remote_daemon_config.c); of a key that
stands there twice libvirt takes the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from virtvet.check import Reading
from virtvet.errors import CannotLook
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import File

USUAL = frozenset({"/etc/libvirt/libvirtd.conf", "/etc/libvirt/virtproxyd.conf"})

Value = str | int | tuple[str | int, ...]

_STRING = r"""\"{3}(?s:.*?)\"{3}|"[^"\r\n]*"|'[^'\r\n]*'"""
_ITEM = rf"(?:{_STRING}|[-+]?\d+)"
_VALUE = rf"{_ITEM}|\[\s*(?:{_ITEM}\s*(?:,\s*{_ITEM}\s*)*(?:,\s*)?)?\]"
_SETTING = re.compile(
    rf"([A-Za-z][A-Za-z0-9_]*)[ \t]*=[ \t]*({_VALUE})[ \t]*(?:#[^\r\n]*)?(?:;|(?=[\r\n])|\Z)", re.ASCII
)
_NOTHING = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_ITEMS = re.compile(_ITEM, re.ASCII)
_MODE = re.compile(r"[0-7]{1,6}", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's value and where it stands."""

    value: Value
    line: int
    text: str


def parse(text: str, path: str) -> Mapping[str, Entry]:
    """Every key with the entry libvirt takes. Raises CannotLook with the line that libvirt would refuse."""
    entries: dict[str, Entry] = {}
    at = _skip(text, 0)
    while at < len(text):
        found = _SETTING.match(text, at)
        line = text.count("\n", 0, at) + 1
        if found is None:
            raise CannotLook(f"{path}:{line}", f"libvirt refuses this line: {text[at:].partition(chr(10))[0][:120]}")
        entries.setdefault(found[1], Entry(_value(found[2]), line, found[0][:200]))
        at = _skip(text, found.end())
    return entries


def _skip(text: str, at: int) -> int:
    """Past blanks, separators and comments."""
    found = _NOTHING.match(text, at)
    return found.end() if found else at


def _value(text: str) -> Value:
    return tuple(map(_item, _ITEMS.findall(text))) if text.startswith("[") else _item(text)


def _item(text: str) -> str | int:
    """`\"""a\"""`, `"a"` and `'a'` are a; libvirt knows no escapes."""
    if text[0] in "\"'":
        quotes = 3 if text.startswith('"""') and len(text) >= 6 else 1
        return text[quotes:-quotes]
    return int(text)


# --- what each key means

_BOOLS = frozenset(
    {"listen_tls", "listen_tcp", "tls_no_sanity_certificate", "tls_no_verify_certificate", "audit_logging"}
)
_LISTS = frozenset({"access_drivers", "tls_allowed_dn_list", "sasl_allowed_username_list"})
_NUMBERS = frozenset(
    {
        *("tcp_min_ssf", "log_level", "audit_level", "ovs_timeout", "min_workers", "max_workers", "prio_workers"),
        *("max_clients", "max_queued_clients", "max_anonymous_clients", "max_client_requests"),
        *("admin_min_workers", "admin_max_workers", "admin_max_clients", "admin_max_queued_clients"),
        *("admin_max_client_requests", "admin_keepalive_interval", "admin_keepalive_count"),
        *("keepalive_interval", "keepalive_count"),
    }
)
_MODES = frozenset({"unix_sock_ro_perms", "unix_sock_rw_perms", "unix_sock_admin_perms"})
_PORTS = frozenset({"tls_port", "tcp_port"})

_DEFAULTS: Mapping[str, Any] = {
    "listen_tcp": False,
    "tls_port": 16514,
    "tcp_port": 16509,
    "unix_sock_ro_perms": "0777",
    "unix_sock_admin_perms": "0700",
    "unix_sock_dir": "/run/libvirt",
    "auth_unix_ro": "polkit",
    "auth_unix_rw": "polkit",
    "auth_tcp": "sasl",
    "auth_tls": "none",
    "tls_no_sanity_certificate": False,
    "tls_no_verify_certificate": False,
    "min_workers": 5,
    "max_workers": 20,
    "max_clients": 5000,
    "max_queued_clients": 1000,
    "max_anonymous_clients": 20,
    "prio_workers": 5,
    "max_client_requests": 5,
    "audit_level": 1,
    "audit_logging": False,
    "keepalive_interval": 5,
    "keepalive_count": 5,
    "admin_min_workers": 5,
    "admin_max_workers": 20,
    "admin_max_clients": 5000,
    "admin_max_queued_clients": 20,
    "admin_max_client_requests": 5,
    "admin_keepalive_interval": 5,
    "admin_keepalive_count": 5,
    "host_uuid_source": "smbios",
}
"""Of a libvirt built with polkit and SASL, as distributions do."""

_FILES = {
    "ca_file": "/etc/pki/CA/cacert.pem",
    "cert_file": "/etc/pki/libvirt/servercert.pem",
    "key_file": "/etc/pki/libvirt/private/serverkey.pem",
}
"""Defaults that hold only where none of the three is set (remoteCheckCertFile and its caller, remote_daemon.c)."""


def setting(snapshot: Snapshot, path: str, key: str) -> Reading:
    """A key's value in the profile's terms: yes/no, numbers, ports as numbers, modes as "0770", lists as sets."""
    entries = _entries(snapshot, path)
    if (entry := entries.get(key)) is None:
        return Reading(default(key, path, entries), f"{path}: absent, so libvirt's default")
    return Reading(_meaning(key, entry, f"{path}:{entry.line}"), f"{path}:{entry.line}", entry.text)


def _entries(snapshot: Snapshot, path: str) -> Mapping[str, Entry]:
    """Without the file at its usual place the daemon starts with its defaults."""
    data = snapshot.maybe(File(path)) if path in USUAL else snapshot.read(File(path))
    return parse((data or b"").decode("utf-8", "backslashreplace"), path)


def default(key: str, path: str, entries: Mapping[str, Entry]) -> Any:
    """What libvirt takes for an absent key; None: nothing at all."""
    if key == "listen_tls":
        return not path.endswith("/virtproxyd.conf")
    if key == "unix_sock_rw_perms":
        authentication = entries.get("auth_unix_rw")
        return "0777" if authentication is None or authentication.value == "polkit" else "0700"
    if key in _FILES:
        return None if _FILES.keys() & entries.keys() else _FILES[key]
    return _DEFAULTS.get(key)


def _meaning(key: str, entry: Entry, source: str) -> Any:
    """The entry's value if it is of the type libvirt wants (virConfGetValue*), else CannotLook."""
    value = entry.value
    if key in _BOOLS and value in (0, 1) and isinstance(value, int):
        return value == 1
    if key in _NUMBERS and isinstance(value, int) and (value >= 0 or key.endswith("keepalive_interval")):
        return value
    if key in _LISTS and isinstance(value, tuple) and all(isinstance(one, str) for one in value):
        return frozenset(value)
    if isinstance(value, str) and key not in _BOOLS | _NUMBERS | _LISTS:
        return in_profile_terms(key, value, source)
    raise CannotLook(source, f"libvirt refuses this value: {entry.text}")


def in_profile_terms(key: str, value: str, source: str) -> Any:
    """A string of the file as checks compare it: `"770"` of a mode is "0770", `"16514"` of a port is 16514."""
    if key in _MODES:
        return _mode(value, source)
    return int(value) if key in _PORTS and _PORT.fullmatch(value) else value


def _mode(value: str, source: str) -> str:
    if not _MODE.fullmatch(value):
        raise CannotLook(source, f"libvirt refuses this mode: {value[:40]}")
    return f"{int(value, 8):04o}"


def expected(key: str, stated: Any) -> Any:
    """What the profile states, as `setting` shows it."""
    if stated is None:
        return None
    if key in _MODES:
        return f"{stated:04o}"
    if key in _LISTS:
        return frozenset(stated)
    return stated
