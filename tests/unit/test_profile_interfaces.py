"""What a profile may say of interfaces and PCI devices, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from virtvet.profile.base import Wants
from virtvet.profile.interfaces import Interface, for_virsh, position
from virtvet.profile.model import GuestWants, Profile
from virtvet.profile.nic_bandwidth import Outbound, Traffic
from virtvet.profile.pci import PciDevice

MAC = "52:54:00:77:01:24"


def test_rates_are_bytes_a_second() -> None:
    traffic = Traffic.model_validate({"average": "10 Mbit/s", "peak": "2500 KB/s", "burst": "512 KiB"})
    assert (traffic.average, traffic.peak, traffic.burst) == (1_250_000, 2_500_000, 524288)
    assert Traffic.model_validate({"average": "unlimited"}).average == "unlimited"


def test_keys_are_positions_or_addresses() -> None:
    assert (position("net1"), position(MAC)) == (1, None)
    wants = GuestWants.model_validate({"interfaces": {"net0": {"mac": MAC}, MAC: {"model": "e1000"}}})
    assert wants.interfaces["net0"].mac == MAC


def test_what_virsh_takes_for_an_interface() -> None:
    assert for_virsh(MAC, Interface()) == MAC
    assert for_virsh("net0", Interface(mac=MAC, target="lan")) == MAC
    assert for_virsh("net0", Interface(target="lan")) == "lan"
    assert for_virsh("net0", Interface()) == "MAC_OF_net0"


@pytest.mark.parametrize(
    ("model", "written", "words"),
    [
        (Traffic, {"average": "1 MiB/s"}, "whole kilobytes"),
        (Traffic, {"average": 0}, "whole kilobytes"),
        (Traffic, {"peak": 1500}, "whole kilobytes"),
        (Traffic, {"burst": 1000}, "whole KiB"),
        (Traffic, {"average": "2 MB/s", "peak": "1 MB/s"}, "peak must not be less"),
        (Traffic, {"average": "unlimited", "peak": "1 MB/s"}, "neither peak nor burst"),
        (Outbound, {"floor": "1 MB/s"}, "refuses it for outbound"),
        (Interface, {"type": "bridge", "inbound": {"floor": "1 MB/s"}}, "needs type network"),
        (Interface, {"type": "user", "inbound": {"average": "1 MB/s"}}, "cannot limit"),
        (Interface, {"type": "bridge", "network": "lab"}, "type bridge"),
        (Interface, {"type": "direct", "bridge": "br0"}, "type direct"),
        (Interface, {"dev": "eth0", "bridge": "br0"}, "is on a bridge"),
        (Interface, {"mac": "52:54:00:77:01:2G"}, "write it as libvirt does"),
        (Interface, {"mac": MAC.replace("54", "5A")}, "write it as libvirt does"),
        (Interface, {"mac": "53:54:00:77:01:24"}, "multicast"),
        (Interface, {"target": "a-name-too-long-"}, "is no network device: 1 to 15"),
        (Interface, {"mtu": 10}, "greater than or equal to 68"),
        (Interface, {"vlan": 5000}, "less than or equal to 4095"),
        (GuestWants, {"interfaces": {"eth0": {}}}, "net0, net1"),
        (GuestWants, {"interfaces": {MAC: {"mac": "52:54:00:77:01:25"}}}, "use a position"),
        (GuestWants, {"pci": {"8086:100E": {}}}, "as lspci -n has them, in lower case"),
        (PciDevice, {"count": 0, "driver": "e1000"}, "no device has a driver"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(model: type[Wants], written: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        model.model_validate(written)


def test_entries_of_several_patterns_merge() -> None:
    inbound = {"inbound": {"average": "10 Mbit/s"}}
    written = {
        "*": {"interfaces": {"net0": inbound}},
        "web1": {"interfaces": {"net0": {"inbound": {"burst": "1 MiB"}}}},
    }
    merged = Profile.model_validate({"virtvet": 1, "guests": written}).guest("web1")
    assert merged
    traffic = merged.interfaces["net0"].inbound
    assert traffic
    assert (traffic.average, traffic.burst) == (1_250_000, 1 << 20)
