"""Every check can fail on systemd, cgroup v2 and VT-d, too: as `tests/lab/test_faults.py`, on the image hosts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.image import ImageLab
from tests.image.conftest import PROFILE
from tests.image.faults import FAULTS
from tests.lab.faults import Fault
from tests.lab.judging import departures, unlike


@pytest.fixture(scope="module")
def healed(image_lab: ImageLab) -> Iterator[dict[str, Fault]]:
    """The last fault of each host, restored: the next look at it must find the next fault and nothing else; the last
    ones are looked at here."""
    last: dict[str, Fault] = {}
    yield last
    for fault in last.values():
        found = departures(image_lab.inventory, PROFILE, fault.host, fault.deadline)
        assert found == {}, f"not well again after: {fault.name}"


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_fault_departs_exactly_where_named(fault: Fault, image_lab: ImageLab, healed: dict[str, Fault]) -> None:
    before = healed.get(fault.host)
    healed[fault.host] = fault
    machine = image_lab.machine(fault.on)
    try:
        machine.sh(f"set -eu\n{fault.breaks}")
        found = departures(image_lab.inventory, PROFILE, fault.host, fault.deadline)
        assert unlike(found, fault.departs) == [], f"(the fault before it: {before and before.name})"
    finally:
        machine.sh(f"set -eu\n{fault.restores}")
