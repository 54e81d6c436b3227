"""Ctrl-C, SIGTERM and SIGHUP: they end a run, but not just anywhere in it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stoppable() -> Iterator[Callable[[], None]]:
    """Each of them ends the block by KeyboardInterrupt, once: teardown is not interrupted.

    What is handed over says that teardown begins anyway: from then on they are ignored.
    """
    heeded = [one for one in SIGNALS if signal.getsignal(one) != signal.SIG_IGN]

    def ending() -> None:
        for one in heeded:
            signal.signal(one, signal.SIG_IGN)

    def stop(_number: int, _frame: FrameType | None) -> None:
        ending()
        raise KeyboardInterrupt

    before = {one: signal.signal(one, stop) for one in heeded}
    try:
        yield ending
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextmanager
def held() -> Iterator[None]:
    """One that comes in the block takes effect at its end: what is made there is known to whoever must unmake it."""
    before = {one: handler for one in SIGNALS if callable(handler := signal.getsignal(one))}
    came: list[int] = []
    for one in before:
        signal.signal(one, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    if came:
        signal.raise_signal(came[0])
