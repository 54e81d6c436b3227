"""Control groups of both versions, from what a machine said."""

from __future__ import annotations

import pytest

from tests.looks import ANCHOR, V1, V2, WEB1, changed, look, pid, recorded, thread
from virtvet.check import Reading
from virtvet.errors import CannotLook
from virtvet.probes import cgroup
from virtvet.probes.cgroup import Group, Hierarchy
from virtvet.units import parse_host_size

TASK = f"/proc/{pid(V1, 'web1')}/task/"
MOUNTINFO = "/proc/self/mountinfo"
HYBRID = """\
24 29 0:22 / /sys/fs/cgroup ro - tmpfs tmpfs ro
25 24 0:23 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
26 24 0:24 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
27 24 0:25 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
28 24 0:26 /docker/1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
29 24 0:27 / /sys/fs/cgroup/with\\040space rw - cgroup cgroup rw,pids
"""


def test_every_controller_has_a_hierarchy_of_its_own_in_v1() -> None:
    found = cgroup.hierarchies(look(V1))
    assert found["memory"] == Hierarchy(1, "/sys/fs/cgroup/memory", "/")
    assert found["cpu"] != found["cpuacct"]


def test_all_share_one_in_v2() -> None:
    found = cgroup.hierarchies(look(V2))
    assert {"cpu", "cpuacct", "cpuset", "memory", "blkio", "pids", "devices", "freezer"} <= set(found)
    assert set(found.values()) == {Hierarchy(2, "/sys/fs/cgroup", "/")}


def test_a_hybrid_host_is_decided_for_each_controller() -> None:
    listed = {"/sys/fs/cgroup/unified/cgroup.controllers": "memory io\n"}
    found = cgroup.hierarchies(look(V1, {MOUNTINFO: HYBRID, **listed}))
    assert found["cpu"] == found["cpuacct"] == Hierarchy(1, "/sys/fs/cgroup/cpu,cpuacct", "/")
    assert found["memory"].version == 1, "a v1 mount wins"
    assert found["blkio"] == Hierarchy(2, "/sys/fs/cgroup/unified", "/")
    assert found["pids"].mountpoint == "/sys/fs/cgroup/with space"


def test_v2_without_controllers_has_none() -> None:
    found = cgroup.hierarchies(look(V1, {MOUNTINFO: HYBRID, "/sys/fs/cgroup/unified/cgroup.controllers": ""}))
    assert "blkio" not in found
    assert "devices" not in found


def test_v2_whose_controllers_cannot_be_read_is_no_empty_one() -> None:
    with pytest.raises(CannotLook):
        cgroup.hierarchies(look(V1, {MOUNTINFO: HYBRID}))


@pytest.mark.parametrize(
    ("root", "named", "path"),
    [
        ("/", "/machine/a", "/machine/a"),
        ("/", "/", "/"),
        ("/docker/1", "/docker/1/machine/a", "/machine/a"),
        ("/docker/1", "/docker/1", "/"),
        ("/", "/../other", "/../other"),
    ],
)
def test_groups_are_named_from_the_mount_point(root: str, named: str, path: str) -> None:
    assert Hierarchy(1, "/sys/fs/cgroup/memory", root).group(named).path == path


def test_the_way_up_leaves_the_root_out() -> None:
    group = Group(Hierarchy(1, "/c", "/"), "/machine/a/b")
    assert [one.path for one in group.upwards()] == ["/machine/a/b", "/machine/a", "/machine"]
    assert list(Group(Hierarchy(1, "/c", "/"), "/").upwards()) == []


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/machine/a.libvirt-qemu/emulator", "/machine/a.libvirt-qemu"),
        ("/machine/a.libvirt-qemu", "/machine/a.libvirt-qemu"),
        ("/machine.slice/a.scope/libvirt/vcpu11", "/machine.slice/a.scope"),
        ("/machine.slice/a.scope/libvirt", "/machine.slice/a.scope"),
        ("/machine.slice/a.scope", "/machine.slice/a.scope"),
        ("/", "/"),
    ],
)
def test_scope_is_what_is_left_without_libvirts_own_levels(path: str, scope: str) -> None:
    assert cgroup.scope_of(path) == scope


@pytest.mark.parametrize("tid", [pid(V1, "web1"), thread(V1, "web1", "CPU 0/TCG")])
def test_a_stray_does_not_hide_where_the_guest_is(tid: int) -> None:
    astray = {f"{TASK}{tid}/cgroup": "\n".join(f"{n}:{c}:/" for n, c in enumerate(cgroup.PLACED))}
    assert cgroup.of_guest(look(V1, astray), "web1").path == WEB1


def test_a_whole_guest_that_left_one_controller_is_still_found() -> None:
    tasks = [path for path in recorded(V1) if path.startswith(TASK) and path.endswith("/cgroup")]
    text = {path: recorded(V1)[path].replace(f"memory:{WEB1}", "memory:/machine") for path in tasks}
    assert cgroup.of_guest(look(V1, text), "web1").path == WEB1


def test_each_setting_has_its_level_in_v2() -> None:
    groups = cgroup.of_guest(look(V2), "anchor")
    assert groups.scope("cpu").directory == ANCHOR
    assert groups.inner("memory").directory == f"{ANCHOR}/libvirt"
    assert groups.of_role("vcpu1", "cpuset").directory == f"{ANCHOR}/libvirt/vcpu1"
    assert groups.of_role("vcpu1", "memory").directory == f"{ANCHOR}/libvirt/vcpu1"


def test_each_setting_has_its_level_in_v1_by_hand() -> None:
    groups = cgroup.of_guest(look(V1), "web1")
    assert groups.scope("cpu") == groups.inner("cpu")
    assert groups.of_role("iothread1", "cpu").directory == f"/sys/fs/cgroup/cpu{WEB1}/iothread1"
    assert groups.of_role("iothread1", "memory").directory == f"/sys/fs/cgroup/memory{WEB1}"


VALUES = [
    (V1, cgroup.MEMORY, "9223372036854771712", "unlimited"),
    (V1, cgroup.MEMORY, "9223372036854710272", "unlimited"),
    (V1, cgroup.MEMORY, "1024000000", 1024000000),
    (V1, cgroup.QUOTA, "-1", "unlimited"),
    (V1, cgroup.QUOTA, "50000", 50000),
    (V1, cgroup.PERIOD, "100000", 100000),
    (V1, cgroup.SHARES, "2048", 2048),
    (V1, cgroup.CPUS, "0-1,3", frozenset({0, 1, 3})),
    (V1, cgroup.CPUS, "", frozenset()),
    (V1, cgroup.PIDS, "max", "unlimited"),
    (V1, cgroup.IO_WEIGHT, "118", 118),
    (V2, cgroup.MEMORY, "max", "unlimited"),
    (V2, cgroup.SWAP, "1048576", 1048576),
    (V2, cgroup.QUOTA, "max 100000", "unlimited"),
    (V2, cgroup.QUOTA, "50000 100000", 50000),
    (V2, cgroup.PERIOD, "50000 100000", 100000),
    (V2, cgroup.SHARES, "2048", 2048),
    (V2, cgroup.IO_WEIGHT, "default 300\n253:0 200", 300),
]
PLACE = {
    V1: ("/machine/g", Hierarchy(1, "/sys/fs/cgroup/x", "/")),
    V2: ("/machine.slice/g", Hierarchy(2, "/sys/fs/cgroup", "/")),
}


@pytest.mark.parametrize(("name", "setting", "text", "value"), VALUES)
def test_a_file_of_either_version_is_one_value(name: str, setting: cgroup.Setting, text: str, value: object) -> None:
    path, hierarchy = PLACE[name]
    group = Group(hierarchy, path)
    mark = "notify_on_release" if name == V1 else "cgroup.type"
    file = (setting.v1 if name == V1 else setting.v2)[0]
    edits = {f"{group.directory}/{mark}": "", f"{group.directory}/{file}": f"{text}\n"}
    assert cgroup.value(look(name, edits), group, setting) == Reading(value, f"{group.directory}/{file}", text)


@pytest.mark.parametrize("text", ["", "many", "50000", "12 x"])
def test_a_file_that_makes_no_sense_is_an_error(text: str) -> None:
    with pytest.raises(CannotLook, match="not understood"):
        cgroup.value(
            look(V2, {f"{ANCHOR}/cpu.max": text}),
            cgroup.of_guest(look(V2), "anchor").scope("cpu"),
            cgroup.PERIOD,
        )


def test_a_missing_file_of_a_group_is_no_limit_and_a_missing_group_an_error() -> None:
    file = f"/sys/fs/cgroup/memory{WEB1}/memory.memsw.limit_in_bytes"
    snapshot = look(V1, {file: None})
    group = cgroup.of_guest(snapshot, "web1").inner("memory")
    assert cgroup.value(snapshot, group, cgroup.SWAP).value == "unlimited"
    with pytest.raises(CannotLook, match="no such control group"):
        cgroup.value(snapshot, group.child("gone"), cgroup.SWAP)


def test_the_tightest_limit_above_takes_effect() -> None:
    limit = "/sys/fs/cgroup/memory/machine/memory.limit_in_bytes"
    snapshot = look(V1, {limit: "4096"})
    group = cgroup.of_guest(snapshot, "web1").inner("memory")
    assert [one.source for one in cgroup.tighter_above(snapshot, group, cgroup.reader(cgroup.MEMORY))] == [limit]
    assert cgroup.room(snapshot, group).value == 4096
    assert cgroup.tighter_above(look(V1), group, cgroup.reader(cgroup.MEMORY)) == ()


def test_quotas_nest_as_numbers_of_cpus() -> None:
    files = {
        "/sys/fs/cgroup/cpu/machine/cpu.cfs_quota_us": "100000",
        "/sys/fs/cgroup/cpu/machine/cpu.cfs_period_us": "200000",
    }
    snapshot = look(V1, files)
    group = cgroup.of_guest(snapshot, "web1").scope("cpu")
    assert [one.value for one in cgroup.tighter_above(snapshot, group, cgroup.cpus_worth)] == [0.5]


def test_a_controller_that_is_not_mounted_cannot_be_looked_at() -> None:
    with pytest.raises(CannotLook, match="memory is not mounted"):
        cgroup.of_guest(
            look(V1, {MOUNTINFO: "1 0 0:1 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"}), "web1"
        ).inner("memory")


def test_no_controller_at_all_is_an_error() -> None:
    with pytest.raises(CannotLook, match="no controller"):
        cgroup.of_guest(look(V1, {MOUNTINFO: ""}), "web1")


@pytest.mark.parametrize(
    ("wanted", "seen", "value"),
    [
        (1024001024, 1024000000, 1024001024),
        (536870912, 536870912, 536870912),
        (536870912, 536866816, 536866816),
        ("unlimited", "unlimited", "unlimited"),
        ("unlimited", 4096, 4096),
        (4096, "unlimited", "unlimited"),
    ],
)
def test_whole_pages_are_what_was_wanted(wanted: int | str, seen: int | str, value: int | str) -> None:
    assert cgroup.as_wanted(look(V1), wanted, Reading(seen, "file")).value == value


def test_a_share_of_the_host_is_bytes_of_memtotal() -> None:
    share = parse_host_size("10%")
    assert cgroup.as_wanted(look(V1), share, Reading(24684084 * 1024 // 10 // 4096 * 4096, "file")).value == share
    assert cgroup.as_wanted(look(V1), share, Reading(4096, "file")).value == 4096


def test_pages_may_be_larger() -> None:
    assert cgroup.whole_pages(100000, 65536) == 65536
    with pytest.raises(CannotLook):
        cgroup.page_size(look(V1, {"getconf PAGESIZE": "none\n"}))


def test_v2_must_be_told_that_a_controller_works_in_a_group() -> None:
    prod = "/sys/fs/cgroup/machine.slice/machine-prod.slice/cgroup.controllers"
    group = Group(Hierarchy(2, "/sys/fs/cgroup", "/"), "/machine.slice/machine-prod.slice")
    snapshot = look(V2, changed(V2, prod, "cpuset cpu io", "cpu"))
    assert cgroup.controls(snapshot, group, "memory")
    assert cgroup.controls(snapshot, group, "devices")
    assert not cgroup.controls(snapshot, group, "cpuset")
    assert not cgroup.controls(snapshot, group, "blkio")


def test_a_group_that_lists_no_controllers_file_is_an_error() -> None:
    prod = "/sys/fs/cgroup/machine.slice/machine-prod.slice/cgroup.controllers"
    group = Group(Hierarchy(2, "/sys/fs/cgroup", "/"), "/machine.slice/machine-prod.slice")
    with pytest.raises(CannotLook, match="does not exist"):
        cgroup.controls(look(V2, {prod: None}), group, "memory")


def test_a_mount_line_that_is_cut_off_is_left_out() -> None:
    assert cgroup.parse_mounts(b"24 29 - cgroup cgroup rw,cpu\n - cgroup2\n") == ()
