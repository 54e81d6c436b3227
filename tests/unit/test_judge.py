"""Verdicts: a seen departure fails, blindness errs, nothing looked at never passes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from virtvet.check import Case, Check, Control, Layer, PerLayer, Reading, Severity
from virtvet.errors import CannotLook, NotApplicable, Unreachable
from virtvet.expect import Contains
from virtvet.judge import Outcome, judge
from virtvet.snapshot.model import Snapshot

CONTROL = Control("X-1", "x", "x", Severity.LOW, "R0", "because", "do it")
SNAPSHOT = Snapshot("hv1", datetime(2026, 1, 1, tzinfo=UTC))


def says(value: object) -> Callable[..., Reading]:
    return lambda _snapshot: Reading(value, "a file")


def raises(error: Exception) -> Callable[..., Reading]:
    def probe(_snapshot: Snapshot) -> Reading:
        raise error

    return probe


BLIND = raises(CannotLook("/f", "does not exist"))
LOST = raises(Unreachable("hv1/web1", "no route", "guest"))
NOT_THERE = raises(NotApplicable("guest is shut off"))
BUG = raises(ValueError("hostile"))


def outcome(expected: object = 1, prerequisite: str = "", **probes: Callable[..., Reading]) -> tuple[Outcome, str]:
    layers = {Layer(name): probe for name, probe in probes.items()}
    check = Check(CONTROL, "test_x", lambda _h: (), layers, lambda _h: (), lambda _g: (), None, prerequisite)
    observed = judge(check, Case("x", expected), SNAPSHOT)
    return observed.outcome, observed.message()


@pytest.mark.parametrize(
    ("probes", "wanted"),
    [
        ({"config": says(1), "actual": says(1)}, Outcome.PASSED),
        ({"config": says(1), "actual": says(2)}, Outcome.FAILED),
        ({"config": says(1), "actual": BLIND}, Outcome.ERROR),
        ({"config": says(2), "actual": BLIND}, Outcome.FAILED),
        ({"config": says(1), "actual": BUG}, Outcome.ERROR),
        ({"config": says(1), "guest": LOST}, Outcome.SKIPPED),
        ({"config": says(2), "guest": LOST}, Outcome.FAILED),
        ({"config": says(1), "actual": NOT_THERE}, Outcome.PASSED),
        ({"actual": NOT_THERE}, Outcome.SKIPPED),
        ({"actual": lambda _s: []}, Outcome.ERROR),
        ({}, Outcome.SKIPPED),
    ],
)
def test_outcome(probes: dict[str, Callable[..., Reading]], wanted: Outcome) -> None:
    assert outcome(**probes)[0] is wanted


def test_the_prerequisite_itself_errs_when_its_machine_is_lost() -> None:
    assert outcome(prerequisite="guest", guest=LOST)[0] is Outcome.ERROR


def test_message_names_the_layer_that_departs() -> None:
    message = outcome(expected=frozenset({2}), live=says(frozenset({2})), actual=says(frozenset({0, 1, 2, 3})))[1]
    assert message == "actual says 0-3 (a file), expected 2 — live agrees"


def test_expected_may_differ_by_layer() -> None:
    assert outcome(PerLayer(config=10, actual=8), config=says(10), actual=says(8))[0] is Outcome.PASSED


def test_true_is_not_one() -> None:
    assert outcome(True, actual=says(1))[0] is Outcome.FAILED


def test_a_value_that_cannot_be_compared_is_an_error() -> None:
    assert outcome(Contains.of({1}), actual=says([[1]]))[0] is Outcome.ERROR
