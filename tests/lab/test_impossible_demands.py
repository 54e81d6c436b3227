"""What no change of this host could meet is told as such, with its place in the profile."""

from __future__ import annotations

from pathlib import Path

from lab import Lab
from tests.lab.conftest import PROFILE, Virtvet
from tests.lab.judging import departures, inventory_without_uri

FLOOR = "guests: {app1: {interfaces: {52:54:00:77:01:14: {inbound: {floor: 1 MB/s}}}}}"
"""On the lab's network, which has no bandwidth of its own to promise from."""


def test_a_floor_that_its_network_cannot_promise(lab: Lab, virtvet: Virtvet, tmp_path: Path) -> None:
    profile = tmp_path / "floor.yaml"
    profile.write_text(f"virtvet: 1\nextends: {PROFILE}\n{FLOOR}\n")
    assert departures(inventory_without_uri(lab, tmp_path), profile, "hv1") == {
        "PROFILE-1 floors": "actual",
        "NIC-BW-3 app1/52:54:00:77:01:14/inbound/floor": "config live actual",
    }
    said = virtvet("-H", "hv1", "--area=profile", profile=profile).out
    assert "app1: interfaces.52:54:00:77:01:14.inbound.floor: the network lab has no inbound average" in said
