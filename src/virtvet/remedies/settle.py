"""One case to its end: look, and where it departs and mending was asked for: plan, journal, apply, look again, judge,
and keep only what was asked to be kept and is seen to be right; everything else is taken back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from virtvet.check import Case, Check
from virtvet.errors import CannotLook, NotApplicable
from virtvet.judge import Observed, Outcome, Seen, judge
from virtvet.remedies.change import CannotMend, Change
from virtvet.remedies.journal import Entry, Journal, State
from virtvet.remedies.modes import Mode, Risk
from virtvet.remedies.operations import Hands, OperationFailed
from virtvet.snapshot.model import Snapshot
from virtvet.target import HostTarget


class Result(StrEnum):
    """How mending one case ended."""

    PLANNED = "planned"
    """Nothing was touched, this would be done."""
    REFUSED = "refused"
    """Nothing was touched: no safe way, or more risk than was allowed."""
    TRIED = "tried"
    """It works; taken back, as asked."""
    KEPT = "kept"
    """It works and stays."""
    UNDONE = "undone"
    """It did not work, and was taken back."""
    STUCK = "stuck"
    """Taking it back did not work: something was left behind, the journal has it."""


@dataclass(frozen=True, slots=True)
class Mending:
    """What was done about a departing case. `str` of each change is the exact plan."""

    result: Result
    changes: tuple[Change, ...] = ()
    message: str = ""

    @property
    def alarming(self) -> bool:
        """The run must end with ExitCode.MENDING_UNDONE."""
        return self.result in (Result.UNDONE, Result.STUCK)


class TakeBackFailed(Exception):
    """Some operation of an undo did not work; the others were done all the same."""


@dataclass(frozen=True, slots=True)
class Means:
    """What mending needs in one run. `look`: a fresh look at one host, with the same eyes as the first."""

    mode: Mode
    allowed: Risk
    journal: Journal
    hands: Hands
    look: Callable[[str], Snapshot]


@dataclass(frozen=True, slots=True)
class Asked:
    """A case of a check on a host, and the newest look at that host."""

    check: Check
    case: Case
    target: HostTarget
    snapshot: Snapshot

    def judged(self, snapshot: Snapshot) -> Observed:
        """The case in another look."""
        return judge(self.check, self.case, snapshot)


def settle(asked: Asked, means: Means) -> tuple[Observed, Mending | None]:
    """The case as the host is left: after `keep` what was mended, after `try` as it was before. None: nothing to mend.

    Raises only what is a bug or an interruption, after taking back what was begun.
    """
    observed = asked.judged(asked.snapshot)
    if asked.check.remedy is None or observed.outcome is not Outcome.FAILED:
        return observed, None
    try:
        changes = asked.check.remedy.plan(asked.snapshot, asked.case, asked.target)
        _allow(changes, means.allowed)
    except (CannotMend, CannotLook, NotApplicable) as reason:
        return observed, Mending(Result.REFUSED, message=str(reason))
    if means.mode is Mode.PLAN:
        return observed, Mending(Result.PLANNED, changes)
    return _Attempt(asked, means, observed, changes, asked).run()


def exercise(asked: Asked, means: Means) -> tuple[Observed, Mending | None]:
    """The case as it is while the check's exercise is done, which is taken back afterwards, whatever came of it.

    An exercise begins from what is right: nothing is done where that already departs or cannot be seen.
    """
    before = asked.judged(asked.snapshot)
    if asked.check.exercise is None or before.outcome is not Outcome.PASSED:
        return before, None
    try:
        changes, during = asked.check.exercise.plan(asked.snapshot, asked.case, asked.target)
    except NotApplicable as reason:
        return _unseen(asked, "", str(reason)), None
    except (CannotMend, CannotLook) as reason:
        return _unseen(asked, str(reason)), None
    attempt = _Attempt(asked, replace(means, mode=Mode.TRY), before, changes, replace(asked, case=during))
    _after, ended = attempt.run()
    seen = attempt.seen or _unseen(asked, ended.message)
    harmless = ended.result is Result.UNDONE and attempt.seen is not None
    return seen, replace(ended, result=Result.TRIED) if harmless else ended


def _unseen(asked: Asked, error: str, not_applicable: str = "") -> Observed:
    case, layers = asked.case, asked.check.layers
    return Observed(case, tuple(Seen(layer, case.expected_on(layer), (), error, not_applicable) for layer in layers))


def _allow(changes: tuple[Change, ...], allowed: Risk) -> None:
    if not changes:
        raise CannotMend("the remedy finds nothing to change")
    for change in changes:
        if not change.risk.within(allowed):
            raise CannotMend(f"{change.title}: needs --fix-risk={change.risk}, allowed is {allowed}")


@dataclass
class _Attempt:
    """Changes that are applied, judged, and kept or taken back."""

    asked: Asked
    means: Means
    before: Observed
    changes: tuple[Change, ...]
    wanted: Asked
    """What is judged once they are applied."""
    seen: Observed | None = None
    """What that showed."""

    def run(self) -> tuple[Observed, Mending]:
        trouble = ""
        try:
            with ExitStack() as taking_back:
                mended = self._apply(taking_back)
                if mended.outcome is not Outcome.PASSED:
                    trouble = f"afterwards: {mended.message() or mended.outcome}"
                elif self.means.mode is Mode.KEEP:
                    taking_back.pop_all()
                    return mended, Mending(Result.KEPT, self.changes)
        except OperationFailed as failure:
            trouble = str(failure)
        except CannotLook as failure:
            trouble = str(failure)
        except TakeBackFailed as failure:
            return self._look(), Mending(Result.STUCK, self.changes, f"could not be taken back: {failure}")
        return self._taken_back(trouble)

    def _apply(self, taking_back: ExitStack) -> Observed:
        """Journal and apply every change, then look and judge. What `taking_back` holds is undone unless popped."""
        journal, entries = self.means.journal, []
        for change in self.changes:
            entries.append(entry := journal.plan(change))
            taking_back.callback(take_back, entry, journal, self.means.hands)
            for step in change.steps:
                step.do.perform(self.means.hands)
            journal.mark(entry, State.APPLIED)
        self.seen = mended = self.wanted.judged(self.means.look(self.wanted.target.name))
        if mended.outcome is Outcome.PASSED:
            for entry in entries:
                journal.mark(entry, State.KEPT if self.means.mode is Mode.KEEP else State.VERIFIED)
        return mended

    def _taken_back(self, trouble: str) -> tuple[Observed, Mending]:
        """Whether it is as it was, seen by one more look."""
        again = self._look()
        if _shown(again) != _shown(self.before):
            message = f"taken back, but it is not as it was: {again.message() or again.outcome}"
            return again, Mending(Result.STUCK, self.changes, "; ".join(filter(None, (trouble, message))))
        return again, Mending(Result.UNDONE if trouble else Result.TRIED, self.changes, trouble)

    def _look(self) -> Observed:
        return self.asked.judged(self.means.look(self.asked.target.name))


def _shown(observed: Observed) -> list[Any]:
    """All that a case saw, for comparison."""
    return [
        (seen.layer, seen.error, seen.not_applicable, [reading.value for reading, _good in seen.readings])
        for seen in observed.layers
    ]


def take_back(entry: Entry, journal: Journal, hands: Hands) -> None:
    """Undo one change as far as it can be undone. Raises TakeBackFailed with all that did not work."""
    failures = [failure for operation in entry.change.undo if (failure := _failure(operation.perform, hands))]
    if failures:
        journal.mark(entry, State.FAILED, "\n".join(failures))
        raise TakeBackFailed("\n".join(failures))
    journal.mark(entry, State.UNDONE)


def _failure(perform: Callable[[Hands], None], hands: Hands) -> str:
    try:
        perform(hands)
    except (OperationFailed, CannotLook) as failure:
        return str(failure)
    return ""
