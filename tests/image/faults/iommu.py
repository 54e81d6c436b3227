"""Faults of host.iommu on the image hosts."""

from __future__ import annotations

from tests.lab.faults import Fault

FAULTS: tuple[Fault, ...] = ()
