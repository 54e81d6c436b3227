"""A guest's memory and its balloon, on every layer."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import pytest
from pydantic import ValidationError

from tests import looks
from tests.looks import BALLOON_SOURCES, Edits, by_hand
from tests.recorded_text import label
from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import memory_size
from virtvet.profile.memory_size import MIB, MemorySize, tolerated
from virtvet.snapshot.model import Failed

LOOK, APP1 = "memory/app1", "app1"
LIVE, CONFIG, ARGUMENTS = "virsh dumpxml app1", "virsh dumpxml --inactive app1", "qemu.ARGUMENTS"
look, changed = partial(looks.look, LOOK), partial(looks.changed, LOOK)
BALLOON, DEVICES, POLLING = map(label, BALLOON_SOURCES)
NO = Failed("QEMU answered: no")
BALLOON_DEVICE = '{"driver":"virtio-balloon-pci","id":"balloon0","bus":"pci.0","addr":"0x5"}'
WITHOUT_BALLOON = changed(ARGUMENTS, BALLOON_DEVICE, "")
STATUS = "inside app1 /sys/bus/virtio/devices/virtio2/status"
VIRTIO_MEM = {
    "type": "virtio-mem",
    "data": {"memaddr": 0, "requested-size": 64 * MIB, "size": 32 * MIB, "max-size": 256 * MIB, "node": 0},
}
"""Constructed by QEMU's reference: half of what was asked for is there."""


def dimm(**changes: object) -> str:
    return json.dumps([{"type": "dimm", "data": {"size": 128 * MIB, "node": 0, "slot": 0} | changes}])


@pytest.mark.parametrize(
    ("probe", "element", "edits", "value"),
    [
        (memory_size.config, "memory", {}, 384),
        (memory_size.config, "currentMemory", {}, 352),
        (memory_size.live, "memory", {}, 384),
        (memory_size.live, "currentMemory", {}, 352),
        (
            memory_size.config,
            "currentMemory",
            changed(CONFIG, "<currentMemory unit='KiB'>360448</currentMemory>", ""),
            384,
        ),
        (memory_size.live, "memory", changed(LIVE, "<memory unit='KiB'>393216", "<memory unit='GiB'>2"), 2048),
        (memory_size.live, "memory", changed(LIVE, "<memory unit='KiB'>", "<memory>"), 384),
        (memory_size.memory, "memory", {}, 384),
        (memory_size.memory, "memory", {DEVICES: dimm(size=256 * MIB)}, 512),
        (memory_size.memory, "memory", {DEVICES: "[]"}, 256),
        (memory_size.memory, "memory", {DEVICES: json.dumps([VIRTIO_MEM])}, 512),
        (memory_size.current, "currentMemory", {}, 352),
        (memory_size.current, "currentMemory", {BALLOON: '{"actual": 335544320}'}, 320),
        (memory_size.current, "currentMemory", {DEVICES: json.dumps([VIRTIO_MEM])}, 384),
        (memory_size.current, "currentMemory", WITHOUT_BALLOON | {BALLOON: NO}, 384),
        (memory_size.current, "currentMemory", WITHOUT_BALLOON | {DEVICES: json.dumps([VIRTIO_MEM])}, 288),
    ],
)
def test_sizes_are_bytes(probe: Callable[..., Reading], element: str, edits: Edits, value: int) -> None:
    assert probe(look(edits), APP1, element).value == value * MIB


def test_mem_total_is_of_the_guest() -> None:
    reading = memory_size.mem_total(look(), APP1)
    assert (reading.value, reading.excerpt) == (242000 * 1024, "MemTotal: 242000 kB")


@pytest.mark.parametrize(
    ("option", "base"),
    [
        ("", 128),
        ("512", 512),
        ("1G", 1024),
        ("size=262144k", 256),
        ("size=256", 256),
        ("256,slots=2,maxmem=1G", None),
    ],
)
def test_a_guest_started_by_hand_is_judged_by_its_arguments(option: str, base: int | None) -> None:
    """What `-m` takes: QEMU's qemu-options.hx."""
    edits = changed(ARGUMENTS, "size=262144k,slots=4,maxmem=1048576k", option)
    seen = look(by_hand(LOOK, APP1) | edits)
    if base:
        assert memory_size.memory(seen, APP1).value == base * MIB
        return
    with pytest.raises(NotApplicable, match="by hand"):
        memory_size.memory(seen, APP1)


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        (changed(ARGUMENTS, "size=262144k,", "size=1.5G,"), "no size"),
        (changed(ARGUMENTS, "size=262144k,", "size=,"), "no size"),
        ({DEVICES: "{}"}, "no list"),
        ({DEVICES: '[{"type": "dimm"}]'}, "names no size"),
        ({DEVICES: dimm(size="128M")}, "names no size"),
        ({DEVICES: dimm(size=True)}, "names no size"),
        ({DEVICES: NO}, "QEMU answered"),
    ],
)
def test_what_is_not_understood_is_no_size(edits: Edits, words: str) -> None:
    with pytest.raises(CannotLook, match=words):
        memory_size.memory(look(edits), APP1)


@pytest.mark.parametrize("answer", ["[]", "{}", '{"actual": "1"}', '{"actual": -1}', "nonsense", NO])
def test_a_balloon_that_is_not_understood_has_no_size(answer: str | Failed) -> None:
    with pytest.raises(CannotLook):
        memory_size.current(look({BALLOON: answer}), APP1)


@pytest.mark.parametrize("text", ["", "384 bananas", "-1", "9" * 30])
def test_an_element_that_is_not_understood_has_no_size(text: str) -> None:
    with pytest.raises(CannotLook, match="<memory>"):
        memory_size.live(look(changed(LIVE, ">393216<", f">{text}<")), APP1, "memory")


@pytest.mark.parametrize(
    ("probe", "edits", "value"),
    [
        (memory_size.model_config, {}, "virtio"),
        (memory_size.model_live, {}, "virtio"),
        (memory_size.model_live, changed(LIVE, "<memballoon model='virtio'", "<memballoon model='none'"), "none"),
        (memory_size.model_live, changed(LIVE, "memballoon", "nothing"), "none"),
        (memory_size.model_actual, {}, "virtio"),
        (memory_size.model_actual, WITHOUT_BALLOON, "none"),
        (memory_size.model_actual, changed(ARGUMENTS, "balloon-pci", "balloon-ccw"), "virtio"),
        (
            memory_size.model_actual,
            changed(ARGUMENTS, "balloon-pci", "balloon-pci-transitional"),
            "virtio-transitional",
        ),
        (
            memory_size.model_actual,
            changed(ARGUMENTS, "balloon-pci", "balloon-pci-non-transitional"),
            "virtio-non-transitional",
        ),
        (memory_size.driver, {}, "driven"),
        (memory_size.driver, {STATUS: "0x00000001\n"}, "not driven"),
        (memory_size.driver, {"inside app1 /sys/bus/virtio/devices/virtio2/device": "0x0004\n"}, "no balloon"),
        (memory_size.period_config, {}, 5),
        (memory_size.period_live, {}, 5),
        (memory_size.period_live, changed(LIVE, "<stats period='5'/>", ""), 0),
        (memory_size.period_actual, {}, 5),
        (memory_size.period_actual, WITHOUT_BALLOON, 0),
    ],
)
def test_the_balloon(probe: Callable[..., Reading], edits: Edits, value: object) -> None:
    assert probe(look(edits), APP1).value == value


@pytest.mark.parametrize(
    ("probe", "edits"),
    [
        (memory_size.driver, {STATUS: "idle"}),
        (memory_size.driver, {STATUS: None}),
        (memory_size.period_live, changed(LIVE, "<stats period='5'/>", "<stats period='often'/>")),
        (memory_size.period_actual, {POLLING: NO}),
    ],
)
def test_a_balloon_that_is_not_understood(probe: Callable[..., Reading], edits: Edits) -> None:
    with pytest.raises(CannotLook):
        probe(look(edits), APP1)


def test_of_a_guest_that_is_shut_off_the_configuration_is_left() -> None:
    seen = look({LIVE: None})
    assert memory_size.config(seen, APP1, "memory").value == 384 * MIB
    for probe in (memory_size.model_live, memory_size.period_live, memory_size.driver, memory_size.mem_total):
        with pytest.raises(NotApplicable):
            probe(seen, APP1)


# --- what a profile may say


def test_a_size_alone_is_memory_and_current_memory() -> None:
    wants = MemorySize.model_validate("384 MiB")
    assert (wants.memory, wants.current, wants.balloon) == (384 * MIB, 384 * MIB, None)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("384 Mi", "no size"),
        ({"memory": 0}, "whole MiB"),
        ({"memory": "1000001 KiB"}, "whole MiB"),
        ({"memory": "1 GiB", "current": "2 GiB"}, "current must not be more"),
        ({"memory": "1 GiB", "current": "512 MiB", "balloon": "none"}, "current must be memory"),
        ({"balloon": "none", "stats_period": 5}, "nobody collects"),
        ({"stats_period": "500ms"}, "whole seconds"),
        ({"stats_period": -1}, "must be 0"),
        ({"stats_period": True}, "no time"),
        ({"tolerance": "100%"}, "such as 5%"),
        ({"tolerance": "0%"}, "such as 5%"),
        ({"balloon": "xen"}, "virtio"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(written: object, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        MemorySize.model_validate(written)


@pytest.mark.parametrize(
    ("written", "missing"),
    [({}, 128 + 30), ({"tolerance": "5%"}, 50), ({"tolerance": "64 MiB"}, 64), ({"tolerance": 0}, 0)],
)
def test_the_kernel_may_keep_some(written: dict[str, object], missing: int) -> None:
    assert tolerated(1000 * MIB, MemorySize.model_validate(written).tolerance) == missing * MIB
