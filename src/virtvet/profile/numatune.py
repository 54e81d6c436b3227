"""Which host NUMA nodes a guest's memory comes from: `guests.NAME.memory.numatune` (libvirt's `<numatune>`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from virtvet.profile.base import Wants
from virtvet.units import CpuSet, as_written, parse_cpuset

Mode = Literal["strict", "preferred", "interleave", "restrictive"]


def parse_nodes(written: object) -> frozenset[int]:
    """Numbers of NUMA nodes, in the syntax of CPU lists: `"0-1"` -> {0, 1}. Raises ValueError."""
    try:
        return parse_cpuset(written)
    except ValueError:
        raise ValueError(f"{as_written(written)} is no list of NUMA nodes: use numbers and ranges: 0-1,3") from None


NodeSet = Annotated[CpuSet, BeforeValidator(parse_nodes)]
"""Numbers of NUMA nodes, never empty."""
Cell = Annotated[int, Field(ge=0, le=255)]
"""The number of a NUMA cell of the guest."""


class Binding(Wants):
    """A mode and host nodes."""

    mode: Mode | None = None
    """strict: from these nodes alone. preferred: from these first. interleave: from each in turn. restrictive: as
    strict, but by the control group alone."""
    nodes: NodeSet | None = None
    """Of the host."""


class Numatune(Binding):
    """Mode and nodes of the whole guest (`<memory>`), and of its NUMA cells that have their own (`<memnode>`); what is
    not stated is not checked."""

    cells: dict[Cell, Binding] = Field(default_factory=dict)
    """By the number of the guest's NUMA cell."""

    @model_validator(mode="after")
    def _restrictive_throughout(self) -> Numatune:
        """virDomainNumaDefValidate (src/conf/numa_conf.c) refuses any mixture."""
        modes = {cell.mode for cell in self.cells.values()} | {self.mode}
        if "restrictive" in modes and modes - {"restrictive", None}:
            raise ValueError("the mode restrictive is for the whole guest and each of its cells, or for none of them")
        return self
