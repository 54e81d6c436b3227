"""Jobs in daemon threads, and deadlines."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import virtvet
from virtvet.errors import Unreachable
from virtvet.snapshot.connections import in_time
from virtvet.snapshot.side_by_side import Deadline, background, side_by_side


def test_results_and_errors_are_in_the_jobs_order() -> None:
    first, second, third = side_by_side([lambda: 1, lambda: int("x"), lambda: 3], at_most=2)
    assert (first.result(), third.result()) == (1, 3)
    with pytest.raises(ValueError, match="invalid literal"):
        second.result()


def test_no_more_threads_than_asked() -> None:
    most, running, lock = [0], [0], threading.Lock()

    def job() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.005)
        with lock:
            running[0] -= 1

    for future in side_by_side([job] * 20, at_most=4):
        future.result()
    assert 1 < most[0] <= 4


def test_no_jobs_no_threads() -> None:
    assert side_by_side([], 4) == []


def test_a_job_that_hangs_does_not_keep_the_interpreter() -> None:
    src = str(Path(virtvet.__file__).parents[1])
    code = "import time; from virtvet.snapshot.side_by_side import background; background(lambda: time.sleep(60))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=5, env={"PYTHONPATH": src})


def test_what_lasts_too_long_is_ended() -> None:
    ended = threading.Event()
    with Deadline(0.01).ends(ended.set):
        assert ended.wait(1)
    with Deadline(60).ends(pytest.fail):
        pass


def test_a_deadline_passes_once() -> None:
    deadline = Deadline(0.01)
    assert 0 < deadline.left <= 0.01
    time.sleep(0.02)
    assert (deadline.left, deadline.passed, str(deadline)) == (0, True, "0.01 s")
    with pytest.raises(TimeoutError):
        background(lambda: time.sleep(1)).result(timeout=deadline.left)


def test_what_a_library_raises_at_a_strange_answer_costs_one_machine() -> None:
    with pytest.raises(Unreachable, match="hv1: not understood: UnicodeDecodeError"):
        in_time(lambda: b"\xff".decode(), "hv1", Deadline(5))
