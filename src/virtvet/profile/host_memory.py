"""`host.memory`: huge pages for each node and size, KSM, transparent huge pages."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from virtvet.expect import show
from virtvet.profile.base import Wants
from virtvet.profile.memory_backing import usable_page
from virtvet.units import Size, parse_size

PageSize = Annotated[Size, AfterValidator(usable_page)]
"""Bytes of one huge page."""
Pages = Annotated[int, Field(ge=0, le=2**40)]
Node = Annotated[int, Field(ge=0, le=1023)]
"""The number of a NUMA node of the host."""
Enabled = Literal["always", "madvise", "never"]
Defrag = Literal["always", "defer", "defer+madvise", "madvise", "never"]


class PoolWants(Wants):
    """The huge pages of one size; what is not stated is not checked."""

    count: Pages | None = None
    """As many as are kept for those who ask for them, now and at the next boot."""
    free: Pages | None = None
    """At least so many that nobody uses now."""
    nodes: dict[Node, Pages] = Field(default_factory=dict)
    """As many on each NUMA node."""
    mounted: bool | None = None
    """Whether a hugetlbfs of this size is where libvirt looks for it."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.count is not None and (self.free or 0) > self.count:
            raise ValueError(f"free: {self.free} is more than count: {self.count}")
        if self.count is not None and sum(self.nodes.values()) > self.count:
            raise ValueError(f"nodes: have {sum(self.nodes.values())} together, more than count: {self.count}")
        return self


def _as_count(written: object) -> object:
    """`2 MiB: 1024` is as many, mounted where libvirt looks."""
    whole = isinstance(written, int) and not isinstance(written, bool)
    return {"count": written, "mounted": True} if whole and written else {"count": 0} if whole else written


Pool = Annotated[PoolWants, BeforeValidator(_as_count, json_schema_input_type=Pages | PoolWants)]
"""PoolWants, or one number: as many, and mounted."""


class TransparentWants(Wants):
    """Huge pages that the kernel makes by itself."""

    enabled: Enabled | None = None
    """For whom: everybody, those who ask by madvise(2) (QEMU does), or nobody."""
    defrag: Defrag | None = None
    """Who waits while memory is put together for them."""


def _as_enabled(written: object) -> object:
    return {"enabled": written} if isinstance(written, str) else written


Transparent = Annotated[
    TransparentWants, BeforeValidator(_as_enabled, json_schema_input_type=Enabled | TransparentWants)
]
"""TransparentWants, or one word for `enabled`."""


def _sizes_differ(written: object) -> object:
    """`2M` and `2 MiB` would be one pool."""
    seen: dict[int, object] = {}
    for key in written if isinstance(written, dict) else ():
        try:
            size = parse_size(key)
        except ValueError:
            continue
        if (other := seen.setdefault(size, key)) is not key:
            raise ValueError(f"{other} and {key} are one size")
    return written


class HostMemory(Wants):
    """How the kernel manages the memory that guests are given; what is not stated is not checked."""

    hugepages: Annotated[dict[PageSize, Pool], BeforeValidator(_sizes_differ)] = Field(default_factory=dict)
    """Pools by the size of their pages: `1 GiB: {count: 32, nodes: {0: 16, 1: 16}}`."""
    default_hugepage: PageSize | None = None
    """The size that guests get who name none."""
    ksm: bool | None = None
    """Whether the kernel merges equal pages of guests; false: and nothing is left merged."""
    transparent_hugepages: Transparent | None = None
    swap: bool | None = None
    """Whether the host has swap space at all. (How much it likes to use it: vm.swappiness, a sysctl.)"""
    persistent: bool = True
    """Whether the boot loader, sysctl.d, tmpfiles.d or fstab must bring all this about at the next boot; `false`: where
    something else does, as tuned or a unit of yours."""

    @model_validator(mode="after")
    def _default_has_pages(self) -> Self:
        """A default size without a pool of its own leaves guests that name no size without pages."""
        pool = self.hugepages.get(self.default_hugepage or 0)
        if pool and pool.count == 0:
            raise ValueError(f"default_hugepage: {show(self.default_hugepage, 'bytes')} is the size of no page at all")
        return self
