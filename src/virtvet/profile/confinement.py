"""`host.confinement` and `guests.NAME.confinement`: what holds QEMU and the daemon."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, StringConstraints, WithJsonSchema, model_validator

from virtvet.profile.base import Wants, worded
from virtvet.profile.memory_limits import Limit, parse_limit
from virtvet.profile.tls import AbsolutePath
from virtvet.units import as_written

_ACCOUNT = re.compile(r"[a-z_][a-z0-9_.-]{0,31}\$?|[0-9]{1,10}", re.ASCII)


def parse_account(written: object) -> str:
    """`64055` -> "64055". Raises ValueError."""
    word = str(written) if isinstance(written, str | int) and not isinstance(written, bool) else ""
    if not _ACCOUNT.fullmatch(word):
        raise ValueError(f"{as_written(written)} is no account: use a name such as libvirt-qemu, or its number")
    return word


def parse_memlock(written: object) -> int | str:
    """Bytes, "unlimited", or "formula". Raises ValueError."""
    return "formula" if written == "formula" else parse_limit(written)


_WORD = {"type": "string", "pattern": f"^({_ACCOUNT.pattern})$"}
_SIZE = r"[0-9]{1,19}\s*([KkMmGgTtPpEe]([Ii]?[Bb])?|[Bb]([Yy][Tt][Ee][Ss]?)?)?"
_WHOLE = {"type": "integer", "minimum": 0}

Account = Annotated[
    str,
    BeforeValidator(parse_account),
    WithJsonSchema({"anyOf": [_WORD, _WHOLE], "examples": ["libvirt-qemu", 64055]}),
]
"""A user or group by its name, or by its number."""
Memlock = Annotated[
    int | Literal["formula", "unlimited"],
    BeforeValidator(parse_memlock),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": rf"^\s*({_SIZE}|unlimited|formula)\s*$"}, _WHOLE],
            "examples": ["formula", "unlimited", "64 MiB"],
        }
    ),
]
"""Bytes, "unlimited", or "formula"."""
Capability = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z_]{1,39}$"), worded("capability: use a name such as net_admin")
]
Model = Literal["apparmor", "selinux", "none"]
Controller = Literal["cpu", "devices", "memory", "blkio", "cpuset", "cpuacct"]


class HostConfinement(Wants):
    """Keys of /etc/libvirt/qemu.conf (src/qemu/qemu.conf.in) by its own names: what the daemon confines every QEMU
    with; and what confines the daemon. What is not stated is not checked."""

    daemon: Model | None = None
    """Which of them confines libvirtd or virtqemud itself, and enforces it; none: neither."""
    user: Account | None = None
    """The account of every QEMU."""
    group: Account | None = None
    dynamic_ownership: bool | None = None
    """Whether libvirt gives disks and devices to that account."""
    remember_owner: bool | None = None
    """Whether it gives them back to whom they belonged."""
    security_driver: Model | None = None
    """none: neither AppArmor nor SELinux."""
    security_default_confined: bool | None = None
    """Whether a guest that says nothing is confined."""
    security_require_confined: bool | None = None
    """Whether a guest may say that it is not."""
    seccomp_sandbox: bool | None = None
    """QEMU's own system call filter."""
    namespaces: list[Literal["mount"]] | None = None
    """`[mount]`: each QEMU has its own /dev; `[]`: it sees the host's."""
    cgroup_controllers: list[Controller] | None = None
    """Those libvirt may use; all that there are when absent."""
    cgroup_device_acl: list[AbsolutePath] | None = None
    """Devices that every QEMU may open."""
    stdio_handler: Literal["logd", "file"] | None = None
    """logd: virtlogd limits how much a guest can write into logs."""
    max_core: Limit | None = None
    """The largest core dump of a QEMU; 0: none."""
    dump_guest_core: bool | None = None
    """Whether core dumps hold the guest's memory."""
    relaxed_acs_check: bool | None = None
    """Whether devices are given away although a switch above them lets them reach each other."""

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        if self.security_driver == "none" and self.security_require_confined:
            raise ValueError("security_require_confined: true lets no guest start where security_driver is none")
        return self


class Confinement(Wants):
    """What holds one guest's QEMU. What is not stated is not checked."""

    user: Account | None = None
    """All four user ids of the process."""
    group: Account | None = None
    """All four group ids."""
    groups: list[Account] | None = None
    """Its supplementary groups, all of them."""
    capabilities: Literal["none"] | list[Capability] | None = None
    """Those of any of its threads: effective, permitted, inheritable, ambient. (The bounding set stays full: libvirt
    leaves it, and no_new_privs makes nothing of it.)"""
    seccomp: bool | None = None
    """Every thread's system calls are filtered."""
    no_new_privs: bool | None = None
    """No thread gains privileges by starting another program."""
    mount_namespace: bool | None = None
    """It has a mount namespace of its own, with its own /dev."""
    security: Model | None = None
    """Which of them confines it, and enforces it; none: neither."""
    memlock: Memlock | None = None
    """How much memory it may lock; formula: what libvirt gives it by its definition."""
    core: Limit | None = None
    """The largest core dump; 0: none."""
