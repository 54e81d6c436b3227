"""A guest's share of the host's block devices: `guests.NAME.blkio` (libvirt's `<blkiotune>`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from virtvet.profile.base import Wants
from virtvet.profile.throttle import DeviceNode, Throttles

Weight = Annotated[int, Field(ge=10, le=1000)]
"""libvirt: 100 to 1000, and since Linux 2.6.39 from 10 (https://libvirt.org/formatdomain.html#block-i-o-tuning)."""


class DeviceLimits(Throttles):
    """How much a guest may use one device of the host: upper limits, and its part where guests compete."""

    weight: Weight | Literal["none"] | None = None
    """`none`: the guest's own counts. Never set one through libvirt up to 9.0 on cgroup v2: the daemon dies of it."""


class Blkio(Wants):
    """Weight, and limits for each device of the host; what is not stated is not checked."""

    weight: Weight | None = None
    """The guest's part of all devices, against the parts of others: 10 to 1000."""
    devices: dict[DeviceNode, DeviceLimits] = Field(default_factory=dict)
    """Limits by the device's path on the host."""
