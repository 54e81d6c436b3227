"""A fault that takes both sides: the guest leaves offline what is plugged, and the host plugs a DIMM."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab
from tests.lab.conftest import PROFILE
from tests.lab.faults import memory
from tests.lab.judging import departures, inventory_without_uri


@pytest.fixture
def plugged_offline(lab: Lab) -> Iterator[None]:
    host, guest = lab.hosts["hv1"], lab.guests["hv1/app1"]
    guest.run(["sh", "-euc", f"echo offline >{memory.POLICY}"])
    try:
        host.run(["sh", "-euc", memory.PLUGGED_LIVE])
        yield
    finally:
        host.run(["sh", "-euc", memory.UNPLUG])
        guest.run(["sh", "-euc", f"echo online_movable >{memory.POLICY}"])


@pytest.mark.usefixtures("plugged_offline")
def test_a_plugged_dimm_stays_offline(lab: Lab, tmp_path: Path) -> None:
    """libvirt and QEMU count it; the guest has its block, and none of its memory."""
    assert departures(inventory_without_uri(lab, tmp_path), PROFILE, "hv1") == {
        "MEM-SIZE-1 app1": "live actual",
        "MEM-SIZE-2 app1": "live actual",
        "MEM-PLUG-2 app1": "live actual guest",
        "MEM-ONLINE-1 app1": "guest",
        "MEM-ONLINE-2 app1": "guest",
    }
