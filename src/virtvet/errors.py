"""What can go wrong, in the words a user reads; and the exit codes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from virtvet.reporting.text import visible


class ExitCode(IntEnum):
    """pytest's own 0-5 stay as they are; ours begin at 20, clear of what pytest may add."""

    OK = 0
    FAILED = 1
    INTERRUPTED = 2
    INTERNAL = 3
    USAGE = 4
    NOTHING_CHECKED = 5
    UNREACHABLE = 20
    BAD_INPUT = 21
    WAIVER_EXPIRED = 22
    MENDING_UNDONE = 23


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file people wrote; line and column count from 1."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where, what is wrong, what would be right. A line, whatever names files and hosts brought in."""

    message: str
    hint: str = ""
    at: Position | None = None

    def __str__(self) -> str:
        where, hint = f"{self.at}: " if self.at else "", f" ({self.hint})" if self.hint else ""
        return visible(f"{where}{self.message}{hint}")


class BadInput(Exception):
    """A profile, inventory, snapshot file or option that cannot be used. Carries every problem found, not just one."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    @classmethod
    def one(cls, message: str, hint: str = "", at: Position | None = None) -> BadInput:
        """The usual case: a single problem."""
        return cls([Problem(message, hint, at)])


class CannotLook(Exception):
    """A source could not be read, or said something we do not understand. Always an error, never a pass.

    `source` names what was asked for ("/proc/4711/status", "virsh dumpxml web1"), `reason` what happened.
    """

    def __init__(self, source: object, reason: str) -> None:
        self.source, self.reason = str(source), reason
        super().__init__(f"{self.source}: {self.reason}")


class Unreachable(CannotLook):
    """A whole machine or its libvirt did not answer: reported by the control whose business it is, not once a check.

    `what` is "host", "libvirt" or "guest".
    """

    def __init__(self, source: object, reason: str, what: str = "host") -> None:
        super().__init__(source, reason)
        self.what = what


class NotApplicable(Exception):
    """This layer does not exist here (the guest is shut off, the kernel lacks the feature); the text says why."""
