"""A pytest plugin for both suites: first connection, last verdict, channels opened between them."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import paramiko
import pytest

seen = {"first": 0.0, "answered": 0.0, "last": 0.0, "channels": 0, "tests": 0, "passed": 0}


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect" and not seen["first"] and "127.0.0.1" in str(arguments[1]):
        seen["first"] = time.monotonic()


_open = paramiko.Transport.open_channel


def _counted(self: paramiko.Transport, *arguments: object, **options: object) -> paramiko.Channel:
    seen["channels"] += 1
    return _open(self, *arguments, **options)  # type: ignore[arg-type]


def pytest_configure(config: pytest.Config) -> None:
    sys.addaudithook(_audit)
    paramiko.Transport.open_channel = _counted  # type: ignore[method-assign]


def pytest_collection_finish() -> None:
    """virtvet has looked before it collects; testinfra has not even connected."""
    seen["answered"] = time.monotonic()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        seen["last"], seen["tests"] = time.monotonic(), seen["tests"] + 1
        seen["passed"] += report.passed


def pytest_unconfigure() -> None:
    look = seen["last"] - seen["first"]
    times = {"look_s": look, "answered_s": seen["answered"] - seen["first"]}
    Path(os.environ["BENCH_OUT"]).write_text(json.dumps({**seen, **times}))
