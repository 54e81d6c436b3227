"""cgroup v1 under systemd: the lab's recorded host, its groups renamed as systemd and libvirt name them there.

Slices, and scopes with escaped names that have libvirt's own level in them. Constructed: no lab has such a host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import pytest

from tests.looks import V1, WEB1, Edits, look, recorded
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import (
    cgroup,
    cpu_bandwidth,
    dropins,
    memory_limits,
    partitions,
    pins,
    placement,
    slices,
    tmpfiles,
)
from virtvet.profile.partitions import USUAL
from virtvet.snapshot.model import Absent, Answer, Completed, Content, Snapshot, Status
from virtvet.snapshot.sources import File, Source, Stat

MIB = 1 << 20
PARTITION = "/machine/openstack.partition"
UNIT = "machine-openstack.partition.slice"
SLICE = f"/machine.slice/{UNIT}"
SCOPE = f"{SLICE}/machine-qemu\\x2d3\\x2dweb1.scope"


def _renamed(text: str) -> str:
    return text.replace(WEB1, f"{SCOPE}/libvirt").replace(PARTITION, SLICE).replace("/machine/", "/machine.slice/")


@cache
def _groups() -> Mapping[str, str | None]:
    """Every answer that names a group, under its new name; what is set on a guest's own group is also on its scope."""
    found: dict[str, str | None] = {}
    for path, said in recorded(V1).items():
        if path.startswith("/sys/fs/cgroup/") and "/machine/" in path:
            found |= {path: None, _renamed(path): said}
            if path.rpartition("/")[0].endswith(WEB1):
                found[_renamed(path).replace("/libvirt/", "/")] = said
        elif path.endswith("/cgroup"):
            found[path] = _renamed(said)
    return found


def host(edits: Edits | None = None, unit: str = "") -> Snapshot:
    """With systemd, and a unit file of the slice."""
    seen = look(V1, {**_groups(), **(edits or {})})
    directory = Status("directory", 0o755, "root", "root", 0, 0, 40)
    systemd: dict[Source, Answer] = {slices.RUNS: directory, **{source: {} for source in slices.DROP_INS}}
    for root in slices.ROOTS:
        path = f"{root}/{UNIT}"
        file = replace(directory, kind="regular file") if unit and root == slices.ROOTS[1] else Absent()
        systemd |= {Stat(path): file, File(path): Content(unit.encode())}
    return replace(seen, answers={**seen.answers, **systemd})


def test_a_guest_is_in_its_scope_and_its_limits_a_level_below() -> None:
    groups = cgroup.of_guest(host(), "web1")
    assert groups.path == SCOPE
    assert groups.inner("memory").path == f"{SCOPE}/libvirt"
    assert groups.of_role("vcpu1", "cpuset").path == f"{SCOPE}/libvirt/vcpu1"
    assert groups.of_role("vcpu1", "memory").path == f"{SCOPE}/libvirt"


def test_every_value_is_found() -> None:
    assert memory_limits.actual(host(), "web1", "hard", 512 * MIB).value == 512 * MIB
    assert cpu_bandwidth.actual(host(), "web1", "guest", "shares")[0].value == 2048
    assert {one.value for one in cpu_bandwidth.actual(host(), "web1", "vcpu", "quota")} == {50_000}
    assert {one.value for one in pins.actual(host(), "web1", "vcpu0", frozenset({0}))} == {frozenset({0})}


def test_every_thread_is_in_its_place() -> None:
    assert placement.outside(host(), "web1", PARTITION).value == set()
    assert placement.misplaced(host(), "web1", PARTITION).value == set()


def test_a_weight_makes_systemd_take_the_guest_out_of_its_group() -> None:
    """blkio alone, as systemd's BlockIOWeight does: its files stay right, and nobody is in it."""
    tasks = {path: said for path, said in _groups().items() if path.endswith("/cgroup") and said}
    moved = {path: said.replace(f"blkio:{SCOPE}/libvirt", "blkio:/machine.slice") for path, said in tasks.items()}
    strays = placement.outside(host(moved), "web1", PARTITION).value
    assert strays
    assert all(line.endswith(": blkio in /machine.slice") for line in strays)


def test_the_partition_is_a_slice() -> None:
    assert [one.value for one in partitions.controllers(host(), PARTITION, USUAL)] == [set(USUAL)]
    assert [one.value for one in partitions.limit(host(), PARTITION, "memory", 2048 * MIB)] == [2048 * MIB]


MEMORY = "[Slice]\nMemoryMax=2G\nCPUWeight=100\n"


@pytest.mark.parametrize(("unit", "value"), [(MEMORY, 2048 * MIB), ("", "unlimited")])
def test_what_a_boot_gives_it(unit: str, value: object) -> None:
    assert partitions.limit_config(host(unit=unit), PARTITION, "memory", 2048 * MIB).value == value


def test_what_systemd_converts_for_v1_is_not_compared() -> None:
    with pytest.raises(NotApplicable, match="cgroup v1"):
        partitions.limit_config(host(unit=MEMORY), PARTITION, "cpu_shares", 1024)
    with pytest.raises(NotApplicable, match="cgroup v1"):
        partitions.cpuset_config(host(unit=MEMORY), PARTITION, "cpus", True)


def _by_hand(lines: str = "") -> Snapshot:
    """With systemd, which does not make the partition, and a file in /etc/tmpfiles.d."""
    etc, *others = dropins.sources(tmpfiles.DIRECTORY)[:-1]
    said: dict[Source, Answer] = {
        etc: {"/etc/tmpfiles.d/vms.conf": Content(lines.encode())},
        **{one: {} for one in others},
    }
    said |= {slices.RUNS: host().answers[slices.RUNS], dropins.HIDING: Completed(0, b"", b"")}
    return replace(look(V1), answers={**look(V1).answers, **said})


@pytest.mark.parametrize(
    ("name", "line", "value"),
    [
        ("memory", "memory/machine/openstack.partition/memory.limit_in_bytes - - - - 2G", 2048 * MIB),
        ("memory", "memory/machine/*/memory.limit_in_bytes - - - - 1073741824", 1024 * MIB),
        ("memory", "memory/machine/openstack.partition/memory.limit_in_bytes - - - - -1", "unlimited"),
        ("cpu_shares", "cpu/machine/openstack.partition/cpu.shares - - - - 2048", 2048),
        ("pids", "pids/machine/openstack.partition/pids.max - - - - max", "unlimited"),
    ],
)
def test_tmpfiles_give_a_partition_made_by_hand_its_limits(name: str, line: str, value: object) -> None:
    seen = partitions.limit_config(_by_hand(f"w /sys/fs/cgroup/{line}\n"), PARTITION, name, 0)
    assert (seen.value, seen.source) == (value, "/etc/tmpfiles.d/vms.conf:1")


def test_what_tmpfiles_write_may_be_nonsense() -> None:
    with pytest.raises(CannotLook, match="not understood"):
        partitions.limit_config(
            _by_hand("w /sys/fs/cgroup/cpu/machine/*/cpu.shares - - - - many"), PARTITION, "cpu_shares", 0
        )


def test_a_partition_made_by_hand_is_nothing_systemd_keeps() -> None:
    by_hand = _by_hand()
    with pytest.raises(NotApplicable, match="made by hand"):
        partitions.limit_config(by_hand, PARTITION, "memory", 2048 * MIB)
    with pytest.raises(NotApplicable, match="neither systemd nor tmpfiles"):
        partitions.limit_live(by_hand, PARTITION, "memory", 2048 * MIB)
    nothing = replace(look(V1), answers={**look(V1).answers, slices.RUNS: Absent()})
    with pytest.raises(NotApplicable, match="no systemd"):
        partitions.limit_live(nothing, PARTITION, "memory", 2048 * MIB)
