"""Schedulers as libvirt was told, and as the kernel keeps them. Recorded: tests/probes/vcpus/app1.txt."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from tests.looks import V2_TUNED, changed, look, pid, recorded
from virtvet.check import Case
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import schedulers, threads
from virtvet.profile.schedulers import RealTime, Schedulers
from virtvet.remedies import schedulers as remedy
from virtvet.remedies.change import CannotMend

APP1 = "vcpus/app1"
CONFIG, LIVE = "virsh dumpxml --inactive app1", "virsh dumpxml app1"
VCPU0 = '<vcpusched vcpus="0" scheduler="batch"/>'
NAMED = ("vcpu0", "vcpu1", "emulator", "iothread1")
MAIN, IOTHREAD, MONITOR, FIRST, THIRD, WORKER = 107, 123, 128, 131, 136, 140
"""Threads of the recorded look."""


def ran_as(tid: int, priority: int, policy: int, process: int = 107, at: str = APP1) -> dict[str, str | None]:
    """The edit that gives a thread fields 40 and 41 of its stat."""
    path = f"/proc/{process}/task/{tid}/stat"
    name, _, rest = recorded(at)[path].rpartition(") ")
    fields = rest.split(" ")
    fields[37:39] = [str(priority), str(policy)]
    return {path: f"{name}) {' '.join(fields)}"}


@pytest.mark.parametrize(
    ("role", "scheduler"),
    [("vcpu0", "batch"), ("vcpu1", "batch"), ("vcpu2", "other"), ("emulator", "batch"), ("iothread1", "idle")],
)
def test_every_layer_says_the_same(role: str, scheduler: str) -> None:
    assert schedulers.config(look(APP1), "app1", role).value == scheduler
    assert schedulers.live(look(APP1), "app1", role).value == scheduler
    assert schedulers.actual(look(APP1), "app1", role).value == scheduler


@pytest.mark.parametrize(
    ("element", "role", "scheduler"),
    [
        ('<vcpusched vcpus="0-1,^1" scheduler="fifo" priority="7"/>', "vcpu0", "fifo 7"),
        ('<vcpusched vcpus="0-3,^1" scheduler="rr" priority="1"/>', "vcpu3", "rr 1"),
        ('<vcpusched vcpus="2" scheduler="idle"/>', "vcpu0", "other"),
        ("", "vcpu0", "other"),
        ("", "vcpu4", None),
        ("", "iothread2", None),
    ],
)
def test_what_libvirt_was_told(element: str, role: str, scheduler: str | None) -> None:
    assert schedulers.config(look(APP1, changed(APP1, CONFIG, VCPU0, element)), "app1", role).value == scheduler


@pytest.mark.parametrize(
    "element",
    [
        '<vcpusched vcpus="0" scheduler="fifo"/>',
        '<vcpusched vcpus="0" scheduler="fifo" priority="x"/>',
        '<vcpusched scheduler="batch"/>',
    ],
)
def test_what_libvirt_would_never_say_is_an_error(element: str) -> None:
    with pytest.raises(CannotLook):
        schedulers.live(look(APP1, changed(APP1, LIVE, VCPU0, element)), "app1", "vcpu0")


@pytest.mark.parametrize(
    ("priority", "policy", "scheduler"),
    [(0, 0, "other"), (1, 1, "fifo 1"), (99, 2, "rr 99"), (0, 3, "batch"), (0, 5, "idle"), (0, 6, "deadline")],
)
def test_what_the_kernel_says(priority: int, policy: int, scheduler: str) -> None:
    """Real-time policies are made up here: the lab's kernel forbids them (CONFIG_RT_GROUP_SCHED)."""
    assert schedulers.actual(look(APP1, ran_as(FIRST, priority, policy)), "app1", "vcpu0").value == scheduler


@pytest.mark.parametrize("stat", ["", "131 (CPU 0/TCG) S 1 2", "131 (CPU 0/TCG) S " + "x " * 50])
def test_a_stat_that_makes_no_sense_is_an_error(stat: str) -> None:
    with pytest.raises((CannotLook, NotApplicable)):
        schedulers.actual(look(APP1, {"/proc/107/task/131/stat": stat}), "app1", "vcpu0")


def test_an_unknown_policy_is_an_error() -> None:
    with pytest.raises(CannotLook, match="policy 4"):
        schedulers.actual(look(APP1, ran_as(FIRST, 0, 4)), "app1", "vcpu0")


def test_of_the_emulator_only_the_main_thread_is_set() -> None:
    edits = ran_as(MAIN, 0, 0) | ran_as(MONITOR, 0, 3)
    assert schedulers.actual(look(APP1, edits), "app1", "emulator").value == "other"


def test_a_vcpu_that_is_not_plugged_in_has_no_thread() -> None:
    with pytest.raises(NotApplicable, match="vcpu3"):
        schedulers.actual(look(APP1), "app1", "vcpu3")


def others(edits: dict[str, str | None] | None = None) -> dict[int, str]:
    """Schedulers by thread id, of the threads that nobody names."""
    found = schedulers.actual_others(look(APP1, edits), "app1", NAMED)
    return {int(match[1]): one.value for one in found if (match := re.search(r"/task/(\d+)/", one.source))}


def test_helpers_and_the_vcpu_without_a_setting_are_the_others() -> None:
    assert others() == {120: "other", MONITOR: "other", THIRD: "other"}
    assert {one.value for one in schedulers.config_others(look(APP1), "app1", NAMED)} == {"other"}


def test_what_a_vcpu_inherited_is_seen() -> None:
    assert others(ran_as(THIRD, 1, 1))[THIRD] == "fifo 1"


@pytest.mark.parametrize(("policy", "seen"), [(5, None), (0, "other"), (3, "batch")])
def test_a_worker_may_run_as_its_maker_does(policy: int, seen: str | None) -> None:
    """It was made by an idle iothread."""
    assert others(ran_as(WORKER, 0, policy)).get(WORKER) == seen


def test_the_default_may_be_of_every_thread() -> None:
    found = schedulers.actual_others(look(APP1), "app1", ())
    assert sorted(one.value for one in found) == ["batch", "batch", "batch", "idle", "other", "other", "other"]


def test_the_kernels_threads_run_by_the_default() -> None:
    """Whatever the emulator runs as: they are not made by it."""
    vhost = next(one for one in threads.threads(look(V2_TUNED), "tuned") if one.kernel)
    edit = ran_as(vhost.tid, 1, 1, vhost.pid, V2_TUNED)
    assert schedulers.thread_of(look(V2_TUNED), "tuned", "emulator").tid == pid(V2_TUNED, "tuned")
    assert {one.value for one in schedulers.actual_others(look(V2_TUNED), "tuned", ("emulator",))} == {"other"}
    assert "fifo 1" in {one.value for one in schedulers.actual_others(look(V2_TUNED, edit), "tuned", ("emulator",))}
    (change,) = remedy.plan(look(V2_TUNED, edit), Case("tuned/others", "other", ("tuned", ())), None)  # type: ignore[arg-type]
    assert [str(step.do) for step in change.steps] == [
        f"hv3$ chrt --other -p 0 {vhost.tid}   # if /proc/{vhost.pid}/task/{vhost.tid}/comm says {vhost.comm!r}"
    ]


def test_a_guest_started_by_hand_has_no_roles() -> None:
    with pytest.raises(NotApplicable):
        schedulers.live(look(APP1, {LIVE: None}), "app1", "vcpu0")


# --- the profile


def test_what_is_stated_in_words() -> None:
    wants = Schedulers.model_validate(
        {"vcpu": {0: "batch", 1: {"policy": "fifo", "priority": 1}}, "emulator": "other", "iothread": {1: "idle"}}
    )
    assert wants.by_role() == {"vcpu0": "batch", "vcpu1": "fifo 1", "iothread1": "idle", "emulator": "other"}
    assert wants.vcpu[1] == RealTime(policy="fifo", priority=1)


@pytest.mark.parametrize(
    "written",
    [
        {"vcpu": {0: "fifo"}},
        {"vcpu": {0: {"policy": "fifo"}}},
        {"vcpu": {0: {"policy": "batch", "priority": 1}}},
        {"emulator": {"policy": "rr", "priority": 100}},
        {"iothread": {0: "idle"}},
    ],
)
def test_what_cannot_be(written: object) -> None:
    with pytest.raises(ValidationError):
        Schedulers.model_validate(written)


# --- the remedy


def plan(case: Case, edits: dict[str, str | None]) -> list[str]:
    (change,) = remedy.plan(look(APP1, edits), case, None)  # type: ignore[arg-type]
    return [*(str(step.do) for step in change.steps), "--", *map(str, change.undo)]


GIVEN = "   # if /proc/107/task/{}/cmdline says 'guest=app1,'"


def test_a_thread_gets_its_scheduler_back() -> None:
    case = Case("app1/vcpu0", "batch", ("app1", "vcpu0"))
    assert plan(case, ran_as(FIRST, 0, 0)) == [
        "hv1$ chrt --batch -p 0 131" + GIVEN.format(131),
        "--",
        "hv1$ chrt --other -p 0 131" + GIVEN.format(131),
    ]


def test_what_was_inherited_is_taken_away() -> None:
    case = Case("app1/others", "other", ("app1", NAMED))
    assert plan(case, ran_as(THIRD, 1, 1)) == [
        "hv1$ chrt --other -p 0 136" + GIVEN.format(136),
        "--",
        "hv1$ chrt --fifo -p 1 136" + GIVEN.format(136),
    ]


def test_what_libvirt_was_told_is_not_mended() -> None:
    with pytest.raises(CannotMend, match="virsh edit"):
        plan(Case("app1/vcpu0", "batch", ("app1", "vcpu0")), changed(APP1, CONFIG, VCPU0, ""))
