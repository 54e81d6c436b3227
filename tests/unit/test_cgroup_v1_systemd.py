"""cgroup v1 under systemd, alone and beside a v2 tree without controllers, as an image host answered once."""

from __future__ import annotations

import pytest

from tests.looks import HYBRID, V1_SYSTEMD, Edits, changed, look, recorded, replaced
from virtvet.errors import NotApplicable
from virtvet.probes import blkio, cgroup, cpu_bandwidth, memory_limits, partitions, pins, placement
from virtvet.profile.partitions import USUAL
from virtvet.snapshot.model import Snapshot

MIB = 1 << 20
PROD = "/machine/prod"
SLICE = "/machine.slice/machine-prod.slice"
SCOPE = f"{SLICE}/machine-qemu\\x2d1\\x2dtuned.scope"
UNIT = "/etc/systemd/system/machine-prod.slice"


@pytest.fixture(params=[V1_SYSTEMD, HYBRID])
def name(request: pytest.FixtureRequest) -> str:
    """Both hosts, by the names of their recordings."""
    return str(request.param)


@pytest.fixture
def host(name: str) -> Snapshot:
    return look(name)


def test_only_one_has_a_tree_without_controllers() -> None:
    assert cgroup.hybrid(look(V1_SYSTEMD)) is None
    assert str(cgroup.hybrid(look(HYBRID)).mountpoint) == "/sys/fs/cgroup/unified"
    assert {one.version for name in (V1_SYSTEMD, HYBRID) for one in cgroup.hierarchies(look(name)).values()} == {1}


def test_a_guest_is_in_its_scope_and_its_limits_a_level_below(host: Snapshot) -> None:
    groups = cgroup.of_guest(host, "tuned")
    assert groups.path == SCOPE
    assert groups.inner("memory").path == f"{SCOPE}/libvirt"
    assert groups.of_role("vcpu0", "cpuset").path == f"{SCOPE}/libvirt/vcpu0"
    assert groups.of_role("vcpu0", "memory").path == f"{SCOPE}/libvirt"


def test_every_value_is_found(host: Snapshot) -> None:
    assert memory_limits.actual(host, "tuned", "hard", 600 * MIB).value == 600 * MIB
    assert memory_limits.actual(host, "tuned", "swap_hard", 700 * MIB).value == 700 * MIB
    assert cpu_bandwidth.actual(host, "tuned", "guest", "shares")[0].value == 2048
    assert {one.value for one in cpu_bandwidth.actual(host, "tuned", "vcpu", "quota")} == {90_000}
    assert {one.value for one in pins.actual(host, "tuned", "vcpu0", frozenset({0}))} == {frozenset({0})}
    assert {one.value for one in blkio.limit(host, "tuned", "write_iops", 50_000, "/dev/vda")} == {50_000}


def test_a_guests_weight_does_not_reach_the_kernel(host: Snapshot) -> None:
    """300 in the XML; systemd leaves its own 500 in the scope, as bfq's 136."""
    assert [one.value for one in blkio.weight(host, "tuned", "weight", 300)] == [136]


def test_every_thread_is_in_its_place(host: Snapshot) -> None:
    assert placement.outside(host, "tuned", PROD).value == set()
    assert placement.misplaced(host, "tuned", PROD).value == set()


def test_a_guest_that_systemd_took_out_of_its_group(name: str) -> None:
    """blkio alone, as its BlockIOWeight can do: the group's files stay right, and nobody is in it."""
    tasks = {path: said for path, said in recorded(name).items() if path.endswith("/cgroup") and "blkio:" in said}
    moved: Edits = {p: replaced(said, f"blkio:{SCOPE}/libvirt", "blkio:/machine.slice") for p, said in tasks.items()}
    strays = placement.outside(look(name, moved), "tuned", PROD).value
    assert strays
    assert all(line.endswith(": blkio in /machine.slice") for line in strays)


@pytest.mark.parametrize("partition", ["/machine", PROD])
def test_a_partition_is_a_slice(host: Snapshot, partition: str) -> None:
    assert [one.value for one in partitions.controllers(host, partition, USUAL)] == [set(USUAL)]


def test_a_slice_that_the_tree_without_controllers_lacks() -> None:
    lost = look(HYBRID, {f"/sys/fs/cgroup/unified{SLICE}/cgroup.type": None})
    assert [one.value for one in partitions.controllers(lost, PROD, USUAL)] == [set(USUAL), set()]


@pytest.mark.parametrize(
    ("key", "wanted"), [("memory", 1024 * MIB), ("cpu_quota", 190_000), ("cpu_period", 100_000), ("pids", 4096)]
)
def test_what_systemd_tells_the_kernel_as_it_is(host: Snapshot, key: str, wanted: int) -> None:
    assert [one.value for one in partitions.limit(host, PROD, key, wanted)] == [wanted]
    assert partitions.limit_config(host, PROD, key, wanted).value == wanted
    assert partitions.limit_live(host, PROD, key, wanted).value == wanted


def test_what_a_boot_gives_it(name: str) -> None:
    without = look(name, changed(name, UNIT, "MemoryMax=1G\n", ""))
    assert partitions.limit_config(without, PROD, "memory", 1024 * MIB).value == "unlimited"


@pytest.mark.parametrize(
    ("key", "told", "made"), [("cpu_shares", 200, 2048), ("io_weight", 200, 181), ("swap", 2048 * MIB, "unlimited")]
)
def test_what_it_converts_or_does_not_tell_is_not_compared(host: Snapshot, key: str, told: int, made: object) -> None:
    assert [one.value for one in partitions.limit(host, PROD, key, told)] == [made]
    for probe in (partitions.limit_config, partitions.limit_live):
        with pytest.raises(NotApplicable, match="cgroup v1"):
            probe(host, PROD, key, told)


def test_nor_are_cpus_and_requests_a_second(host: Snapshot) -> None:
    with pytest.raises(NotApplicable, match="cgroup v1"):
        partitions.cpuset_config(host, PROD, "cpus", True)
    with pytest.raises(NotApplicable, match="cgroup v1"):
        partitions.throttle_config(host, PROD, "write_iops", "/dev/vda")
    assert [one.value for one in partitions.throttle(host, PROD, "write_iops", "/dev/vda")] == ["unlimited"]


def test_bytes_of_a_device_are(host: Snapshot) -> None:
    assert [one.value for one in partitions.throttle(host, PROD, "read_bytes", "/dev/vda")] == [2_000_000_000]
    assert partitions.throttle_config(host, PROD, "read_bytes", "/dev/vda").value == 2_000_000_000
    assert partitions.throttle_live(host, PROD, "read_bytes", "/dev/vda").value == 2_000_000_000
