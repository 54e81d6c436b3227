"""Limits of one disk on every layer, and the plan that mends them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from tests import looks
from tests.looks import Edits, by_hand, pid
from tests.recorded_text import label
from virtvet.check import Case
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import blockdev, iotune
from virtvet.profile.disks import Disk
from virtvet.remedies import iotune as remedy
from virtvet.remedies.change import CHANGE, Change
from virtvet.remedies.operations import Throttle

APP1 = "disks/app1"
LIVE, CONFIG = "virsh dumpxml app1", "virsh dumpxml --inactive app1"
QUERY, _ = map(label, blockdev.asked("app1"))
look, changed = partial(looks.look, APP1), partial(looks.changed, APP1)
MIB = 1 << 20
VDA = {
    "read_bytes": 20 * MIB,
    "write_bytes": 10 * MIB,
    "total_bytes": "unlimited",
    "total_iops": 500,
    "read_iops": "unlimited",
    "total_iops_max": 800,
    "total_iops_max_length": 2,
    "read_bytes_max": 0,
    "read_bytes_max_length": 0,
    "size_iops": 4096,
    "group": "app1",
}


@pytest.mark.parametrize(("key", "value"), VDA.items())
def test_every_layer_says_the_same(key: str, value: object) -> None:
    layers = (iotune.config, iotune.live, iotune.actual)
    assert [probe(look(), "app1", "vda", key).value for probe in layers] == [value] * 3


@pytest.mark.parametrize("key", ["read_bytes", "size_iops", "group"])
def test_a_disk_without_limits(key: str) -> None:
    value = {"read_bytes": "unlimited", "size_iops": 0, "group": None}[key]
    layers = (iotune.config, iotune.live, iotune.actual)
    assert [probe(look(), "app1", "hdc", key).value for probe in layers] == [value] * 3


@pytest.mark.parametrize(
    ("key", "element", "answered"),
    [
        ("total_bytes", "total_bytes_sec", "bps"),
        ("read_bytes_max", "read_bytes_sec_max", "bps_rd_max"),
        ("write_bytes_max_length", "write_bytes_sec_max_length", "bps_wr_max_length"),
        ("total_iops", "total_iops_sec", "iops"),
        ("read_iops_max_length", "read_iops_sec_max_length", "iops_rd_max_length"),
        ("size_iops", "size_iops_sec", "iops_size"),
    ],
)
def test_names_in_xml_and_qmp(key: str, element: str, answered: str) -> None:
    assert (iotune.element(key), iotune.answered(key)) == (element, answered)


def test_a_burst_without_a_length_lasts_a_second() -> None:
    host = look(changed(LIVE, "<total_iops_sec_max_length>2</total_iops_sec_max_length>", ""))
    assert iotune.live(host, "app1", "vda", "total_iops_max_length").value == 1


@pytest.mark.parametrize("name", ["virtio-disk0", "/machine/peripheral/virtio-disk0/virtio-backend"])
def test_a_group_of_its_own_is_none(name: str) -> None:
    """QEMU names it by the device's path; QEMU before 2.12 by its id (made up)."""
    assert (
        iotune.actual(look(changed(QUERY, '"group": "app1"', f'"group": "{name}"')), "app1", "vda", "group").value
        is None
    )
    host = look(changed(LIVE, "<group_name>app1</group_name>", f"<group_name>{name}</group_name>"))
    assert iotune.live(host, "app1", "vda", "group").value is None


def test_what_cannot_be_known() -> None:
    with pytest.raises(NotApplicable, match="DISK-1"):
        iotune.config(look(), "app1", "vdb", "read_bytes")
    with pytest.raises(NotApplicable, match="by hand"):
        iotune.actual(look(by_hand(APP1, "app1")), "app1", "virtio-disk0", "read_bytes")
    edit = changed(CONFIG, "<read_bytes_sec>20971520<", "<read_bytes_sec>20 MiB<")
    with pytest.raises(CannotLook, match="holds no number"):
        iotune.config(look(edit), "app1", "vda", "read_bytes")
    with pytest.raises(CannotLook, match="no number"):
        iotune.actual(look(changed(QUERY, '"bps_rd": 20971520', '"bps_rd": true')), "app1", "vda", "read_bytes")
    with pytest.raises(CannotLook, match="names no device"):
        iotune.actual(look({QUERY: "[]"}), "app1", "vda", "read_bytes")


# --- mending

STATED = {"read": 20 * MIB, "write": 10 * MIB, "iotune": {"total_iops": 500, "total_iops_max": 800, "size_iops": 4096}}
TUNE = "hv1$ virsh blkdeviotune app1 vda"
RIGHT = "--read-bytes-sec 20971520 --write-bytes-sec 10485760 --total-iops-sec 500 --total-iops-sec-max 800"
REST = "--total-iops-sec-max-length 2 --size-iops-sec 4096"


def planned(edits: Edits, stated: Mapping[str, Any] = STATED) -> tuple[Change, ...]:
    wants = SimpleNamespace(wants=SimpleNamespace(disks={"vda": Disk.model_validate(stated)}))
    target: Any = SimpleNamespace(guests_by_name=lambda: {"app1": wants})
    return remedy.plan(look(edits), Case("", 0, ("app1", "vda", "read_bytes")), target)


def sorted_words(operation: object) -> list[str]:
    return sorted(str(operation).split())


def test_all_is_well() -> None:
    assert planned({}) == ()


def test_limits_are_set_live_and_in_the_file() -> None:
    wrong = ("<read_bytes_sec>20971520<", "<read_bytes_sec>40000000<")
    edits = changed(LIVE, *wrong) | changed(CONFIG, *wrong) | changed(QUERY, '"bps_rd": 20971520', '"bps_rd": 40000000')
    (change,) = planned(edits)
    assert [sorted_words(step.do) for step in change.steps] == [
        sorted_words(f"{TUNE} {RIGHT} {REST} {layer} # and no other limit") for layer in ("--live", "--config")
    ]
    before = RIGHT.replace("20971520", "40000000")
    assert [sorted_words(one) for one in change.undo] == [
        sorted_words(f"{TUNE} {before} {REST} {layer} # and no other limit") for layer in ("--config", "--live")
    ]
    assert CHANGE.validate_json(CHANGE.dump_json(change)) == change


def test_what_was_changed_behind_libvirt_is_taken_back_so() -> None:
    (change,) = planned(changed(QUERY, '"iops": 500', '"iops": 400'))
    (step,) = change.steps
    told, behind = step.back
    assert isinstance(told, Throttle)
    assert dict(told.limits)["total_iops_sec"] == 500
    *_virsh, guest, command = behind.argv
    assert guest == "app1"
    assert json.loads(command) == {
        "execute": "block_set_io_throttle",
        "arguments": {
            "id": "/machine/peripheral/virtio-disk0/virtio-backend",
            "group": "app1",
            **{"bps": 0, "bps_rd": 20971520, "bps_wr": 10485760, "iops": 400, "iops_rd": 0, "iops_wr": 0},
            **{"iops_max": 800, "iops_max_length": 2, "iops_size": 4096},
        },
    }
    assert str(behind).endswith(f"# if /run/libvirt/qemu/app1.pid says '{pid(APP1, 'app1')}'")


@pytest.mark.parametrize(
    ("stated", "changes"),
    [
        ({"total_bytes": 5}, {"read_bytes": 0, "write_bytes": 0, "total_bytes": 5}),
        ({"read_iops": 5}, {"total_iops": 0, "total_iops_max": 0, "total_iops_max_length": 0, "read_iops": 5}),
        ({"total_iops": 900}, {"total_iops": 900, "total_iops_max": 0, "total_iops_max_length": 0}),
        ({"total_iops": 600}, {"total_iops": 600}),
        ({"total_iops": 0}, {"total_iops": 0, "total_iops_max": 0, "total_iops_max_length": 0, "size_iops": 0}),
        ({"size_iops": 512}, {"size_iops": 512}),
    ],
)
def test_what_is_not_stated_stays_if_it_can(stated: dict[str, int], changes: dict[str, int]) -> None:
    told = {"read_bytes": 20, "write_bytes": 10, "total_iops": 500, "total_iops_max": 800, "total_iops_max_length": 2}
    told |= {"size_iops": 4096}
    before = dict.fromkeys(iotune.KEYS, 0) | told
    assert remedy.together(before, stated) == before | changes
