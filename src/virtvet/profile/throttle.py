"""How fast something may be used: bytes a second and requests a second, each a number or `unlimited`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, StringConstraints, TypeAdapter, WithJsonSchema

from virtvet.profile.base import Wants, worded
from virtvet.units import Rate, as_written, parse_rate

UNLIMITED = "unlimited"
MOST = 10**15
"""QEMU's THROTTLE_VALUE_MAX (include/qemu/throttle.h), and libvirt's QEMU_BLOCK_IOTUNE_MAX."""


def parse_throughput(written: object) -> int:
    """Bytes a second. `"20 MiB/s"` -> 20971520; `"unlimited"` and 0 -> 0, as libvirt and QEMU have it."""
    return _bounded(0 if written == UNLIMITED else parse_rate(written), written)


def parse_requests(written: object) -> int:
    """Requests a second: 500 -> 500; `"unlimited"` and 0 -> 0."""
    if written == UNLIMITED:
        return 0
    if isinstance(written, bool) or not isinstance(written, int) or written < 0:
        raise ValueError(f'{as_written(written)} is no number of requests: use a whole number a second, or "unlimited"')
    return _bounded(written, written)


def _bounded(number: int, written: object) -> int:
    if number > MOST:
        raise ValueError(f"{as_written(written)} cannot be set: QEMU takes at most {MOST} a second")
    return number


_UNLIMITED = {"const": UNLIMITED}
_COUNT = {"type": "integer", "minimum": 0, "maximum": MOST}

Throughput = Annotated[
    int,
    BeforeValidator(parse_throughput),
    WithJsonSchema({"anyOf": [*TypeAdapter(Rate).json_schema()["anyOf"], _UNLIMITED], "examples": ["20 MiB/s"]}),
]
"""Bytes a second; 0 is no limit."""
Requests = Annotated[
    int, BeforeValidator(parse_requests), WithJsonSchema({"anyOf": [_COUNT, _UNLIMITED], "examples": [500]})
]
"""Requests a second; 0 is no limit."""

DeviceNode = Annotated[
    str, StringConstraints(pattern=r"^/[^\x00\n]*$", max_length=4095), worded("path of a block device: use /dev/sda")
]
"""A block device of the host by its path: `/dev/vda`, `/dev/disk/by-id/…`."""


class Throttles(Wants):
    """How much of one device of the host a control group may use; what is not stated is not checked."""

    read_bytes: Throughput | None = None
    write_bytes: Throughput | None = None
    read_iops: Requests | None = None
    write_iops: Requests | None = None

    @property
    def limits(self) -> Mapping[str, int]:
        """Those that are stated, by key; 0 is none."""
        return self.model_dump(include=set(Throttles.model_fields), exclude_none=True)


def shown(number: int) -> int | str:
    """As checks compare and reports show it: 0 -> "unlimited"."""
    return number or UNLIMITED
