"""Exercises: done, seen, taken back; what was seen meanwhile is the result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.remedies_local import means, to_exercise
from virtvet.errors import NotApplicable
from virtvet.judge import Outcome
from virtvet.remedies.change import CannotMend, Change, Exercise, Step
from virtvet.remedies.journal import NAME, open_changes
from virtvet.remedies.modes import Mode, Risk
from virtvet.remedies.operations import Run, WriteFile
from virtvet.remedies.settle import Result, exercise


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("rest\n")
    return path


def write(path: Path, text: str) -> Change:
    step = WriteFile("hv1", str(path), "rest\n", text)
    return Change("move", Risk.LIVE, (Step(step, (step.back(),)),))


@pytest.mark.parametrize(("moves", "outcome"), [("moved\n", Outcome.PASSED), ("half\n", Outcome.FAILED)])
@pytest.mark.parametrize("mode", [Mode.TRY, Mode.KEEP])
def test_what_is_seen_meanwhile_is_judged(file: Path, tmp_path: Path, mode: Mode, moves: str, outcome: Outcome) -> None:
    asked = to_exercise(file, "rest\n", "moved\n", write(file, moves))
    seen, done = exercise(asked, means(mode, file, tmp_path / "run"))
    assert (seen.outcome, done.result, file.read_text()) == (outcome, Result.TRIED, "rest\n")
    assert not done.alarming
    assert open_changes(tmp_path / "run" / NAME) == []


def test_nothing_is_done_where_it_departs_already(file: Path, tmp_path: Path) -> None:
    seen, done = exercise(to_exercise(file, "ready\n", "x", write(file, "x")), means(Mode.TRY, file, tmp_path / "run"))
    assert (seen.outcome, done) == (Outcome.FAILED, None)
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_done_is_an_error_and_taken_back(file: Path, tmp_path: Path) -> None:
    fails = Change("fail", Risk.LIVE, (Step(Run("hv1", ("false",))),))
    asked = to_exercise(file, "rest\n", "moved\n", write(file, "moved\n"), fails)
    seen, done = exercise(asked, means(Mode.TRY, file, tmp_path / "run"))
    assert (seen.outcome, seen.message()) == (Outcome.ERROR, "actual: hv1$ false: ended with exit code 1")
    assert (done.result, file.read_text()) == (Result.UNDONE, "rest\n")


def test_what_cannot_be_taken_back_is_loud(file: Path, tmp_path: Path) -> None:
    stays = Change(
        "stay", Risk.LIVE, (Step(WriteFile("hv1", str(file), "rest\n", "moved\n"), (Run("hv1", ("false",)),)),)
    )
    seen, done = exercise(to_exercise(file, "rest\n", "moved\n", stays), means(Mode.TRY, file, tmp_path / "run"))
    assert (seen.outcome, done.result, done.alarming) == (Outcome.PASSED, Result.STUCK, True)
    assert len(open_changes(tmp_path / "run" / NAME)) == 1


@pytest.mark.parametrize(
    ("reason", "outcome"), [(NotApplicable("no balloon"), Outcome.SKIPPED), (CannotMend("no way"), Outcome.ERROR)]
)
def test_what_is_not_done_is_no_pass(file: Path, tmp_path: Path, reason: Exception, outcome: Outcome) -> None:
    def refuses(*_asked: object) -> None:
        raise reason

    asked = to_exercise(file, "rest\n", "moved\n")
    refused = replace(asked, check=replace(asked.check, exercise=Exercise("", refuses)))  # type: ignore[arg-type]
    seen, done = exercise(refused, means(Mode.TRY, file, tmp_path / "run"))
    assert (seen.outcome, done) == (outcome, None)
    assert str(reason) in seen.message()
