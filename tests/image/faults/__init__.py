"""Faults of the image hosts, as data like those of `tests/lab/faults`: each area's stand in the module of its name."""

from __future__ import annotations

from tests.image.faults import cgroup2, confinement, devices, host_memory, iommu, isolation, kernel, services

FAULTS = (
    *cgroup2.FAULTS,
    *kernel.FAULTS,
    *host_memory.FAULTS,
    *isolation.FAULTS,
    *services.FAULTS,
    *iommu.FAULTS,
    *devices.FAULTS,
    *confinement.FAULTS,
)
