"""A guest's share of the host's block devices: v1 as the lab has it, v2 made up in a recorded look."""

from __future__ import annotations

from functools import partial

import pytest

from tests import looks
from tests.looks import ANCHOR, DISK, V2, group, pid, recorded
from tests.recorded_text import label
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import blkio, cgroup
from virtvet.snapshot.model import Absent, Answer, Completed, Snapshot

APP1 = "disks/app1"
LIVE, CONFIG = "virsh dumpxml app1", "virsh dumpxml --inactive app1"
GROUP = f"/sys/fs/cgroup/blkio{group(APP1, 'app1')}"
NODE = label(blkio.node(DISK))
look, changed = partial(looks.look, APP1), partial(looks.changed, APP1)


def values(readings: object) -> list[object]:
    return [one.value for one in readings]  # type: ignore[attr-defined]


def test_the_weight_on_every_layer() -> None:
    assert blkio.config(look(), "app1", "weight", 300).value == 300
    assert blkio.live(look(), "app1", "weight", 300).value == 300
    assert values(blkio.weight(look(), "app1", "weight", 300)) == [300]


@pytest.mark.parametrize(
    ("what", "value"),
    [("read_bytes", 1 << 30), ("write_iops", 50000), ("write_bytes", "unlimited"), ("read_iops", "unlimited")],
)
def test_limits_on_every_layer(what: str, value: object) -> None:
    assert blkio.config(look(), "app1", what, value, DISK).value == value
    assert blkio.live(look(), "app1", what, value, DISK).value == value
    assert values(blkio.limit(look(), "app1", what, value, DISK)) == [value]


def test_nothing_is_set() -> None:
    host = look(changed(CONFIG, "<weight>300</weight>", "") | changed(LIVE, "<path>/srv/lab-disk<", "<path>/dev/sda<"))
    assert blkio.config(host, "app1", "weight", 300).value is None
    assert blkio.live(host, "app1", "read_bytes", 1, DISK).value == "unlimited"


def test_threads_in_another_group_than_the_right_one() -> None:
    """As systemd does on v1 (made up): the files of the guest's own group are right, and count for nobody."""
    member = {
        path: text.replace(f"blkio:{group(APP1, 'app1')}", "blkio:/machine")
        for path, text in recorded(APP1).items()
        if path.startswith(f"/proc/{pid(APP1, 'app1')}/task") and path.endswith("cgroup")
    }
    assert values(blkio.weight(look(member), "app1", "weight", 300)) == [100]
    assert values(blkio.limit(look(member), "app1", "read_bytes", 1, DISK)) == ["unlimited"]
    one = dict([member.popitem()])
    assert sorted(values(blkio.weight(look(one), "app1", "weight", 300))) == [100, 300]


def test_groups_above_do_not_count_on_v1() -> None:
    above = {"/sys/fs/cgroup/blkio/machine/blkio.throttle.read_bps_device": "254:0 1\n"}
    assert values(blkio.limit(look(above), "app1", "read_bytes", 1, DISK)) == [1 << 30]


def test_weights_of_one_device() -> None:
    """No disk of the lab has bfq, so the line of the device is made up."""
    host = look({f"{GROUP}/blkio.bfq.weight_device": "default 300\n254:0 500\n"})
    assert values(blkio.weight(host, "app1", "weight", 500, DISK)) == [500]
    assert values(blkio.weight(look(), "app1", "weight", 500, DISK)) == [None]
    told = changed(LIVE, "<path>/srv/lab-disk</path>", "<path>/srv/lab-disk</path><weight>500</weight>")
    assert blkio.live(look(told), "app1", "weight", 500, DISK).value == 500
    assert blkio.live(look(), "app1", "weight", 500, DISK).value is None
    assert values(blkio.weight(look(), "app1", "weight", None, DISK)) == [None]
    assert values(blkio.weight(host, "app1", "weight", None, DISK)) == [500]


def test_a_kernel_without_weights() -> None:
    host = look({f"{GROUP}/blkio.bfq.weight": None})
    (reading,) = blkio.weight(host, "app1", "weight", 300)
    assert (reading.value, reading.excerpt.split(":")[0]) == (None, "no such file")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Absent(), "does not exist"),
        (Completed(1, b"", b"stat: cannot statx '/srv/lab-disk': No such file or directory\n"), "No such file"),
        (Completed(0, b"0 0 regular file\n", b""), "no block device"),
        (Completed(0, b"1 3 character special file\n", b""), "no block device"),
    ],
)
def test_a_device_that_is_none(answer: Answer, error: str) -> None:
    with pytest.raises(CannotLook, match=error):
        blkio.limit(look({NODE: answer}), "app1", "read_bytes", 1, DISK)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("blkio.throttle.read_bps_device", "254:0\n"),
        ("blkio.throttle.read_bps_device", "254:0 many\n"),
        ("blkio.bfq.weight", "\n"),
    ],
)
def test_files_that_make_no_sense(file: str, text: str) -> None:
    host = look({f"{GROUP}/{file}": text})
    with pytest.raises(CannotLook):
        [*blkio.weight(host, "app1", "weight", 300), *blkio.limit(host, "app1", "read_bytes", 1, DISK)]


def test_a_guest_that_is_shut_off() -> None:
    with pytest.raises(NotApplicable):
        blkio.live(look({LIVE: None}), "app1", "weight", 300)


# --- v2


def v2(**files: str) -> Snapshot:
    """A recorded guest of systemd's host, with files of I/O as libvirt 9.0 and systemd 252 write them."""
    io_max = "254:0 rbps=10485760 wbps=max riops=max wiops=500\n8:0 rbps=max wbps=1 riops=max wiops=max\n"
    usual = {f"{ANCHOR}/libvirt/io.max": io_max, f"{ANCHOR}/io.weight": "default 300\n254:0 200\n"}
    usual |= {f"{ANCHOR}/io.bfq.weight": "default 118\n254:0 109\n"}
    return looks.look(V2, usual | {f"{ANCHOR.rpartition('/')[0]}/{name}": text for name, text in files.items()})


def test_v2_weights() -> None:
    assert values(blkio.weight(v2(), "anchor", "weight", 300)) == [300, 300]
    assert values(blkio.weight(v2(), "anchor", "weight", 400)) == [300, 118]
    assert values(blkio.weight(v2(), "anchor", "weight", 200, DISK)) == [200, 200]
    assert values(blkio.weight(v2(), "anchor", "weight", None, DISK)) == [200, 109]


@pytest.mark.parametrize(("wanted", "made"), [(300, 118), (400, 127), (666, 151), (1000, 181), (10, 10), (100, 100)])
def test_what_systemd_makes_of_a_weight(wanted: int, made: int) -> None:
    assert made in cgroup._made_by_systemd(wanted)


@pytest.mark.parametrize(
    ("what", "seen"),
    [("read_bytes", [10485760]), ("write_bytes", ["unlimited"]), ("read_iops", ["unlimited"]), ("write_iops", [500])],
)
def test_v2_limits(what: str, seen: list[object]) -> None:
    assert values(blkio.limit(v2(), "anchor", what, 0, DISK)) == seen


def test_v2_a_group_above_may_have_less() -> None:
    tighter = {"io.max": "254:0 rbps=1048576 wbps=max riops=max wiops=600\n"}
    assert values(blkio.limit(v2(**tighter), "anchor", "read_bytes", 0, DISK)) == [10485760, 1048576]
    assert values(blkio.limit(v2(**tighter), "anchor", "write_iops", 0, DISK)) == [500]
