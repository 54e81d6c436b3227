"""Waiting with an end: deadlines, and jobs in daemon threads, which never keep the interpreter from exiting.

`concurrent.futures`' pools are no use here: they join their threads at exit, and a thread that hangs in a library would
hang virtvet with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread, Timer
from time import monotonic
from typing import TypeVar

T = TypeVar("T")

GRACE = 0.25


class Deadline:
    """A point in time, `seconds` from its making."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until then, never negative."""
        return max(0.0, self._end - monotonic())

    @property
    def patience(self) -> float:
        """Seconds to wait for a job that keeps this deadline itself: a little longer, so that its own words arrive."""
        return max(0.0, self._end + GRACE - monotonic())

    @property
    def passed(self) -> bool:
        """Whether it is too late."""
        return self.left == 0

    @contextmanager
    def ends(self, hanging: Callable[[], object]) -> Iterator[None]:
        """Call `hanging` (closing what the block waits for) if the block lasts beyond the deadline."""
        timer = Timer(self.left, hanging)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def __str__(self) -> str:
        return f"{self.seconds:g} s"


def background(job: Callable[[], T]) -> Future[T]:
    """Start one job in a daemon thread."""
    return side_by_side([job], 1)[0]


def side_by_side(jobs: Iterable[Callable[[], T]], at_most: int) -> list[Future[T]]:
    """Start the jobs in at most so many daemon threads; the futures are in the jobs' order."""
    waiting = deque((job, Future[T]()) for job in jobs)
    futures = [future for _job, future in waiting]
    for _ in range(min(at_most, len(waiting))):
        Thread(target=_work, args=(waiting,), daemon=True).start()
    return futures


def _work(waiting: deque[tuple[Callable[[], T], Future[T]]]) -> None:
    while True:
        try:
            job, future = waiting.popleft()
        except IndexError:
            return
        try:
            future.set_result(job())
        except BaseException as error:  # belongs to whoever asks for the result
            future.set_exception(error)
