"""A guest's disks: `guests.NAME.disks.<target>` (`vda`), and how fast each may be used (`<iotune>`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from virtvet.profile.base import Wants, worded
from virtvet.profile.throttle import Requests, Throughput
from virtvet.units import Size

Name = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]+$", max_length=1024)]
Path = Annotated[
    str, StringConstraints(pattern=r"^/[^\x00\n]*$", max_length=4095), worded("absolute path: begin it with /")
]
"""An absolute path."""
Number = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[int, Field(ge=1, le=10**6)]

LIMITS = tuple(f"{which}_{what}" for what in ("bytes", "iops") for which in ("total", "read", "write"))
"""The keys of upper limits: `read_bytes` …; each may be followed by `_max` and `_max_length`."""
SHORT = {"total": "total_bytes", "read": "read_bytes", "write": "write_bytes"} | {
    name: name for name in LIMITS if name.endswith("iops")
}
"""What may be written beside `iotune` instead of in it -> its key there."""


class Iotune(Wants):
    """QEMU's limits of one disk. `_max`: what bursts may reach; `_max_length`: for how many seconds."""

    total_bytes: Throughput | None = None
    read_bytes: Throughput | None = None
    write_bytes: Throughput | None = None
    total_iops: Requests | None = None
    read_iops: Requests | None = None
    write_iops: Requests | None = None
    total_bytes_max: Throughput | None = None
    read_bytes_max: Throughput | None = None
    write_bytes_max: Throughput | None = None
    total_iops_max: Requests | None = None
    read_iops_max: Requests | None = None
    write_iops_max: Requests | None = None
    total_bytes_max_length: Seconds | None = None
    read_bytes_max_length: Seconds | None = None
    write_bytes_max_length: Seconds | None = None
    total_iops_max_length: Seconds | None = None
    read_iops_max_length: Seconds | None = None
    write_iops_max_length: Seconds | None = None
    size_iops: Size | None = None
    """Bytes: a larger request counts as several."""
    group: Name | None = None
    """`<group_name>`: disks of a group share one set of limits."""

    @property
    def stated(self) -> Mapping[str, int | str]:
        """What is stated, by key."""
        return self.model_dump(exclude_none=True)


def possible(stated: Mapping[str, int | str]) -> None:
    """Raises ValueError for limits that QEMU refuses together (throttle_is_valid, throttle_conflicting in
    util/throttle.c)."""
    for what in ("bytes", "iops"):
        _total_or_parts(stated, what)
    for name in LIMITS:
        _burst(stated, name)
    if stated.get("size_iops") and not any(stated.get(name) for name in LIMITS if name.endswith("iops")):
        raise ValueError("size_iops means nothing without total_iops, read_iops or write_iops")


def _total_or_parts(stated: Mapping[str, int | str], what: str) -> None:
    total, *parts = (
        stated.get(f"{which}_{what}") or stated.get(f"{which}_{what}_max") for which in ("total", "read", "write")
    )
    if total and any(parts):
        raise ValueError(f"total_{what} cannot be set together with read_{what} or write_{what}: state either")


def _burst(stated: Mapping[str, int | str], name: str) -> None:
    limit, most = int(stated.get(name, 0)), int(stated.get(f"{name}_max", 0))
    if most and not limit:
        raise ValueError(f"{name}_max is the burst above {name}, which must be stated with it")
    if most and most < limit:
        raise ValueError(f"{name}_max cannot be less than {name}: {most} is less than {limit}")
    if f"{name}_max_length" in stated and not most:
        raise ValueError(f"{name}_max_length is how long a burst lasts: state {name}_max with it")


class DiskHost(Wants):
    """A server of a network disk: a Ceph monitor."""

    name: Name
    port: Number | None = None

    def __str__(self) -> str:
        return self.name if self.port is None else f"{self.name}:{self.port}"


class DiskSource(Wants):
    """Where the disk's data are."""

    type: Literal["file", "block", "network", "volume"] | None = None
    """`<disk type=…>`."""
    path: Path | None = None
    """Of a file or a block device."""
    protocol: Literal["rbd", "nbd", "iscsi", "gluster", "http", "https", "ftp", "ftps", "ssh", "nfs"] | None = None
    """Of a network disk."""
    name: Name | None = None
    """Of a network disk (`pool/image` of rbd), or `pool/volume` of a volume."""
    hosts: list[DiskHost] | None = None
    """Servers of a network disk, in any order."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """Raises ValueError for what no disk can be."""
        remote = bool(self.protocol or self.hosts or self.type == "network")
        if self.path and (remote or self.name or self.type == "volume"):
            raise ValueError("path is of a file or a block device: a network disk and a volume have a name instead")
        if remote and self.type not in (None, "network"):
            raise ValueError(f"protocol and hosts are of type network, not of type {self.type}")
        if self.name and self.type in ("file", "block"):
            raise ValueError(f"name is of type network or volume: type {self.type} has a path")
        return self


class DiskDriver(Wants):
    """`<driver>`: what is not in it has QEMU's default."""

    name: Literal["qemu"] | None = None
    type: Literal["raw", "qcow2", "qed", "vmdk", "vdi", "vpc"] | None = None
    """The image's format."""
    cache: Literal["none", "writethrough", "writeback", "directsync", "unsafe"] | None = None
    io: Literal["threads", "native", "io_uring"] | None = None
    discard: Literal["unmap", "ignore"] | None = None
    iothread: Number | None = None
    queues: Number | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """QEMU: "aio=native was specified, but it requires cache.direct=on" (block/file-posix.c)."""
        if self.io == "native" and self.cache not in (None, "none", "directsync"):
            raise ValueError(f"io: native needs cache: none or directsync, not {self.cache}")
        return self


class Disk(Wants):
    """One disk by its target; what is not stated is not checked."""

    total: Throughput | None = None
    """Short for `total_bytes` in `iotune`."""
    read: Throughput | None = None
    """Short for `read_bytes` in `iotune`."""
    write: Throughput | None = None
    """Short for `write_bytes` in `iotune`."""
    total_iops: Requests | None = None
    """Short for the same in `iotune`."""
    read_iops: Requests | None = None
    """Short for the same in `iotune`."""
    write_iops: Requests | None = None
    """Short for the same in `iotune`."""
    iotune: Iotune = Field(default_factory=Iotune)
    """QEMU's limits in full."""
    driver: DiskDriver = Field(default_factory=DiskDriver)
    source: DiskSource = Field(default_factory=DiskSource)
    bus: Literal["virtio", "scsi", "sata", "ide", "usb"] | None = None
    device: Literal["disk", "cdrom", "lun", "floppy"] | None = None
    boot_order: Annotated[int, Field(ge=1, le=10000)] | None = None
    """`<boot order>` of the disk, or what `<os><boot dev>` comes to."""
    readonly: bool | None = None
    shareable: bool | None = None

    @property
    def throttling(self) -> Iotune:
        """All limits, whether they were written in short or in full: what checks read."""
        short = {key: getattr(self, name) for name, key in SHORT.items() if getattr(self, name) is not None}
        return Iotune(**{**self.iotune.stated, **short})

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """Raises ValueError for what no disk can be."""
        for name, key in SHORT.items():
            if getattr(self, name) is not None and getattr(self.iotune, key) is not None:
                raise ValueError(f"{name} and iotune.{key} are the same limit: state it once")
        if self.driver.iothread and self.bus not in (None, "virtio"):
            raise ValueError(f"only a virtio disk has an iothread of its own, not one on {self.bus}")
        if self.device == "cdrom" and (self.bus == "virtio" or self.readonly is False):
            raise ValueError("a cdrom is always read-only, and never on virtio")
        possible(self.throttling.stated)
        return self
