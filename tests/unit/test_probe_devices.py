"""PCI devices of the host on what an image host answered, and on what the lab has no card for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests import looks
from tests.looks import Edits
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import devices, nodedev, pci
from virtvet.snapshot.model import Failed, Unreadable

HV3 = "devices/hv3"
HOSTS, GIVEN, FIRST, SECOND = looks.CARDS
look, changed = partial(looks.look, HV3), partial(looks.changed, HV3)
SYSFS = "/sys/bus/pci/devices"


def uevent(address: str) -> str:
    return f"{SYSFS}/{address}/uevent"


def node(address: str) -> str:
    return str(nodedev.asked(address))


def bound(address: str, driver: str | None) -> Edits:
    """As if another driver had it."""
    return changed(uevent(address), "DRIVER=vfio-pci\n", f"DRIVER={driver}\n" if driver else "")


WELL: list[tuple[Callable[..., Any], tuple[Any, ...], Any]] = [
    (devices.identity_actual, (GIVEN,), "8086:10d3"),
    (devices.identity_live, (GIVEN,), "8086:10d3"),
    (devices.kind_actual, (GIVEN,), "0200"),
    (devices.kind_live, (GIVEN,), "0200"),
    (devices.kind_actual, ("0000:00:06.0",), "00ff"),
    (devices.kind_actual, ("0000:00:1f.3",), "0c05"),
    (devices.driver_actual, (GIVEN,), "vfio-pci"),
    (devices.driver_live, (GIVEN,), "vfio-pci"),
    (devices.driver_live, (HOSTS,), "e1000"),
    (devices.driver_actual, ("0000:00:1f.0",), None),
    (devices.override, (GIVEN,), "vfio-pci"),
    (devices.override, (HOSTS,), None),
    (devices.netdev, (GIVEN, False), False),
    (devices.netdev, (HOSTS, True), True),
    (devices.netdev, (HOSTS, "lan0"), "lan0"),
    (devices.netdev, (HOSTS, "lan1"), "lan0"),
    (devices.netdev, (GIVEN, "lan0"), None),
    (devices.netdev, ("0000:00:04.0", "mgmt0"), "mgmt0"),
    (devices.netdev, ("0000:00:05.0", False), False),
    (devices.beside_actual, (GIVEN,), frozenset()),
    (devices.beside_live, (GIVEN,), frozenset()),
    (devices.beside_actual, (FIRST,), frozenset({SECOND})),
    (devices.beside_live, (FIRST,), frozenset({SECOND})),
    (devices.beside_actual, ("0000:00:1f.0",), frozenset({"0000:00:1f.2", "0000:00:1f.3"})),
    (devices.taken, (FIRST,), frozenset()),
    (devices.taken, ("0000:00:1f.0",), frozenset({"0000:00:1f.3"})),
    (devices.numa_node, (GIVEN,), -1),
    (devices.vfs, (GIVEN,), 0),
    (devices.total_vfs, (GIVEN,), 0),
    (devices.vfs_live, (GIVEN,), 0),
    (devices.total_vfs_live, (GIVEN,), 0),
    (devices.physical, (GIVEN,), None),
    (devices.physical_live, (GIVEN,), None),
]


@pytest.mark.parametrize(("probe", "arguments", "value"), WELL)
def test_as_recorded(probe: Callable[..., Any], arguments: tuple[Any, ...], value: Any) -> None:
    assert probe(look(), *arguments).value == value


def test_the_mac_address_of_each_network_device() -> None:
    assert [one.value for one in devices.mac(look(), HOSTS)] == ["52:54:00:79:00:06"]
    assert [one.value for one in devices.mac(look(), GIVEN)] == [None]


def test_names_of_maker_and_product_are_evidence() -> None:
    assert "Intel Corporation" in devices.identity_live(look(), GIVEN).excerpt
    assert "82574L" in devices.identity_live(look(), GIVEN).excerpt


def test_what_is_beside_is_shown_with_its_driver() -> None:
    assert f"{SECOND} 8086:100e class 0200, driver vfio-pci" in devices.taken(look(), FIRST).excerpt


# --- departures


def test_no_such_device() -> None:
    assert devices.identity_actual(look(), "0000:09:00.0").value is None
    assert devices.identity_live(look({node(GIVEN): None}), GIVEN).value is None
    for probe in (devices.driver_actual, devices.override, devices.mac, devices.beside_actual, devices.taken):
        with pytest.raises(NotApplicable):
            probe(look(), "0000:09:00.0")
    for probe in (devices.driver_live, devices.kind_live, devices.beside_live, devices.vfs_live, devices.physical_live):
        with pytest.raises(NotApplicable):
            probe(look({node(GIVEN): None}), GIVEN)


@pytest.mark.parametrize("driver", ["mlx5_vfio_pci", "vfio-pci", "pci-stub", None])
def test_drivers_that_leave_a_group_free(driver: str | None) -> None:
    assert devices.taken(look(bound(SECOND, driver)), FIRST).value == frozenset()


@pytest.mark.parametrize("driver", ["e1000", "vfio-pci-not", "notvfio-pci"])
def test_drivers_that_take_the_group(driver: str) -> None:
    assert devices.taken(look(bound(SECOND, driver)), FIRST).value == {SECOND}


def test_a_driver_of_the_host_bound_behind_libvirt() -> None:
    snapshot = look(bound(GIVEN, "e1000e"))
    assert devices.driver_actual(snapshot, GIVEN).value == "e1000e"
    assert devices.driver_live(snapshot, GIVEN).value == "vfio-pci"


def test_without_an_iommu() -> None:
    groups = [path for path in looks.recorded(HV3) if path.startswith("/sys/kernel/iommu_groups/")]
    off = look(dict.fromkeys(groups) | changed(node(GIVEN), "iommuGroup", "noGroup"))
    assert devices.beside_actual(off, GIVEN).value is None
    assert devices.beside_live(look(changed(node(GIVEN), "iommuGroup", "noGroup")), GIVEN).value is None
    with pytest.raises(NotApplicable):
        devices.taken(off, GIVEN)


def test_a_kernel_without_numa() -> None:
    with pytest.raises(NotApplicable):
        devices.numa_node(look({f"{SYSFS}/{GIVEN}/numa_node": None}), GIVEN)


# --- virtual functions, of which the lab has none: constructed, as an Intel 82576 has them

FUNCTIONS = """<capability type='virt_functions' maxCount='7'>
      <address domain='0x0000' bus='0x01' slot='0x10' function='0x0'/>
      <address domain='0x0000' bus='0x01' slot='0x10' function='0x2'/>
    </capability>
    <iommuGroup"""
PARENT = """<capability type='phys_function'>
      <address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
    </capability>
    <iommuGroup"""
PF = {f"{SYSFS}/{GIVEN}/sriov_totalvfs": "7\n", f"{SYSFS}/{GIVEN}/sriov_numvfs": "2\n"}


def test_virtual_functions() -> None:
    snapshot = look(PF | changed(node(GIVEN), "<iommuGroup", FUNCTIONS))
    probes = (devices.total_vfs, devices.total_vfs_live, devices.vfs, devices.vfs_live)
    assert [probe(snapshot, GIVEN).value for probe in probes] == [7, 7, 2, 2]


def test_what_a_virtual_function_is_one_of() -> None:
    uevent = f"DRIVER=igb\nPCI_CLASS=20000\nPCI_ID=8086:10C9\nPCI_SLOT_NAME={GIVEN}\n"
    snapshot = look({f"{SYSFS}/{SECOND}/physfn/uevent": uevent} | changed(node(SECOND), "<iommuGroup", PARENT))
    assert devices.physical(snapshot, SECOND).value == GIVEN
    assert devices.physical_live(snapshot, SECOND).value == GIVEN


# --- blind, or lied to


@pytest.mark.parametrize(
    ("edits", "probe"),
    [
        ({uevent(GIVEN): Unreadable("x")}, devices.identity_actual),
        ({uevent(GIVEN): "PCI_ID=8086:10D3\n"}, devices.kind_actual),
        ({uevent(GIVEN): "PCI_CLASS=20000\nPCI_ID=8086:10D3ff\n"}, devices.identity_actual),
        ({f"{SYSFS}/{GIVEN}/driver_override": None}, devices.override),
        ({f"{SYSFS}/{GIVEN}/driver_override": Unreadable("x")}, devices.override),
        ({f"{SYSFS}/{GIVEN}/numa_node": "many\n"}, devices.numa_node),
        ({f"{SYSFS}/{GIVEN}/sriov_numvfs": "²\n"}, devices.vfs),
        ({node(GIVEN): "<device/>"}, devices.identity_live),
        ({node(GIVEN): "<domain/>"}, devices.identity_live),
        ({node(GIVEN): "no XML"}, devices.driver_live),
        ({node(GIVEN): Failed("x")}, devices.driver_live),
        (changed(node(GIVEN), "id='0x8086'", "id='8086h'"), devices.identity_live),
        (changed(node(GIVEN), "0x020000", "network"), devices.kind_live),
        (changed(node(FIRST), "bus='0x03'", "bus='three'"), partial(devices.beside_live, address=FIRST)),
        ({uevent(SECOND): None}, partial(devices.beside_actual, address=FIRST)),
    ],
)
def test_cannot_look(edits: Edits, probe: Callable[..., Any]) -> None:
    with pytest.raises(CannotLook):
        probe(look(edits)) if isinstance(probe, partial) else probe(look(edits), GIVEN)


def test_devices_of_a_machine_by_their_addresses() -> None:
    known = pci.devices(look())
    assert known[GIVEN] == pci.Device(
        GIVEN, "8086:10d3", "0200", "vfio-pci", uevent(GIVEN), looks.recorded(HV3)[uevent(GIVEN)]
    )
    assert pci.group_of(look(), FIRST) == pci.group_of(look(), SECOND)
    assert {one.address for one in pci.members(look(), int(pci.group_of(look(), FIRST) or 0))} == {
        *(FIRST, SECOND, "0000:02:00.0")
    }
