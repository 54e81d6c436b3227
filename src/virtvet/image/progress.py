"""What people see while a machine boots: lines that stay, and one that changes (or comes now and then)."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import TextIO

from rich.console import Console
from rich.status import Status

from virtvet.reporting.text import visible

EVERY_SECONDS = 15
"""Between two lines of waiting where there is no terminal."""


class Progress:
    """Told what happens, with the seconds since its making."""

    def __init__(self, file: TextIO) -> None:
        self._console = Console(file=file)
        self._began = self._said = monotonic()
        self._status: Status | None = None

    @property
    def seconds(self) -> float:
        """Since its making."""
        return monotonic() - self._began

    def say(self, text: str) -> None:
        """A line that stays, or several; what is not printable in it is shown as an escape."""
        self.quiet()
        self._said = monotonic()
        lines = "\n".join(map(visible, text.split("\n")))
        self._console.print(f"virtvet: {lines}", markup=False, highlight=False, soft_wrap=True)

    def waiting(self, text: str) -> None:
        """Where it is just now."""
        text = visible(f"{text} ({self.seconds:.0f} s)")
        if self._console.is_terminal:
            if self._status is None:
                self._status = self._console.status("")
                self._status.start()
            self._status.update(self._console.render_str(text, markup=False, highlight=False))
        elif monotonic() - self._said >= EVERY_SECONDS:
            self.say(text)

    def quiet(self) -> None:
        """The line that changes goes."""
        if self._status:
            with suppress(OSError):
                self._status.stop()
            self._status = None
