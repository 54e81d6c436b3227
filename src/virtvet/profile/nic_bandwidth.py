"""How much traffic an interface may carry: `guests.NAME.interfaces.KEY.inbound` and `.outbound` (`<bandwidth>`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema, model_validator

from virtvet.profile.base import Wants
from virtvet.units import RATE_TEXT, Rate, Size, parse_rate

KILOBYTE = 1000
"""Bytes a second. libvirt's unit of average, peak and floor (src/util/virnetdevbandwidth.c)."""
KIB = 1024
"""Bytes. libvirt's unit of burst."""
Unlimited = Literal["unlimited"]


def whole_kilobytes(rate: int) -> int:
    """The rate, if libvirt's XML can say it: `"10 Mbit/s"` -> 1250000. Raises ValueError."""
    if not rate or rate % KILOBYTE:
        raise ValueError(f"a rate of {rate} bytes a second cannot be set: libvirt knows whole kilobytes (1000 bytes)")
    return rate


def parse_average(written: object) -> int | Unlimited:
    """Bytes a second, or "unlimited". Raises ValueError."""
    return "unlimited" if written == "unlimited" else whole_kilobytes(parse_rate(written))


def whole_kib(size: int) -> int:
    """The size, if libvirt's XML can say it. Raises ValueError."""
    if not size or size % KIB:
        raise ValueError(f"a burst of {size} bytes cannot be set: libvirt knows whole KiB")
    return size


def _schema(text: str, examples: list[Any]) -> WithJsonSchema:
    forms = [{"type": "string", "pattern": rf"^\s*({text}|unlimited)\s*$"}, {"type": "integer", "minimum": KILOBYTE}]
    return WithJsonSchema({"anyOf": forms, "examples": examples})


Average = Annotated[int | Unlimited, BeforeValidator(parse_average), _schema(RATE_TEXT, ["10 Mbit/s", "unlimited"])]
"""Bytes a second in whole kilobytes, or "unlimited"."""
NicRate = Annotated[Rate, AfterValidator(whole_kilobytes)]
"""Bytes a second in whole kilobytes."""
Burst = Annotated[Size, AfterValidator(whole_kib)]
"""Bytes in whole KiB."""


class Traffic(Wants):
    """One direction, as the guest has it; what is not stated is not checked."""

    average: Average | None = None
    """The rate, such as `10 Mbit/s` or `1250 KB/s`, in whole kilobytes; or `unlimited`."""
    peak: NicRate | None = None
    """The highest rate. libvirt does nothing with that of `outbound`: only its XML is checked."""
    burst: Burst | None = None
    """How much may pass at the speed of `peak`, in whole KiB."""

    @model_validator(mode="after")
    def _peak_is_no_less(self) -> Traffic:
        if self.average == "unlimited" and (self.peak or self.burst):
            raise ValueError("average is unlimited: then there is neither peak nor burst")
        if isinstance(self.average, int) and self.peak is not None and self.peak < self.average:
            raise ValueError("peak must not be less than average")
        return self


def _no_floor(_written: object) -> None:
    raise ValueError("only inbound traffic can have a floor: libvirt refuses it for outbound")


class Inbound(Traffic):
    """What comes to the guest."""

    floor: NicRate | None = None
    """The rate that it gets at least; type network only, whose bridge then shares out its own bandwidth."""


class Outbound(Traffic):
    """What the guest sends."""

    floor: Annotated[None, BeforeValidator(_no_floor), WithJsonSchema({"not": {}})] = None
    """Refused: libvirt has no such thing."""
