"""`host.iommu`: VT-d or AMD-Vi, interrupt remapping, passthrough mode, vfio."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from virtvet.profile.base import Wants


class Iommu(Wants):
    """The IOMMU and what device assignment needs of it. What is not stated is not checked."""

    enabled: bool | None = None
    """The kernel translates devices' memory access: there are groups of devices behind an IOMMU."""
    kind: Literal["intel", "amd", "arm"] | None = None
    """Intel VT-d, AMD-Vi, or ARM's SMMU."""
    interrupt_remapping: bool | None = None
    """Devices cannot send interrupts that are not theirs."""
    passthrough: bool | None = None
    """true: devices of the host use physical addresses (`iommu=pt`); false: theirs are translated, too."""
    groups: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    """At least so many IOMMU groups."""
    unsafe_interrupts: bool | None = None
    """VFIO gives devices away although nothing remaps their interrupts."""
    vfio_accessible: bool | None = None
    """The account that QEMU runs as may open /dev/vfio/vfio."""

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        needs_it = ("kind", "interrupt_remapping", "passthrough", "groups")
        if self.enabled is False and (stated := [key for key in needs_it if getattr(self, key) not in (None, False)]):
            raise ValueError(f"enabled: false leaves nothing that could have {' and '.join(stated)}")
        return self
