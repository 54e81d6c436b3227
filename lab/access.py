"""The files by which others reach the lab: known_hosts, ssh_config and the inventory."""

import json
from pathlib import Path
from typing import Any

from lab.spec import HOSTS, GuestSpec, HostSpec

INVENTORY_HEAD = "# Written by `python -m lab up`. Flow style is YAML too.\nvirtvet: 1\nhosts:\n"


def known_hosts(host_keys: dict[str, str], guest_keys: dict[str, str]) -> str:
    """One line for each host and guest; keys are given by name and by address."""
    lines = [f"{host.ip},{host.name} {host_keys[host.name]}" for host in HOSTS]
    lines += [f"{guest.address} {guest_keys[guest.address]}" for _host, guest in _pairs()]
    return "".join(f"{line}\n" for line in lines)


def ssh_config(folder: Path) -> str:
    """An ssh_config with ``hv1``, ``hv2``, ``web1.hv1``, …"""
    blocks = [_ssh_block(host.name, host.ip, []) for host in HOSTS]
    blocks += [_ssh_block(f"{g.name}.{h.name}", g.address, [f"ProxyJump {h.name}"]) for h, g in _pairs()]
    common = [
        "User root",
        f"IdentityFile {folder / 'id'}",
        "IdentitiesOnly yes",
        f"UserKnownHostsFile {folder / 'known_hosts'}",
        "GlobalKnownHostsFile /dev/null",
        "StrictHostKeyChecking yes",
        "BatchMode yes",
        "ConnectTimeout 10",
        "LogLevel ERROR",
    ]
    return "\n".join([*blocks, "Host *", *(f"    {line}" for line in common), ""])


def _pairs() -> list[tuple[HostSpec, GuestSpec]]:
    """Every guest that has an address, with its host."""
    return [(host, guest) for host in HOSTS for guest in host.guests if guest.address]


def _ssh_block(name: str, address: str, more: list[str]) -> str:
    return "\n".join([f"Host {name}", f"    HostName {address}", *(f"    {line}" for line in more), ""])


def inventory(folder: Path, pki: Path, expired: Path) -> str:
    """The inventory of both hosts, as virtvet reads it."""
    return INVENTORY_HEAD + "".join(_host_entry(host, folder, pki, expired) for host in HOSTS)


def _host_entry(host: HostSpec, folder: Path, pki: Path, expired: Path) -> str:
    login = {"user": "root", "key": str(folder / "id"), "known_hosts": str(folder / "known_hosts")}
    entry = {
        "ssh": {"address": host.ip, "port": 22, **login},
        "libvirt": {"uri": f"qemu+tls://{host.ip}/system", "pki": str(pki), "expired_client": str(expired)},
        "names": host.names,
        "guests": {**_odd_ways(host, login), "*": {"ssh": {**login, "via": "host", "address": "lease"}}},
    }
    return f"  {host.name}:\n" + "".join(f"    {key}: {_flow(value)}\n" for key, value in entry.items())


def _odd_ways(host: HostSpec, login: dict[str, str]) -> dict[str, Any]:
    """How guests are reached of which libvirt can tell no address."""
    mute = {guest.name: {"agent": True} for guest in host.guests if not guest.address}
    by_hand = [guest for guest in host.guests if guest.by_hand]
    return mute | {guest.name: {"ssh": {**login, "via": "host", "address": guest.address}} for guest in by_hand}


def _flow(value: Any) -> str:
    return json.dumps(value)
