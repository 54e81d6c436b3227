"""How much memory a guest has, and its balloon: `guests.NAME.memory.size`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    GetJsonSchemaHandler,
    TypeAdapter,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from virtvet.profile.base import Wants
from virtvet.units import Share, Size, parse_microseconds, parse_size

MIB = 1 << 20
_PERCENT = re.compile(r"(\d{1,2}(?:\.\d{1,2})?)\s*%", re.ASCII)


KERNEL, SHARE = 128 * MIB, 3
"""What a Linux kernel keeps without being asked, measured: 50 MiB of code and data, 64 MiB more of bounce buffers once
memory reaches above 4 GiB (as it does with hot-plug), and of all memory 1.6 % for struct page and some for tables."""


def tolerated(size: int, tolerance: int | Share | None) -> int:
    """How many bytes of `size` may be missing inside the guest; 128 MiB and 3 % where nothing is stated."""
    if tolerance is None:
        return KERNEL + size * SHARE // 100
    return tolerance.of(size) if isinstance(tolerance, Share) else tolerance


def whole_mib(size: int) -> int:
    """The size, if it is whole MiB: libvirt starts no x86 guest with anything else (qemuDomainAlignMemorySizes).

    Raises ValueError.
    """
    if size == 0 or size % MIB:
        raise ValueError("libvirt gives guests whole MiB (it rounds up at their start): state as many as 1 MiB or more")
    return size


def parse_tolerance(written: object) -> int | Share:
    """A size, or a share of the guest's current memory: `"5%"` -> Share(Decimal("5")). Raises ValueError."""
    if isinstance(written, Share):
        return written
    match = _PERCENT.fullmatch(written.strip()) if isinstance(written, str) else None
    if match and Decimal(match[1]) > 0:
        return Share(Decimal(match[1]))
    try:
        return parse_size(written)
    except ValueError as mistake:
        raise ValueError(f"{mistake}; or a share of the current memory such as 5%") from None


def parse_seconds(written: object) -> int:
    """Whole seconds: `"5s"` and 5 -> 5. Raises ValueError."""
    if isinstance(written, int):
        return parse_microseconds(written)
    seconds, rest = divmod(parse_microseconds(written), 1_000_000)
    if rest:
        raise ValueError("libvirt asks for a balloon's statistics every so many whole seconds: use 5s or 10")
    return seconds


_SIZES: list[JsonSchemaValue] = TypeAdapter(Size).json_schema()["anyOf"]
_SHARE: JsonSchemaValue = {"type": "string", "pattern": r"^\s*[0-9]{1,2}(\.[0-9]{1,2})?\s*%\s*$"}
_SECONDS: list[JsonSchemaValue] = [
    {"type": "string", "pattern": r"^\s*[0-9]{1,13}\s*(us|ms|s)\s*$"},
    {"type": "integer", "minimum": 0},
]

WholeMib = Annotated[Size, AfterValidator(whole_mib)]
"""Bytes, a multiple of 1 MiB."""
Tolerance = Annotated[
    int | Share,
    BeforeValidator(parse_tolerance),
    WithJsonSchema({"anyOf": [*_SIZES, _SHARE], "examples": ["5%", "64 MiB"]}),
]
"""Bytes, or a Share of the current memory."""
Seconds = Annotated[int, BeforeValidator(parse_seconds), WithJsonSchema({"anyOf": _SECONDS, "examples": ["5s", 5, 0]})]
"""Whole seconds."""
Balloon = Literal["virtio", "virtio-transitional", "virtio-non-transitional", "none"]


class MemorySize(Wants):
    """Memory, what the balloon leaves of it, and the balloon; what is not stated is not checked.

    `size: 384 MiB` is short for `size: {memory: 384 MiB, current: 384 MiB}`.
    """

    memory: WholeMib | None = None
    """`<memory>`: all of it, plugged DIMMs included."""
    current: WholeMib | None = None
    """`<currentMemory>`: what the balloon leaves the guest."""
    balloon: Balloon | None = None
    """The model of `<memballoon>`; libvirt gives a guest one of model virtio unless it says none."""
    stats_period: Seconds | None = None
    """How often QEMU asks the guest for its memory statistics (`<stats period=…>`), 0 for never."""
    tolerance: Tolerance | None = None
    """How much less than `current` the guest's MemTotal may be: what its kernel keeps for itself. 128 MiB and 3 % when
    not stated."""

    @model_validator(mode="before")
    @classmethod
    def _in_short(cls, written: Any) -> Any:
        if isinstance(written, Mapping | cls):
            return written
        return dict.fromkeys(("memory", "current"), parse_size(written))

    @model_validator(mode="after")
    def _fits(self) -> MemorySize:
        if self.memory and self.current and self.current > self.memory:
            raise ValueError("current must not be more than memory: a balloon only takes")
        if self.balloon == "none" and self.stats_period:
            raise ValueError("without a balloon (balloon: none) nobody collects statistics: leave stats_period out")
        if self.balloon == "none" and self.memory and self.current and self.current < self.memory:
            raise ValueError("without a balloon (balloon: none) a guest has all of its memory: current must be memory")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        made = handler.resolve_ref_schema(handler(schema))
        return {"description": made.pop("description", ""), "anyOf": [made, *_SIZES]}
