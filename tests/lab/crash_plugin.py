"""`-p tests.lab.crash_plugin`: a run killed at its first change, once it is planned, or once it is applied (CRASH)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, get_args

from virtvet.remedies import operations

Perform = Callable[[Any, operations.Hands], None]


def pytest_configure() -> None:
    union, _discriminator = get_args(operations.Operation)
    for kind in get_args(union):
        kind.perform = _dying(kind.perform)  # type: ignore[method-assign]


def _dying(perform: Perform) -> Perform:
    """Before the operation, when it is only in the journal; or after it, when nobody has written that down yet."""

    def die(operation: Any, hands: operations.Hands) -> None:
        if os.environ["CRASH"] == "applied":
            perform(operation, hands)
        os.kill(os.getpid(), signal.SIGKILL)

    return die
