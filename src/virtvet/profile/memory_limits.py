"""How much host memory a guest may use: `guests.NAME.memory.limits` (libvirt's `<memtune>`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NoReturn

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from virtvet.profile.base import Wants
from virtvet.units import Share, parse_host_size, parse_size

Unlimited = Literal["unlimited"]
_SIZE_TEXT = r"[0-9]{1,19}\s*([KkMmGgTtPpEe]([Ii]?[Bb])?|[Bb]([Yy][Tt][Ee][Ss]?)?)?"


def parse_limit(written: object) -> int | Unlimited:
    """Bytes, or "unlimited". `"1 GiB"` -> 1073741824. Raises ValueError."""
    return "unlimited" if written == "unlimited" else parse_size(written)


def parse_host_limit(written: object) -> int | Share | Unlimited:
    """Bytes, a share of the host's memory, or "unlimited". `"10%"` -> Share(10). Raises ValueError."""
    return "unlimited" if written == "unlimited" else parse_host_size(written)


def _schema(text: str, examples: list[Any]) -> WithJsonSchema:
    forms = [{"type": "string", "pattern": rf"^\s*({text}|unlimited)\s*$"}, {"type": "integer", "minimum": 0}]
    return WithJsonSchema({"anyOf": forms, "examples": examples})


Limit = Annotated[int | Unlimited, BeforeValidator(parse_limit), _schema(_SIZE_TEXT, ["512 MiB", "unlimited"])]
"""Bytes, or "unlimited"."""
HostLimit = Annotated[
    int | Share | Unlimited,
    BeforeValidator(parse_host_limit),
    _schema(rf"{_SIZE_TEXT}|[0-9]{{1,3}}(\.[0-9]{{1,2}})?\s*%", ["16 GiB", "80%", "unlimited"]),
]
"""Bytes, a Share of the host's memory, or "unlimited"."""


def _refuse_guarantee(_written: object) -> NoReturn:
    raise ValueError(
        "QEMU guests have no guaranteed memory: libvirt refuses <min_guarantee> for them "
        "(qemuValidateDomainDefMemory); use memory.limits.soft, or lock the guest's memory"
    )


class MemoryLimits(Wants):
    """Upper limits of host memory; what is not stated is not checked."""

    hard: Limit | None = None
    """`<hard_limit>`: memory.limit_in_bytes (cgroup v1) or memory.max (v2)."""
    soft: Limit | None = None
    """`<soft_limit>`: memory.soft_limit_in_bytes (v1), or memory.high (v2), which throttles."""
    swap_hard: Limit | None = None
    """`<swap_hard_limit>`: memory and swap together (v1), or swap alone (v2)."""
    min_guarantee: Annotated[None, BeforeValidator(_refuse_guarantee), WithJsonSchema({"not": {}})] = Field(
        default=None
    )
    """Refused: QEMU has no such thing."""

    @model_validator(mode="after")
    def _swap_is_no_smaller(self) -> MemoryLimits:
        """virDomainSetMemoryParameters refuses a hard limit above the swap limit (qemu_driver.c)."""
        if isinstance(self.hard, int) and isinstance(self.swap_hard, int) and self.hard > self.swap_hard:
            raise ValueError("swap_hard must not be less than hard: libvirt refuses it")
        return self
