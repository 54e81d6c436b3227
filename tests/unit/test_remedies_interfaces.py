"""What the remedies of interfaces would do, on what the lab's app1 showed: exact plans and refusals."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests import looks
from tests.looks import Edits, pid
from virtvet.check import Case
from virtvet.remedies.change import CannotMend, Change
from virtvet.remedies.interfaces import bring_up, plug

NO_TARGET: Any = None
APP1 = "interfaces/app1"
LIVE = "virsh dumpxml app1"
look, changed = partial(looks.look, APP1), partial(looks.changed, APP1)
TAP = "/sys/class/net/app1lan"
MASTER = f"{TAP}/master/uevent"
PID = str(pid(APP1, "app1"))
STILL = f"   # if /proc/{PID}/cmdline says 'app1'"


def lines(changes: tuple[Change, ...]) -> list[str]:
    return [str(one) for change in changes for one in (*(step.do for step in change.steps), *change.undo)]


def plugged(edits: Edits, wanted: str = "virbr0", to: str = "bridge", key: str = "net1") -> list[str]:
    return lines(plug(look(edits), Case("app1", wanted, ("app1", key, to)), NO_TARGET))


def test_a_port_of_nothing_is_plugged_in() -> None:
    assert plugged({}) == []
    assert plugged({MASTER: None}) == [
        f"hv1$ ip link set dev app1lan master virbr0{STILL}",
        f"hv1$ ip link set dev app1lan nomaster{STILL}",
    ]


def test_a_port_of_another_bridge_goes_back_there() -> None:
    assert plugged({MASTER: "INTERFACE=br7\n"})[1] == f"hv1$ ip link set dev app1lan master br7{STILL}"


@pytest.mark.parametrize(
    ("edits", "wanted", "to", "words"),
    [
        (
            changed(LIVE, "<source bridge='virbr0'/>", "<source bridge='br7'/>") | {MASTER: None},
            "virbr0",
            "bridge",
            "otherwise",
        ),
        (changed(LIVE, "<source bridge='virbr0'/>", "<source bridge='br7'/>"), "br7", "bridge", "no bridge br7"),
        ({}, "eth1", "dev", "macvtap"),
    ],
)
def test_what_libvirt_says_otherwise_is_left_alone(edits: Edits, wanted: str, to: str, words: str) -> None:
    with pytest.raises(CannotMend, match=words):
        plugged(edits, wanted, to)


def raised(edits: Edits, wanted: str = "up") -> list[str]:
    return lines(bring_up(look(edits), Case("app1", wanted, ("app1", "net1", wanted)), NO_TARGET))


def test_an_end_that_is_down_is_brought_up() -> None:
    assert raised({}) == []
    assert raised({f"{TAP}/flags": "0x1302\n"}) == [
        f"hv1$ ip link set dev app1lan up{STILL}",
        f"hv1$ ip link set dev app1lan down{STILL}",
    ]


def test_an_end_that_may_be_down_is_left_alone() -> None:
    assert raised({f"{TAP}/flags": "0x1302\n"}, "down") == []


def test_a_port_that_waits_is_the_bridges_matter() -> None:
    with pytest.raises(CannotMend, match="listening"):
        raised({f"{TAP}/brport/state": "1\n"})
