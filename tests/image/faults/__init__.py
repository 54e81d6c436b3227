"""Faults of the image hosts, as data like those of `tests/lab/faults`: each area's stand in the module of its name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import cycle

from lab.image.spec import HOSTS
from tests.image.faults import cgroup2, confinement, devices, host_memory, iommu, isolation, kernel, services, threads
from tests.lab.faults import Fault


def _spread(faults: Iterable[Fault]) -> Iterator[Fault]:
    """Every other one on the other host: they are the same, and faults of two hosts are proved side by side."""
    for host, fault in zip(cycle(HOSTS), faults):
        _, slash, guest = fault.on.partition("/")
        yield replace(fault, on=f"{host}{slash}{guest}")


EACH = (
    *cgroup2.FAULTS,
    *kernel.FAULTS,
    *host_memory.FAULTS,
    *isolation.FAULTS,
    *services.FAULTS,
    *iommu.FAULTS,
    *devices.FAULTS,
    *confinement.FAULTS,
    *threads.FAULTS,
)
FAULTS = tuple(_spread(EACH))
