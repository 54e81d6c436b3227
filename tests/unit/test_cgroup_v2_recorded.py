"""cgroup v2 under systemd as an image host of the lab answered: every value at its level, in its place."""

from __future__ import annotations

import pytest

from tests.looks import V2_TUNED, look, recorded
from virtvet.probes import blkio, cgroup, cpu_bandwidth, memory_limits, nic_bandwidth, partitions, pins, placement
from virtvet.profile.partitions import USUAL

MIB = 1 << 20
PROD = "/machine/prod"
SLICE = "/sys/fs/cgroup/machine.slice/machine-prod.slice"
SCOPE = next(
    path.rpartition("/")[0]
    for path in recorded(V2_TUNED)
    if path.endswith("tuned.scope/cpu.weight") and path.startswith(SLICE)
)
HOST = look(V2_TUNED)


def test_the_scopes_name_is_escaped_and_libvirts_limits_are_a_level_below() -> None:
    groups = cgroup.of_guest(HOST, "tuned")
    assert groups.scope("cpu").directory == SCOPE
    assert "\\x2dtuned.scope" in SCOPE
    assert groups.inner("memory").directory == f"{SCOPE}/libvirt"
    assert cgroup.value(HOST, groups.scope("memory"), cgroup.MEMORY).value == "unlimited"


@pytest.mark.parametrize(("name", "size"), [("hard", 600), ("soft", 500), ("swap_hard", 700)])
def test_memory(name: str, size: int) -> None:
    assert memory_limits.actual(HOST, "tuned", name, size * MIB).value == size * MIB
    assert memory_limits.room(HOST, "tuned").value == 1024 * MIB


@pytest.mark.parametrize(
    ("who", "what", "value"),
    [
        ("guest", "shares", 2048),
        ("vcpu", "quota", 90_000),
        ("emulator", "period", 50_000),
        ("iothread", "quota", 25_000),
        ("guest", "quota", 180_000),
    ],
)
def test_cpu_time(who: str, what: str, value: int) -> None:
    assert {one.value for one in cpu_bandwidth.actual(HOST, "tuned", who, what)} == {value}


def test_io() -> None:
    """systemd told bfq 118 and the other policies 300."""
    weights = blkio.weight(HOST, "tuned", "weight", 300)
    assert [(one.value, one.excerpt) for one in weights] == [(300, "default 300"), (300, "default 118")]
    assert {one.value for one in blkio.limit(HOST, "tuned", "write_iops", 0, "/dev/vda")} == {50_000}
    assert {one.value for one in blkio.limit(HOST, "tuned", "write_bytes", 0, "/dev/vda")} == {"unlimited"}


@pytest.mark.parametrize(("role", "cpus"), [("vcpu0", {0}), ("emulator", {0, 1}), ("iothread1", {1})])
def test_pins(role: str, cpus: set[int]) -> None:
    assert {one.value for one in pins.actual(HOST, "tuned", role, frozenset(cpus))} == {frozenset(cpus)}


@pytest.mark.parametrize(("guest", "partition"), [("tuned", PROD), ("nic", "/machine")])
def test_places(guest: str, partition: str) -> None:
    assert placement.outside(HOST, guest, partition).value == set()
    assert placement.misplaced(HOST, guest, partition).value == set()


STATED = {
    "memory": 1024 * MIB,
    "memory_soft": "unlimited",
    "swap": 2048 * MIB,
    "cpu_shares": 200,
    "cpu_quota": 190_000,
    "cpu_period": 100_000,
    "pids": 4096,
    "io_weight": 200,
}


@pytest.mark.parametrize("name", STATED)
def test_a_slice_on_every_layer(name: str) -> None:
    wanted = STATED[name]
    assert {one.value for one in partitions.limit(HOST, PROD, name, wanted)} == {wanted}
    assert partitions.limit_config(HOST, PROD, name, wanted).value == wanted
    assert partitions.limit_live(HOST, PROD, name, wanted).value == wanted


THROTTLES = {"read_bytes": 2_000_000_000, "write_bytes": "unlimited", "write_iops": 100_000}


@pytest.mark.parametrize("what", THROTTLES)
def test_what_a_slice_may_use_of_a_device(what: str) -> None:
    wanted = THROTTLES[what]
    assert [one.value for one in partitions.throttle(HOST, PROD, what, "/dev/vda")] == [wanted]
    assert partitions.throttle_config(HOST, PROD, what, "/dev/vda").value == wanted
    assert partitions.throttle_live(HOST, PROD, what, "/dev/vda").value == wanted


@pytest.mark.parametrize(("name", "wanted"), [("memory", 2048 * MIB), ("cpu_quota", 195_000)])
def test_the_ceiling_of_all_guests(name: str, wanted: int) -> None:
    assert [one.value for one in partitions.limit(HOST, "/machine", name, wanted)] == [wanted]
    assert partitions.limit_config(HOST, "/machine", name, wanted).value == wanted
    assert partitions.limit_live(HOST, "/machine", name, wanted).value == wanted


def test_the_slice_above_may_use_less_of_a_device() -> None:
    tight = look(V2_TUNED, {"/sys/fs/cgroup/machine.slice/io.max": "254:0 rbps=1000 wbps=max riops=max wiops=max\n"})
    found = partitions.throttle(tight, PROD, "read_bytes", "/dev/vda")
    assert [one.value for one in found] == [2_000_000_000, 1000]


def test_its_cpus_and_nodes() -> None:
    for probe in (partitions.cpuset, partitions.cpuset_config, partitions.cpuset_live):
        assert probe(HOST, PROD, "cpus", True).value == {0, 1}
        assert probe(HOST, PROD, "nodes", True).value == {0}


@pytest.mark.parametrize("partition", ["/machine", PROD])
def test_it_exists(partition: str) -> None:
    assert [one.value for one in partitions.controllers(HOST, partition, USUAL)] == [set(USUAL)]


@pytest.mark.parametrize(
    ("way", "what", "value"),
    [
        ("inbound", "average", 1_000_000),
        ("inbound", "peak", 2_000_000),
        ("inbound", "burst", MIB),
        ("inbound", "floor", 300_000),
        ("outbound", "average", 500_000),
    ],
)
def test_traffic(way: str, what: str, value: int) -> None:
    assert nic_bandwidth.actual(HOST, "tuned", "net1", way, what).value == value
