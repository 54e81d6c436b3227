"""`guests.<name>.shares.<tag>`: a host directory shared with a guest by 9p or virtiofs, and where the guest mounts it.

The tag is the mount tag of `<target dir='…'/>`. What is not stated is not checked.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_serializer, model_validator

from virtvet.profile.base import Wants, worded
from virtvet.units import Mode, Size

Directory = Annotated[
    str, StringConstraints(pattern=r"^/[^\x00\n]*$", max_length=4095), worded("absolute path: begin it with /")
]
"""An absolute path."""
Account = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*\$?$|^[0-9]+$", max_length=256),
    worded("name of a user or group, nor its number in quotes"),
]
"""A user's or group's name, or its number in quotes."""


class HostDirectory(Wants):
    """The shared directory on the host."""

    owner: Account | None = None
    group: Account | None = None
    mode: Mode | None = None
    """Permission bits, in quotes: "0755"."""

    @field_serializer("mode")
    def _mode_as_written(self, mode: int | None) -> str | None:
        """Entries of several patterns are merged as people write them, and a mode is written in octal."""
        return None if mode is None else f"{mode:04o}"


class Mount(Wants):
    """The share inside the guest. Options that are not stated may be anything."""

    at: Directory
    """Where it is mounted."""
    persistent: bool | None = None
    """Whether the guest's next boot mounts it there, by /etc/fstab or an enabled systemd mount unit."""
    readonly: bool | None = None
    """Whether the guest mounts it read-only."""
    version: Literal["9p2000", "9p2000.u", "9p2000.L"] | None = None
    """9p only: the protocol."""
    cache: Literal["none", "readahead", "mmap", "loose", "fscache"] | None = None
    """9p only."""
    access: Literal["user", "any", "client"] | Annotated[str, StringConstraints(pattern=r"^[0-9]+$")] | None = None
    """9p only: whose rights count; a number is the only user ID that may use the mount."""
    posixacl: bool | None = None
    """9p only: POSIX ACLs are enforced by the guest's kernel."""
    msize: Size | None = None
    """9p only: bytes of one message."""


class Share(Wants):
    """One shared folder."""

    source: Directory
    """The directory on the host."""
    directory: HostDirectory = Field(default_factory=HostDirectory)
    type: Literal["mount"] = "mount"
    """`<filesystem type=…>`; QEMU knows no other."""
    driver: Literal["9p", "virtiofs"] = "9p"
    accessmode: Literal["passthrough", "mapped", "squash"] | None = None
    """Whose rights count on the host (squash: passthrough that forgives a failed chown); virtiofs: passthrough only."""
    readonly: bool | None = None
    """Whether the device itself refuses writes."""
    mount: Mount | None = None

    @model_validator(mode="after")
    def _options_fit_the_driver(self) -> Share:
        if self.driver == "virtiofs" and self.mount and (stated := sorted(_NINE_P & self.mount.model_fields_set)):
            raise ValueError(f"{', '.join(stated)}: only a 9p mount has this, and driver is virtiofs")
        if self.driver == "virtiofs" and self.accessmode in ("mapped", "squash"):
            raise ValueError(f"accessmode {self.accessmode}: virtiofs knows passthrough only")
        return self


_NINE_P = {"version", "cache", "access", "posixacl", "msize"}
