"""From a departure to its end: nothing touched by a plan, everything taken back but what was asked for and verified."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.remedies_local import LocalHands, asked, means
from virtvet.errors import BadInput
from virtvet.judge import Outcome
from virtvet.remedies.change import Change, Step
from virtvet.remedies.journal import NAME, State, open_changes
from virtvet.remedies.modes import Mode, Risk
from virtvet.remedies.operations import Given, Run, WriteFile
from virtvet.remedies.settle import Means, Result, settle
from virtvet.remedies.undo import Undone, find_journal, undo


def write(path: Path, text: str = "right\n", risk: Risk = Risk.LIVE) -> Change:
    step = WriteFile("hv1", str(path), "wrong\n", text)
    return Change(f"write {path.name}", risk, (Step(step, (step.back(),)),))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("wrong\n")
    return path


@pytest.mark.parametrize(
    ("mode", "result", "left", "outcome"),
    [
        (Mode.PLAN, Result.PLANNED, "wrong\n", Outcome.FAILED),
        (Mode.TRY, Result.TRIED, "wrong\n", Outcome.FAILED),
        (Mode.KEEP, Result.KEPT, "right\n", Outcome.PASSED),
    ],
)
def test_each_mode_leaves_what_it_says(
    file: Path, tmp_path: Path, mode: Mode, result: Result, left: str, outcome: Outcome
) -> None:
    observed, mending = settle(asked(file, "right\n", write(file)), means(mode, file, tmp_path / "run"))
    assert (mending.result, observed.outcome, file.read_text()) == (result, outcome, left)
    assert (tmp_path / "run").exists() is (mode is not Mode.PLAN)
    assert not mending.alarming


@pytest.mark.parametrize("mode", [Mode.TRY, Mode.KEEP])
def test_what_is_not_verified_is_taken_back(file: Path, tmp_path: Path, mode: Mode) -> None:
    observed, mending = settle(asked(file, "right\n", write(file, "better\n")), means(mode, file, tmp_path / "run"))
    assert (mending.result, observed.outcome, file.read_text()) == (Result.UNDONE, Outcome.FAILED, "wrong\n")
    assert "better" in mending.message
    assert mending.alarming
    assert open_changes(tmp_path / "run" / NAME) == []


@pytest.mark.parametrize("mode", [Mode.TRY, Mode.KEEP])
def test_half_a_change_is_taken_back(file: Path, tmp_path: Path, mode: Mode) -> None:
    first, second = write(file), Change("fail", Risk.LIVE, (Step(Run("hv1", ("false",))),))
    _observed, mending = settle(asked(file, "right\n", first, second), means(mode, file, tmp_path / "run"))
    assert (mending.result, file.read_text()) == (Result.UNDONE, "wrong\n")
    assert mending.message == "hv1$ false: ended with exit code 1"


def test_what_cannot_be_taken_back_is_loud_and_stays_in_the_journal(file: Path, tmp_path: Path) -> None:
    blocked = Step(Run("hv1", ("true",)), (Run("hv1", ("sh", "-c", "test ! -e " + str(tmp_path / "busy"))),))
    (tmp_path / "busy").touch()
    changes = (write(file), Change("block", Risk.LIVE, (blocked,)))
    _observed, mending = settle(asked(file, "right\n", *changes), means(Mode.TRY, file, tmp_path / "run"))
    assert (mending.result, mending.alarming, file.read_text()) == (Result.STUCK, True, "wrong\n")
    assert [entry.change.title for entry in open_changes(tmp_path / "run" / NAME)] == ["block"]


def test_a_taking_back_that_left_something_else_is_loud(file: Path, tmp_path: Path) -> None:
    careless = Step(Run("hv1", ("tee", str(file)), "right\n"), (Run("hv1", ("tee", str(file)), "third\n"),))
    change = Change("careless", Risk.LIVE, (careless,))
    _observed, mending = settle(asked(file, "right\n", change), means(Mode.TRY, file, tmp_path / "run"))
    assert mending.result is Result.STUCK
    assert "third" in mending.message


def test_steps_are_taken_back_in_reverse(file: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def step(number: int) -> Step:
        write, back = (
            Run("hv1", ("sh", "-c", 'echo "$1" >> "$2"', "sh", f"{word} {number}", str(log))) for word in ("do", "back")
        )
        return Step(write, (back,))

    changes = (Change("a", Risk.LIVE, (step(1), step(2))), Change("b", Risk.LIVE, (step(3),)))
    settle(asked(file, "right\n", *changes), means(Mode.TRY, file, tmp_path / "run"))
    assert log.read_text().splitlines() == ["do 1", "do 2", "do 3", "back 3", "back 2", "back 1"]


def test_more_risk_than_allowed_is_refused(file: Path, tmp_path: Path) -> None:
    _observed, mending = settle(
        asked(file, "right\n", write(file, risk=Risk.GUEST_RESTART)), means(Mode.KEEP, file, tmp_path / "run")
    )
    assert (mending.result, file.read_text()) == (Result.REFUSED, "wrong\n")
    assert "--fix-risk=guest-restart" in mending.message


def test_a_case_that_holds_is_not_mended(file: Path, tmp_path: Path) -> None:
    observed, mending = settle(asked(file, "wrong\n", write(file)), means(Mode.KEEP, file, tmp_path / "run"))
    assert (observed.outcome, mending) == (Outcome.PASSED, None)


def test_a_second_keep_changes_nothing(file: Path, tmp_path: Path) -> None:
    settle(asked(file, "right\n", write(file)), means(Mode.KEEP, file, tmp_path / "one"))
    _observed, mending = settle(asked(file, "right\n", write(file)), means(Mode.KEEP, file, tmp_path / "two"))
    assert mending is None
    assert not (tmp_path / "two").exists()


def test_an_interruption_takes_back_what_was_begun(file: Path, tmp_path: Path) -> None:
    def interrupted(_host: str) -> None:
        raise KeyboardInterrupt

    tools = means(Mode.KEEP, file, tmp_path / "run")
    tools = Means(tools.mode, tools.allowed, tools.journal, tools.hands, interrupted)
    with pytest.raises(KeyboardInterrupt):
        settle(asked(file, "right\n", write(file)), tools)
    assert file.read_text() == "wrong\n"


def test_a_refusal_of_the_remedy_touches_nothing(file: Path, tmp_path: Path) -> None:
    one = asked(file, "right\n")
    _observed, mending = settle(one, means(Mode.KEEP, file, tmp_path / "run"))
    assert (mending.result, mending.message) == (Result.REFUSED, "the remedy finds nothing to change")


KILLED = """\
import os, signal, sys
from pathlib import Path
from tests.unit.remedies_local import LocalHands, asked, means
from tests.unit.test_remedies_settle import write
from virtvet.remedies.modes import Mode
from virtvet.remedies.settle import Means, settle

class DyingHands(LocalHands):
    def run(self, machine, argv, stdin=b""):
        if sys.argv[2] == "applied":
            super().run(machine, argv, stdin)
        os.kill(os.getpid(), signal.SIGKILL)

file = Path(sys.argv[1])
tools = means(Mode.KEEP, file, file.parent / "run")
settle(asked(file, "right\\n", write(file)), Means(tools.mode, tools.allowed, tools.journal, DyingHands(), tools.look))
"""


@pytest.mark.parametrize(("killed", "left"), [("planned", "wrong\n"), ("applied", "right\n")])
def test_a_killed_run_is_undone_from_its_journal(file: Path, tmp_path: Path, killed: str, left: str) -> None:
    top = Path(__file__).parents[2]
    environment = {"PYTHONPATH": f"{top}:{top / 'src'}"}
    done = subprocess.run([sys.executable, "-c", KILLED, str(file), killed], env=environment)
    assert (done.returncode, file.read_text()) == (-signal.SIGKILL, left)
    path = find_journal("run", tmp_path)
    assert [entry.state for entry in open_changes(path)] == [State.PLANNED]
    assert undo(path, LocalHands()) == [Undone("write file")]
    assert file.read_text() == "wrong\n"
    assert undo(path, LocalHands()) == []


def test_undo_goes_on_when_one_change_fails(tmp_path: Path, file: Path) -> None:
    stubborn = Step(Run("hv1", ("true",)), (Run("hv1", ("false",), given=Given(str(tmp_path / "busy"))),))
    changes = (write(file), Change("stubborn", Risk.LIVE, (stubborn,)))
    tools = means(Mode.KEEP, file, tmp_path / "run")
    settle(asked(file, "right\n", *changes), tools)
    tools.journal.close()
    path = tmp_path / "run" / NAME
    (tmp_path / "busy").touch()
    assert [(one.title, bool(one.trouble)) for one in undo(path, LocalHands())] == [
        ("stubborn", True),
        ("write file", False),
    ]
    assert file.read_text() == "wrong\n"
    (tmp_path / "busy").unlink()
    assert undo(path, LocalHands()) == [Undone("stubborn")]


@pytest.mark.parametrize(
    ("run", "said"), [("nowhere", "no such run"), ("run", "changed nothing")], ids=["no such run", "no journal"]
)
def test_undo_of_what_is_not_there(tmp_path: Path, run: str, said: str) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(BadInput, match=said):
        find_journal(run, tmp_path)
