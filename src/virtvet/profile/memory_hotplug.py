"""Memory that can be plugged while a guest runs: `guests.NAME.memory.hotplug`, its DIMMs and its NUMA cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from virtvet.profile.base import Wants
from virtvet.profile.memory_size import MIB, MemorySize, WholeMib
from virtvet.units import CpuSet

LINUX_BLOCK = 128 * MIB
"""The least a Linux guest on x86-64 brings online (MIN_MEMORY_BLOCK_SIZE, arch/x86/include/asm/sparsemem.h)."""
MOST_SLOTS = 256
"""QEMU's ACPI_MAX_RAM_SLOTS (include/hw/acpi/acpi.h)."""

CellId = Annotated[int, Field(ge=0, le=127)]


class Dimm(Wants):
    """A memory module (`<memory model='dimm'>`)."""

    size: WholeMib
    node: CellId = 0
    """The NUMA cell of the guest that it belongs to."""


class Cell(Wants):
    """A NUMA cell of the guest (`<numa><cell>`)."""

    cpus: CpuSet | None = None
    """vCPUs, those to be plugged later too."""
    memory: WholeMib | None = None
    """Without DIMMs."""
    access: Literal["shared", "private"] | None = None
    """`memAccess`: whether others (vhost-user, virtiofs) may map it."""


class MemoryHotplug(Wants):
    """Maximum, slots, DIMMs, NUMA cells, and that memory comes online; what is not stated is not checked."""

    maximum: WholeMib | None = None
    """`<maxMemory>`: how far the guest's memory can grow."""
    slots: Annotated[int, Field(ge=1, le=MOST_SLOTS)] | None = None
    """How many DIMMs it can hold at most."""
    dimms: list[Dimm] | None = None
    """All that are plugged, in any order; [] for none."""
    cells: dict[CellId, Cell] = Field(default_factory=dict)
    """NUMA cells by their number."""
    online: Literal["automatic"] | None = None
    """No memory is offline in the (Linux) guest, and memory that is plugged comes online by itself."""
    unplug: bool | None = None
    """Whether memory is to be taken away, too, while the guest runs. No Windows gives any back."""

    @property
    def is_wanted(self) -> bool:
        """Whether memory is to come or go while the guest runs; NUMA cells alone say nothing of that."""
        return bool(self.maximum or self.slots or self.dimms or self.online or self.unplug)

    @property
    def plugged(self) -> int | None:
        """Bytes of all DIMMs; None when not stated."""
        return None if self.dimms is None else sum(dimm.size for dimm in self.dimms)

    @property
    def base(self) -> int | None:
        """Bytes of all cells; None when not stated of each."""
        sizes = [cell.memory for cell in self.cells.values()]
        return sum(size or 0 for size in sizes) if sizes and None not in sizes else None

    @model_validator(mode="after")
    def _possible(self) -> MemoryHotplug:
        if wrong := list(_contradictions(self)):
            raise ValueError("; ".join(wrong))
        return self


def _contradictions(wants: MemoryHotplug) -> Iterator[str]:
    dimms, maximum = wants.dimms or [], wants.maximum
    if dimms and maximum is None:
        yield "DIMMs need room to be plugged into: state maximum"
    if wants.slots is not None and len(dimms) > wants.slots:
        yield f"{len(dimms)} DIMMs do not fit into {wants.slots} slots"
    if maximum is not None and (wants.base or 0) + (wants.plugged or 0) > maximum:
        yield f"cells and DIMMs together are more than the maximum of {maximum // MIB} MiB"
    yield from _of_cells(wants)


def _of_cells(wants: MemoryHotplug) -> Iterator[str]:
    seats = Counter(cpu for cell in wants.cells.values() for cpu in cell.cpus or ())
    if twice := [cpu for cpu, count in sorted(seats.items()) if count > 1]:
        yield f"vCPU {twice[0]} is in more than one cell"
    if wants.cells:
        strays = {dimm.node for dimm in wants.dimms or ()} - {*wants.cells}
        yield from (f"a DIMM is in cell {node}, which is not among the cells" for node in sorted(strays))


def come_online(hotplug: MemoryHotplug | None) -> None:
    """Raises ValueError where a Linux guest would never have all of a DIMM."""
    dimms = (hotplug and hotplug.dimms) or []
    if odd := [dimm.size // MIB for dimm in dimms if dimm.size % LINUX_BLOCK]:
        raise ValueError(f"hotplug: a DIMM of {odd[0]} MiB never comes online: Linux takes memory by blocks of 128 MiB")


def agree(size: MemorySize | None, hotplug: MemoryHotplug | None) -> None:
    """Raises ValueError where cells and DIMMs do not make up the memory, or it is above the maximum."""
    if size is None or size.memory is None or hotplug is None:
        return
    stated, base, plugged = size.memory, hotplug.base, hotplug.plugged
    sums = f"cells and DIMMs make {((base or 0) + (plugged or 0)) // MIB} MiB, but size: memory: is {stated // MIB} MiB"
    if hotplug.maximum is not None and stated > hotplug.maximum:
        raise ValueError(f"size: memory: is {stated // MIB} MiB, more than maximum")
    if base is not None and plugged is not None and base + plugged != stated:
        raise ValueError(sums)
    if (base or 0) > stated or (plugged or 0) >= stated:
        raise ValueError(sums)
