"""Running a command on a machine, with an end to it: what every way of travelling has in common, and the local one."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import ceil
from typing import IO, Protocol

from virtvet.errors import Unreachable
from virtvet.snapshot.model import Completed
from virtvet.snapshot.side_by_side import Deadline, background

MAX_STREAM = 64 << 20
"""Bytes that one stream of one command may have."""

SHELL = ("sh", "-s")
"""A shell that reads its script from standard input."""

# The machine itself ends what runs too long, even if the network is gone. Only coreutils' timeout(1) kills the whole
# group and lets go of the pipes at once; elsewhere (busybox) a watcher in the background does it.
GUARD = """\
n=$1; shift
case $(timeout --version 2>/dev/null) in *coreutils*) timeout -k 1 "$n" "$@"; exit;; esac
exec 3<&0
"$@" <&3 3<&- & p=$!
(trap 'kill $s; exit' TERM; sleep "$n" & s=$!; wait $s && kill -KILL $p) </dev/null >/dev/null 2>&1 3<&- &
w=$!; exec 3<&-; wait $p; r=$?; kill $w 2>/dev/null; exit $r"""


NOT_FOUND = 127
"""A shell's exit code for a command that is not there."""


class Transport(Protocol):
    """A way to a machine, kept open between commands."""

    machine: str

    def run(self, argv: Sequence[str], stdin: bytes, deadline: Deadline) -> Completed:
        """Run one command, every word taken literally. Raises Unreachable."""
        ...

    def close(self) -> None:
        """Let go of it; safe to call twice."""
        ...


def guarded(argv: Sequence[str], deadline: Deadline, sudo: bool = False) -> tuple[str, ...]:
    """The command with its own end on the machine where it runs, as root if asked."""
    root = ("sudo", "-n", "--") if sudo else ()
    return (*root, "sh", "-c", GUARD, "sh", str(ceil(deadline.left) or 1), *argv)


class Overflow(Exception):
    """More bytes than anyone asked for."""


def drain(receive: Callable[[int], bytes], limit: int = MAX_STREAM) -> bytes:
    """Everything up to the end of a stream. Raises Overflow beyond `limit` bytes."""
    parts, size = [], 0
    while part := receive(1 << 16):
        parts.append(part)
        size += len(part)
        if size > limit:
            raise Overflow(f"answered more than {limit} bytes")
    return b"".join(parts)


class Local:
    """The machine virtvet runs on."""

    def __init__(self, machine: str) -> None:
        self.machine = machine

    def run(self, argv: Sequence[str], stdin: bytes, deadline: Deadline) -> Completed:
        """Run one command in a process group of its own, which is killed at the deadline."""
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        except OSError as error:
            return Completed(NOT_FOUND, b"", f"{argv[0]}: {error.strerror}\n".encode())
        with process, deadline.ends(lambda: _kill(process)):
            return self._answer(process, stdin, deadline)

    def _answer(self, process: subprocess.Popen[bytes], stdin: bytes, deadline: Deadline) -> Completed:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        out = background(_reader(process.stdout))
        err = background(_reader(process.stderr))
        _feed(process.stdin, stdin)
        try:
            done = Completed(_code(process.wait()), out.result(deadline.patience), err.result(deadline.patience))
        except (Overflow, TimeoutError) as error:
            _kill(process)
            raise Unreachable(self.machine, str(error) or late(deadline)) from None
        return judged(self.machine, done, deadline)

    def close(self) -> None:
        """Nothing stays open."""


def _code(returncode: int) -> int:
    """As a shell gives it: a command that died of signal 9 ended with 137."""
    return returncode if returncode >= 0 else 128 - returncode


def _reader(stream: IO[bytes]) -> Callable[[], bytes]:
    descriptor = stream.fileno()
    return lambda: drain(lambda size: os.read(descriptor, size))


def _feed(stream: IO[bytes], data: bytes) -> None:
    """A command that does not read its input is its own affair."""
    with suppress(BrokenPipeError), stream:
        stream.write(data)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def judged(machine: str, done: Completed, deadline: Deadline) -> Completed:
    """The command's own answer. Raises Unreachable where another spoke for it: sudo, or the deadline."""
    if deadline.passed or (done.returncode in (124, 137) and deadline.left < 1):
        raise Unreachable(machine, late(deadline))
    if done.stderr.startswith(b"sudo: ") and done.returncode == 1 and not done.stdout:
        said = done.stderr.split(b"\n")[0][:200].decode(errors="backslashreplace")
        raise Unreachable(machine, f"{said} (allow this user NOPASSWD in /etc/sudoers.d, or log in as root)")
    return done


def late(deadline: Deadline) -> str:
    """In the words a user reads."""
    return f"did not finish within {deadline}"
