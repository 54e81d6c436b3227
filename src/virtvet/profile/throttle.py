"""How fast something may be used: bytes a second and requests a second, each a number or `unlimited`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, TypeAdapter, WithJsonSchema

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


def shown(number: int) -> int | str:
    """As checks compare and reports show it: 0 -> "unlimited"."""
    return number or UNLIMITED
