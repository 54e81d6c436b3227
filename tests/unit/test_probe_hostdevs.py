"""PCI devices in guests' hands: on what an image host and its guest nic answered."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests import looks
from tests.looks import Edits, arguments
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import hostdevs
from virtvet.snapshot.model import Completed, Unreadable

HV3 = "devices/hv3"
HOSTS, GIVEN, FIRST, SECOND = looks.CARDS
LIVE, CONFIG = "virsh dumpxml nic", "virsh dumpxml --inactive nic"
HELD, NIC = "hostdevs.HELD", "inside nic /sys/bus/pci/devices/0000:00:0a.0"
MAC = "52:54:00:79:00:02"
look, changed, recorded = partial(looks.look, HV3), partial(looks.changed, HV3), looks.recorded(HV3)
PID = looks.pid(HV3, "nic")
NODE = re.search(r"/dev/vfio/(\d+)", recorded[HELD])
GROUP = NODE[1] if NODE else ""
ELEMENT = re.search("    <hostdev.*?</hostdev>\n", recorded[LIVE], re.DOTALL)
LIVE_ELEMENT = ELEMENT[0] if ELEMENT else ""
PULLED = changed(LIVE, LIVE_ELEMENT, "") | {HELD: ""}


def value(readings: Any) -> Any:
    found = readings if isinstance(readings, list) else [readings]
    assert len(found) == 1
    return found[0].value


WELL: list[tuple[Callable[..., Any], tuple[Any, ...], Any]] = [
    (hostdevs.given_config, (), GIVEN),
    (hostdevs.given_live, (), GIVEN),
    (hostdevs.given_actual, (), GIVEN),
    (hostdevs.given_guest, (), GIVEN),
    (hostdevs.driver_actual, (), "vfio-pci"),
    (hostdevs.stored(hostdevs.managed_of), (), True),
    (hostdevs.running(hostdevs.managed_of), (), True),
    (hostdevs.stored(hostdevs.place_of), (), "0000:00:0a.0"),
    (hostdevs.running(hostdevs.place_of), (), "0000:00:0a.0"),
    (hostdevs.stored(hostdevs.boot_order_of), (), 1),
    (hostdevs.running(hostdevs.rom_of), (), False),
    (hostdevs.driver_guest, (), "e1000e"),
    (hostdevs.mac_guest, (MAC,), MAC),
    (hostdevs.mac_guest, ("52:54:00:00:00:01",), MAC),
    (hostdevs.link_guest, (MAC,), "up"),
    (hostdevs.link_guest, (None,), "up"),
]


@pytest.mark.parametrize(("probe", "rest", "expected"), WELL)
def test_as_recorded(probe: Callable[..., Any], rest: tuple[Any, ...], expected: Any) -> None:
    assert value(probe(look(), "nic", GIVEN, *rest)) == expected


@pytest.mark.parametrize("probe", [hostdevs.given_config, hostdevs.given_live, hostdevs.given_actual])
def test_another_device_is_not_given(probe: Callable[..., Any]) -> None:
    assert probe(look(), "nic", FIRST).value is None


# --- in libvirt's XML


@pytest.mark.parametrize(
    ("element", "part", "expected"),
    [
        ("<hostdev type='pci'/>", hostdevs.managed_of, False),
        ("<hostdev type='pci'/>", hostdevs.rom_of, True),
        ("<hostdev type='pci'><rom file='/x'/></hostdev>", hostdevs.rom_of, True),
        ("<hostdev type='pci'><rom enabled='no'/></hostdev>", hostdevs.rom_of, False),
        ("<hostdev type='pci'/>", hostdevs.boot_order_of, None),
        ("<hostdev type='pci'/>", hostdevs.place_of, None),
    ],
)
def test_what_is_not_said(element: str, part: Callable[..., Any], expected: Any) -> None:
    source = "<source><address bus='0x01' slot='0x00'/></source>"
    whole = element.replace("/>", f">{source}</hostdev>", 1) if element.endswith("pci'/>") else element
    whole = whole if source in whole else whole.replace("'pci'>", f"'pci'>{source}")
    edits = changed(LIVE, LIVE_ELEMENT, whole)
    assert value(hostdevs.running(part)(look(edits), "nic", GIVEN)) == expected


def test_an_interface_is_a_device_of_the_host_too() -> None:
    interface = LIVE_ELEMENT.replace("hostdev mode='subsystem' type='pci'", "interface type='hostdev'")
    edits = changed(LIVE, LIVE_ELEMENT, interface.replace("</hostdev>", "</interface>"))
    assert hostdevs.given_live(look(edits), "nic", GIVEN).value == GIVEN
    assert value(hostdevs.running(hostdevs.managed_of)(look(edits), "nic", GIVEN)) is True


def test_what_is_not_given_has_no_parts() -> None:
    with pytest.raises(NotApplicable):
        hostdevs.running(hostdevs.managed_of)(look(), "nic", FIRST)


# --- in QEMU's hands


def test_one_that_was_pulled() -> None:
    assert hostdevs.given_live(look(PULLED), "nic", GIVEN).value is None
    assert hostdevs.given_actual(look(PULLED), "nic", GIVEN).value is None


def test_one_that_qemu_let_go_of() -> None:
    """Its arguments, and libvirt, still name it."""
    assert hostdevs.given_actual(look({HELD: f"/proc/{PID}/fd/23 /dev/vfio/vfio\n"}), "nic", GIVEN).value is None


def test_one_that_was_plugged_in_later() -> None:
    """libvirt alone names it, and QEMU holds its group."""
    without = "".join(line for line in recorded["qemu.ARGUMENTS"].splitlines(True) if "vfio-pci" not in line)
    assert hostdevs.given_actual(look({"qemu.ARGUMENTS": without}), "nic", GIVEN).value == GIVEN


def test_one_reached_by_iommufd() -> None:
    node = f"/sys/bus/pci/devices/{GIVEN}/vfio-dev/vfio0/uevent"
    edits: Edits = {HELD: f"/proc/{PID}/fd/22 /dev/vfio/devices/vfio0\n", node: "MAJOR=511\n"}
    assert hostdevs.given_actual(look(edits), "nic", GIVEN).value == GIVEN


def test_one_without_an_iommu() -> None:
    edits = {HELD: f"/proc/{PID}/fd/22 /dev/vfio/noiommu-{GROUP}\n"}
    assert hostdevs.given_actual(look(edits), "nic", GIVEN).value == GIVEN


def test_one_that_another_process_holds() -> None:
    edits = changed(HELD, f"/proc/{PID}/", f"/proc/{PID + 1}/")
    assert hostdevs.given_actual(look(edits), "nic", GIVEN).value is None


@pytest.mark.parametrize(
    "device",
    [
        '{"driver":"vfio-pci","host":"0000:01:00.0","id":"hostdev0"}',
        "vfio-pci,host=01:00.0",
        "vfio-pci,host=0000:01:00.0,id=x",
        "vfio-pci-nohotplug,sysfsdev=/sys/bus/pci/devices/0000:01:00.0",
    ],
)
def test_one_of_a_guest_started_by_hand(device: str) -> None:
    said = arguments(PID, "-name", "nic", "-device", device)
    snapshot = look(looks.by_hand(HV3, "nic") | {"qemu.ARGUMENTS": said})
    assert snapshot.by_hand == {"nic": PID}
    assert hostdevs.given_actual(snapshot, "nic", GIVEN).value == GIVEN
    assert hostdevs.given_guest(snapshot, "nic", GIVEN).value == GIVEN
    with pytest.raises(NotApplicable):
        hostdevs.given_live(snapshot, "nic", GIVEN)


def test_the_host_while_the_guest_is_shut_off() -> None:
    for probe in (hostdevs.driver_actual, hostdevs.given_actual, hostdevs.given_live):
        with pytest.raises(NotApplicable):
            probe(look({LIVE: None}), "nic", GIVEN)


# --- inside


def test_a_guest_that_does_not_see_it() -> None:
    gone = look({f"{NIC}/uevent": None})
    assert hostdevs.given_guest(gone, "nic", GIVEN).value is None
    for probe, rest in ((hostdevs.driver_guest, ()), (hostdevs.mac_guest, (MAC,)), (hostdevs.link_guest, (MAC,))):
        with pytest.raises(NotApplicable):
            probe(gone, "nic", GIVEN, *rest)


def test_a_guest_that_sees_one_of_two() -> None:
    twin = LIVE_ELEMENT.replace("bus='0x01' slot='0x00'", "bus='0x03' slot='0x01'").replace("0x0a", "0x0b")
    kind = changed(f"/sys/bus/pci/devices/{FIRST}/uevent", "PCI_ID=8086:100E", "PCI_ID=8086:10D3")
    edits = changed(LIVE, LIVE_ELEMENT, LIVE_ELEMENT + twin) | kind
    assert hostdevs.given_guest(look(edits), "nic", GIVEN).value is None
    assert hostdevs.given_guest(look(edits), "nic", FIRST).value is None
    second = {f"{NIC.replace('0a', '0b')}/uevent": recorded[f"{NIC}/uevent"]}
    assert hostdevs.given_guest(look(edits | second), "nic", FIRST).value == FIRST


def test_no_driver_inside() -> None:
    nets = {what: None for what in recorded if what.startswith(f"{NIC}/net/")}
    edits = changed(f"{NIC}/uevent", "DRIVER=e1000e\n", "") | nets
    assert value(hostdevs.driver_guest(look(edits), "nic", GIVEN)) is None
    assert hostdevs.mac_guest(look(edits), "nic", GIVEN, MAC).value is None
    assert value(hostdevs.link_guest(look(edits), "nic", GIVEN, MAC)) is None


def test_a_port_of_a_bond_has_its_own_address() -> None:
    bond = {
        "inside nic /sys/class/net/eth1/address": "52:54:00:00:00:99\n",
        "inside nic /sys/class/net/eth1/bonding_slave/perm_hwaddr": f"{MAC}\n",
    }
    assert hostdevs.mac_guest(look(bond), "nic", GIVEN, MAC).value == MAC


def test_links() -> None:
    net = "inside nic /sys/class/net/eth1"
    assert value(hostdevs.link_guest(look({f"{net}/carrier": "0\n"}), "nic", GIVEN, MAC)) == "down"
    down: Edits = {f"{net}/flags": "0x1002\n", f"{net}/carrier": Unreadable("Invalid argument")}
    assert value(hostdevs.link_guest(look(down), "nic", GIVEN, MAC)) == "down"
    with pytest.raises(NotApplicable):
        hostdevs.link_guest(look(), "nic", GIVEN, "52:54:00:00:00:01")


# --- blind


@pytest.mark.parametrize(
    ("edits", "probe"),
    [
        ({HELD: Unreadable("x")}, hostdevs.given_actual),
        (
            {f"{HELD} stderr": f"find: '/proc/{PID}/fd': Permission denied\n"},
            hostdevs.given_actual,
        ),
        (changed(LIVE, "bus='0x01'", "bus='one'"), hostdevs.given_live),
        ({f"{NIC}/uevent": Unreadable("x")}, hostdevs.given_guest),
        ({"inside nic /sys/class/net/eth1/carrier": Unreadable("x")}, partial(hostdevs.link_guest, mac=None)),
    ],
)
def test_cannot_look(edits: Edits, probe: Callable[..., Any]) -> None:
    with pytest.raises(CannotLook):
        value(probe(look(edits), "nic", GIVEN))


@pytest.mark.parametrize("complaint", ["find: unrecognized: -lname", "sh: 1: find: not found"])
def test_nobody_holds_anything_where_nobody_can_look(complaint: str) -> None:
    """busybox's find, or none: the remedy would take a device out of a QEMU's hands."""
    blind = look({HELD: "", f"{HELD} stderr": f"{complaint}\n"})
    with pytest.raises(CannotLook, match="find"):
        hostdevs.holders(blind)
    with pytest.raises(CannotLook, match="find"):
        hostdevs.given_actual(blind, "nic", GIVEN)


def test_a_process_that_went_away_blinds_nobody() -> None:
    edits: Edits = {f"{HELD} stderr": "find: '/proc/1/fd': No such file or directory\n"}
    assert hostdevs.given_actual(look(edits), "nic", GIVEN).value == GIVEN
    assert isinstance(look().answers[hostdevs.HELD], Completed)
