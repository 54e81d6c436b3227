"""What people see while hosts are looked at: a live table on a terminal, a line per host elsewhere."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

ENDED = ("done", "unreachable")


class LookProgress:
    """Called with (host, what) from the look's threads; a context manager around the look."""

    def __init__(self, file: TextIO) -> None:
        self._console = Console(file=file)
        self._states: dict[str, str] = {}
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._live = Live(console=self._console, transient=True, get_renderable=self._table, refresh_per_second=8)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()
        if kind is None:
            self._say(f"looked at {len(self._states)} host{'s' * (len(self._states) != 1)} in {self._seconds():.1f} s")

    def __call__(self, host: str, what: str) -> None:
        """A host's state changed."""
        with self._lock:
            self._states[host] = what
        if not self._console.is_terminal and what.startswith(ENDED):
            self._say(f"{host}: {what} after {self._seconds():.1f} s")

    def _say(self, text: str) -> None:
        self._console.print(f"virtvet: {text}", markup=False, highlight=False, soft_wrap=True)

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        with self._lock:
            for host, state in self._states.items():
                colour = "red" if state.startswith("unreachable") else "green" if state == "done" else "cyan"
                table.add_row(escape(host), f"[{colour}]{escape(state)}[/]")
        table.add_row(f"looking at {len(self._states)} hosts", f"{self._seconds():.1f} s")
        return table
