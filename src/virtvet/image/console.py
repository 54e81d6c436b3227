"""What the machine says on its serial console: read all the time, its last lines kept."""

from __future__ import annotations

import re
import socket
from collections import deque
from threading import Thread

from virtvet.reporting.text import one_line

KEPT = 200
"""Lines."""
LONGEST = 4096
"""Bytes of a line; a console without line feeds must not fill our memory."""
_ESCAPES = re.compile(rb"\x1b(?:\[[0-9;?=>]{0,32}[A-Za-z@`]|\][^\x07\x1b]{0,256}\x07?|[()][A-Z0-9]|[=>78cM])|\r|\x08")
"""Of terminals: colours, cursor movements, titles."""


class Console:
    """The other end of QEMU's serial port."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._lines: deque[str] = deque(maxlen=KEPT)
        self._begun = b""
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while part := self._socket.recv(1 << 16):
                self._take(part)
        except OSError:
            return  # closed, or QEMU was killed

    def _take(self, part: bytes) -> None:
        *ended, self._begun = (self._begun + part).split(b"\n")
        self._lines.extend(filter(None, map(shown, ended)))
        self._begun = self._begun[-LONGEST:]

    def tail(self, count: int) -> list[str]:
        """The last lines that say anything, the unfinished one included; fit to print."""
        last = shown(self._begun)
        return [*self._lines, *([last] if last else [])][-count:]

    def settle(self) -> None:
        """Once QEMU has ended: wait for its last words."""
        self._reader.join(1)

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


def shown(line: bytes) -> str:
    """Without what only terminals understand."""
    return one_line(_ESCAPES.sub(b"", line[-LONGEST:]).decode("utf-8", "replace").strip(), 300)
