"""What the guests of a host may do to each other, and ask of it together: `host.neighbours`.

Of all running guests, not only those the profile names. Whose CPUs are his alone stands with the guest:
`guests.NAME.cpu.pins.exclusive`.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from virtvet.profile.base import Wants
from virtvet.units import as_written

_PERCENT = re.compile(r"(\d{1,4}(?:\.\d{1,2})?)\s*%", re.ASCII)


def parse_percent(written: object) -> float:
    """`"90%"` -> 90.0, `"150%"` -> 150.0. Raises ValueError."""
    if isinstance(written, float):
        return written
    match = _PERCENT.fullmatch(written.strip()) if isinstance(written, str) else None
    if match is None or not float(match[1]):
        raise ValueError(f"{as_written(written)} is no percentage: write such as 90% or 150%")
    return float(match[1])


Percent = Annotated[
    float,
    BeforeValidator(parse_percent),
    WithJsonSchema({"type": "string", "pattern": r"^\s*[0-9]{1,4}(\.[0-9]{1,2})?\s*%\s*$", "examples": ["90%"]}),
]
"""More than 0; 100 is the whole."""
Ratio = Annotated[float, Field(gt=0, le=1000)]


class VcpuSums(Wants):
    """The vCPUs of all running guests together, at most so many for each CPU."""

    host: Ratio | None = None
    """For each online CPU of the host: `4`, `1.5`."""
    partitions: Ratio | None = None
    """For each CPU of every partition in `host.partitions`, of the guests in it."""


class MemorySums(Wants):
    """The memory of all running guests together, at most so much of what there is; 150% allows overcommitment."""

    host: Percent | None = None
    """Of the host's memory."""
    partitions: Percent | None = None
    """Of what every partition in `host.partitions` may use, of the guests in it."""


class Neighbours(Wants):
    """What is not stated is not checked."""

    smt: Literal["same-guest", "any"] = "any"
    """`same-guest`: no two guests' vCPUs run at once on the sibling threads of one core."""
    numa: Literal["local", "any"] = "any"
    """`local`: each guest's vCPUs run on the nodes its memory comes from, and on no others."""
    vcpus: VcpuSums | None = None
    memory: MemorySums | None = None
