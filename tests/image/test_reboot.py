"""What a boot with other kernel parameters turns off is seen, though the boot loader's files say otherwise.

Judged as the gate does: a host that was just booted has no guests.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.image import ImageLab, boot
from tests.image.test_faults import SLOW
from tests.lab.judging import Departures, departures, unlike


@dataclass(frozen=True)
class Boot:
    """Parameters that are put behind the others, and what departs then."""

    name: str
    words: str
    departs: Departures


BOOTS = (
    Boot(
        "the IOMMU is off",
        "intel_iommu=off",
        {"HOST-IOMMU-3": "actual"},
    ),
)


@pytest.mark.parametrize("booted", BOOTS, ids=[one.name for one in BOOTS])
def test_a_boot_departs_exactly_where_named(booted: Boot, apart: str) -> None:
    with ImageLab("one", quiet=True) as lab:
        boot(lab.hosts["one"], booted.words)
        found = departures(lab.inventory, Path("hypervisor-image"), "one", SLOW)
    assert unlike(found, booted.departs) == []
