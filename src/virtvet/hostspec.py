"""Hosts as `-H` and `--hosts` name them: testinfra's host specifications, as entries of an inventory.

hv1                                   SSH, as does ssh://hv1 or paramiko://hv1
ssh://root@hv1:2222?sudo=true         also ssh_config=, ssh_identity_file=, known_hosts=, jump=user@gateway:22
local://                              the machine virtvet runs on
ansible://group?ansible_inventory=F   hosts of an Ansible inventory: a name, a group or a pattern
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from socket import gethostname
from typing import Any
from urllib.parse import parse_qsl

from virtvet.errors import BadInput, Position
from virtvet.units import as_written
from virtvet.validate import nearest

Entry = dict[str, Any]
"""A host as an inventory file would state it."""

_SPEC = re.compile(r"(?:(?P<scheme>[a-z]+)://)?(?P<rest>[^?]*)(?:\?(?P<query>.*))?")
_LOGIN = re.compile(
    r"(?:ssh://)?(?:(?P<user>[^@:/]+)@)?(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<name>[^@:/\[\]]+))(?::(?P<port>\d{1,5}))?/?"
)
_SSH_OPTIONS = {
    "sudo": "sudo",
    "ssh_config": "ssh_config",
    "ssh_identity_file": "key",
    "known_hosts": "known_hosts",
    "jump": "jump",
}
_ANSIBLE_LOGIN = {
    "ansible_host": "address",
    "ansible_ssh_host": "address",
    "ansible_user": "user",
    "ansible_ssh_user": "user",
    "ansible_private_key_file": "key",
    "ansible_ssh_private_key_file": "key",
}


def entries(spec: str, at: Position) -> Iterator[tuple[str, Entry]]:
    """Name and entry of each host a specification names. Raises BadInput at `at`."""
    match = _SPEC.fullmatch(spec)
    assert match
    options = dict(parse_qsl(match["query"] or "", keep_blank_values=True))
    try:
        match match["scheme"] or "ssh":
            case "ssh" | "paramiko":
                yield _ssh(match["rest"], options)
            case "local":
                _refuse_others(options, ())
                yield gethostname(), {"local": True}
            case "ansible":
                yield from _ansible(match["rest"], options)
            case other:
                schemes = ("ssh", "paramiko", "local", "ansible")
                raise ValueError(f'"{other}://" cannot be used to reach a host: {nearest(other, schemes)}')
    except ValueError as error:
        raise BadInput.one(str(error), at=at) from None


def login(written: str) -> Entry:
    """`"ssh://root@[2001:db8::1]:22"` -> {"address": "2001:db8::1", "user": "root", "port": 22}. Raises ValueError."""
    if re.match(r"(ssh://)?[^@/]*:[^@/]*@", written):
        raise ValueError("there is a password in it: use key files or an SSH agent")
    match = _LOGIN.fullmatch(written)
    if not match:
        raise ValueError(f"{as_written(written)} is no SSH destination: write ssh://user@host:port")
    parts = {
        "address": match["v6"] or match["name"],
        "user": match["user"],
        "port": match["port"] and int(match["port"]),
    }
    return {key: value for key, value in parts.items() if value is not None}


def url(user: str, address: str, port: int) -> str:
    """`ssh://root@hv1`, the port only when it is not 22."""
    host = f"[{address}]" if ":" in address else address
    return f"ssh://{user}@{host}" + (f":{port}" if port != 22 else "")


def shown(spec: str) -> str:
    """A specification as messages may show it: passwords left out."""
    return re.sub(r":[^:@/?]*@", ":…@", spec)


def _ssh(rest: str, options: Mapping[str, str]) -> tuple[str, Entry]:
    where = login(rest)
    return where["address"], {"ssh": {**where, **_ssh_options(options)}}


def _ssh_options(options: Mapping[str, str]) -> Entry:
    _refuse_others(options, _SSH_OPTIONS)
    stated: Entry = {_SSH_OPTIONS[key]: value for key, value in options.items()}
    if "sudo" in stated:
        stated["sudo"] = _truth(stated["sudo"])
    return stated


def _refuse_others(options: Mapping[str, str], allowed: Mapping[str, str] | tuple[str, ...]) -> None:
    for key in options:
        if key not in allowed:
            raise ValueError(f'unknown option "{key}": {nearest(key, allowed) or "none is allowed here"}')


def _truth(written: object) -> bool:
    """Ansible's and testinfra's ways to say yes and no. Raises ValueError."""
    word = str(written).lower()
    if word not in ("true", "yes", "on", "1", "false", "no", "off", "0"):
        raise ValueError(f"{as_written(written)} is neither true nor false")
    return word in ("true", "yes", "on", "1")


def _ansible(pattern: str, options: dict[str, str]) -> Iterator[tuple[str, Entry]]:
    file = options.pop("ansible_inventory", None)
    common = _ssh_options(options)
    if file and not Path(file).exists():
        raise ValueError(f"there is no Ansible inventory {as_written(file)}")
    if not shutil.which("ansible-inventory"):
        raise ValueError("Ansible is not installed: ansible-inventory is not on the PATH (pip install ansible-core)")
    for name, variables in _ansible_hosts(pattern or "all", file):
        yield name, _ansible_entry(variables, common)


def _ansible_hosts(pattern: str, file: str | None) -> list[tuple[str, Mapping[str, Any]]]:
    """Through testinfra, so that both understand an Ansible inventory alike."""
    from testinfra.utils.ansible_runner import AnsibleRunner

    runner = AnsibleRunner(file)
    try:
        found = [(name, runner.get_variables(name)) for name in runner.get_hosts(pattern)]
    except (AssertionError, RuntimeError, ValueError):
        said = f"ansible-inventory --list{f' -i {file}' if file else ''}"
        raise ValueError(f"the Ansible inventory cannot be read: see {said}") from None
    if not found:
        raise ValueError(f"no host of the Ansible inventory matches {as_written(pattern)}")
    return found


def _ansible_entry(variables: Mapping[str, Any], common: Entry) -> Entry:
    if variables.get("ansible_connection") == "local":
        return {"local": True}
    ssh: Entry = {ours: variables[theirs] for theirs, ours in _ANSIBLE_LOGIN.items() if theirs in variables}
    if port := variables.get("ansible_port", variables.get("ansible_ssh_port")):
        ssh["port"] = int(port)
    if "ansible_become" in variables:
        ssh["sudo"] = _truth(variables["ansible_become"])
    return {"ssh": {**common, **ssh}}
