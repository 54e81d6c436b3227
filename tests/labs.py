"""The tests of both labs, for `./dev test`. Arguments are pytest's.

Lab A mostly waits: meanwhile the gate's images boot, with what it leaves of the processors. Lab B, which computes, has
the machine for itself afterwards.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

import pytest

GATE = "tests/image/test_gate.py"
FIRST, BESIDE, THEN = ("tests/lab",), (GATE,), ("tests/image", f"--ignore={GATE}")
PATIENCE = 10
"""nice(1) of what must not disturb the others."""
WELL = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


def main(arguments: Sequence[str]) -> int:
    """The worst exit code; nothing selected is well where something was selected elsewhere. It ends where something
    fails."""
    with NamedTemporaryFile(prefix="virtvet-gate-") as said:
        first, beside = started((*FIRST, *arguments)), started((*BESIDE, *arguments), said)
        codes = [ended(first), shown(beside, Path(said.name))]
    if all(code in WELL for code in codes):
        codes.append(ended(started((*THEN, *arguments))))
    ran = [code for code in codes if code != pytest.ExitCode.NO_TESTS_COLLECTED]
    return max(map(abs, ran), default=int(pytest.ExitCode.NO_TESTS_COLLECTED))


def started(arguments: Sequence[str], out: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """pytest; in the background where it says something elsewhere. Ctrl-C reaches it, too: it takes its hosts down."""
    colours = ["--color=yes"] if sys.stdout.isatty() else []
    argv = [sys.executable, "-m", "pytest", *arguments, *colours]
    if out is None:
        return subprocess.Popen(argv)
    return subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, preexec_fn=lambda: os.nice(PATIENCE))


def ended(process: subprocess.Popen[bytes]) -> int:
    """Its exit code, however often somebody is impatient."""
    while process.poll() is None:
        with suppress(KeyboardInterrupt):
            process.wait()
    return process.returncode


def shown(process: subprocess.Popen[bytes], said: Path) -> int:
    """Its exit code; what it says is shown as it comes."""
    with said.open(errors="backslashreplace") as lines:
        while process.poll() is None:
            with suppress(KeyboardInterrupt):
                show(lines)
                time.sleep(0.5)
        show(lines)
    return process.returncode


def show(lines: IO[str]) -> None:
    """What is new."""
    sys.stdout.write(lines.read())
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
