"""What a profile may say of partitions, pins, CPU bandwidth and memory limits, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from virtvet.profile.base import Wants
from virtvet.profile.cpu_bandwidth import CpuBandwidth
from virtvet.profile.memory_limits import MemoryLimits
from virtvet.profile.model import GuestWants, Profile
from virtvet.profile.partitions import USUAL, Partition
from virtvet.profile.pins import Pins


def test_pins_are_sets_of_cpus() -> None:
    wants = Pins.model_validate({"vcpu": {0: "1-4,^2", 1: 0}, "iothread": {1: [1, 2]}})
    assert wants.vcpu == {0: {1, 3, 4}, 1: {0}}
    assert wants.iothread == {1: {1, 2}}


def test_bandwidth_is_microseconds() -> None:
    wants = CpuBandwidth.model_validate(
        {"quota": "50ms", "global": {"quota": "unlimited"}, "emulator": {"period": "1s"}}
    )
    assert (wants.quota, wants.whole.quota, wants.emulator.period) == (50000, -1, 1000000)
    assert CpuBandwidth.model_validate({"quota": 17592186044415}).quota == -1


def test_limits_are_bytes() -> None:
    wants = MemoryLimits.model_validate({"hard": "1000001 KiB", "soft": "unlimited"})
    assert (wants.hard, wants.soft, wants.swap_hard) == (1024001024, "unlimited", None)


def test_a_partition_is_in_the_usual_controllers() -> None:
    assert Partition.model_validate({}).controllers == list(USUAL)
    assert str(Partition.model_validate({"memory": "80%"}).memory) == "80% of the host's memory"


@pytest.mark.parametrize(
    ("model", "written", "words"),
    [
        (MemoryLimits, {"min_guarantee": "1 GiB"}, "libvirt refuses <min_guarantee>"),
        (MemoryLimits, {"hard": "2 GiB", "swap_hard": "1 GiB"}, "must not be less than hard"),
        (MemoryLimits, {"hard": "10%"}, "no size"),
        (CpuBandwidth, {"quota": "999us"}, "at least 1ms"),
        (CpuBandwidth, {"period": "2s"}, "1ms to 1s"),
        (CpuBandwidth, {"shares": 0}, "greater than or equal to 1"),
        (Pins, {"iothread": {0: 1}}, "greater than or equal to 1"),
        (Pins, {"vcpu": {0: "4-1"}}, "counts down"),
        (Partition, {"controllers": ["memroy"]}, "Input should be"),
        (Partition, {"controllers": []}, "at least 1"),
        (Partition, {"memory": "0%"}, "more than 0%"),
        (GuestWants, {"partition": "machine"}, "is no partition: use /machine"),
        (GuestWants, {"partition": "/machine/../x"}, "is no partition: use /machine"),
        (GuestWants, {"partition": "/machine/a b"}, "is no partition: use /machine"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(model: type[Wants], written: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        model.model_validate(written)


def test_entries_of_several_patterns_merge() -> None:
    bandwidth = {"global": {"quota": "150ms"}}
    profile = Profile.model_validate(
        {
            "virtvet": 1,
            "guests": {
                "*": {"cpu": {"bandwidth": bandwidth, "pins": {"emulator": "0-1"}}},
                "web1": {
                    "cpu": {"bandwidth": {"shares": 2}, "pins": {"vcpu": {0: 0}}},
                    "memory": {"limits": {"hard": 4096}},
                },
            },
        }
    )
    web1 = profile.guest("web1")
    assert web1.cpu.bandwidth.whole.quota == 150000
    assert web1.cpu.bandwidth.shares == 2
    assert (web1.cpu.pins.emulator, web1.cpu.pins.vcpu) == ({0, 1}, {0: {0}})
