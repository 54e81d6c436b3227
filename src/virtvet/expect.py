"""Expectations that are not equality, and the one comparison used for every layer of every check."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal


class Expectation(ABC):
    """Says whether a value satisfies it, and describes itself for a report by str()."""

    @abstractmethod
    def matches(self, value: Any) -> bool:
        """Whether `value` is as it must be."""


@dataclass(frozen=True, slots=True)
class AtLeast(Expectation):
    """A number no smaller than `least`."""

    least: float
    unit: str = ""

    def matches(self, value: Any) -> bool:
        """Numbers only; anything else does not match."""
        return isinstance(value, int | float) and value >= self.least

    def __str__(self) -> str:
        return f"at least {self.least:g} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class AtMost(Expectation):
    """A number no larger than `most`."""

    most: float
    unit: str = ""

    def matches(self, value: Any) -> bool:
        """Numbers only; anything else does not match."""
        return isinstance(value, int | float) and value <= self.most

    def __str__(self) -> str:
        return f"at most {self.most:g} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Between(Expectation):
    """A number from `least` to `most`, both included."""

    least: int
    most: int

    def matches(self, value: Any) -> bool:
        """Whole numbers only; anything else does not match."""
        return isinstance(value, int) and self.least <= value <= self.most

    def __str__(self) -> str:
        return f"{self.least} to {self.most}"


@dataclass(frozen=True, slots=True)
class Contains(Expectation):
    """A set that holds at least these members."""

    members: frozenset[Any]

    @classmethod
    def of(cls, members: Iterable[Any]) -> Contains:
        """From any iterable."""
        return cls(frozenset(members))

    def matches(self, value: Any) -> bool:
        """Sets, lists and tuples."""
        return isinstance(value, set | frozenset | list | tuple) and self.members <= set(value)

    def __str__(self) -> str:
        return "at least " + show(self.members)


@dataclass(frozen=True, slots=True)
class Within(Expectation):
    """A set that holds nothing but these members (a thread seen on CPU 1, allowed 0-1)."""

    members: frozenset[Any]

    def matches(self, value: Any) -> bool:
        """Sets, lists and tuples; empty matches."""
        return isinstance(value, set | frozenset | list | tuple) and set(value) <= self.members

    def __str__(self) -> str:
        return "nothing but " + show(self.members)


@dataclass(frozen=True, slots=True)
class NotEmpty(Expectation):
    """A set with any member."""

    def matches(self, value: Any) -> bool:
        """Sets, lists and tuples."""
        return isinstance(value, set | frozenset | list | tuple) and bool(value)

    def __str__(self) -> str:
        return "any, but not none"


@dataclass(frozen=True, slots=True)
class Anything(Expectation):
    """A value that is there."""

    def matches(self, value: Any) -> bool:
        """All but None."""
        return value is not None

    def __str__(self) -> str:
        return "any"


@dataclass(frozen=True, slots=True)
class OneOf(Expectation):
    """Any of these values."""

    values: tuple[Any, ...]

    def matches(self, value: Any) -> bool:
        """By equality."""
        return value in self.values

    def __str__(self) -> str:
        return "one of " + ", ".join(map(show, self.values))


def matches(expected: Any, value: Any) -> bool:
    """The one comparison. True and 1 are different values."""
    if isinstance(expected, Expectation):
        return expected.matches(value)
    if isinstance(expected, bool) or isinstance(value, bool):
        return expected is value
    return bool(expected == value)


Unit = Literal["", "bytes", "bytes/s", "bits/s"]
"""How people write what whole numbers of bytes, or of bytes a second, count."""

FEW_DIGITS = 10_000
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_SCALES: dict[Unit, tuple[int, int, tuple[str, ...]]] = {
    "bytes": (1, 1024, tuple(f"{step}B" for step in _BINARY)),
    "bytes/s": (1, 1024, tuple(f"{step}B/s" for step in _BINARY)),
    "bits/s": (8, 1000, ("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "Pbit/s")),
}
"""How many of a byte, the step from one name to the next, and the names."""


def show(value: Any, unit: Unit = "") -> str:
    """A value as a report shows it: CPU sets and name sets sorted, octal nowhere guessed, None as "not set"."""
    match value:
        case bool():
            return "yes" if value else "no"
        case int() if unit:
            return _counted(value, unit)
        case AtLeast() if unit:
            return f"at least {show(int(value.least), unit)}"
        case Between() if unit:
            return f"{show(value.least, unit)} to {show(value.most, unit)}"
        case None:
            return "not set"
        case set() | frozenset() if value and all(isinstance(one, int) for one in value):
            return ranges(value)
        case set() | frozenset() | list() | tuple():
            items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
            return ", ".join(map(show, items)) or "none"
        case dict():
            return ", ".join(f"{key}={show(one)}" for key, one in value.items()) or "none"
    return str(value)


def _counted(number: int, unit: Unit) -> str:
    """369098752 -> "352 MiB"; what has no short name, both ways: 193282049 -> "184.3 MiB (193282049)"."""
    factor, base, names = _SCALES[unit]
    steps = [step for step in range(len(names)) if base**step <= abs(number) * factor] or [0]
    for step in steps[:-3:-1]:
        count, rest = divmod(number * factor, base**step)
        if rest == 0 and count < FEW_DIGITS:
            return f"{count} {names[step]}"
    return f"{number * factor / base ** steps[-1]:.1f} {names[steps[-1]]} ({number})"


def ranges(numbers: Iterable[int]) -> str:
    """{0, 1, 2, 5} -> "0-2,5", as the kernel's cpulist format (Documentation/admin-guide/kernel-parameters.rst)."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)
