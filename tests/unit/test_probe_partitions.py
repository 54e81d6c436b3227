"""Partitions where libvirt keeps them, and what they allow."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.looks import HYBRID, V1, V2, look, recorded
from virtvet.catalogue import shipped
from virtvet.errors import CannotLook, NotApplicable
from virtvet.expect import NotEmpty
from virtvet.probes import dropins, partitions, slices, tmpfiles
from virtvet.profile.model import HostWants
from virtvet.profile.partitions import USUAL
from virtvet.snapshot.model import Absent, Answer, Completed, Content, Snapshot, Status
from virtvet.snapshot.sources import Source
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


MOUNTS = "/proc/self/mountinfo"
UNIFIED = next(line for line in recorded(HYBRID)[MOUNTS].splitlines(keepends=True) if " cgroup2 " in line)
"""Beside v1's controllers, as systemd's hybrid layout mounts it."""


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
    mounts = {MOUNTS: recorded(V1)[MOUNTS] + UNIFIED}
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


def _by_hand(lines: str = "") -> Snapshot:
    """With systemd, which does not make the partition, and a file in /etc/tmpfiles.d."""
    etc, *others = dropins.sources(tmpfiles.DIRECTORY)[:-1]
    said: dict[Source, Answer] = {
        etc: {"/etc/tmpfiles.d/vms.conf": Content(lines.encode())},
        **{one: {} for one in others},
    }
    said |= {slices.RUNS: Status("directory", 0o755, "root", "root", 0, 0, 40), dropins.HIDING: Completed(0, b"", b"")}
    return replace(look(V1), answers={**look(V1).answers, **said})


@pytest.mark.parametrize(
    ("name", "line", "value"),
    [
        ("memory", "memory/machine/openstack.partition/memory.limit_in_bytes - - - - 2G", 2 << 30),
        ("memory", "memory/machine/*/memory.limit_in_bytes - - - - 1073741824", 1 << 30),
        ("memory", "memory/machine/openstack.partition/memory.limit_in_bytes - - - - -1", "unlimited"),
        ("cpu_shares", "cpu/machine/openstack.partition/cpu.shares - - - - 2048", 2048),
        ("pids", "pids/machine/openstack.partition/pids.max - - - - max", "unlimited"),
    ],
)
def test_tmpfiles_give_a_partition_made_by_hand_its_limits(name: str, line: str, value: object) -> None:
    seen = partitions.limit_config(_by_hand(f"w /sys/fs/cgroup/{line}\n"), OPENSTACK, name, 0)
    assert (seen.value, seen.source) == (value, "/etc/tmpfiles.d/vms.conf:1")


def test_what_tmpfiles_write_may_be_nonsense() -> None:
    with pytest.raises(CannotLook, match="not understood"):
        partitions.limit_config(
            _by_hand("w /sys/fs/cgroup/cpu/machine/*/cpu.shares - - - - many"), OPENSTACK, "cpu_shares", 0
        )


def test_a_partition_made_by_hand_is_nothing_systemd_keeps() -> None:
    by_hand = _by_hand()
    with pytest.raises(NotApplicable, match="made by hand"):
        partitions.limit_config(by_hand, OPENSTACK, "memory", 2 << 30)
    with pytest.raises(NotApplicable, match="neither systemd nor tmpfiles"):
        partitions.limit_live(by_hand, OPENSTACK, "memory", 2 << 30)
    nothing = replace(look(V1), answers={**look(V1).answers, slices.RUNS: Absent()})
    with pytest.raises(NotApplicable, match="no systemd"):
        partitions.limit_live(nothing, OPENSTACK, "memory", 2 << 30)
