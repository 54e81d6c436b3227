"""NUMA nodes of a guest's memory: the lab's app1 (strict, node 0); hosts with more nodes as constructed text."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.looks import V1, V2, pid, recorded
from tests.looks import look as group_look
from tests.unit.backing_looks import MAPPED, XML, cases, look, replaced
from virtvet.check import Layer, Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.expect import Contains, Within
from virtvet.probes import numatune
from virtvet.profile.numatune import Numatune

BIND = replaced(XML["app1"], "<memory mode='strict' nodeset='0'/>", "{}")
CELLS = """<domain><memory>393216</memory>
  <numatune><memory mode='{mode}' nodeset='0-1'/><memnode cellid='1' mode='{mode}' nodeset='1'/></numatune>
  <cpu><numa><cell id='0' memory='262144'/><cell id='1' memory='131072'/></numa></cpu></domain>"""
TWO_NODES = """\
7f0000000000-7f0010000000 rw-p 00000000 00:00 0
7f0020000000-7f0028000000 rw-p 00000000 00:00 0
7f0000000000 {first} anon=300 dirty=300 N0=200 N1=100 kernelpagesize_kB=4
7f0020000000 {second} anon=3 dirty=3 N1=3 kernelpagesize_kB=4
"""


def values(readings: Any) -> list[Any]:
    return [one.value for one in readings]


def two_nodes(first: str, second: str, mode: str = "strict") -> Any:
    """A guest of two cells, 256 and 128 MiB, on a host of two nodes."""
    return look("app1", xml=CELLS.format(mode=mode), mapped=TWO_NODES.format(first=first, second=second))


# --- recorded


def test_every_layer_says_the_same() -> None:
    snapshot = look("app1")
    assert numatune.config_mode(snapshot, "app1", None).value == "strict"
    assert numatune.live_mode(snapshot, "app1", None).value == "strict"
    assert values(numatune.actual_mode(snapshot, "app1", None, (), "strict")) == ["bind", "bind"]
    assert numatune.config_nodes(snapshot, "app1", None).value == {0}
    assert numatune.live_nodes(snapshot, "app1", None).value == {0}
    assert values(numatune.actual_nodes(snapshot, "app1", None, (), frozenset({0}))) == [{0}, {0}]
    assert values(numatune.actual_pages(snapshot, "app1", Within(frozenset({0})))) == [{0}, {0}]


def test_a_guest_without_tuning() -> None:
    snapshot = look("plain1")
    assert numatune.live_mode(snapshot, "plain1", None).value is None
    assert numatune.live_nodes(snapshot, "plain1", None).value is None
    assert values(numatune.actual_mode(snapshot, "plain1", None, (), "strict")) == ["default"]
    assert values(numatune.actual_nodes(snapshot, "plain1", None, (), frozenset({0}))) == [frozenset()]


def test_every_thread_and_group_is_read() -> None:
    found = list(numatune.actual_threads(group_look(V1), "web1"))
    assert {one.value for one in found} == {frozenset({0})}
    assert read_from(found) == {"Mems_allowed_list", "cpuset.mems"}


def test_every_thread_and_group_is_read_on_cgroup_v2() -> None:
    """That host's status files were recorded without Mems_allowed_list, which is put in here."""
    nodes = {path: f"{said}Mems_allowed_list:\t0\n" for path, said in recorded(V2).items() if path.endswith("/status")}
    found = list(numatune.actual_threads(group_look(V2, nodes), "anchor"))
    assert read_from(found) == {"Mems_allowed_list", "cpuset.mems.effective"}


def read_from(found: list[Reading]) -> set[str]:
    names = ("Mems_allowed_list", "cpuset.mems.effective", "cpuset.mems")
    return {next(name for name in names if name in one.source) for one in found}


# --- constructed: more nodes than the lab has


def test_a_cpuset_that_binds_elsewhere_departs() -> None:
    path = next(path for path in recorded(V1) if path.endswith("web1.libvirt-qemu/vcpu1/cpuset.mems"))
    found = values(numatune.actual_threads(group_look(V1, {path: "0-1\n"}), "web1"))
    assert {0, 1} in found
    assert found.count({0}) == len(found) - 1


def test_a_thread_that_may_allocate_elsewhere_departs() -> None:
    path = f"/proc/{pid(V1, 'web1')}/task/{pid(V1, 'web1')}/status"
    said = replaced(recorded(V1)[path], "Mems_allowed_list:\t0", "Mems_allowed_list:\t0-1")
    assert {0, 1} in values(numatune.actual_threads(group_look(V1, {path: said}), "web1"))


@pytest.mark.parametrize(
    ("first", "second", "policies", "nodes"),
    [
        ("bind:0-1", "bind:1", ["bind", "bind"], [{0, 1}, {1}]),
        ("prefer:0", "prefer (many):0-1", ["prefer", "prefer"], [{0}, {0, 1}]),
        ("interleave:0-1", "interleave=static:0,3", ["interleave", "interleave"], [{0, 1}, {0, 3}]),
        ("bind=static|balancing:0", "weighted interleave:0-1", ["bind", "weighted interleave"], [{0}, {0, 1}]),
        ("default", "local", ["default", "local"], [set(), set()]),
    ],
)
def test_policies_of_the_kernel(first: str, second: str, policies: list[str], nodes: list[set[int]]) -> None:
    """mpol_to_str, mm/mempolicy.c."""
    snapshot = two_nodes(first, second)
    assert values(numatune.actual_mode(snapshot, "app1", None, (), "strict")) == policies
    assert values(numatune.actual_nodes(snapshot, "app1", None, (), frozenset({9}))) == nodes


def test_a_cell_is_judged_by_itself() -> None:
    snapshot = two_nodes("bind:0-1", "bind:1")
    assert numatune.config_nodes(snapshot, "app1", 1).value == {1}
    assert numatune.live_nodes(snapshot, "app1", 0).value == {0, 1}
    assert values(numatune.actual_nodes(snapshot, "app1", 1, (1,), frozenset({1}))) == [{1}]
    assert values(numatune.actual_nodes(snapshot, "app1", None, (1,), frozenset({0, 1}))) == [{0, 1}]
    with pytest.raises(NotApplicable, match="no memory in such"):
        numatune.actual_nodes(snapshot, "app1", None, (0, 1), frozenset({0}))


def test_restrictive_memory_has_no_policy() -> None:
    snapshot = two_nodes("default", "default", "restrictive")
    assert values(numatune.actual_mode(snapshot, "app1", None, (), "restrictive")) == ["default", "default"]
    with pytest.raises(NotApplicable, match="restrictive"):
        numatune.actual_nodes(snapshot, "app1", None, (), frozenset({0}))


def test_pages_that_stayed_behind_are_seen() -> None:
    assert values(numatune.actual_pages(two_nodes("bind:1", "bind:1"), "app1", Within(frozenset({1})))) == [{0, 1}, {1}]


@pytest.mark.parametrize(
    ("inner", "error"),
    [
        ("<memory mode='strict' placement='auto'/>", NotApplicable),
        ("<memory mode='strict' nodeset='x'/>", CannotLook),
        ("<memory mode='strict'/>", CannotLook),
    ],
)
def test_nodes_that_the_xml_does_not_tell(inner: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        numatune.live_nodes(look("app1", xml=BIND.format(inner)), "app1", None)


def test_no_mode_is_strict() -> None:
    assert numatune.live_mode(look("app1", xml=BIND.format("<memory nodeset='0'/>")), "app1", None).value == "strict"


def test_a_shared_mapping_keeps_its_policy() -> None:
    assert "/memfd:" in MAPPED["app1"]
    assert {one.excerpt.split()[1] for one in numatune.actual_mode(look("app1"), "app1", None, (), "strict")} == {
        "bind:0"
    }


# --- what is expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"mode": "strict", "nodes": 0}, frozenset({0})),
        ({"mode": "restrictive", "nodes": "0-1"}, frozenset({0, 1})),
        ({"mode": "strict", "nodes": 0, "cells": {1: {"nodes": 1}}}, Within(frozenset({0, 1}))),
        ({"mode": "preferred", "nodes": 0}, Contains(frozenset({0}))),
        ({"nodes": 0}, Contains(frozenset({0}))),
    ],
)
def test_what_threads_may_allocate_from(written: dict[str, Any], expected: object) -> None:
    assert cases("MEM-NUMA-3", numatune=written)["app1"].expected == expected


def test_only_binding_modes_keep_pages_away_from_elsewhere() -> None:
    assert cases("MEM-NUMA-4", numatune={"mode": "interleave", "nodes": 0}) == {}
    assert cases("MEM-NUMA-4", numatune={"mode": "strict", "nodes": 0})["app1"].expected == Within(frozenset({0}))


def test_cells_are_cases_of_their_own() -> None:
    wants = {"mode": "strict", "nodes": "0-1", "cells": {1: {"mode": "preferred", "nodes": 1}}}
    modes = {subject: case.expected_on(Layer.ACTUAL) for subject, case in cases("MEM-NUMA-1", numatune=wants).items()}
    assert modes == {"app1": "bind", "app1/cell1": "prefer"}
    assert set(cases("MEM-NUMA-2", numatune=wants)) == {"app1", "app1/cell1"}


# --- the profile


def test_nodes_are_sets() -> None:
    wants = Numatune.model_validate({"mode": "strict", "nodes": "0-1,3", "cells": {1: {"nodes": 3}}})
    assert (wants.nodes, wants.cells[1].nodes, wants.cells[1].mode) == ({0, 1, 3}, {3}, None)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"nodes": "0-x"}, "no list of NUMA nodes"),
        ({"nodes": []}, "no list of NUMA nodes"),
        ({"mode": "loose"}, "Input should be"),
        ({"cells": {-1: {}}}, "greater than or equal to 0"),
        ({"mode": "strict", "cells": {0: {"mode": "restrictive"}}}, "or for none of them"),
        ({"mode": "restrictive", "cells": {0: {"mode": "interleave"}}}, "or for none of them"),
    ],
)
def test_what_cannot_be_is_refused(written: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Numatune.model_validate(written)
