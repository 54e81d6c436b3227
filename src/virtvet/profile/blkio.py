"""A guest's share of the host's block devices: `guests.NAME.blkio` (libvirt's `<blkiotune>`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, StringConstraints

from virtvet.profile.base import Wants, worded
from virtvet.profile.throttle import Requests, Throughput

Weight = Annotated[int, Field(ge=10, le=1000)]
"""libvirt: 100 to 1000, and since Linux 2.6.39 from 10 (https://libvirt.org/formatdomain.html#block-i-o-tuning)."""
DeviceNode = Annotated[
    str, StringConstraints(pattern=r"^/[^\x00\n]*$", max_length=4095), worded("path of a block device: use /dev/sda")
]
"""A block device of the host by its path: `/dev/vda`, `/dev/disk/by-id/…`."""


class DeviceLimits(Wants):
    """How much a guest may use one device of the host: upper limits, and its part where guests compete."""

    weight: Weight | None = None
    """Never set it through libvirt up to 9.0 on cgroup v2: the daemon dies of it."""
    read_bytes: Throughput | None = None
    write_bytes: Throughput | None = None
    read_iops: Requests | None = None
    write_iops: Requests | None = None

    @property
    def limits(self) -> Mapping[str, int]:
        """The upper limits that are stated, by key; 0 is none."""
        return self.model_dump(exclude={"weight"}, exclude_none=True)


class Blkio(Wants):
    """Weight, and limits for each device of the host; what is not stated is not checked."""

    weight: Weight | None = None
    """The guest's part of all devices, against the parts of others: 10 to 1000."""
    devices: dict[DeviceNode, DeviceLimits] = Field(default_factory=dict)
    """Limits by the device's path on the host."""
