"""Bandwidth of interfaces on every layer.

What tc printed of htb and u32 was seen on iproute2 6.1 and Linux 6.18. Lines of policing filters, fw and sfq are
constructed as iproute2 prints them and libvirt 9.0 was seen to make them elsewhere: the lab's kernel has none of these.
"""

from __future__ import annotations

from functools import partial

import pytest

from tests import looks
from tests.looks import Edits
from virtvet import catalogue
from virtvet.check import Layer
from virtvet.errors import CannotLook, NotApplicable
from virtvet.expect import matches
from virtvet.inventory import from_hostspecs
from virtvet.probes import nic_bandwidth
from virtvet.profile.model import Profile
from virtvet.snapshot.model import Completed
from virtvet.target import HostTarget

APP1 = "interfaces/app1"
LIVE, CONFIG = "virsh dumpxml app1", "virsh dumpxml --inactive app1"
TC = "nic_bandwidth.TC"
look, changed = partial(looks.look, APP1), partial(looks.changed, APP1)
HTB = """\
qdisc htb 1: dev app1lan root refcnt 2 r2q 10 default 0x1 direct_packets_stat 0 ver 3.17 direct_qlen 1000
class htb 1:1 root leaf 2: prio 0 quantum 100000 rate 8Mbit ceil 16Mbit linklayer ethernet burst 512Kb/1 mpu 0b \
cburst 1600b/1 mpu 0b level 0
filter parent 1: protocol all pref 1 fw chain 0
filter parent 1: protocol all pref 1 fw chain 0 handle 0x1 classid :1
qdisc sfq 2: dev app1lan parent 1:1 limit 127p quantum 1514b depth 127 divisor 1024 perturb 10sec
"""
POLICE = """\
qdisc ingress ffff: dev app1lan parent ffff:fff1 ----------------
filter protocol all pref 49152 u32 chain 0
filter protocol all pref 49152 u32 chain 0 fh 800: ht divisor 1
filter protocol all pref 49152 u32 chain 0 fh 800::800 order 2048 key ht 800 bkt 0 *flowid :1 not_in_hw
  match 00000000/00000000 at 0
 police 0x1 rate 4Mbit burst 500Kb mtu 64Kb action drop overhead 0b linklayer ethernet
\tref 1 bind 1
"""
BRIDGE = """\
qdisc htb 1: dev virbr0 root refcnt 2 r2q 10 default 0x2 direct_packets_stat 0 ver 3.17 direct_qlen 1000
class htb 1:1 root rate 40Mbit ceil 72Mbit linklayer ethernet burst 1600b/1 mpu 0b cburst 1593b/1 mpu 0b level 7
class htb 1:2 parent 1:1 leaf 4: prio 0 quantum 200000 rate 69600Kbit ceil 72Mbit linklayer ethernet burst 1600b/1
class htb 1:3 parent 1:1 leaf 3: prio 0 quantum 30000 rate 2400Kbit ceil 72Mbit linklayer ethernet burst 1600b/1
filter parent 1: protocol ip pref 2 u32 chain 0
filter parent 1: protocol ip pref 2 u32 chain 0 fh 800: ht divisor 1
filter parent 1: protocol ip pref 2 u32 chain 0 fh 800::4 order 4 key ht 800 bkt 0 *flowid 1:4 not_in_hw
  match 00000800/0000ffff at -4
  match 00770199/ffffffff at -12
  match 00005254/0000ffff at -16
filter parent 1: protocol ip pref 2 u32 chain 0 fh 800::3 order 3 key ht 800 bkt 0 *flowid 1:3 not_in_hw
  match 00000800/0000ffff at -4
  match 00770114/ffffffff at -12
  match 00005254/0000ffff at -16
"""
LIMITED = (
    "<bandwidth><inbound average='1000' peak='2000' burst='512' floor='300'/><outbound average='500'/></bandwidth>"
)


def limited(where: str) -> Edits:
    return changed(where, "<target dev='app1lan'/>", f"{LIMITED}<target dev='app1lan'/>")


@pytest.mark.parametrize(
    ("way", "what", "value"),
    [
        ("inbound", "average", 1_000_000),
        ("inbound", "peak", 2_000_000),
        ("inbound", "burst", 524288),
        ("inbound", "floor", 300_000),
        ("outbound", "average", 500_000),
        ("outbound", "peak", None),
        ("outbound", "burst", None),
    ],
)
def test_what_the_xml_says(way: str, what: str, value: object) -> None:
    assert nic_bandwidth.config(look(limited(CONFIG)), "app1", "net1", way, what).value == value
    assert nic_bandwidth.live(look(limited(LIVE)), "app1", "net1", way, what).value == value


@pytest.mark.parametrize("xml", ["", "<bandwidth/>", "<bandwidth><inbound floor='300'/></bandwidth>"])
def test_no_average_is_no_limit(xml: str) -> None:
    edit = changed(CONFIG, "<target dev='app1lan'/>", f"{xml}<target dev='app1lan'/>")
    assert nic_bandwidth.config(look(edit), "app1", "net1", "inbound", "average").value == "unlimited"


@pytest.mark.parametrize(
    ("tc", "way", "what", "value"),
    [
        (HTB, "inbound", "average", 1_000_000),
        (HTB, "inbound", "peak", 2_000_000),
        (HTB, "inbound", "burst", 524288),
        (HTB, "outbound", "average", "unlimited"),
        (HTB.replace("default 0x1", "default 0x2"), "inbound", "average", "unlimited"),
        (HTB.replace("default 0x1", "default 1"), "inbound", "average", 1_000_000),
        (POLICE, "inbound", "average", "unlimited"),
        (POLICE, "outbound", "average", 500_000),
        (POLICE, "outbound", "burst", 512_000),
        (HTB + POLICE, "inbound", "average", 1_000_000),
        (HTB + POLICE, "outbound", "average", 500_000),
        (POLICE.replace(" police 0x1 rate", " action order 1: police 0x1 rate"), "outbound", "average", 500_000),
        (
            "qdisc tbf 8001: dev app1lan root refcnt 2 rate 1Mbit burst 4Kb lat 50ms\n",
            "inbound",
            "average",
            "a tbf qdisc",
        ),
        ("qdisc noqueue 8122: dev app1lan root refcnt 2\n", "inbound", "average", "unlimited"),
    ],
)
def test_what_the_kernel_does(tc: str, way: str, what: str, value: object) -> None:
    assert nic_bandwidth.actual(look({TC: tc}), "app1", "net1", way, what).value == value


def test_a_macvtap_is_the_guests_own_end_so_its_ways_are_swapped() -> None:
    xml = changed(LIVE, "<interface type='bridge'>", "<interface type='direct'>")
    seen = look({**xml, TC: HTB + POLICE})
    assert nic_bandwidth.actual(seen, "app1", "net1", "inbound", "average").value == 500_000
    assert nic_bandwidth.actual(seen, "app1", "net1", "outbound", "peak").value == 2_000_000
    with pytest.raises(NotApplicable, match="peak"):
        nic_bandwidth.actual(seen, "app1", "net1", "inbound", "peak")


def test_libvirt_passes_no_peak_of_outbound_to_the_kernel() -> None:
    with pytest.raises(NotApplicable, match="peak"):
        nic_bandwidth.actual(look({TC: POLICE}), "app1", "net1", "outbound", "peak")


def test_open_vswitch_limits_by_itself() -> None:
    edit = changed(LIVE, "<target dev='app1lan'/>", "<virtualport type='openvswitch'/><target dev='app1lan'/>")
    with pytest.raises(NotApplicable, match="Open vSwitch"):
        nic_bandwidth.actual(look({**edit, TC: HTB}), "app1", "net1", "inbound", "average")


def test_a_floor_is_the_class_that_the_address_leads_to() -> None:
    assert nic_bandwidth.actual(look({TC: BRIDGE}), "app1", "net0", "inbound", "floor").value == 300_000
    other = BRIDGE.replace("00770114", "00770115")
    assert nic_bandwidth.actual(look({TC: other}), "app1", "net0", "inbound", "floor").value is None
    assert nic_bandwidth.actual(look(), "app1", "net0", "inbound", "floor").value is None


@pytest.mark.parametrize(
    ("rate", "text", "seen"),
    [
        (1_000_000, "8Mbit", 1_000_000),
        (12_345_000, "98760Kbit", 12_345_000),
        (125_001_000, "1Gbit", 125_000_000),
        (999_999_000, "7999Mbit", 999_875_000),
        (1_234_567_000, "9876Mbit", 1_234_500_000),
        (5_000, "40Kbit", 5_000),
    ],
)
def test_tc_cuts_large_rates_off(rate: int, text: str, seen: int) -> None:
    """Each text is what iproute2 6.1 printed of the rate."""
    assert nic_bandwidth.shown(rate) == seen
    tc = HTB.replace("rate 8Mbit", f"rate {text}")
    assert nic_bandwidth.actual(look({TC: tc}), "app1", "net1", "inbound", "average").value == seen


@pytest.mark.parametrize(
    "tc",
    [
        "",
        HTB.replace("app1lan", "vnet2"),
        HTB.replace("rate 8Mbit", "rate lots"),
        HTB.replace("burst 512Kb/1", ""),
        "qdisc htb 1: dev app1lan root refcnt 2 default 0x1\ntc ended with 1\n",
        "qdisc ingress ffff: dev app1lan parent ffff:fff1 ----\ntc ended with 2\n",
    ],
)
def test_what_tc_could_not_tell_is_an_error(tc: str) -> None:
    with pytest.raises(CannotLook):
        nic_bandwidth.actual(look({TC: tc}), "app1", "net1", "inbound", "average")


def test_what_the_kernel_rounds_may_differ_there() -> None:
    """What iproute2 printed of 1000 KiB at 10 Gbit/s: `burst 1022500b`."""
    wants = {"net0": {"inbound": {"average": "1250001 KB/s", "burst": "1000 KiB"}}}
    profile = Profile.model_validate({"virtvet": 1, "guests": {"app1": {"interfaces": wants}}})
    target = HostTarget.unseen(from_hostspecs(["ssh://root@hv1"]).hosts["hv1"], profile)
    inbound = next(check for check in catalogue.shipped() if check.control.id == "NIC-BW-1")
    average, burst = inbound.cases(target)
    assert average.expected_on(Layer.LIVE) == 1_250_001_000
    assert average.expected_on(Layer.ACTUAL) == 1_250_000_000
    assert matches(burst.expected_on(Layer.ACTUAL), 1_022_500)
    assert not matches(burst.expected_on(Layer.ACTUAL), 1_000_000)
    assert not matches(burst.expected_on(Layer.CONFIG), 1_022_500)
    assert average.words["tuned"] == "1250001,0,1000"


def test_a_host_without_tc_is_an_error() -> None:
    seen = look()
    blind = {**seen.answers, nic_bandwidth.TC: Completed(127, b"", b"sh: 1: tc: not found\n")}
    with pytest.raises(CannotLook, match="not found"):
        nic_bandwidth.actual(type(seen)("hv1", seen.taken, blind), "app1", "net1", "inbound", "average")
