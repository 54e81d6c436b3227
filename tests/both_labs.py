"""The tests of both labs side by side, for `./dev test`: lab A mostly waits, lab B mostly computes.

They share nothing but the machine. Lab B's lines come after lab A's, as they would one after the other. Arguments are
pytest's.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

import pytest

SUITES = ("tests/lab", "tests/image")


def main(arguments: Sequence[str]) -> int:
    """The worst exit code of both; nothing selected in one of them is well."""
    with NamedTemporaryFile(prefix="virtvet-lab-b-") as said:
        first, second = (started(suite, arguments, out) for suite, out in zip(SUITES, (None, said), strict=True))
        codes = [ended(first)]
        print("== lab tests: image hosts", file=sys.stderr, flush=True)
        codes.append(shown(second, Path(said.name)))
    ran = [code for code in codes if code != pytest.ExitCode.NO_TESTS_COLLECTED]
    return max(map(abs, ran), default=int(pytest.ExitCode.NO_TESTS_COLLECTED))


def started(suite: str, arguments: Sequence[str], out: IO[bytes] | None) -> subprocess.Popen[bytes]:
    """Ctrl-C reaches it, too: it takes its lab down."""
    colours = ["--color=yes"] if sys.stdout.isatty() else []
    argv = [sys.executable, "-m", "pytest", suite, *colours, *arguments]
    return subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT if out else None)


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
