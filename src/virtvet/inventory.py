"""Which machines there are and how each is reached: from an inventory file, or from `-H` host specifications.

    virtvet: 1
    defaults: {ssh: {user: root, key: id_ed25519, known_hosts: known_hosts}}
    hosts:
      hv1:
        ssh: {address: 192.0.2.1, jump: "ssh://ops@gateway.example.com:22"}
        libvirt: {uri: "qemu+tls://192.0.2.1/system", pki: pki}
        profile: site.yaml
        guests:
          "web*": {ssh: {via: host, address: lease}}
          vault: {agent: true}

It holds no secrets: logging in is a matter of key files and agents. Paths are relative to the file, `~` is expanded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from getpass import getuser
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, Strict, ValidationInfo, WithJsonSchema, model_validator

from virtvet import hostspec, sshconfig, yamlfile
from virtvet.errors import BadInput, Position, Problem
from virtvet.profile.base import Wants
from virtvet.profile.load import find_profile, is_name
from virtvet.units import as_written
from virtvet.validate import nearest, validated
from virtvet.yamlfile import Key, Node, at_home, located, merged

_NO_SECRETS = "an inventory holds no secrets: name a key file with key:, or use an SSH agent"
UNKNOWN = dict.fromkeys(("password", "passwd", "pass", "passphrase", "ssh_pass", "sudo_password"), _NO_SECRETS)


def _path(written: object, info: ValidationInfo) -> Path:
    """Relative to the folder in the validation context; it must exist. Raises ValueError."""
    if isinstance(written, Path):
        return written
    if not isinstance(written, str) or not written:
        raise ValueError(f"must be a path, not {as_written(written)}")
    path = Path((info.context or {}).get("folder", ""), at_home(written))
    if not os.access(path, os.F_OK):
        raise ValueError(f"there is no {as_written(str(path))}")
    return path


def _file(written: object, info: ValidationInfo) -> Path:
    path = _path(written, info)
    if path.is_dir() or not os.access(path, os.R_OK):
        raise ValueError(f"{as_written(str(path))} is no file that can be read")
    return path


def _folder(written: object, info: ValidationInfo) -> Path:
    path = _path(written, info)
    if not path.is_dir():
        raise ValueError(f"{as_written(str(path))} is no directory")
    return path


def _jump(written: object) -> object:
    return hostspec.login(written) if isinstance(written, str) else written


def _uri(written: object) -> object:
    """libvirt's URI (https://libvirt.org/uri.html), without a password. Raises ValueError."""
    if isinstance(written, str) and re.match(r"[^:]+://[^/]*:[^/@]*@", written):
        raise ValueError(f"the URI has a password in it: {_NO_SECRETS}")
    if isinstance(written, str) and not re.fullmatch(r"[a-z]+(\+[a-z0-9]+)?://\S*", written):
        raise ValueError(f'{as_written(written)} is no libvirt URI: write one such as "qemu+tls://192.0.2.1/system"')
    return written


_PATH = WithJsonSchema({"type": "string", "minLength": 1})
File = Annotated[Path, BeforeValidator(_file), _PATH]
"""A file that can be read."""
Folder = Annotated[Path, BeforeValidator(_folder), _PATH]
"""A directory that exists."""
Port = Annotated[int, Field(ge=1, le=65535)]
User = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@\\-]*\$?$", max_length=256)]
Address = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:%-]+$", max_length=253)]
"""A DNS name or an IP address, IPv6 without brackets."""
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]*$", max_length=253)]


class Jump(Wants):
    """A host to go through (`ssh -J`). In a file: `ssh://user@gateway:22`."""

    address: Address
    port: Port = 22
    user: User = Field(default_factory=getuser)
    key: File | None = None
    """None: the key of the host behind it."""
    known_hosts: File | None = None
    """None: the file of the host behind it."""

    def __str__(self) -> str:
        return hostspec.url(self.user, self.address, self.port)


JumpUrl = Annotated[
    Jump,
    BeforeValidator(_jump),
    WithJsonSchema({"type": "string", "pattern": "^ssh://", "examples": ["ssh://root@gateway:22"]}),
]


class Ssh(Wants):
    """How a host is reached by SSH."""

    address: Address = ""
    """Its DNS name or IP address; by default the host's name in the inventory."""
    port: Port = 22
    user: User = Field(default_factory=getuser)
    """By default the user who runs virtvet."""
    key: File | None = None
    """A private key file; by default the SSH agent's keys and the usual files under ~/.ssh."""
    known_hosts: File | None = None
    """By default ~/.ssh/known_hosts. A host whose key is not in it is not talked to."""
    jump: JumpUrl | None = None
    """A host to go through, as `ssh://user@gateway:22`."""
    sudo: bool = False
    """Whether to become root by `sudo -n`."""
    ssh_config: File | None = None
    """An ssh_config(5) file: what it says of this address holds where nothing is stated here."""

    def __str__(self) -> str:
        return hostspec.url(self.user, self.address, self.port)


class Libvirt(Wants):
    """How a host's libvirt is reached."""

    uri: Annotated[str, BeforeValidator(_uri)] | None = None
    """A connection URI; by default qemu:///system over the host's own SSH connection."""
    pki: Folder | None = None
    """A directory with cacert.pem, clientcert.pem and clientkey.pem (libvirt's `pkipath`), for TLS."""
    expired_client: Folder | None = None
    """The same with a client certificate that has expired: the host must refuse it."""
    monitor: bool = True
    """Whether QEMU's monitor may be asked what only it knows, by commands that change nothing. libvirt marks a guest
    that was asked as tainted (custom-monitor) until it stops."""


class GuestSsh(Wants):
    """How a guest is reached by SSH."""

    user: User = "root"
    key: File | None = None
    """A private key file; by default the SSH agent's keys and the usual files under ~/.ssh."""
    port: Port = 22
    known_hosts: File | None = None
    """By default ~/.ssh/known_hosts. A guest whose key is not in it is not talked to."""
    via: Literal["host", "direct"] = "host"
    """Through an SSH connection to its host, or directly."""
    address: Address = "lease"
    """`lease` (libvirt's DHCP leases), `arp` (the host's ARP table), or a DNS name or IP address."""


class GuestAccess(Wants):
    """How to look into a guest. None of it: nobody looks inside."""

    ssh: GuestSsh | None = None
    agent: bool = False
    """Through libvirt and the QEMU guest agent inside it: for guests that no network leads to."""

    @model_validator(mode="after")
    def _one_way(self) -> GuestAccess:
        if self.agent and self.ssh:
            raise ValueError("states both ssh: and agent: true: a guest is reached in one way")
        return self


def _profile(written: object, info: ValidationInfo) -> object:
    """A shipped profile's name stays; a path becomes one relative to where virtvet runs. It must exist."""
    if not isinstance(written, str):
        return written
    try:
        path = find_profile(written, (info.context or {}).get("folder", Path()))
    except BadInput as bad:
        raise ValueError(str(bad)) from None
    if not path.is_file():
        raise ValueError(f"there is no {as_written(str(path))}")
    return written if is_name(written) else str(path)


class HostEntry(Wants):
    """A host as the file states it; `defaults:` has the same keys and is merged under every host."""

    ssh: Ssh | None = None
    """By default SSH to the host's name, unless `local` is true."""
    local: bool = False
    """Whether it is the machine virtvet runs on."""
    libvirt: Libvirt = Field(default_factory=Libvirt)
    names: Annotated[tuple[Address, ...], Strict(False)] = ()
    """DNS names and addresses its certificate must cover; by default its name and its SSH address."""
    profile: Annotated[str, BeforeValidator(_profile)] | None = None
    """The profile it must match: a shipped one by name, or a path relative to this file."""
    guests: dict[str, GuestAccess] = Field(default_factory=dict)
    """Guests by name pattern; the first that matches holds, a host's own before those of `defaults:`."""

    @model_validator(mode="after")
    def _one_way(self) -> HostEntry:
        if self.local and self.ssh:
            raise ValueError("states both local: true and ssh: a host is reached in one way")
        return self


class InventoryFile(Wants):
    """virtvet inventory: which hosts there are, and how they and their guests are reached. It holds no secrets."""

    virtvet: Literal[1]
    """The version of the inventory format."""
    defaults: HostEntry = Field(default_factory=HostEntry)
    """Merged under every host, key by key; what a host states wins."""
    hosts: dict[HostName, HostEntry] = Field(min_length=1)
    """The hosts by the names reports use."""


@dataclass(frozen=True, slots=True)
class HostAccess:
    """How one host and its guests are reached. `ssh` is None for the machine virtvet runs on; all paths exist."""

    name: str
    ssh: Ssh | None
    libvirt: Libvirt
    names: tuple[str, ...]
    """What the host's certificate must cover."""
    profile: str | None
    """A shipped profile's name, or a path; None: the command line says it."""
    guests: Mapping[str, GuestAccess]

    def guest(self, name: str) -> GuestAccess | None:
        """The entry of the first pattern that matches."""
        return next((access for pattern, access in self.guests.items() if fnmatchcase(name, pattern)), None)

    def __str__(self) -> str:
        return str(self.ssh) if self.ssh else "local://"


@dataclass(frozen=True, slots=True)
class Inventory:
    """Hosts by name, in the order they were written."""

    hosts: Mapping[str, HostAccess]


def load_inventory(path: Path, only: Collection[str] = ()) -> Inventory:
    """The hosts of an inventory file, or `only` those named. Raises BadInput with file:line:column."""
    root = yamlfile.read(path)
    validated(InventoryFile, root, {"folder": path.parent}, UNKNOWN)
    entries = root.children("hosts")
    problems = [_unknown_host(name, entries, path) for name in only if name not in entries]
    if problems:
        raise BadInput(problems)
    chosen = [str(name) for name in entries if not only or name in only]
    return Inventory({name: _access(name, entries[name], root.child("defaults"), path.parent) for name in chosen})


def _unknown_host(name: str, known: Iterable[Key], path: Path) -> Problem:
    return Problem(f'there is no host "{name}" in the inventory', nearest(name, map(str, known)), Position(str(path)))


def from_hostspecs(
    specs: Sequence[str], *, ssh_config: str | None = None, identity: str | None = None, sudo: bool = False
) -> Inventory:
    """The hosts of `-H`/`--hosts`, see hostspec.py; the options hold where a specification states none of its own.

    Raises BadInput.
    """
    stated = {"ssh_config": ssh_config, "key": identity, "sudo": sudo or None}
    ssh = {key: value for key, value in stated.items() if value is not None}
    hosts: dict[str, HostAccess] = {}
    problems: list[Problem] = []
    for spec in dict.fromkeys(specs):
        at = Position(f"-H {hostspec.shown(spec)}")
        try:
            _add(hosts, spec, located({"ssh": ssh}, Position("an option")), at)
        except BadInput as bad:
            problems.extend(bad.problems)
    if problems:
        raise BadInput(dict.fromkeys(problems))
    return Inventory(hosts)


def _add(hosts: dict[str, HostAccess], spec: str, defaults: Node, at: Position) -> None:
    for name, entry in hostspec.entries(spec, at):
        if name in hosts:
            raise BadInput.one(f'"{name}" stands twice', "an inventory file can give each a name of its own", at)
        hosts[name] = _access(name, located(entry, at), defaults, Path())


def _access(name: str, written: Node, defaults: Node | None, folder: Path) -> HostAccess:
    is_local = written.child("local")
    under = defaults.without("ssh") if defaults and is_local and is_local.value else defaults
    entry = validated(HostEntry, merged(under, written), {"folder": folder}, UNKNOWN)
    ssh = None if entry.local else _completed(entry.ssh or Ssh(), name)
    names = entry.names or tuple(dict.fromkeys((name, ssh.address) if ssh else (name,)))
    own = {str(pattern): entry.guests[str(pattern)] for pattern in written.children("guests")}
    return HostAccess(name, ssh, entry.libvirt, names, entry.profile, own | entry.guests)


def _completed(ssh: Ssh, name: str) -> Ssh:
    """With its address, and with what its ssh_config says where nothing is stated."""
    stated = {key: getattr(ssh, key) for key in ssh.model_fields_set} | {"address": ssh.address or name}
    if ssh.ssh_config:
        stated |= sshconfig.lookup(ssh.ssh_config, stated["address"], frozenset(stated) - {"address"})
    return validated(Ssh, located(stated, Position(str(ssh.ssh_config or ""))))
