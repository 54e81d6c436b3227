"""A remedy says how a departure is mended; a change is one plan of it: data, exact, with its way back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass as data

from virtvet.remedies.modes import Risk
from virtvet.remedies.operations import Operation

if TYPE_CHECKING:
    from virtvet.check import Case
    from virtvet.snapshot.model import Snapshot
    from virtvet.snapshot.sources import HostSource, Source
    from virtvet.target import GuestTarget, HostTarget


class CannotMend(Exception):
    """The remedy knows no safe way from what was seen to what is wanted; the text says why. Nothing was touched."""


@data(frozen=True)
class Step:
    """One thing done and what takes it back; nothing where another step's way back takes it along."""

    do: Operation
    back: tuple[Operation, ...] = ()


@data(frozen=True)
class Change:
    """Steps that mend one thing together. `str` is the exact plan for people: commands quoted, files as a diff."""

    title: str
    risk: Risk
    steps: tuple[Step, ...]

    @property
    def undo(self) -> tuple[Operation, ...]:
        """Everything that takes it back, last step first. Harmless where a step never happened."""
        return tuple(operation for step in reversed(self.steps) for operation in step.back)

    def __str__(self) -> str:
        plan = "\n".join(str(step.do) for step in self.steps)
        return f"{self.title} (risk: {self.risk})\n" + "\n".join(f"  {line}" for line in plan.splitlines())


CHANGE: TypeAdapter[Change] = TypeAdapter(Change)
"""Changes to and from JSON."""


@dataclass(frozen=True, slots=True)
class Exercise:
    """What is done to see that a machine can do it, and always taken back. `plan` is pure: from a look, a case that
    passes in it and the host's target to changes, and to the case that passes while they are made. It raises CannotMend
    or CannotLook as a remedy's, NotApplicable where there is nothing to exercise."""

    title: str
    plan: Callable[[Snapshot, Case, HostTarget], tuple[tuple[Change, ...], Case]]


@dataclass(frozen=True, slots=True)
class Remedy:
    """How departures of a check are mended. `plan` is pure: from a look, a case that departs in it and the host's
    target to changes; it raises CannotMend, or CannotLook when the look does not hold what it needs.

    `sources` and `guest_sources` are what it reads beyond what the check reads; they are looked at in every run, so
    that a plan can be made from a recorded snapshot, too.
    """

    title: str
    risk: Risk
    """The highest risk of any change it plans."""
    plan: Callable[[Snapshot, Case, HostTarget], tuple[Change, ...]]
    sources: Callable[[HostTarget], Iterable[Source]] = lambda _host: ()
    guest_sources: Callable[[GuestTarget], Iterable[HostSource]] = lambda _guest: ()
