"""Running commands on this very machine: bounded in time and size, nothing left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from itertools import chain
from pathlib import Path

import pytest

from virtvet.errors import Unreachable
from virtvet.snapshot.model import Completed
from virtvet.snapshot.side_by_side import Deadline
from virtvet.snapshot.transport import SHELL, Local, Overflow, drain, guarded, judged

HOST = Local("here")


def run(*argv: str, stdin: bytes = b"", seconds: float = 10) -> Completed:
    return HOST.run(argv, stdin, Deadline(seconds))


def test_every_word_is_taken_literally_and_the_streams_stay_apart() -> None:
    assert run("printf", "%s|", "a b", "$(id)", "*", "") == Completed(0, b"a b|$(id)|*||", b"")
    assert run(*SHELL, stdin=b"cat; echo out; echo err >&2; exit 7") == Completed(7, b"out\n", b"err\n")


def test_both_streams_and_the_input_may_be_large() -> None:
    data = os.urandom(3 << 20)
    done = run("sh", "-c", "head -c 3000000 /dev/zero >&2; cat", stdin=data)
    assert (done.stdout == data, len(done.stderr)) == (True, 3000000)


def test_a_command_need_not_read_its_input() -> None:
    assert run("true", stdin=b"x" * (1 << 20)).returncode == 0


def test_no_such_command() -> None:
    assert run("no-such-command") == Completed(127, b"", b"no-such-command: No such file or directory\n")


@pytest.mark.parametrize("script", ["sleep 50", "trap '' TERM; sleep 50", "sleep 50 & wait", "while :; do :; done"])
def test_what_hangs_is_killed_at_the_deadline(script: str, tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(Unreachable, match="did not finish within"):
        run("sh", "-c", f"echo $$ >{tmp_path}/pid; {script}", seconds=0.2)
    assert time.monotonic() - begun < 3
    assert not alive((tmp_path / "pid").read_text().strip())


def alive(pid: str) -> bool:
    """A zombie is not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_background_process_that_keeps_the_pipe_is_no_answer() -> None:
    with pytest.raises(Unreachable, match="did not finish"):
        run("sh", "-c", "setsid sleep 1 & exit 0", seconds=0.2)


def test_too_much_is_not_read_to_the_end() -> None:
    endless = chain.from_iterable([b"x" * 60] for _ in iter(int, 1))
    with pytest.raises(Overflow, match="answered more than 100 bytes"):
        drain(lambda _size: next(endless), limit=100)


def test_the_shells_own_exit_codes_are_the_commands() -> None:
    assert run("sh", "-c", "exit 124").returncode == 124
    assert run("sh", "-c", "kill -9 $$").returncode == 137


def test_sudo_that_wants_a_password_is_said_in_words() -> None:
    done = Completed(1, b"", b"sudo: a password is required\n")
    with pytest.raises(Unreachable, match=r"hv1: sudo: a password is required \(allow this user NOPASSWD"):
        judged("hv1", done, Deadline(9))


@pytest.fixture(scope="module")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> str:
    if not shutil.which("busybox"):
        pytest.skip("no busybox")
    folder = tmp_path_factory.mktemp("busybox")
    subprocess.run(["busybox", "--install", "-s", folder], check=True)
    return str(folder)


def guard(path: str, command: str, seconds: float) -> subprocess.Popen[bytes]:
    argv = guarded(["sh", "-c", f"cat; {command}"], Deadline(seconds))
    pipe = subprocess.PIPE
    process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, env={"PATH": path})
    assert process.stdin
    process.stdin.write(b"in ")
    process.stdin.close()
    process.stdin = None
    return process


@pytest.mark.parametrize(("command", "code"), [("exit 3", 3), ("kill -9 $$", 137)])
def test_the_guard_ends_with_the_commands_own_code(command: str, code: int, busybox: str) -> None:
    begun = time.monotonic()
    for path in (os.environ["PATH"], busybox):
        process = guard(path, command, 9)
        assert process.communicate(timeout=4)[0] == b"in "
        assert process.returncode == code
    assert time.monotonic() - begun < 3


def test_the_guard_ends_what_hangs(busybox: str) -> None:
    processes = [guard(path, "exec sleep 9", 1) for path in (os.environ["PATH"], busybox)]
    assert [process.communicate(timeout=5)[0] for process in processes] == [b"in ", b"in "]
    assert [process.returncode for process in processes] == [124, 137]
