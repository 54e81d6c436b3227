"""What a guest's memory is made of: app1 and plain1 of the lab; huge pages and locked memory as constructed text."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.unit.backing_looks import ARGUMENTS, MAPPED, MEMDEV, PID, XML, cases, look, replaced
from virtvet.check import Layer
from virtvet.errors import CannotLook, NotApplicable
from virtvet.expect import AtLeast, matches
from virtvet.probes import cgroup, domain_xml, memory_backing, qmp, ram
from virtvet.probes.memory_backing import NORMAL
from virtvet.profile.memory_backing import MemoryBacking
from virtvet.snapshot.model import Completed, Content, Failed
from virtvet.snapshot.sources import FORBIDDEN

MIB = 1 << 20
ACTUAL = {
    "locked": memory_backing.actual_locked,
    "nosharepages": memory_backing.actual_nosharepages,
    "source": memory_backing.actual_source,
    "access": memory_backing.actual_access,
    "allocation": memory_backing.actual_allocation,
    "discard": memory_backing.actual_discard,
}


def values(readings: Any) -> list[Any]:
    return [one.value for one in readings]


def with_backing(inner: str) -> str:
    """plain1's XML with a `<memoryBacking>`."""
    return replaced(XML["plain1"], "<vcpu ", f"<memoryBacking>{inner}</memoryBacking><vcpu ")


# --- recorded


@pytest.mark.parametrize(
    ("guest", "key", "value"),
    [
        ("app1", "locked", False),
        ("app1", "nosharepages", True),
        ("app1", "source", "memfd"),
        ("app1", "access", "shared"),
        ("app1", "allocation", "ondemand"),
        ("app1", "discard", False),
        ("plain1", "locked", False),
        ("plain1", "nosharepages", False),
        ("plain1", "source", "anonymous"),
        ("plain1", "access", "private"),
        ("plain1", "allocation", "ondemand"),
        ("plain1", "discard", False),
    ],
)
def test_every_layer_says_the_same(guest: str, key: str, value: object) -> None:
    for probe in (memory_backing.config, memory_backing.live, ACTUAL[key]):
        assert set(values(probe(look(guest), guest, key, value))) == {value}


@pytest.mark.parametrize("guest", ["app1", "plain1"])
def test_pages_are_normal(guest: str) -> None:
    for probe in (memory_backing.config_pages, memory_backing.live_pages, memory_backing.actual_pages):
        assert set(values(probe(look(guest), guest, None, NORMAL))) == {NORMAL}


def test_every_part_of_the_memory_is_read() -> None:
    sizes = [(part.size // MIB, part.cell) for part in ram.parts(domain_xml.live(look("app1"), "app1"))]
    assert sizes == [(256, 0), (128, 0)]
    assert len(memory_backing.actual_source(look("app1"), "app1", "source", "memfd")) == 2
    assert len(list(memory_backing.actual_nosharepages(look("app1"), "app1", "nosharepages", True))) == 4


# --- what XML can say


@pytest.mark.parametrize(
    ("inner", "key", "value"),
    [
        ("<locked/>", "locked", True),
        ("<nosharepages/>", "nosharepages", True),
        ("<discard/>", "discard", True),
        ("<source type='file'/>", "source", "file"),
        ("<access mode='shared'/>", "access", "shared"),
        ("<source type='memfd'/>", "access", "shared"),  # QEMU's default for a memfd
        ("<source type='memfd'/><access mode='private'/>", "access", "private"),
        ("<allocation mode='immediate'/>", "allocation", "immediate"),
        ("<allocation threads='4'/>", "allocation", "ondemand"),
    ],
)
def test_what_xml_says(inner: str, key: str, value: object) -> None:
    snapshot = look("plain1", xml=with_backing(inner))
    for probe in (memory_backing.config, memory_backing.live):
        assert values(probe(snapshot, "plain1", key, value)) == [value]


def test_a_cell_may_have_an_access_of_its_own() -> None:
    private = replaced(XML["app1"], "memAccess='shared'", "memAccess='private'")
    (reading,) = memory_backing.live(look("app1", xml=private), "app1", "access", "shared")
    assert (reading.value, reading.excerpt[:5]) == ("private", "<cell")


@pytest.mark.parametrize(
    ("inner", "cells", "found"),
    [
        ("<hugepages/>", None, [2 * MIB]),
        ("<hugepages><page size='1048576' unit='KiB'/></hugepages>", None, [1024 * MIB]),
        ("<hugepages><page size='1' unit='GiB' nodeset='0'/></hugepages>", {0}, [1024 * MIB]),
        ("<hugepages><page size='2048' nodeset='1'/></hugepages>", {0}, [NORMAL]),
        ("<hugepages><page size='1' unit='G' nodeset='1'/><page size='2' unit='M'/></hugepages>", {0}, [2 * MIB]),
        ("<hugepages><page size='4' unit='KiB'/></hugepages>", None, [NORMAL]),
        ("<hugepages/>", {3}, [None]),
    ],
)
def test_huge_pages_of_xml(inner: str, cells: set[int] | None, found: list[object]) -> None:
    snapshot = look("plain1", xml=with_backing(inner))
    assert values(memory_backing.config_pages(snapshot, "plain1", cells, 2 * MIB)) == found
    assert values(memory_backing.live_pages(snapshot, "plain1", cells, 2 * MIB)) == found


def test_a_host_without_huge_pages_has_no_default_size() -> None:
    none = {cgroup.MEMORY_INFO: Content(b"MemTotal: 1 kB\n")}
    with pytest.raises(CannotLook, match="Hugepagesize"):
        memory_backing.live_pages(look("plain1", xml=with_backing("<hugepages/>"), answers=none), "plain1", None, 1)


# --- constructed: what the lab's host cannot do


def on_huge_pages(kib: int, parts: int = 2) -> str:
    """app1's mappings with that many parts on huge pages (show_numa_map, fs/proc/task_mmu.c)."""
    lines = MAPPED["app1"].splitlines()
    for number in [number for number, line in enumerate(lines) if "bind:0" in line][:parts]:
        place = lines[number].split(" ", 3)[:3]
        lines[number] = " ".join([*place, f"huge dirty=128 active=0 N0=128 kernelpagesize_kB={kib}"])
    return "\n".join(lines)


@pytest.mark.parametrize(("kib", "size"), [(2048, 2 * MIB), (1048576, 1024 * MIB), (64, 65536)])
def test_huge_pages_of_the_kernel(kib: int, size: int) -> None:
    snapshot = look("app1", mapped=on_huge_pages(kib))
    assert values(memory_backing.actual_pages(snapshot, "app1", None, AtLeast(65536))) == [size, size]
    assert values(memory_backing.actual_pages(snapshot, "app1", {0}, size)) == [size, size]


def test_one_part_on_normal_pages_departs() -> None:
    snapshot = look("app1", mapped=on_huge_pages(2048, parts=1))
    found = values(memory_backing.actual_pages(snapshot, "app1", None, 2 * MIB))
    assert sorted(found, key=str) == [2 * MIB, NORMAL]


def test_huge_pages_of_a_cell_the_guest_does_not_have() -> None:
    with pytest.raises(NotApplicable, match="NUMA cell"):
        memory_backing.actual_pages(look("app1"), "app1", {7}, 2 * MIB)


def test_huge_pages_that_nobody_touched_tell_no_size() -> None:
    untouched = on_huge_pages(2048).replace(" dirty=128 active=0 N0=128 kernelpagesize_kB=2048", "")
    with pytest.raises(CannotLook, match="before there is one"):
        memory_backing.actual_pages(look("app1", mapped=untouched), "app1", None, 2 * MIB)


TWO_CELLS = """<domain><memory>262144</memory><cpu><numa>
    <cell id='0' memory='131072'/><cell id='1' memory='131072'/></numa></cpu></domain>"""
TWO_MAPPINGS = """\
7f0000000000-7f0008000000 rw-s 00000000 00:01 1 /dev/hugepages/a
7f0010000000-7f0018000000 rw-s 00000000 00:01 2 /memfd:b (deleted)
7f0000000000 bind:0 file=/dev/hugepages/a huge dirty=64 N0=64 kernelpagesize_kB=2048
7f0010000000 bind:1 file=/memfd:b\\040(deleted) dirty=64 N1=64 kernelpagesize_kB=4
"""


def test_parts_of_one_size_are_taken_as_they_fit() -> None:
    """Which mapping is that of which cell cannot be told."""
    snapshot = look("app1", xml=TWO_CELLS, mapped=TWO_MAPPINGS)
    assert values(memory_backing.actual_pages(snapshot, "app1", {0}, 2 * MIB)) == [2 * MIB]
    assert values(memory_backing.actual_pages(snapshot, "app1", {1}, NORMAL)) == [NORMAL]


LOCKED = replaced(ARGUMENTS, "mem-lock=off", "mem-lock=on")
ROOM = "Max locked memory         {0}            {0}            bytes     \n"


def locked(vmlck: int, limit: str, arguments: str = LOCKED) -> list[bool]:
    pid = PID["app1"]
    status = f"/proc/{pid}/task/{pid}/status", f"Name:\tqemu\nVmLck:\t{vmlck:8} kB\n"
    limits = f"/proc/{pid}/limits", ROOM.format(limit)
    snapshot = look("app1", arguments=arguments, files=dict([status, limits]))
    return values(memory_backing.actual_locked(snapshot, "app1", "locked", True))


@pytest.mark.parametrize(
    ("vmlck", "limit", "found"),
    [
        (1223468, "unlimited", [True, True, True]),
        (393216, "402653184", [True, True, True]),
        (393215, "unlimited", [True, False, True]),
        (0, "8388608", [True, False, False]),
    ],
)
def test_memory_is_locked_as_the_kernel_says(vmlck: int, limit: str, found: list[bool]) -> None:
    assert locked(vmlck, limit) == found


def test_qemu_was_not_told_to_lock() -> None:
    assert locked(1223468, "unlimited", ARGUMENTS) == [False, True, True]


def test_locking_must_be_readable() -> None:
    pid = PID["app1"]
    with pytest.raises(CannotLook, match="locked"):
        list(ACTUAL["locked"](look("app1", files={f"/proc/{pid}/limits": "Max cpu\n"}), "app1", "locked", True))
    odd = replaced(ARGUMENTS, "mem-lock=off", "mem-lock=maybe")
    with pytest.raises(CannotLook, match="neither on nor off"):
        list(ACTUAL["locked"](look("app1", arguments=odd), "app1", "locked", False))


def test_anonymous_memory_in_files_is_anonymous_where_libvirt_had_to() -> None:
    in_file = MAPPED["plain1"].replace(" 0 \n", " 33 /var/lib/libvirt/qemu/ram/pc.ram\n")
    assert "/ram/pc.ram" in in_file
    for inner, value in [("", "file"), ("<access mode='private'/>", "anonymous"), ("<source type='file'/>", "file")]:
        snapshot = look("plain1", xml=with_backing(inner), mapped=in_file)
        assert values(memory_backing.actual_source(snapshot, "plain1", "source", value)) == [value]


# --- what may be merged


def test_what_qemu_says_now_counts_beside_its_arguments() -> None:
    first, *others = json.loads(MEMDEV["app1"])
    merging = json.dumps([{**first, "merge": True}, *others])
    answers = {qmp.asked("app1", "query-memdev"): Content(merging.encode())}
    found = values(ACTUAL["nosharepages"](look("app1", answers=answers), "app1", "nosharepages", True))
    assert sorted(found) == [False, True, True, True]


@pytest.mark.parametrize(("merged", "found"), [("0\n", True), ("4711\n", False)])
def test_what_ksm_did_counts(merged: str, found: bool) -> None:
    snapshot = look("app1", files={f"/proc/{PID['app1']}/ksm_merging_pages": merged})
    assert values(ACTUAL["nosharepages"](snapshot, "app1", "nosharepages", True))[-1] is found


def test_where_the_monitor_is_forbidden_the_arguments_tell() -> None:
    answers = {qmp.asked("app1", "query-memdev"): Failed(FORBIDDEN)}
    assert values(ACTUAL["nosharepages"](look("app1", answers=answers), "app1", "nosharepages", True)) == [True] * 2


@pytest.mark.parametrize("said", [b"{}", b"[1]", b"[{}]", b"nothing", b'[{"id": "ram", "merge": "no"}]'])
def test_a_monitor_that_makes_no_sense_is_an_error(said: bytes) -> None:
    answers = {qmp.asked("app1", "query-memdev"): Content(said)}
    with pytest.raises(CannotLook):
        list(ACTUAL["nosharepages"](look("app1", answers=answers), "app1", "nosharepages", True))


# --- QEMU's arguments


@pytest.mark.parametrize(
    ("key", "written", "value"),
    [
        ("allocation", '"prealloc":true,', "immediate"),
        ("discard", '"discard-data":true,', True),
        ("allocation", '"prealloc":false,', "ondemand"),
    ],
)
def test_a_switch_of_the_arguments(key: str, written: str, value: object) -> None:
    told = replaced(ARGUMENTS, '"id":"pc.ram",', f'"id":"pc.ram",{written}')
    assert set(values(ACTUAL[key](look("plain1", arguments=told), "plain1", key, value))) == {value}


def test_arguments_of_older_libvirt() -> None:
    """Constructed: key=value lists, as older libvirt wrote them; an NVDIMM's memory is not judged."""
    path = f"/proc/{PID['plain1']}/cmdline"
    words = ["-name", "guest=plain1", "-object", "memory-backend-ram,id=ram-node0,prealloc=yes,size=201326592"]
    words += ["-object", "memory-backend-file,id=memnvdimm0,size=1", "-device", "nvdimm,memdev=memnvdimm0,id=nvdimm0"]
    said = "".join(f"{path}:{word}\0" for word in words)
    assert values(ACTUAL["allocation"](look("plain1", arguments=said), "plain1", "allocation", "immediate")) == [
        "immediate"
    ]


def test_arguments_without_a_backend() -> None:
    path = f"/proc/{PID['plain1']}/cmdline"
    said = f"{path}:-name\0{path}:guest=plain1\0{path}:-m\0{path}:192\0"
    with pytest.raises(NotApplicable, match="no memory backend"):
        list(ACTUAL["allocation"](look("plain1", arguments=said), "plain1", "allocation", "ondemand"))


# --- the mappings


def test_the_script_finds_what_qemu_guards(tmp_path: Path) -> None:
    """awk on constructed maps: only the large writable mapping that an inaccessible one follows."""
    process = tmp_path / "4711"
    process.mkdir()
    (process / "maps").write_text(
        "7f0000000000-7f0010000000 rw-p 00000000 00:00 0 \n"
        "7f0010000000-7f0010001000 ---p 00000000 00:00 0 \n"
        "7f0020000000-7f0030000000 rw-p 00000000 00:00 0 \n"
        "7f0040000000-7f0050000000 r--p 00000000 00:00 0 \n"
        "7f0050000000-7f0050001000 ---p 00000000 00:00 0 \n"
        "7f0060000000-7f0060100000 rw-p 00000000 00:00 0 \n"
        "7f0060100000-7f0060200000 ---p 00000000 00:00 0 \n"
        "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n"
    )
    places = ["7f0000000000 prefer (many):0-1 anon=3 N0=2 N3=1 kernelpagesize_kB=4", "7f0020000000 default"]
    (process / "numa_maps").write_text("".join(f"{line}\n" for line in places))
    *_, program = ram.mapped("x").argv
    files = [process / "maps", process / "numa_maps"]
    done = subprocess.run(["awk", "-v", f"least={ram.LEAST}", program, *files], capture_output=True, check=True)
    (found,) = ram.parse(done.stdout, 4711)
    assert (found.size, found.policy, found.policy_nodes, found.nodes) == (256 * MIB, "prefer", {0, 1}, {0, 3})
    assert (found.shared, found.file, found.page) == (False, "", None)


@pytest.mark.parametrize(
    "said",
    [
        b"7f00-7f01 rw-s 0 00:01 1 /memfd:x\n",
        b"7f0000000000-7f0010000000 rw-p 00000000 00:00 0 \n",
        b"7f0000000000 strange:0 anon=1\n",
        b"\xff\xfe",
    ],
)
def test_mappings_that_make_no_sense_are_errors(said: bytes) -> None:
    with pytest.raises(CannotLook):
        ram.parse(said, 1)


def test_memory_that_is_mapped_nowhere_is_an_error() -> None:
    grown = replaced(XML["plain1"], "<memory unit='KiB'>196608<", "<memory unit='KiB'>196612<")
    with pytest.raises(CannotLook, match="0 of 1 mappings of 201330688 bytes"):
        memory_backing.actual_source(look("plain1", xml=grown), "plain1", "source", "anonymous")


def test_mappings_that_could_not_be_read_are_an_error() -> None:
    answers = {ram.mapped("plain1"): Completed(2, b"", b"awk: cannot open /proc/4711/numa_maps\n")}
    with pytest.raises(CannotLook, match="cannot open"):
        memory_backing.actual_source(look("plain1", answers=answers), "plain1", "source", "anonymous")


# --- what is expected


@pytest.mark.parametrize(
    ("written", "good", "bad"),
    [
        (True, (2 * MIB, 1024 * MIB), (NORMAL, None)),
        (False, (NORMAL,), (2 * MIB, None)),
        ({"size": "2 MiB"}, (2 * MIB,), (1024 * MIB, NORMAL, None)),
    ],
)
def test_pages_that_are_expected(written: object, good: tuple[object], bad: tuple[object]) -> None:
    expected = cases("MEM-BACK-1", backing={"hugepages": written})["app1"].expected
    assert all(matches(expected, one) for one in good)
    assert not any(matches(expected, one) for one in bad)


def test_huge_pages_are_allocated_at_once_whatever_is_stated() -> None:
    wanted = cases("MEM-BACK-6", backing={"hugepages": True, "allocation": "ondemand"})["app1"]
    assert (wanted.expected_on(Layer.CONFIG), str(wanted.expected_on(Layer.ACTUAL))) == (
        "ondemand",
        "one of ondemand, immediate",
    )
    assert cases("MEM-BACK-6", backing={"allocation": "ondemand"})["app1"].expected == "ondemand"


# --- the profile


def test_sizes_and_cells_of_huge_pages() -> None:
    wants = MemoryBacking.model_validate({"hugepages": {"size": "2 MiB", "nodes": "0-1"}})
    assert wants.hugepages is not None
    assert (wants.hugepages.size, wants.hugepages.nodes) == (2 * MIB, {0, 1})


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"hugepages": {"size": 4096}}, "huge pages of 4096 bytes do not exist"),
        ({"hugepages": {"size": "3 MiB"}}, "do not exist"),
        ({"hugepages": {"size": "2 MiB", "nodes": "x"}}, "no list of NUMA nodes"),
        ({"discard": True, "source": "memfd"}, "does nothing for source: memfd"),
        ({"access": "public"}, "Input should be"),
    ],
)
def test_what_cannot_be_is_refused(written: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        MemoryBacking.model_validate(written)
