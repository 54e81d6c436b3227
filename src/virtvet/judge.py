"""One case against one snapshot, purely: every layer's readings compared with what that layer must show."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from virtvet.check import Case, Check, Layer, PerLayer, Reading, run_probe
from virtvet.errors import CannotLook, NotApplicable, Unreachable
from virtvet.expect import matches, show
from virtvet.snapshot.model import Snapshot


class Outcome(StrEnum):
    """How a case ended."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"
    WAIVED = "waived"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one layer showed: readings with their verdicts, why it could not be read, or why it does not exist here."""

    layer: Layer
    expected: Any
    readings: tuple[tuple[Reading, bool], ...] = ()
    error: str = ""
    not_applicable: str = ""
    blocked: bool = False
    """The error is a prerequisite's (host or guest not reachable): reported there, once."""

    @property
    def departs(self) -> bool:
        """Some reading is not as it must be."""
        return not all(good for _reading, good in self.readings)

    @property
    def looked(self) -> bool:
        """Something was read."""
        return bool(self.readings)


@dataclass(frozen=True)
class Observed:
    """What every layer showed. `observed == case.expected` is the assertion of every check."""

    case: Case
    layers: tuple[Seen, ...]
    outcome: Outcome = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "outcome", _outcome(self.layers))

    def __eq__(self, expected: object) -> bool:
        looked = [seen for seen in self.layers if seen.looked]
        return bool(looked) and all(
            matches(expected[seen.layer] if isinstance(expected, PerLayer) else expected, reading.value)
            for seen in looked
            for reading, _good in seen.readings
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def departing(self) -> tuple[Seen, ...]:
        """The layers that are not as they must be."""
        return tuple(seen for seen in self.layers if seen.departs)

    def message(self) -> str:
        """Which layer says what: one sentence for people."""
        if self.departing:
            return _departure(self)
        errors = [f"{seen.layer}: {seen.error}" for seen in self.layers if seen.error]
        return "; ".join(errors) or "; ".join(f"{s.layer}: {s.not_applicable}" for s in self.layers if s.not_applicable)


def judge(check: Check, case: Case, snapshot: Snapshot) -> Observed:
    """Run the check's probes for one case. Never raises: what a machine says may be anything."""
    return Observed(case, tuple(_see(check, layer, case, snapshot) for layer in check.layers))


def _see(check: Check, layer: Layer, case: Case, snapshot: Snapshot) -> Seen:
    expected = case.expected_on(layer)
    try:
        readings = run_probe(check.probes[layer], snapshot, case)
        judged = tuple((reading, matches(expected, reading.value)) for reading in readings)
    except Unreachable as lost:
        return Seen(layer, expected, error=str(lost), blocked=lost.what != check.prerequisite)
    except CannotLook as blind:
        return Seen(layer, expected, error=str(blind))
    except NotApplicable as reason:
        return Seen(layer, expected, not_applicable=str(reason))
    except Exception as surprise:  # hostile or unforeseen text in an answer: could not look, and say so
        return Seen(layer, expected, error=f"not understood: {type(surprise).__name__}: {surprise}")
    if not judged:
        return Seen(layer, expected, error="the probe found nothing to read")
    return Seen(layer, expected, judged)


def _outcome(layers: tuple[Seen, ...]) -> Outcome:
    """A departure that was seen is a failure whatever could not be read; then errors; nothing read never passes."""
    if any(seen.departs for seen in layers):
        return Outcome.FAILED
    if any(seen.error and not seen.blocked for seen in layers):
        return Outcome.ERROR
    if any(seen.blocked for seen in layers) or not any(seen.looked for seen in layers):
        return Outcome.SKIPPED
    return Outcome.PASSED


def _departure(observed: Observed) -> str:
    good = [str(seen.layer) for seen in observed.layers if seen.looked and not seen.departs]
    parts, unit = [], observed.case.unit
    for seen in observed.departing:
        values = list(
            dict.fromkeys(f"{show(reading.value, unit)} ({reading.source})" for reading, ok in seen.readings if not ok)
        )
        parts.append(f"{seen.layer} says {'; '.join(values)}, expected {show(seen.expected, unit)}")
    return "; ".join(parts) + (f" — {' and '.join(good)} agree{'s' if len(good) == 1 else ''}" if good else "")
