"""Who runs on whose CPUs, cores and nodes, on a host made up for it (two threads a core, two nodes)."""

from __future__ import annotations

import pytest

from tests.looks import V1
from tests.looks import look as recorded
from tests.unit.neighbour_looks import Guest, look
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import neighbours, qemu
from virtvet.snapshot.model import Absent, Completed, Content

WEB1 = Guest("web1", 100, {"emulator": "0", "vcpu0": "2", "vcpu1": "3"})
ALONE = frozenset({2, 3})
ON_0 = {"emulator": "0", "vcpu0": "0"}
NONE: frozenset[str] = frozenset()

INTRUDERS = {
    "nobody": (Guest("db1", 200, ON_0), NONE, NONE),
    "pinned there": (Guest("db1", 200, {"emulator": "0", "vcpu0": "3-4"}), {"db1 (vcpu0) on CPU 3 of web1"}, "as told"),
    "no pin at all": (Guest("db1", 200, {"vcpu0": ""}), {"db1 (emulator, vcpu0) on CPU 2-3 of web1"}, "as told"),
    "by <vcpu cpuset>": (
        Guest("db1", 200, {"vcpu0": ""}, ON_0, vcpu="<vcpu cpuset='0-2'>1</vcpu>"),
        {"db1 (emulator, vcpu0) on CPU 2 of web1"},
        NONE,
    ),
    "taskset": (Guest("db1", 200, ON_0, {"emulator": "0-2"}), NONE, {"db1 (emulator) on CPU 2 of web1"}),
    "kept away by its partition": (Guest("db1", 200, {"vcpu0": ""}, ON_0, partition="/machine/a"), NONE, NONE),
    "where numad says": (
        Guest("db1", 200, {"vcpu0": ""}, {"emulator": "0", "vcpu0": "2"}, vcpu="<vcpu placement='auto'>1</vcpu>"),
        NONE,
        {"db1 (vcpu0) on CPU 2 of web1"},
    ),
    "started by hand": (
        Guest("hand", 200, {"vcpu0": ""}, by_hand=True),
        NONE,
        {"hand (emulator, vcpu0) on CPU 2-3 of web1"},
    ),
    "without a name": (
        Guest("", 200, {"vcpu0": ""}, {"emulator": "0", "vcpu0": "3"}, by_hand=True),
        NONE,
        {"process 200 (vcpu0) on CPU 3 of web1"},
    ),
    "asking QEMU what it can do": (
        Guest("", 200, {"vcpu0": ""}, by_hand=True, arguments=("-machine", "none,accel=kvm:tcg")),
        NONE,
        NONE,
    ),
}


@pytest.mark.parametrize("name", INTRUDERS)
def test_intruders(name: str) -> None:
    other, told, kept = INTRUDERS[name]
    snapshot = look([WEB1, other])
    assert neighbours.told_intruders(snapshot, {"web1": ALONE, "off": ALONE}).value == told
    assert neighbours.kept_intruders(snapshot, {"web1": ALONE, "off": ALONE}).value == (
        told if kept == "as told" else kept
    )


def test_a_guest_is_no_intruder_on_its_own_cpus() -> None:
    snapshot = look([WEB1])
    assert neighbours.kept_intruders(snapshot, {"web1": frozenset(range(8))}).value == NONE


def test_recorded_from_the_lab() -> None:
    """web1 has vCPU 0 on CPU 0, and db1 all of its threads."""
    owners = {"web1": frozenset({0})}
    told = neighbours.told_intruders(recorded(V1), owners)
    assert told.value == {"db1 (emulator, vcpu0) on CPU 0 of web1"}
    assert neighbours.kept_intruders(recorded(V1), owners).value == told.value


def test_nobody_intrudes_on_a_guest_that_does_not_run() -> None:
    hand = Guest("hand", 200, {"vcpu0": ""}, by_hand=True)
    with pytest.raises(NotApplicable, match="no guest with exclusive CPUs runs"):
        neighbours.told_intruders(look([hand]), {"hand": ALONE, "web1": ALONE})
    assert neighbours.kept_intruders(look([hand]), {"hand": ALONE, "web1": ALONE}).value == NONE


def test_two_guests_that_claim_one_cpu_intrude_on_each_other() -> None:
    snapshot = look([WEB1, Guest("db1", 200, {"emulator": "0", "vcpu0": "3"})])
    owners = {"web1": ALONE, "db1": frozenset({3})}
    assert neighbours.told_intruders(snapshot, owners).value == {
        "db1 (vcpu0) on CPU 3 of web1",
        "web1 (vcpu1) on CPU 3 of db1",
    }


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("0", "1", NONE),
        ("0", "4", {"a, b share core 0,4"}),
        ("0", "0", NONE),  # one after the other, never at once
        ("0,4", "0", {"a, b share core 0,4"}),
        ("0-1", "4-5", {"a, b share core 0,4 and 1,5"}),
        ("0,4", "1,5", NONE),
    ],
)
def test_cores(first: str, second: str, shared: set[str]) -> None:
    snapshot = look([Guest("a", 100, {"vcpu0": first}), Guest("b", 200, {"vcpu0": second, "emulator": "0-7"})])
    assert neighbours.told_sharing(snapshot).value == shared
    assert neighbours.kept_sharing(snapshot).value == shared


def test_of_a_guest_without_known_vcpus_all_threads_count() -> None:
    hand = Guest("hand", 200, {"emulator": "4"}, by_hand=True)
    snapshot = look([Guest("a", 100, {"emulator": "1", "vcpu0": "0"}), hand])
    assert neighbours.told_sharing(snapshot).value == NONE
    assert neighbours.kept_sharing(snapshot).value == {"a, hand share core 0,4"}


def _tuned(nodeset: str, more: str = "") -> str:
    return f"<numatune><memory mode='strict' nodeset='{nodeset}'/>{more}</numatune>"


CELLS = "<cpu><numa><cell id='0' cpus='0' memory='1'/><cell id='1' cpus='1' memory='1'/></numa></cpu>"
CROSSED = _tuned("0-1", "<memnode cellid='0' mode='strict' nodeset='1'/><memnode cellid='1' nodeset='0'/>")

REMOTE = {
    "near": (Guest("a", 100, {"vcpu0": "0"}, mems="0", xml=_tuned("0")), NONE, NONE),
    "pins on the other node": (
        Guest("a", 100, {"vcpu0": "2"}, mems="0", xml=_tuned("0")),
        {"a: vCPUs 0 on node 1, memory of node 0"},
        {"a: vCPUs on node 1, memory of node 0"},
    ),
    "memory from anywhere": (
        Guest("a", 100, {"vcpu0": "2"}),
        {"a: vCPUs 0 on node 1, memory of node 0-1"},
        {"a: vCPUs on node 1, memory of node 0-1"},
    ),
    "vCPUs anywhere, too": (Guest("a", 100, {"vcpu0": ""}), NONE, NONE),
    "moved by taskset": (
        Guest("a", 100, {"vcpu0": "0"}, {"vcpu0": "3"}, mems="0", xml=_tuned("0")),
        NONE,
        {"a: vCPUs on node 1, memory of node 0"},
    ),
    "cpuset.mems of another": (
        Guest("a", 100, {"vcpu0": "0"}, mems="1", xml=_tuned("0")),
        NONE,
        {"a: vCPUs on node 0, memory of node 1"},
    ),
    "each cell on its own node": (
        Guest("a", 100, {"vcpu0": "0", "vcpu1": "2"}, xml=CELLS + CROSSED.replace("nodeset='1'", "nodeset='2'")),
        {"a: vCPUs 0 on node 0, memory of node 2", "a: vCPUs 1 on node 1, memory of node 0"},
        NONE,
    ),
    "cells crossed": (
        Guest("a", 100, {"vcpu0": "0", "vcpu1": "2"}, xml=CELLS + CROSSED),
        {"a: vCPUs 0 on node 0, memory of node 1", "a: vCPUs 1 on node 1, memory of node 0"},
        NONE,  # which page is whose, the kernel does not say
    ),
}


@pytest.mark.parametrize("name", REMOTE)
def test_nodes(name: str) -> None:
    guest, told, kept = REMOTE[name]
    assert neighbours.told_remote(look([guest])).value == told
    assert neighbours.kept_remote(look([guest])).value == kept


def test_memory_without_cpus_is_near_to_nobody_but_belongs_to_the_host() -> None:
    """A node of memory only (CXL, HBM) is among those an unbound guest may use."""
    files = {
        f"/sys/devices/system/node/node{node}/cpulist": Content(text) for node, text in ((0, b"0-7\n"), (1, b"\n"))
    }
    more = {neighbours.NODE_CPUS: files}
    assert neighbours.kept_remote(look([Guest("a", 100, {"vcpu0": ""})], more)).value == NONE
    bound = Guest("a", 100, {"vcpu0": ""}, mems="1", xml=_tuned("1"))
    assert neighbours.told_remote(look([bound], more)).value == {"a: vCPUs 0 on node 0, memory of node 1"}


def test_a_node_without_memory_gives_none() -> None:
    more = {neighbours.NODES_WITH_MEMORY: Content(b"0\n")}
    assert neighbours.kept_remote(look([Guest("a", 100, {"vcpu0": "0"})], more)).value == NONE


def test_a_kernel_without_numa_has_no_nodes() -> None:
    with pytest.raises(NotApplicable, match="without NUMA"):
        neighbours.told_remote(look([], {neighbours.NODES_WITH_MEMORY: Absent()}))


@pytest.mark.parametrize("more", [{neighbours.CORES: {}}, {neighbours.CORES: {"/a": Content(b"x\n")}}])
def test_cores_that_are_not_understood(more: dict) -> None:
    with pytest.raises(CannotLook):
        neighbours.told_sharing(look([WEB1], more))


def test_a_process_that_is_not_shown_is_an_error() -> None:
    """libvirt says that it runs: it must not be missing from the account."""
    snapshot = look([WEB1], {qemu.PIDS: {}})
    with pytest.raises(CannotLook):
        neighbours.kept_sharing(snapshot)


def test_a_look_without_arguments_is_an_error() -> None:
    with pytest.raises(CannotLook):
        neighbours.kept_sharing(look([WEB1], {qemu.ARGUMENTS: Absent()}))
    assert neighbours.at_work(look([WEB1], {qemu.ARGUMENTS: Completed(0, b"", b"")})) == {"web1": 100}
