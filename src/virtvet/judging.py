"""What people see while hosts are judged, instead of pytest's dots: a pytest plugin that `virtvet check` loads.

A line that counts on a terminal, nothing elsewhere; with --lines a line for each result as it ends.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator

import pytest
from rich.console import Console
from rich.live import Live
from rich.text import Text

from virtvet.check import ATTRIBUTE
from virtvet.plugin import RUN
from virtvet.record import Recorder
from virtvet.reporting.terminal import headline

EVERY = 0.1
"""Seconds between two looks of the counting line."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The command's --verbose."""
    parser.getgroup("virtvet").addoption("--lines", action="store_true", help="a line for every check")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Only where hosts are judged."""
    run = config.stash.get(RUN, None)
    if run and not config.getoption("collectonly"):
        config.pluginmanager.register(Lines(run.recorder) if config.getoption("lines") else Count())


class Hushed:
    """Our tests leave no letters; tests of others keep theirs."""

    def __init__(self) -> None:
        self.ours: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Which tests are ours."""
        self.ours = {item.nodeid for item in session.items if hasattr(getattr(item, "function", None), ATTRIBUTE)}

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Counted as ever, without letter or word."""
        if report.nodeid not in self.ours:
            return None
        return (report.outcome if report.when == "call" or not report.passed else "", "", "")


class Lines(Hushed):
    """A line for each result."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder, self._console = recorder, Console(file=sys.stdout)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """The newest result is this test's."""
        if nodeid in self.ours and self._recorder.results:
            self._console.print(headline(self._recorder.results[-1]), soft_wrap=True)


class Count(Hushed):
    """How far judging is. Drawn between tests, not by a thread: pytest captures output while a test runs."""

    def __init__(self) -> None:
        super().__init__()
        console = Console(file=sys.stderr)
        self._live = Live(
            console=console, transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._shown = console.is_terminal
        self._number, self._drawn = 0, 0.0

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins: the count goes on, drawn if that was not just done."""
        self._number += 1
        if not self._shown or time.monotonic() - self._drawn < EVERY:
            return
        self._live.start()
        subject = nodeid.partition("[")[2].removesuffix("]")
        line = Text(f"judging {self._number} of {len(self.ours)}  {subject}", no_wrap=True, overflow="ellipsis")
        self._live.update(line, refresh=True)
        self._drawn = time.monotonic()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None, object, object]:
        """Gone before the summary."""
        self._live.stop()
        return (yield)
