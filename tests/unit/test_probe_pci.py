"""PCI devices inside the lab's app1 ."""

from __future__ import annotations

from functools import partial

import pytest

from tests import looks
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import pci
from virtvet.snapshot.model import Unreadable

look = partial(looks.look, "interfaces/app1")
CARD = "inside app1 /sys/bus/pci/devices/0000:00:03.0/uevent"


def test_devices_by_vendor_and_device() -> None:
    assert pci.count(look(), "app1", "8086:100e").value == 1
    assert pci.count(look(), "app1", "8086:100f").value == 0
    assert "0000:00:03.0" in pci.count(look(), "app1", "8086:100e").excerpt


def test_the_driver_of_each() -> None:
    second = {CARD.replace("03.0", "09.0"): "PCI_CLASS=20000\nPCI_ID=8086:100E\n"}
    assert [one.value for one in pci.driver(look(), "app1", "8086:100e")] == ["e1000"]
    assert {one.value for one in pci.driver(look(second), "app1", "8086:100e")} == {"e1000", None}


def test_what_is_not_there_has_no_driver() -> None:
    with pytest.raises(NotApplicable):
        pci.driver(look(), "app1", "8086:100f")


def test_a_device_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(CannotLook):
        pci.count(look({CARD: Unreadable("Permission denied")}), "app1", "1af4:1000")
