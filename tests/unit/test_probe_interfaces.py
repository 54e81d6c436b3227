"""Interfaces on every layer, on what the lab's app1 showed and on what it cannot show."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from tests import looks
from tests.looks import Edits, by_hand, pid, recorded
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import interfaces as nics
from virtvet.probes import qemu
from virtvet.snapshot.model import Completed, Unreadable

APP1 = "interfaces/app1"
LIVE, CONFIG = "virsh dumpxml app1", "virsh dumpxml --inactive app1"
FIRST, SECOND = "52:54:00:77:01:14", "52:54:00:77:01:24"
look, changed = partial(looks.look, APP1), partial(looks.changed, APP1)
PID = str(pid(APP1, "app1"))
TAPS = recorded(APP1)["interfaces.TAPS"].splitlines()
TAP_OF_FIRST = next(line.split()[-1] for line in TAPS if "vnet" in line)
TAP_OF_ANOTHER = next(
    match[1]
    for path in recorded(APP1)
    if (match := re.fullmatch("/sys/class/net/(vnet[0-9]+)/mtu", path)) and match[1] != TAP_OF_FIRST
)


def values(readings: Any) -> set[Any]:
    return {one.value for one in (readings if isinstance(readings, list) else [readings])}


@pytest.mark.parametrize("key", ["net1", SECOND])
@pytest.mark.parametrize(
    ("probe", "rest", "value"),
    [
        (nics.mac_config, (), SECOND),
        (nics.mac_live, (), SECOND),
        (nics.mac_actual, (), SECOND),
        (nics.mac_guest, (), SECOND),
        (nics.stored(nics.type_of), (), "bridge"),
        (nics.running(nics.type_of), (), "bridge"),
        (nics.connected_config, ("bridge",), "virbr0"),
        (nics.connected_live, ("bridge",), "virbr0"),
        (nics.connected_actual, ("bridge",), "virbr0"),
        (nics.stored(nics.model_of), (), "e1000"),
        (nics.model_actual, (), "e1000"),
        (nics.driver_guest, (), "e1000"),
        (nics.stored(nics.target_of), (), "app1lan"),
        (nics.target_actual, (), "app1lan"),
        (nics.stored(nics.mtu_of), (), None),
        (nics.mtu_actual, (), 1500),
        (nics.mtu_guest, (), 1500),
        (nics.stored(nics.link_of), (), "up"),
        (nics.link_actual, ("up",), "up"),
        (nics.link_guest, ("up",), "up"),
        (nics.running(nics.vlan_of), (), ()),
    ],
)
def test_the_interface_on_a_bridge(key: str, probe: Callable[..., Any], rest: tuple[Any, ...], value: object) -> None:
    assert values(probe(look(), "app1", key, *rest)) == {value}


@pytest.mark.parametrize(
    ("probe", "rest", "value"),
    [
        (nics.stored(nics.type_of), (), "network"),
        (nics.running(nics.type_of), (), "network"),
        (nics.connected_config, ("network",), "lab"),
        (nics.connected_live, ("network",), "lab"),
        (nics.connected_actual, ("network",), "lab"),
        (nics.connected_live, ("bridge",), "virbr0"),
        (nics.connected_actual, ("bridge",), "virbr0"),
        (nics.model_actual, (), "virtio"),
        (nics.driver_guest, (), "virtio_net"),
        (nics.target_actual, (), TAP_OF_FIRST),
    ],
)
def test_the_interface_on_a_network(probe: Callable[..., Any], rest: tuple[Any, ...], value: object) -> None:
    assert values(probe(look(), "app1", FIRST, *rest)) == {value}


def test_a_network_chooses_its_bridge_at_the_start() -> None:
    with pytest.raises(NotApplicable, match="network"):
        nics.connected_config(look(), "app1", FIRST, "bridge")


def test_a_network_that_is_a_bridge_still_is_a_network() -> None:
    """libvirt shows `<interface type='bridge'><source network=…>` for a network of <forward mode='bridge'/>."""
    edit = changed(LIVE, "<interface type='network'>", "<interface type='bridge'>")
    assert nics.running(nics.type_of)(look(edit), "app1", FIRST).value == "network"


@pytest.mark.parametrize("source", ["<interface type='hostdev'>", "<interface type='vdpa'>"])
def test_a_device_that_the_guest_has_for_itself_has_no_tap(source: str) -> None:
    """Made up: `<interface type='hostdev'>`, or one of a network with <forward mode='hostdev'/>, is a vfio-pci."""
    edits = {
        **changed(LIVE, "<interface type='bridge'>", source),
        **changed("qemu.ARGUMENTS", f'"mac":"{SECOND}"', '"mac":"52:54:00:00:00:09"'),
    }
    for probe in (nics.mac_actual, nics.target_actual, nics.mtu_actual, nics.model_actual):
        with pytest.raises(NotApplicable):
            probe(look(edits), "app1", SECOND)


NOWHERE = "52:54:00:00:00:01"


@pytest.mark.parametrize("key", ["net7", NOWHERE])
def test_no_such_interface(key: str) -> None:
    assert nics.mac_config(look(), "app1", key).value is None
    assert nics.mac_live(look(), "app1", key).value is None
    for probe in (nics.stored(nics.model_of), nics.running(nics.model_of), nics.mtu_actual):
        with pytest.raises(NotApplicable):
            probe(look(), "app1", key)


def test_an_address_that_nobody_has() -> None:
    assert nics.mac_actual(look(), "app1", NOWHERE).value is None
    assert nics.mac_guest(look(), "app1", NOWHERE).value is None
    with pytest.raises(NotApplicable):
        nics.driver_guest(look(), "app1", NOWHERE)


# --- QEMU and its taps


def without_argument(word: str) -> Edits:
    kept = [line for line in recorded(APP1)["qemu.ARGUMENTS"].splitlines(keepends=True) if word not in line]
    return {"qemu.ARGUMENTS": "".join(kept)}


def test_what_was_plugged_in_later_is_known_by_its_tap() -> None:
    seen = look(without_argument(SECOND))
    assert nics.target_actual(seen, "app1", "net1").value == "app1lan"
    assert nics.mac_actual(seen, "app1", "net1").value == SECOND
    with pytest.raises(NotApplicable, match="plugged in later"):
        nics.model_actual(seen, "app1", "net1")


def test_a_tap_that_was_deleted_has_no_name() -> None:
    seen = look(changed("interfaces.TAPS", "\tapp1lan", "\t"))
    assert nics.target_actual(seen, "app1", "net1").value is None
    assert nics.mac_actual(seen, "app1", "net1").value is None
    with pytest.raises(NotApplicable, match="no end on the host"):
        nics.link_actual(seen, "app1", "net1", "up")


def test_another_processs_tap_is_not_the_guests() -> None:
    stranger = "".join(f"/proc/1{line[6:]}\n" for line in TAPS if "app1lan" in line)
    kept = "".join(f"{line}\n" for line in TAPS if "app1lan" not in line)
    assert nics.target_actual(look({"interfaces.TAPS": kept + stranger}), "app1", "net1").value is None


def test_descriptors_that_we_may_not_read_are_an_error() -> None:
    with pytest.raises(CannotLook, match="may read"):
        nics.target_actual(look({"interfaces.TAPS": ""}), "app1", "net1")


@pytest.mark.parametrize(
    ("netdev", "tap"),
    [
        ({"type": "tap", "fd": "35"}, "tap0"),
        ({"type": "tap", "fds": "35:36", "vhost": True}, "tap0"),
        ({"driver": "tap", "id": "n0", "ifname": "tap0", "script": "no"}, "tap0"),
        ({"type": "tap", "fd": "99"}, None),
        ({"driver": "tap", "id": "n0", "ifname": "gone"}, None),
    ],
)
def test_taps_of_a_netdev(netdev: dict[str, Any], tap: str | None) -> None:
    assert nics.tap_of(netdev, {"35": "tap0", "36": "tap0"}) == tap


BY_HAND = f"""\
/proc/{PID}/cmdline:-name
/proc/{PID}/cmdline-app1
/proc/{PID}/cmdline:tap,id=n0,ifname=app1lan,script=no
/proc/{PID}/cmdline:virtio-net-pci,netdev=n0,mac={SECOND}
/proc/{PID}/cmdline:e1000,netdev=n1
"""


def test_a_guest_started_by_hand_is_known_by_its_arguments() -> None:
    """Constructed: the arguments somebody typed."""
    seen = look(by_hand(APP1, "app1") | {"qemu.ARGUMENTS": BY_HAND})
    for key in ("net0", SECOND):
        assert nics.mac_actual(seen, "app1", key).value == SECOND
        assert nics.model_actual(seen, "app1", key).value == "virtio"
        assert nics.target_actual(seen, "app1", key).value == "app1lan"
        assert nics.connected_actual(seen, "app1", key, "bridge").value == "virbr0"
        assert nics.link_actual(seen, "app1", key, "up").value == "up"
        assert values(nics.driver_guest(seen, "app1", key)) == {"e1000"}
    for probe in (nics.mac_live, nics.mac_config, nics.running(nics.model_of)):
        with pytest.raises(NotApplicable, match="by hand"):
            probe(seen, "app1", "net0")
    with pytest.raises(NotApplicable, match="no MAC address"):
        nics.model_actual(seen, "app1", "net1")


def test_a_backend_that_is_no_tap_has_no_end_on_the_host() -> None:
    """Constructed: QEMU's own network stack."""
    text = BY_HAND.replace("tap,id=n0,ifname=app1lan,script=no", "user,id=n0")
    seen = look(by_hand(APP1, "app1") | {"qemu.ARGUMENTS": text})
    assert nics.mac_actual(seen, "app1", "net0").value == SECOND
    for probe in (nics.target_actual, nics.mtu_actual):
        with pytest.raises(NotApplicable, match="no tap"):
            probe(seen, "app1", "net0")


# --- the end on the host


@pytest.mark.parametrize(
    ("edits", "value"),
    [
        ({"/sys/class/net/app1lan/flags": "0x1302\n", "/sys/class/net/app1lan/brport/state": "0\n"}, "down"),
        ({"/sys/class/net/app1lan/brport/state": "0\n"}, "disabled"),
        ({"/sys/class/net/app1lan/brport/state": "1\n"}, "listening"),
        ({"/sys/class/net/app1lan/brport/state": "4\n"}, "blocking"),
        ({"/sys/class/net/app1lan/brport/state": None}, "up"),
    ],
)
def test_an_end_that_carries_nothing(edits: Edits, value: str) -> None:
    assert nics.link_actual(look(edits), "app1", "net1", "up").value == value


def test_the_end_of_a_link_that_is_to_be_down_may_be_up() -> None:
    with pytest.raises(NotApplicable):
        nics.link_actual(look(), "app1", "net1", "down")


@pytest.mark.parametrize("text", ["", "many\n", "0x\n", "9" * 12, None])
@pytest.mark.parametrize("file", ["flags", "mtu"])
def test_what_is_no_number_is_an_error(file: str, text: str | None) -> None:
    probe = nics.mtu_actual if file == "mtu" else nics.link_actual
    with pytest.raises(CannotLook):
        probe(look({f"/sys/class/net/app1lan/{file}": text}), "app1", "net1", *(["up"] if file == "flags" else []))


def test_a_state_that_the_kernel_does_not_have_is_an_error() -> None:
    with pytest.raises(CannotLook, match="no state"):
        nics.link_actual(look({"/sys/class/net/app1lan/brport/state": "9\n"}), "app1", "net1", "up")


def test_another_tap_that_went_away_meanwhile_does_not_matter() -> None:
    gone = {
        f"/sys/class/net/{TAP_OF_ANOTHER}/{name}": Unreadable("gone")
        for name in ("master/uevent", "brport/state", "mtu")
    }
    assert nics.connected_actual(look(gone), "app1", "net1", "bridge").value == "virbr0"
    assert nics.link_actual(look(gone), "app1", "net1", "up").value == "up"
    with pytest.raises(CannotLook):
        nics.mtu_actual(look({"/sys/class/net/app1lan/mtu": Unreadable("no")}), "app1", "net1")


def test_a_port_of_nothing_and_of_another_bridge() -> None:
    file = "/sys/class/net/app1lan/master/uevent"
    assert nics.connected_actual(look({file: None}), "app1", "net1", "bridge").value is None
    other = look({file: "DEVTYPE=bridge\nINTERFACE=br7\nIFINDEX=9\n"})
    assert nics.connected_actual(other, "app1", "net1", "bridge").value == "br7"


def test_a_port_of_another_bridge_is_not_on_the_network() -> None:
    other = look({f"/sys/class/net/{TAP_OF_FIRST}/master/uevent": "INTERFACE=br7\n"})
    assert nics.connected_actual(other, "app1", FIRST, "network").value == "br7"


def test_open_vswitch_has_its_ports_elsewhere() -> None:
    """Constructed: the kernel shows `ovs-system` as the master of every port of every Open vSwitch bridge."""
    edit = changed(LIVE, "<target dev='app1lan'/>", "<virtualport type='openvswitch'/><target dev='app1lan'/>")
    with pytest.raises(NotApplicable, match="Open vSwitch"):
        nics.connected_actual(look(edit), "app1", "net1", "bridge")


def test_a_macvtap_is_above_a_device() -> None:
    """Constructed; a macvtap's descriptor tells no name (there is no show_fdinfo in drivers/net/tap.c)."""
    direct = "<interface type='direct'>"
    xml = changed(LIVE, "<interface type='bridge'>", direct)[LIVE] or ""
    xml = xml.replace("<source bridge='virbr0'/>", "<source dev='eth0' mode='bridge'/>").replace("app1lan", "macvtap0")
    files = {f"/sys/class/net/macvtap0/{name}": text for name, text in (("flags", "0x1043\n"), ("mtu", "1500\n"))}
    seen_files = {**files, "/sys/class/net/macvtap0/lower_eth0/uevent": "INTERFACE=eth0\nIFINDEX=2\n"}
    seen = look({LIVE: xml, **seen_files})
    assert nics.target_actual(seen, "app1", "net1").value == "macvtap0"
    assert nics.connected_live(seen, "app1", "net1", "dev").value == "eth0"
    assert nics.connected_actual(seen, "app1", "net1", "dev").value == "eth0"
    assert nics.link_actual(seen, "app1", "net1", "up").value == "up"
    assert nics.target_actual(look({LIVE: xml}), "app1", "net1").value is None
    of_network = look({**seen_files, LIVE: xml.replace("<source dev", "<source network='wan' dev")})
    assert nics.connected_actual(of_network, "app1", "net1", "network").value == "wan"


def test_vlan_tags_in_their_order() -> None:
    """Constructed: libvirt tags VLANs on Open vSwitch and SR-IOV."""
    tags = "<vlan trunk='yes'><tag id='42' nativeMode='untagged'/><tag id='7'/></vlan>"
    for where, probe in ((LIVE, nics.running(nics.vlan_of)), (CONFIG, nics.stored(nics.vlan_of))):
        edit = changed(where, "<target dev='app1lan'/>", f"{tags}<target dev='app1lan'/>")
        assert probe(look(edit), "app1", "net1").value == (42, 7)


# --- inside the guest


def test_a_device_without_its_driver_is_no_interface() -> None:
    gone = {what: None for what in recorded(APP1) if what.startswith("inside app1 /sys/class/net/eth1/")}
    assert nics.mac_guest(look(gone), "app1", "net1").value is None


def test_a_port_of_a_bond_keeps_the_address_it_had() -> None:
    """Constructed: both ports of a bond show its address."""
    bond = {
        "inside app1 /sys/class/net/eth1/address": f"{FIRST}\n",
        "inside app1 /sys/class/net/eth1/bonding_slave/perm_hwaddr": f"{SECOND}\n",
        "inside app1 /sys/class/net/bond0/address": f"{FIRST}\n",
    }
    assert nics.mac_guest(look(bond), "app1", "net1").value == SECOND
    assert values(nics.driver_guest(look(bond), "app1", "net1")) == {"e1000"}
    assert values(nics.driver_guest(look(bond), "app1", FIRST)) == {"virtio_net"}


def test_a_carrier_needs_a_device_that_is_up() -> None:
    """The kernel refuses to read `carrier` of a device that is down: Invalid argument."""
    down = {
        "inside app1 /sys/class/net/eth1/flags": "0x1002\n",
        "inside app1 /sys/class/net/eth1/carrier": Unreadable("x"),
    }
    with pytest.raises(NotApplicable, match="not brought eth1 up"):
        nics.link_guest(look(down), "app1", "net1", "up")
    with pytest.raises(CannotLook):
        nics.link_guest(look({"inside app1 /sys/class/net/eth1/carrier": Unreadable("x")}), "app1", "net1", "up")
    pulled = look({"inside app1 /sys/class/net/eth1/carrier": "0\n"})
    assert values(nics.link_guest(pulled, "app1", "net1", "up")) == {"down"}


@pytest.mark.parametrize(
    ("model", "names"),
    [("virtio", {"virtio_net"}), ("virtio-transitional", {"virtio_net"}), ("rtl8139", {"8139cp", "8139too"})],
)
def test_drivers_of_models(model: str, names: set[str]) -> None:
    assert set(nics.drivers(model)) == names


def test_hostile_answers_are_errors_or_nothing() -> None:
    seen = look({"interfaces.TAPS": f"/proc/{PID}/fdinfo/35:iff:\t{'x' * 99}\n/proc/{PID}/fdinfo/x:iff:\ty\n"})
    with pytest.raises(CannotLook):
        nics.target_actual(seen, "app1", "net1")
    odd = replace(seen, answers={**seen.answers, qemu.ARGUMENTS: Completed(0, b"/proc/1/cmdline:{]\0", b"")})
    with pytest.raises(CannotLook):
        nics.mac_actual(odd, "app1", "net1")
