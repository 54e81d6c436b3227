"""Partitions where libvirt keeps them, and what they allow."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.looks import V1, V2, look, recorded
from virtvet.catalogue import shipped
from virtvet.errors import CannotLook, NotApplicable
from virtvet.expect import NotEmpty
from virtvet.probes import partitions
from virtvet.profile.model import HostWants
from virtvet.profile.partitions import USUAL
from virtvet.units import parse_host_size

OPENSTACK, PROD = "/machine/openstack.partition", "/machine/prod"
MEMORY = "/sys/fs/cgroup/memory/machine/openstack.partition/"
CPU = "/sys/fs/cgroup/cpu/machine/openstack.partition/"


@pytest.mark.parametrize(
    ("partition", "by_hand", "slices"),
    [
        ("/machine", "/machine", "/machine.slice"),
        ("/machine/prod", "/machine/prod.partition", "/machine.slice/machine-prod.slice"),
        ("/vms/prod", "/vms.partition/prod.partition", "/vms.slice/vms-prod.slice"),
        (
            "/machine/openstack.partition",
            "/machine/openstack.partition",
            "/machine.slice/machine-openstack.partition.slice",
        ),
        (
            "/machine/a/b-c",
            "/machine/a.partition/b-c.partition",
            "/machine.slice/machine-a.slice/machine-a-b\\x2dc.slice",
        ),
    ],
)
def test_libvirts_names_of_a_partition(partition: str, by_hand: str, slices: str) -> None:
    assert partitions.directories(partition) == (by_hand, slices)


@pytest.mark.parametrize(("name", "partition"), [(V1, "/machine"), (V1, OPENSTACK), (V2, "/machine"), (V2, PROD)])
def test_exists_in_every_controller(name: str, partition: str) -> None:
    assert [one.value for one in partitions.controllers(look(name), partition, USUAL)] == [set(USUAL)]


def test_is_missing_in_one_controller() -> None:
    marks = {"/sys/fs/cgroup/freezer/machine/openstack.partition/notify_on_release": None}
    (found,) = partitions.controllers(look(V1, marks), OPENSTACK, USUAL)
    assert set(USUAL) - found.value == {"freezer"}
    assert "freezer: missing" in found.excerpt


def test_is_missing_everywhere() -> None:
    assert [one.value for one in partitions.controllers(look(V1), "/machine/none", USUAL)] == [set()]
    with pytest.raises(NotApplicable, match="PART-EXIST-1"):
        partitions.limit(look(V1), "/machine/none", "memory", 1)


def test_is_not_called_missing_where_nobody_looked() -> None:
    with pytest.raises(CannotLook, match=r"only control groups like \*machine\* are looked at"):
        list(partitions.controllers(look(V1), "/vms/prod", USUAL))


def test_a_limit_needs_its_controller_whatever_is_listed() -> None:
    wants = HostWants(partitions={"/machine/a": {"controllers": ["memory"], "pids": 100, "cpuset": "0"}})
    host = SimpleNamespace(wants=wants)
    (case,) = next(one for one in shipped() if one.control.id == "PART-EXIST-1").cases(host)
    assert case.expected == {"memory", "pids", "cpuset"}
    assert len(list(next(one for one in shipped() if one.control.id == "PART-CPUSET-1").cases(host))) == 2


def test_an_unmounted_controller_has_no_partition() -> None:
    assert [one.value for one in partitions.controllers(look(V1), OPENSTACK, ("net_cls",))] == [set()]


UNIFIED = "50 24 0:44 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
"""Beside v1's controllers, as systemd's hybrid layout mounts it (its /proc/self/mountinfo, by hand)."""


@pytest.mark.parametrize(
    ("beside", "found"),
    [
        ({}, [set(USUAL), set()]),
        (
            {"/sys/fs/cgroup/unified/machine.slice/machine-openstack.partition.slice/cgroup.type": "domain\n"},
            [set(USUAL)],
        ),
        ({"/sys/fs/cgroup/unified/machine/openstack.partition/cgroup.type": "domain\n"}, [set(USUAL)]),
    ],
)
def test_a_tree_without_controllers_stands_in_libvirts_way(beside: dict[str, str], found: list[object]) -> None:
    mounts = {"/proc/self/mountinfo": recorded(V1)["/proc/self/mountinfo"] + UNIFIED}
    hybrid = look(V1, {**mounts, "/sys/fs/cgroup/unified/cgroup.controllers": "", **beside})
    readings = list(partitions.controllers(hybrid, OPENSTACK, USUAL))
    assert [one.value for one in readings] == found
    assert ("umount /sys/fs/cgroup/unified" in readings[-1].excerpt) is (len(found) == 2)


def test_cpus_and_nodes() -> None:
    assert partitions.cpuset(look(V1), OPENSTACK, "cpus").value == {0, 1}
    assert partitions.cpuset(look(V1), OPENSTACK, "nodes").value == {0}
    assert partitions.cpuset(look(V2), PROD, "cpus").value == {0, 1, 2, 3}


def test_an_empty_cpuset_is_seen_as_empty() -> None:
    empty = {"/sys/fs/cgroup/cpuset/machine/openstack.partition/cpuset.cpus": "\n"}
    found = partitions.cpuset(look(V1, empty), OPENSTACK, "cpus")
    assert not NotEmpty().matches(found.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory", 2147483648),
        ("memory_soft", "unlimited"),
        ("swap", "unlimited"),
        ("cpu_shares", 1024),
        ("cpu_quota", "unlimited"),
        ("cpu_period", 100000),
        ("pids", "unlimited"),
        ("io_weight", 100),
    ],
)
def test_every_limit_of_v1(name: str, value: object) -> None:
    assert [one.value for one in partitions.limit(look(V1), OPENSTACK, name, 0)] == [value]


@pytest.mark.parametrize(("name", "value"), [("memory", 2147483648), ("cpu_shares", 100), ("pids", 4096)])
def test_limits_of_v2(name: str, value: int) -> None:
    assert [one.value for one in partitions.limit(look(V2), PROD, name, 0)] == [value]


def test_a_tighter_group_above_is_a_second_reading() -> None:
    tight = {"/sys/fs/cgroup/memory/machine/memory.limit_in_bytes": "1073741824"}
    found = partitions.limit(look(V1, tight), OPENSTACK, "memory", 2147483648)
    assert [one.value for one in found] == [2147483648, 1073741824]
    assert partitions.room(look(V1, tight), OPENSTACK).value == 1073741824


def test_a_looser_group_above_is_none() -> None:
    loose = {"/sys/fs/cgroup/memory/machine/memory.limit_in_bytes": "4294967296"}
    assert len(partitions.limit(look(V1, loose), OPENSTACK, "memory", 2147483648)) == 1


def test_a_tighter_quota_above_is_told_in_cpus() -> None:
    files = {
        f"{CPU}cpu.cfs_quota_us": "150000",
        "/sys/fs/cgroup/cpu/machine/cpu.cfs_quota_us": "500000",
        "/sys/fs/cgroup/cpu/machine/cpu.cfs_period_us": "1000000",
    }
    assert [one.value for one in partitions.limit(look(V1, files), OPENSTACK, "cpu_quota", 150000)] == [150000, 0.5]


def test_a_share_of_the_host_is_taken_in_whole_pages() -> None:
    share = parse_host_size("50%")
    half = 24684084 * 1024 // 2 // 4096 * 4096
    found = partitions.limit(look(V1, {f"{MEMORY}memory.limit_in_bytes": f"{half}"}), OPENSTACK, "memory", share)
    assert [one.value for one in found] == [share]


def test_shares_are_not_taken_in_whole_pages() -> None:
    found = partitions.limit(look(V1, {f"{CPU}cpu.shares": "4096"}), OPENSTACK, "cpu_shares", 5000)
    assert [one.value for one in found] == [4096]
