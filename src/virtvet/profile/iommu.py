"""`host.iommu`: VT-d or AMD-Vi, interrupt remapping, passthrough mode, vfio."""

from __future__ import annotations

from virtvet.profile.base import Wants


class Iommu(Wants):
    """The IOMMU and what device assignment needs of it."""
