"""QEMU's monitor, as far as freezing and waking need it (docs/interop/qmp-spec.rst of QEMU)."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from lab.errors import LabError


class Qmp:
    """A connection: ``with Qmp(path) as qmp: qmp("stop")``."""

    def __init__(self, path: Path, timeout: float = 30) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self.stream = self.socket.makefile("rw")
        self.stream.readline()  # the greeting
        self("qmp_capabilities")

    def __enter__(self) -> Qmp:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stream.close()
        self.socket.close()

    def __call__(self, execute: str, **arguments: Any) -> Any:
        """What QEMU returns; events in between are passed over."""
        self.stream.write(json.dumps({"execute": execute, "arguments": arguments}) + "\n")
        self.stream.flush()
        while line := self.stream.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise LabError(f"QEMU: {execute}: {answer['error'].get('desc')}")
            if "return" in answer:
                return answer["return"]
        raise LabError(f"QEMU ended at {execute}")

    def share_memory(self) -> None:
        """The state that is saved or loaded next is without the guest's memory, which stays in its own file."""
        self("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])

    def await_migration(self, timeout: float) -> None:
        """Until the state is saved, or loaded."""
        end = time.monotonic() + timeout
        while (told := self("query-migrate")).get("status") != "completed":
            if told.get("status") == "failed" or time.monotonic() > end:
                raise LabError(f"QEMU's state: {told.get('status')}: {told.get('error-desc', 'not in time')}")
            time.sleep(0.02)
