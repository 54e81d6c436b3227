"""What the remedies of devices would do on a recorded image host: exact plans, exact ways back, refusals."""

from __future__ import annotations

from functools import partial
from typing import Any

import libvirt
import pytest

from tests import looks
from tests.looks import Edits
from tests.unit.remedies_local import LocalHands
from virtvet.check import Case
from virtvet.probes import nodedev
from virtvet.remedies import devices
from virtvet.remedies.change import CHANGE, CannotMend, Change
from virtvet.remedies.operations import Assign, OperationFailed

HV3 = "devices/hv3"
HOSTS, GIVEN, FIRST, _SECOND = looks.CARDS
look, changed, recorded = partial(looks.look, HV3), partial(looks.changed, HV3), looks.recorded(HV3)
NO_TARGET: Any = None
LIVE, CONFIG = "virsh dumpxml nic", "virsh dumpxml --inactive nic"
VIRSH = "hv3$ virsh -q -c qemu:///system"


def uevent(address: str) -> str:
    return f"/sys/bus/pci/devices/{address}/uevent"


def node(address: str) -> str:
    return nodedev.asked(address).name


def lines(changes: tuple[Change, ...]) -> list[str]:
    """What is done, then what takes it back."""
    return [line for one in changes for line in (*(str(s.do) for s in one.steps), "--", *map(str, one.undo))]


def rebind(edits: Edits, address: str, driver: str | None) -> tuple[Change, ...]:
    return devices.rebind(look(edits), Case(address, driver, (address,)), NO_TARGET)


E1000: Edits = changed(uevent(FIRST), "DRIVER=vfio-pci", "DRIVER=e1000")
NONE: Edits = changed(uevent(FIRST), "DRIVER=vfio-pci\n", "")
OVERRIDE = f"/sys/bus/pci/devices/{FIRST}/driver_override"


def test_a_device_that_is_right() -> None:
    assert rebind({}, FIRST, "vfio-pci") == ()


def test_to_vfio_and_back() -> None:
    assert lines(rebind(E1000 | {OVERRIDE: "(null)\n"}, FIRST, "vfio-pci")) == [
        f"{VIRSH} nodedev-detach {node(FIRST)}   # if {uevent(FIRST)} says 'DRIVER=e1000'",
        "--",
        f"{VIRSH} nodedev-reattach {node(FIRST)}   # if {uevent(FIRST)} says 'DRIVER=vfio-pci'",
    ]


def test_to_vfio_and_back_to_what_driver_override_said() -> None:
    assert lines(rebind(E1000 | {OVERRIDE: "e1000\n"}, FIRST, "vfio-pci"))[2:] == [
        f"{VIRSH} nodedev-reattach {node(FIRST)}   # if {uevent(FIRST)} says 'DRIVER=vfio-pci'",
        f"hv3$ tee {OVERRIDE} <<< 'e1000\n'   # if {OVERRIDE} is there",
    ]


def test_to_vfio_and_back_to_no_driver() -> None:
    assert lines(rebind(NONE | {OVERRIDE: "(null)\n"}, FIRST, "vfio-pci")) == [
        f"{VIRSH} nodedev-detach {node(FIRST)}   # if {uevent(FIRST)} is there",
        "--",
        f"hv3$ tee /sys/bus/pci/drivers/vfio-pci/unbind <<< {FIRST}   # if {uevent(FIRST)} says 'DRIVER=vfio-pci'",
        f"hv3$ tee {OVERRIDE} <<< '\n'   # if {OVERRIDE} is there",
    ]


def test_to_the_hosts_driver_and_back() -> None:
    assert lines(rebind({}, FIRST, "e1000")) == [
        f"{VIRSH} nodedev-reattach {node(FIRST)}   # if {uevent(FIRST)} says 'DRIVER=vfio-pci'",
        "--",
        f"{VIRSH} nodedev-detach {node(FIRST)}   # if {uevent(FIRST)} says 'DRIVER=e1000'",
    ]


@pytest.mark.parametrize(
    ("edits", "address", "driver", "why"),
    [
        ({"/sys/class/net/lan0/flags": "0x1003\n"}, HOSTS, "vfio-pci", "its network device lan0 is up"),
        ({}, "0000:00:1f.3", "vfio-pci", "of class 0c05: whether i801_smbus is in use cannot be told"),
        ({}, GIVEN, "e1000e", "holds it"),
        ({}, HOSTS, "e1000e", "from e1000 to e1000e"),
        ({}, FIRST, None, "from vfio-pci to none"),
    ],
)
def test_hands_off(edits: Edits, address: str, driver: str | None, why: str) -> None:
    with pytest.raises(CannotMend, match=why):
        rebind(edits, address, driver)


# --- assignments


def assign(edits: Edits) -> tuple[Change, ...]:
    return devices.assign(look(edits), Case(f"nic/{GIVEN}", GIVEN, ("nic", GIVEN)), NO_TARGET)


def without(what: str) -> Edits:
    said = recorded[what]
    return {what: said[: said.index("    <hostdev")] + said[said.index("</hostdev>\n") + len("</hostdev>\n") :]}


def test_what_the_running_guest_has_is_written_down() -> None:
    [change] = assign(without(CONFIG))
    assert CHANGE.validate_json(CHANGE.dump_json(change)) == change
    [step] = change.steps
    assert isinstance(step.do, Assign)
    assert 'managed="yes"' in step.do.xml
    assert 'slot="0x0a"' in step.do.xml
    assert "<alias" not in step.do.xml
    assert "<driver" not in step.do.xml
    assert str(step.do).startswith("hv3$ virsh attach-device nic /dev/stdin --config <<< '<hostdev ")
    assert [str(one).split(" <<<")[0] for one in step.back] == ["hv3$ virsh detach-device nic /dev/stdin --config"]


def test_nothing_is_written_down_twice() -> None:
    assert assign({}) == ()


def test_what_libvirt_would_not_store_is_not_tried() -> None:
    """Without any <boot order> it stores a <boot dev>."""
    stored = without(CONFIG)[CONFIG].replace("  <devices>", "  <os><boot dev='hd'/></os>\n  <devices>")
    with pytest.raises(CannotMend, match="beside the <boot dev>"):
        assign({CONFIG: stored})


@pytest.mark.parametrize("edits", [without(LIVE), {"hostdevs.HELD": ""}, {LIVE: None}, {CONFIG: None}])
def test_a_running_guest_is_left_alone(edits: Edits) -> None:
    with pytest.raises(CannotMend, match=r"restart it|shut off|transient"):
        assign(edits)


class Hands(LocalHands):
    """libvirt's test driver, with a guest."""

    def __init__(self) -> None:
        self.connection = libvirt.open("test:///default")

    def libvirt(self, host: str) -> Any:
        return self.connection


def test_assigning_knows_what_is_there() -> None:
    """The test driver plugs in nothing: it says so only when it is asked."""
    hands = Hands()
    uuid = hands.connection.lookupByName("test").UUIDString()
    source = "<source><address domain='0' bus='1' slot='0' function='0'/></source>"
    xml = f"<hostdev mode='subsystem' type='pci'>{source}</hostdev>"
    Assign("hv3", "test", uuid, GIVEN, xml, there=False).perform(hands)
    Assign("hv3", "test", uuid.replace(uuid[0], "f"), GIVEN, xml, there=True).perform(hands)
    with pytest.raises(OperationFailed, match="virsh attach-device test"):
        Assign("hv3", "test", uuid, GIVEN, xml, there=True).perform(hands)
