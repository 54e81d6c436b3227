"""The files by which others reach an image host and its guests: known_hosts, ssh_config and the inventory."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from lab.access import INVENTORY_HEAD
from lab.image import spec
from lab.image.build import Image
from lab.image.machine import ImageHost
from lab.spec import GuestSpec


def public_key(image: Image) -> str:
    """Of the checking side: ``ssh-ed25519 AAAA…``."""
    return " ".join(image.key.with_name("id.pub").read_text().split()[:2])


def write(machine: ImageHost, image: Image) -> None:
    """known_hosts and ssh_config in the machine's folder."""
    known = f"[127.0.0.1]:{machine.port('ssh')} {image.host_key}\n{(image.folder / 'known_hosts').read_text()}"
    (machine.folder / "known_hosts").write_text(known)
    blocks = [f"Host {machine.name}\n    HostName 127.0.0.1\n    Port {machine.port('ssh')}"]
    blocks += [
        f"Host {guest.name}.{machine.name}\n    HostName {guest.address}\n    ProxyJump {machine.name}"
        for guest in spec.INSIDE.guests
    ]
    common = [
        "Host *",
        *("User root", f"IdentityFile {image.key}", "IdentitiesOnly yes", "StrictHostKeyChecking yes"),
        *(f"UserKnownHostsFile {machine.folder / 'known_hosts'}", "GlobalKnownHostsFile /dev/null"),
        *("BatchMode yes", "ConnectTimeout 10", "LogLevel ERROR"),
    ]
    (machine.folder / "ssh_config").write_text("\n".join([*blocks, "\n    ".join(common), ""]))


def inventory(machines: Iterable[ImageHost], image: Image) -> str:
    """Every host and guest, as virtvet reads it."""
    return INVENTORY_HEAD + "".join(_entry(machine, image) for machine in machines)


def _entry(machine: ImageHost, image: Image) -> str:
    login = {"user": "root", "key": str(image.key), "known_hosts": str(machine.folder / "known_hosts")}
    entry: dict[str, Any] = {
        "ssh": {"address": "127.0.0.1", "port": machine.port("ssh"), **login},
        "libvirt": {"uri": f"qemu+tls://127.0.0.1:{machine.port('tls')}/system", "pki": str(image.pki)},
        "names": list(spec.NAMES),
        "guests": {guest.name: _guest(guest, login) for guest in spec.INSIDE.guests},
    }
    return f"  {machine.name}:\n" + "".join(f"    {key}: {json.dumps(value)}\n" for key, value in entry.items())


def _guest(guest: GuestSpec, login: dict[str, Any]) -> dict[str, Any]:
    return {"ssh": {**login, "via": "host", "address": guest.address}}
