"""What a guest's memory is made of: `guests.NAME.memory.backing` (libvirt's `<memoryBacking>`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, model_validator

from virtvet.profile.base import Wants
from virtvet.profile.numatune import NodeSet
from virtvet.units import Size

SMALLEST_HUGE = 64 << 10
"""Bytes. No architecture has smaller huge pages (arm64's contiguous ones)."""


def usable_page(size: int) -> int:
    """The size, if huge pages can have it. Raises ValueError."""
    if size < SMALLEST_HUGE or size & (size - 1):
        raise ValueError(f"huge pages of {size} bytes do not exist: use a size such as 2 MiB or 1 GiB")
    return size


class HugePages(Wants):
    """`<hugepages><page size=… nodeset=…/></hugepages>`"""

    size: Annotated[Size, AfterValidator(usable_page)]
    """Of one page."""
    nodes: NodeSet | None = None
    """The NUMA cells of the guest; all of its memory when none are named."""


class MemoryBacking(Wants):
    """Huge pages, locking, sharing, source and access; what is not stated is not checked."""

    hugepages: bool | HugePages | None = None
    """true: of any size; false: none."""
    locked: bool | None = None
    """`<locked/>`: never swapped out."""
    nosharepages: bool | None = None
    """`<nosharepages/>`: not merged with equal pages of other guests (KSM)."""
    source: Literal["anonymous", "file", "memfd"] | None = None
    access: Literal["shared", "private"] | None = None
    """shared: other processes may map it, as virtiofs and vhost-user demand."""
    allocation: Literal["immediate", "ondemand"] | None = None
    discard: bool | None = None
    """`<discard/>`: thrown away when the guest ends, not written to its file."""

    @model_validator(mode="after")
    def _can_be(self) -> MemoryBacking:
        """libvirt hands discard-data to memory-backend-file alone (qemuBuildMemoryBackendProps)."""
        if self.discard and self.source == "memfd":
            raise ValueError("discard: true does nothing for source: memfd: libvirt asks it only of memory in files")
        return self
