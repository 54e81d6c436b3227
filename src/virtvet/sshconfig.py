"""What an ssh_config(5) file says of a host, as keys of an inventory's `ssh:`."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from paramiko import SSHConfig
from paramiko.ssh_exception import SSHException

from virtvet.errors import BadInput, Position
from virtvet.hostspec import login
from virtvet.yamlfile import at_home, read_text


def lookup(path: Path, host: str, stated: Collection[str] = ()) -> dict[str, Any]:
    """HostName, User, Port, IdentityFile, UserKnownHostsFile and ProxyJump for this host, less those already `stated`.

    Of several key or known_hosts files the first that exists is taken. Raises BadInput.
    """
    try:
        config = SSHConfig.from_text(read_text(path))
        found = _settings(config, host) | _jump(config, host)
    except (SSHException, ValueError) as error:
        raise BadInput.one(f"for {host}: {error}", at=Position(str(path))) from None
    return {key: value for key, value in found.items() if key not in stated}


def _settings(config: SSHConfig, host: str) -> dict[str, Any]:
    said: Mapping[str, Any] = config.lookup(host)
    read: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "address": ("hostname", str),
        "user": ("user", str),
        "port": ("port", int),
        "key": ("identityfile", _first_file),
        "known_hosts": ("userknownhostsfile", lambda value: _first_file(shlex.split(value))),
    }
    found = {ours: convert(said[theirs]) for ours, (theirs, convert) in read.items() if theirs in said}
    return {key: value for key, value in found.items() if value is not None}


def _jump(config: SSHConfig, host: str) -> dict[str, Any]:
    written = config.lookup(host).get("proxyjump", "none")
    if written.lower() == "none":
        return {}
    stated = login(written) if "," not in written else {}
    if not stated or config.lookup(stated["address"]).get("proxyjump", "none").lower() != "none":
        raise ValueError(f"ProxyJump {written}: only one host to jump through is supported")
    return {
        "jump": {**_settings(config, stated["address"]), **{key: stated[key] for key in stated if key != "address"}}
    }


def _first_file(names: list[str]) -> Path | None:
    return next((path for name in names if (path := at_home(name)).exists()), None)
