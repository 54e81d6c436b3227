"""Limits, DIMMs, NUMA cells and memory blocks, on every layer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
from pydantic import ValidationError

from tests import looks
from tests.looks import BALLOON_SOURCES, Edits, arguments, pid
from tests.recorded_text import label
from virtvet import catalogue
from virtvet.check import Case, Layer, Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.inventory import from_hostspecs
from virtvet.probes import hotplug_rules, kernel, memory_hotplug
from virtvet.profile.memory_hotplug import MemoryHotplug
from virtvet.profile.memory_size import MIB
from virtvet.profile.model import MemoryWants, Profile
from virtvet.remedies import memory_hotplug as remedies
from virtvet.remedies.change import CannotMend
from virtvet.snapshot.model import Absent, Content, Failed, Snapshot, Status
from virtvet.target import HostTarget

LOOK, APP1 = "memory/app1", "app1"
LIVE, CONFIG, ARGUMENTS = "virsh dumpxml app1", "virsh dumpxml --inactive app1", "qemu.ARGUMENTS"
look, changed = partial(looks.look, LOOK), partial(looks.changed, LOOK)
_, DEVICES, _ = map(label, BALLOON_SOURCES)
NO = Failed("QEMU answered: no")
SOCKET = Status("socket", 0o600, "root", "root", 0, 0, 0)
SYSTEM = "inside app1 /sys/devices/system"
Probe = Callable[..., Reading]
CELL = "<cell id='0' cpus='0-3' memory='262144' unit='KiB' memAccess='shared'/>"
MAXIMUM = "<maxMemory slots='4' unit='KiB'>1048576</maxMemory>"
SECOND = "</memory>\n  </devices>"
NUMA = "node,nodeid=0,cpus=0-3,memdev=ram-node0"


@pytest.mark.parametrize(
    ("probe", "edits", "maximum", "slots"),
    [
        (memory_hotplug.limit_config, {}, 1024 * MIB, 4),
        (memory_hotplug.limit_live, {}, 1024 * MIB, 4),
        (memory_hotplug.limit_live, changed(LIVE, MAXIMUM, ""), None, None),
        (memory_hotplug.limit_actual, {}, 1024 * MIB, 4),
        (
            memory_hotplug.limit_actual,
            changed(ARGUMENTS, "slots=4,maxmem=1048576k", "maxmem=1G,slots=2"),
            1024 * MIB,
            2,
        ),
        (memory_hotplug.limit_actual, changed(ARGUMENTS, ",slots=4,maxmem=1048576k", ""), None, None),
    ],
)
def test_limits(probe: Probe, edits: Edits, maximum: int | None, slots: int | None) -> None:
    seen = look(edits)
    assert (probe(seen, APP1, "maximum").value, probe(seen, APP1, "slots").value) == (maximum, slots)


def dimms(*sizes_and_nodes: tuple[int, int], kind: str = "dimm") -> str:
    return json.dumps([{"type": kind, "data": {"size": size, "node": node}} for size, node in sizes_and_nodes])


def with_dimm(target: str, address: str) -> dict[str, str | None]:
    more = f"<memory model='dimm'><target>{target}</target>{address}</memory>"
    return changed(LIVE, SECOND, f"</memory>{more}</devices>")


SMALL = with_dimm("<size>65536</size><node>1</node>", "<address type='dimm' slot='1' base='0x108000000'/>")
NVDIMM = changed(LIVE, "<memory model='dimm'>", "<memory model='nvdimm'>")
ONE = ("128 MiB in cell 0",)


@pytest.mark.parametrize(
    ("probe", "edits", "value"),
    [
        (memory_hotplug.dimms_config, {}, ONE),
        (memory_hotplug.dimms_live, {}, ONE),
        (memory_hotplug.dimms_live, SMALL, (*ONE, "64 MiB in cell 1")),
        (memory_hotplug.dimms_live, NVDIMM, ()),
        (memory_hotplug.dimms_live, changed(LIVE, "<node>0</node>", ""), ONE),
        (
            memory_hotplug.dimms_live,
            changed(LIVE, "<size unit='KiB'>131072", "<size unit='b'>1234"),
            ("1234 bytes in cell 0",),
        ),
        (memory_hotplug.dimms_actual, {}, ONE),
        (memory_hotplug.dimms_actual, {DEVICES: dimms((256 * MIB, 1), (128 * MIB, 0))}, (*ONE, "256 MiB in cell 1")),
        (memory_hotplug.dimms_actual, {DEVICES: dimms((128 * MIB, 0), kind="nvdimm")}, ()),
        (memory_hotplug.dimms_actual, changed(ARGUMENTS, ",slots=4,maxmem=1048576k", "") | {DEVICES: NO}, ()),
        (memory_hotplug.dimms_inside, {}, ONE),
        (memory_hotplug.dimms_inside, SMALL, ONE),
        (memory_hotplug.dimms_inside, {f"{SYSTEM}/node/node0/memory32/state": None}, ()),
        (memory_hotplug.dimms_inside, {f"{SYSTEM}/node/node0/memory32/state": "offline\n"}, ONE),
        (memory_hotplug.dimms_inside, {f"{SYSTEM}/memory/block_size_bytes": "10000000\n"}, ()),
    ],
)
def test_dimms(probe: Probe, edits: Edits, value: tuple[str, ...]) -> None:
    assert probe(look(edits), APP1).value == value


MORE = arguments(pid(LOOK, APP1), "-numa", "")[:-1]
TWO_NODES = changed(
    ARGUMENTS,
    NUMA,
    f"node,nodeid=0,cpus=0,cpus=2-3,mem=128\n{MORE}node,nodeid=1,memdev=ram-node0\n{MORE}dist,src=0,dst=1,val=20",
)
"""Constructed by QEMU's qemu-options.hx."""


@pytest.mark.parametrize(
    ("probe", "edits", "number", "cpus", "memory", "access"),
    [
        (memory_hotplug.cell_config, {}, 0, {0, 1, 2, 3}, 256, "shared"),
        (memory_hotplug.cell_live, {}, 0, {0, 1, 2, 3}, 256, "shared"),
        (memory_hotplug.cell_live, {}, 1, None, None, None),
        (memory_hotplug.cell_live, changed(LIVE, CELL, "<cell memory='1' unit='GiB'/>"), 0, set(), 1024, "shared"),
        (
            memory_hotplug.cell_config,
            changed(CONFIG, "memAccess='shared'", "memAccess='private'"),
            0,
            {0, 1, 2, 3},
            256,
            "private",
        ),
        (memory_hotplug.cell_actual, {}, 0, {0, 1, 2, 3}, 256, "shared"),
        (memory_hotplug.cell_actual, {}, 1, None, None, None),
        (memory_hotplug.cell_actual, TWO_NODES, 0, {0, 2, 3}, 128, "private"),
        (memory_hotplug.cell_actual, TWO_NODES, 1, set(), 256, "shared"),
        (
            memory_hotplug.cell_actual,
            changed(ARGUMENTS, '"share":true', '"share":false'),
            0,
            {0, 1, 2, 3},
            256,
            "private",
        ),
    ],
)
def test_cells(
    probe: Probe, edits: Edits, number: int, cpus: set[int] | None, memory: int | None, access: str | None
) -> None:
    seen = look(edits)
    found = [probe(seen, APP1, number, key).value for key in ("cpus", "memory", "access")]
    assert found == [cpus, memory and memory * MIB, access]


def test_default_access_is_private() -> None:
    edits = changed(LIVE, " memAccess='shared'", "")[LIVE] or ""
    seen = look({LIVE: edits.replace("<access mode='shared'/>", "")})
    assert memory_hotplug.cell_live(seen, APP1, 0, "access").value == "private"


WANTED = frozenset({0, 1, 2, 3})


@pytest.mark.parametrize(
    ("edits", "value"),
    [
        ({}, {0, 1, 2, 3}),  # 3 is not there yet
        ({f"{SYSTEM}/cpu/online": "0-3\n"}, {0, 1, 2}),
        ({f"{SYSTEM}/node/node0/cpulist": "0-2,4\n"}, {0, 1, 2, 3, 4}),
        ({f"{SYSTEM}/node/node0/cpulist": "\n"}, {3}),
        ({f"{SYSTEM}/node/node0/cpulist": None}, None),
    ],
)
def test_vcpus_of_a_node_inside(edits: Edits, value: set[int] | None) -> None:
    assert memory_hotplug.cell_inside(look(edits), APP1, 0, "cpus", WANTED).value == value


def test_memory_of_a_node_inside() -> None:
    assert memory_hotplug.cell_inside(look(), APP1, 0, "memory").value == 242000 * 1024
    assert memory_hotplug.cell_inside(look(), APP1, 1, "memory").value is None


@pytest.mark.parametrize(
    ("probe", "args", "edits"),
    [
        (memory_hotplug.limit_live, ("slots",), changed(LIVE, "slots='4'", "slots='many'")),
        (memory_hotplug.limit_live, ("maximum",), changed(LIVE, ">1048576<", "><")),
        (memory_hotplug.limit_actual, ("maximum",), changed(ARGUMENTS, "maxmem=1048576k", "maxmem=much")),
        (memory_hotplug.dimms_live, (), changed(LIVE, "base='0x100000000'", "base='first'")),
        (memory_hotplug.dimms_live, (), changed(LIVE, "<size unit='KiB'>131072</size>", "")),
        (memory_hotplug.dimms_inside, (), {f"{SYSTEM}/memory/block_size_bytes": "0\n"}),
        (memory_hotplug.cell_live, (0, "cpus"), changed(LIVE, "cpus='0-3'", "cpus='all'")),
        (memory_hotplug.cell_actual, (0, "cpus"), changed(ARGUMENTS, NUMA, "cpu,node-id=0,socket-id=0")),
        (memory_hotplug.cell_actual, (0, "memory"), changed(ARGUMENTS, ",memdev=ram-node0", "")),
        (memory_hotplug.cell_inside, (0, "memory"), {f"{SYSTEM}/node/node0/meminfo": "\n"}),
        (memory_hotplug.offline, (), {f"{SYSTEM}/memory/memory{one}/state": None for one in (0, 1, 32)}),
        (memory_hotplug.onlining, (), {f"{SYSTEM}/memory/auto_online_blocks": None}),
    ],
)
def test_what_is_not_understood(probe: Probe, args: tuple[Any, ...], edits: Edits) -> None:
    with pytest.raises(CannotLook):
        probe(look(edits), APP1, *args)


def test_inside_a_guest_that_is_shut_off() -> None:
    for probe in (memory_hotplug.dimms_inside, memory_hotplug.offline, memory_hotplug.onlining):
        with pytest.raises(NotApplicable):
            probe(look({LIVE: None}), APP1)


# --- online


def test_blocks_that_are_not_online() -> None:
    assert memory_hotplug.offline(look(), APP1).value == frozenset()
    edits = {f"{SYSTEM}/memory/memory{one}/state": "offline\n" for one in (32, 33)}
    reading = memory_hotplug.offline(look(edits | {f"{SYSTEM}/memory/memory1/state": "going-offline\n"}), APP1)
    assert reading.value == {1, 32, 33}
    assert "memory33: offline" in reading.excerpt


POLICY = f"{SYSTEM}/memory/auto_online_blocks"
BY_HAND: Edits = {POLICY: "offline\n"}
ETC, USR, LIB = "/etc/udev/rules.d/40-x.rules", "/usr/lib/udev/rules.d/40-x.rules", "/lib/udev/rules.d/40-x.rules"


def udev(files: Mapping[str, str] | None = None, *, vendor: str = "QEMU", machine: str = "x86_64") -> Edits:
    """The edits that let udevd run inside with these rules; a file is there even if nothing in it matters."""
    lines = [f"{path}:{line}" for path, text in (files or {}).items() for line in text.splitlines()]
    said = {
        f"stat {hotplug_rules.UDEV.path}": SOCKET,
        label(hotplug_rules.RULES): "".join(f"{line}\n" for line in (*(files or {}), *lines)),
        str(hotplug_rules.VENDOR): f"{vendor}\n",
        str(hotplug_rules.PRODUCT): "Virtual Machine\n",
        str(kernel.MACHINE): f"{machine}\n",
    }
    return BY_HAND | {f"inside app1 {what}": answer for what, answer in said.items()}


def mdev(conf: str) -> Edits:
    """The edits that let mdev run inside."""
    return BY_HAND | {"inside app1 /proc/149/cmdline": "mdev\0-d\0", "inside app1 /etc/mdev.conf": conf}


UDEV = udev()
DEBIAN = 'SUBSYSTEM=="memory", ACTION=="add", TEST=="state", ATTR{state}=="offline", ATTR{state}="online"'
RED_HAT = 'ATTR{state}=="offline", ATTR{state}="$env{.state}"'
RHEL_7 = f"""\
SUBSYSTEM!="memory", ACTION!="add", GOTO="memory_hotplug_end"
PROGRAM="/bin/uname -p", RESULT=="s390*", GOTO="memory_hotplug_end"

ENV{{.state}}="online"
PROGRAM="/bin/systemd-detect-virt", RESULT=="none", ENV{{.state}}="online_movable"
{RED_HAT}

LABEL="memory_hotplug_end"
"""
RHEL_9 = f"""\
SUBSYSTEM!="memory", GOTO="memory_hotplug_end"
ACTION!="add", GOTO="memory_hotplug_end"
CONST{{arch}}=="s390*", GOTO="memory_hotplug_end"
CONST{{arch}}=="ppc64*", GOTO="memory_hotplug_end"

ENV{{.state}}="online"
CONST{{virt}}=="none", ENV{{.state}}="online_movable"
{RED_HAT}

LABEL="memory_hotplug_end"
"""
"""The memory part of 40-redhat.rules, as systemd has it in RHEL 7.6 and 9."""
UBUNTU = """\
ATTR{[dmi/id]sys_vendor}=="Microsoft Corporation", ATTR{[dmi/id]product_name}=="Virtual Machine", GOTO="vm_hotadd_apply"
ATTR{[dmi/id]sys_vendor}=="Xen", GOTO="vm_hotadd_apply"
GOTO="vm_hotadd_end"
LABEL="vm_hotadd_apply"
SUBSYSTEM=="memory", ACTION=="add", DEVPATH=="/devices/system/memory/memory[0-9]*", TEST=="state", \\
  ATTR{state}!="online", ATTR{state}="online"
LABEL="vm_hotadd_end"
"""
"""40-vm-hotadd.rules of Ubuntu 22.04."""


@pytest.mark.parametrize(
    ("edits", "value"),
    [
        ({}, "automatic"),
        ({POLICY: "online\n"}, "automatic"),
        ({POLICY: "online_kernel\n"}, "automatic"),
        (BY_HAND, "by hand"),
        (UDEV, "by hand"),
        (udev({ETC: DEBIAN}) | {"inside app1 stat /run/udev/control": None}, "by hand"),
        (udev({ETC: DEBIAN}), "automatic"),
        (udev({ETC: DEBIAN.replace('="online"', '="online_movable"')}), "automatic"),
        (udev({LIB: RED_HAT}), "automatic"),
        (udev({LIB: RHEL_7}), "automatic"),
        (udev({LIB: RHEL_7}, machine="s390x"), "by hand"),
        (udev({LIB: RHEL_9}), "automatic"),
        (udev({LIB: RHEL_9}, machine="aarch64"), "automatic"),
        (udev({LIB: RHEL_9}, machine="s390x"), "by hand"),
        (udev({LIB: RHEL_9}, machine="ppc64le"), "by hand"),
        (udev({LIB: RHEL_9}, machine="unheard-of"), "by hand"),
        (udev({LIB: UBUNTU}), "by hand"),
        (udev({LIB: UBUNTU}, vendor="Xen"), "automatic"),
        (udev({LIB: UBUNTU}, vendor="Microsoft Corporation"), "automatic"),
        (udev({ETC: f"# {DEBIAN}"}), "by hand"),
        (udev({ETC: DEBIAN.replace('"memory"', '"cpu"')}), "by hand"),
        (udev({ETC: DEBIAN.replace('="online"', '="offline"')}), "by hand"),
        (udev({ETC: 'ATTR{state}=="online", RUN+="/bin/true"'}), "by hand"),
        (udev({ETC: "", LIB: DEBIAN}), "by hand"),
        (udev({ETC.replace("40", "39"): "", USR: DEBIAN}), "automatic"),
        (mdev("$SUBSYSTEM=memory 0:0 660 @echo online >/sys$DEVPATH/state\n"), "automatic"),
        (mdev("memory[0-9]+ 0:0 660 @echo offline >/sys$DEVPATH/state\n"), "by hand"),
        (mdev("$SUBSYSTEM=cpu 0:0 660 @echo 1 >/sys$DEVPATH/online\n"), "by hand"),
    ],
)
def test_how_plugged_memory_comes_online(edits: Edits, value: str) -> None:
    assert memory_hotplug.onlining(look(edits), APP1).value == value


def test_who_brings_memory_online_is_shown() -> None:
    reading = memory_hotplug.onlining(look(udev({LIB: RHEL_9})), APP1)
    assert (reading.source, reading.excerpt) == (LIB, f"offline in {memory_hotplug.AUTO_ONLINE}; {RED_HAT}")


# --- mending


CASE = Case(APP1, None, (APP1,), APP1)


def target() -> HostTarget:
    profile = Profile.model_validate({"virtvet": 1, "guests": {APP1: {"memory": {"hotplug": {"online": "automatic"}}}}})
    return HostTarget.unseen(from_hostspecs(["ssh://root@hv1"]).hosts["hv1"], profile)


def test_offline_blocks_are_brought_online_and_back() -> None:
    edits = {f"{SYSTEM}/memory/memory{one}/state": "offline\n" for one in (33, 32)}
    (change,) = remedies.wake(look(edits), CASE, target())
    path = "/sys/devices/system/memory/memory32/state"
    assert [step.do.argv for step in change.steps] == [("tee", path), ("tee", path.replace("32", "33"))]
    (do, back) = change.steps[0].do, change.steps[0].back[0]
    assert (do.stdin, do.given.says, back.stdin, back.given.says) == (
        "online_movable\n",
        "offline",
        "offline\n",
        "online",
    )


def test_nothing_offline_is_nothing_to_do() -> None:
    assert remedies.wake(look(), CASE, target()) == ()


def rule_folder(seen: Snapshot, rule_file: Content | Absent, folder: Status | Absent) -> Snapshot:
    inside = seen.guests[APP1]
    answers = {**inside.answers, remedies.RULE_FILE: rule_file, remedies.FOLDER: folder}
    guest = Snapshot(inside.machine, inside.taken, answers)
    return Snapshot(seen.machine, seen.taken, seen.answers, {APP1: guest})


DIRECTORY = Status("directory", 0o755, "root", "root", 0, 0, 0)


@pytest.mark.parametrize(
    ("edits", "rule_file", "plan"),
    [
        (BY_HAND, Absent(), "tee /sys/devices/system/memory/auto_online_blocks <<< 'online_movable"),
        (UDEV, Absent(), "+SUBSYSTEM"),
        (UDEV, Content(b"# mine\n"), "+SUBSYSTEM"),
    ],
)
def test_plugged_memory_is_made_to_come_online(edits: Edits, rule_file: Content | Absent, plan: str) -> None:
    (change,) = remedies.automate(rule_folder(look(edits), rule_file, DIRECTORY), CASE, target())
    assert plan in str(change)
    assert len(change.undo) == 1


def test_no_rule_without_its_folder() -> None:
    with pytest.raises(CannotMend, match="does not exist"):
        remedies.automate(rule_folder(look(UDEV), Absent(), Absent()), CASE, target())


# --- what a profile may say


WRITTEN: Mapping[str, Any] = {
    "maximum": "1 GiB",
    "slots": 4,
    "dimms": [{"size": "128 MiB"}],
    "cells": {0: {"cpus": "0-3", "memory": "256 MiB", "access": "shared"}},
    "online": "automatic",
}


def test_parts_and_whole() -> None:
    wants = MemoryHotplug.model_validate(WRITTEN)
    assert (wants.base, wants.plugged) == (256 * MIB, 128 * MIB)
    assert (MemoryHotplug().base, MemoryHotplug().plugged) == (None, None)
    assert MemoryHotplug.model_validate({"cells": {0: {"cpus": 0}, 1: {"memory": "1 GiB"}}}).base is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"maximum": None}, "state maximum"),
        ({"slots": 1, "dimms": [{"size": "128 MiB"}] * 2}, "2 DIMMs do not fit into 1 slots"),
        ({"slots": 0}, "greater than or equal to 1"),
        ({"slots": 257}, "less than or equal to 256"),
        ({"maximum": "256 MiB"}, "more than the maximum"),
        ({"dimms": [{"size": "128000 KiB"}], "online": None}, None),
        ({"dimms": [{"size": "100001 KiB"}], "online": None}, "whole MiB"),
        ({"dimms": [{"size": "128 MiB", "node": 1}]}, "cell 1, which is not among"),
        ({"cells": {0: {"cpus": "0-3"}, 1: {"cpus": 3}}}, "vCPU 3 is in more than one"),
        ({"online": True}, "automatic"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(change: dict[str, Any], words: str | None) -> None:
    written = {key: value for key, value in {**WRITTEN, **change}.items() if value is not None}
    if words is None:
        MemoryHotplug.model_validate(written)
        return
    with pytest.raises(ValidationError, match=words):
        MemoryHotplug.model_validate(written)


@pytest.mark.parametrize(
    ("size", "hotplug", "words"),
    [
        ("384 MiB", WRITTEN, None),
        ({"current": "384 MiB"}, WRITTEN, None),
        ("512 MiB", WRITTEN, "cells and DIMMs make 384 MiB, but size: memory: is 512 MiB"),
        ("2 GiB", {"maximum": "1 GiB"}, "more than maximum"),
        ("128 MiB", {"maximum": "1 GiB", "dimms": [{"size": "128 MiB"}]}, "make 128 MiB"),
        ("128 MiB", {"cells": {0: {"memory": "256 MiB"}}}, "make 256 MiB"),
        ("384 MiB", {"cells": {0: {"memory": "256 MiB"}}}, None),
        ("384 MiB", {"cells": {0: {"memory": "256 MiB"}}, "dimms": []}, "make 256 MiB"),
    ],
)
def test_cells_and_dimms_make_the_memory(size: object, hotplug: object, words: str | None) -> None:
    if words is None:
        MemoryWants.model_validate({"size": size, "hotplug": hotplug})
        return
    with pytest.raises(ValidationError, match=words):
        MemoryWants.model_validate({"size": size, "hotplug": hotplug})


@pytest.mark.parametrize(
    ("size", "change", "least", "most"),
    [
        ({"memory": "384 MiB", "current": "352 MiB", "tolerance": "124 MiB"}, {}, 384 - 32 - 124, 384),
        ({"tolerance": "10%"}, {}, 0, 384),  # nobody knows what the balloon took
        ("384 MiB", {}, 384 - 128 - 384 * 3 / 100, 384),
        ({"memory": "384 MiB", "current": "384 MiB", "tolerance": 0}, {"dimms": None}, 256, 1024),
    ],
)
def test_what_a_nodes_mem_total_may_be(size: object, change: dict[str, Any], least: float, most: float) -> None:
    written = {key: value for key, value in {**WRITTEN, **change}.items() if value is not None}
    memory = {"size": size, "hotplug": written}
    profile = Profile.model_validate({"virtvet": 1, "guests": {APP1: {"memory": memory}}})
    (check,) = (one for one in catalogue.shipped() if one.control.id == "MEM-CELL-2")
    (case,) = check.cases(HostTarget.unseen(from_hostspecs(["ssh://root@hv1"]).hosts["hv1"], profile))
    assert case.expected_on(Layer.CONFIG) == 256 * MIB
    inside = case.expected_on(Layer.GUEST)
    assert (inside.least, inside.most) == (pytest.approx(least * MIB, abs=1), most * MIB)
