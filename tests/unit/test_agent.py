"""The way into a guest through its agent: with a real qemu-ga on this machine, and with one that says anything."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from virtvet.errors import Unreachable
from virtvet.snapshot.agent import (
    ADVICE,
    MAX_ERR,
    MAX_OUT,
    MAX_QUESTION,
    PACK,
    Agent,
    Garbled,
    advised,
    ended,
    exec_command,
    pauses,
    returned,
    started,
    unpacked,
)
from virtvet.snapshot.model import Completed
from virtvet.snapshot.side_by_side import Deadline
from virtvet.snapshot.transport import MAX_STREAM, SHELL, Overflow

# --- a real one

QEMU_GA = shutil.which("qemu-ga", path="/usr/sbin:/usr/bin:/sbin:/bin")
real = pytest.mark.skipif(QEMU_GA is None, reason="there is no qemu-guest-agent")
Start = Callable[..., Agent]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start an agent with options; it ends with the test."""
    running: list[subprocess.Popen[bytes]] = []

    def started(*options: str, **environment: str) -> Agent:
        path = tmp_path / "agent"
        assert QEMU_GA
        command = [QEMU_GA, "-m", "unix-listen", "-p", str(path), "-t", str(tmp_path), "-f", f"{tmp_path}/pid"]
        running.append(subprocess.Popen([*command, *options], env={**os.environ, **environment}))
        ask = asking(listening(path))
        return Agent("hv/real", lambda _deadline: ask)

    yield started
    for process in running:
        process.kill()
        process.wait()


def listening(path: Path) -> Path:
    """The socket, once somebody takes connections: for a moment there is only its file."""
    for _ in range(500):
        with socket.socket(socket.AF_UNIX) as client:
            if not client.connect_ex(str(path)):
                return path
        time.sleep(0.02)
    raise AssertionError(f"nobody listens on {path}")


def asking(path: Path) -> Callable[[str], str]:
    """What libvirt does: a line of JSON there, a line of JSON back; an error is no answer."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    stream = client.makefile("rwb")

    def ask(command: str) -> str:
        stream.write(command.encode() + b"\n")
        stream.flush()
        said = stream.readline().decode()
        if "error" in json.loads(said):
            raise Unreachable("hv/real", json.loads(said)["error"]["desc"])
        return said

    return ask


def run(agent: Agent, *argv: str, stdin: bytes = b"", seconds: float = 10) -> Completed:
    return agent.run(argv, stdin, Deadline(seconds))


@real
def test_every_word_is_taken_literally_and_the_streams_stay_apart(start: Start) -> None:
    agent = start()
    assert run(agent, "printf", "%s|", "a b", "$(id)", "*", "") == Completed(0, b"a b|$(id)|*||", b"")
    assert run(agent, *SHELL, stdin=b"cat; echo out; echo err >&2; exit 7") == Completed(7, b"out\n", b"err\n")
    assert run(agent, "sh", "-c", "kill -9 $$").returncode == 137
    assert run(agent, "no-such-command").returncode == 127


@real
def test_both_streams_may_be_large_and_hold_any_byte(start: Start) -> None:
    done = run(start(), "sh", "-c", "head -c 30000000 /dev/zero; head -c 200000 /dev/urandom >&2; echo end >&2")
    assert (done.stdout == bytes(30_000_000), len(done.stderr), done.stderr[-4:]) == (True, 200_004, b"end\n")


@real
def test_more_than_a_message_is_an_error(start: Start) -> None:
    agent = start()
    with pytest.raises(Unreachable, match="cannot send so much: 2500000 bytes and more, packed by gzip"):
        run(agent, "head", "-c", "3000000", "/dev/urandom")
    with pytest.raises(Unreachable, match=f"answered more than {MAX_STREAM} bytes"):
        run(agent, "head", "-c", str(MAX_STREAM + 1), "/dev/zero")
    with pytest.raises(Unreachable, match=f"asked so much at once: .* at most {MAX_QUESTION}"):
        run(agent, "cat", stdin=bytes(MAX_QUESTION))


@real
def test_a_guest_need_not_have_gzip(start: Start, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "head", "cat", "timeout"):
        (tools / tool).symlink_to(f"/usr/bin/{tool}")
    agent = start(PATH=str(tools))
    assert run(agent, "cat", stdin=b"hello") == Completed(0, b"hello", b"")
    with pytest.raises(Unreachable, match="as the guest has no gzip"):
        run(agent, "head", "-c", "3000000", "/dev/zero")


@real
def test_what_hangs_is_ended_in_the_guest_too(start: Start, tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(Unreachable, match=r"did not finish within 1 s"):
        run(start(), "sh", "-c", f"echo $$ >{tmp_path}/hanging; sleep 50", seconds=1)
    assert time.monotonic() - begun < 3
    time.sleep(0.5)
    process = Path("/proc", (tmp_path / "hanging").read_text().strip(), "cmdline")
    assert not process.exists() or process.read_bytes() == b""


@real
def test_a_policy_that_forbids_it_is_told_with_what_to_do(start: Start) -> None:
    with pytest.raises(Unreachable, match=r"guest-exec has been disabled.*\(allow guest-exec and guest-exec-status"):
        run(start("-b", "guest-exec"), "true")


# --- the shell that packs


def packed(*argv: str, path: str = os.environ["PATH"]) -> Completed:
    done = subprocess.run(["/bin/sh", "-c", PACK, "sh", *argv], capture_output=True, env={"PATH": path}, check=False)
    return Completed(done.returncode, done.stdout, done.stderr)


def test_each_stream_says_how_it_is_packed() -> None:
    done = packed("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout[:1], done.stderr[:1]) == (3, b"z", b"z")
    assert unpacked(done.stdout, 100) == b"out\n"
    assert unpacked(done.stderr, 100) == b"err\n"


def test_nothing_said_is_not_an_empty_answer() -> None:
    assert unpacked(packed("true").stdout, 100) == b""
    with pytest.raises(Garbled):
        unpacked(b"", 100)


# --- one that says anything


@pytest.mark.parametrize(
    "said",
    [
        "",
        "{",
        "null",
        "[]",
        '"return"',
        '{"return": []}',
        '{"return": {}}',
        '{"error": {"class": "GenericError", "desc": "no"}}',
        '{"return": {"pid": "1"}}',
        '{"return": {"pid": true}}',
        '{"return": {"pid": -1}}',
        '{"return": {"pid": 1e3}}',
        f'{{"return": {{"pid": {"9" * 5000}}}}}',
        "[" * 100_000,
        '{"return": {"pid": 1}}' + " " * (8 << 20),
    ],
)
def test_no_process_out_of_anything_but_a_number(said: str) -> None:
    with pytest.raises(Garbled):
        started(said)


def test_process() -> None:
    assert started('{"return":{"pid":723}}') == 723


def status(**facts: Any) -> str:
    return json.dumps({"return": facts})


def test_the_end_of_a_command() -> None:
    """As qemu-ga 7.2 says it."""
    assert ended('{"return":{"exited":false}}') is None
    assert ended('{"return":{"exitcode":0,"out-data":"LWhpCg==","exited":true}}') == Completed(0, b"-hi\n", b"")
    assert ended('{"return":{"signal":9,"err-data":"LQ==","exited":true}}') == Completed(137, b"", b"-")


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"exited": 1, "exitcode": 0},
        {"exited": "true", "exitcode": 0},
        {"exited": True},
        {"exited": True, "exitcode": "0"},
        {"exited": True, "exitcode": None},
        {"exited": True, "exitcode": False},
        {"exited": True, "exitcode": 0, "signal": "KILL"},
        {"exited": True, "exitcode": 0, "out-data": 7},
        {"exited": True, "exitcode": 0, "out-data": ["LQ=="]},
        {"exited": True, "exitcode": 0, "out-data": None},
        {"exited": True, "exitcode": 0, "out-data": "LQ"},
        {"exited": True, "exitcode": 0, "out-data": "L Q=="},
        {"exited": True, "exitcode": 0, "err-data": "Lä=="},
        {"exited": True, "exitcode": 0, "out-data": "LQ==", "out-truncated": True},
        {"exited": True, "exitcode": 0, "err-data": "LQ==", "err-truncated": True},
    ],
)
def test_half_an_answer_is_none(facts: dict[str, Any]) -> None:
    with pytest.raises(Garbled):
        ended(status(**facts))


BOMB = gzip.compress(bytes(MAX_STREAM + 1), 9)


@pytest.mark.parametrize(
    ("data", "limit", "error"),
    [
        (b"hello", 100, Garbled),
        (b"zhello", 100, Garbled),
        (b"z" + gzip.compress(b"hello", mtime=0)[:-9], 100, Garbled),
        (b"z", 100, Garbled),
        (b"-" + b"x" * 100, 100, Overflow),
        (b"z" + gzip.compress(os.urandom(200))[:100], 100, Overflow),
        (b"z" + BOMB, MAX_OUT, Overflow),
    ],
)
def test_nothing_is_unpacked_that_was_not_packed_whole(data: bytes, limit: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        unpacked(data, limit)


def hostile(*answers: str | Exception) -> Agent:
    """Says this, one after the other, the last for ever."""
    left = list(answers)

    def ask(_command: str) -> str:
        said = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(said, Exception):
            raise said
        return said

    return Agent("hv/hostile", lambda _deadline: ask)


PID = '{"return":{"pid":1}}'


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (hostile("nonsense"), "the guest's agent answered 'nonsense'"),
        (hostile(PID, "{}"), "the guest's agent answered '{}'"),
        (hostile(PID, status(exited=True, exitcode=0, **{"out-data": "!"})), "sent no base64 as out-data"),
        (hostile(PID, status(exited=True, exitcode=0)), "ran the command in a shell that is none"),
        (hostile(PID, status(exited=False)), "did not finish within 0.2 s"),
        (hostile(Unreachable("hv", "QEMU guest agent is not connected")), "install and start qemu-guest-agent"),
    ],
)
def test_whatever_it_says_ends_in_words(agent: Agent, words: str) -> None:
    begun = time.monotonic()
    with pytest.raises(Unreachable) as caught:
        run(agent, "true", seconds=0.2)
    assert (caught.value.source, time.monotonic() - begun < 1.5) == ("hv/hostile", True)
    assert words in caught.value.reason


def test_a_libvirt_that_hangs_is_left_behind() -> None:
    def meet(_deadline: Deadline) -> Callable[[str], str]:
        time.sleep(5)
        raise AssertionError

    begun = time.monotonic()
    with pytest.raises(Unreachable, match=r"did not finish within 0\.1 s"):
        run(Agent("hv/slow", meet), "true", seconds=0.1)
    assert time.monotonic() - begun < 2


# --- what is asked, and what is told


def test_question() -> None:
    asked = json.loads(exec_command(["echo", "ä\n"], b"\x00in"))
    assert asked["execute"] == "guest-exec"
    assert asked["arguments"]["arg"] == ["-c", PACK, "sh", "echo", "ä\n"]
    assert asked["arguments"]["input-data"] == b64encode(b"\x00in").decode()


def test_answers_fit_into_a_message_of_libvirt() -> None:
    streams = sum(len(b64encode(bytes(limit))) for limit in (MAX_OUT, MAX_ERR))
    assert streams < (4 << 20) - 4096
    assert returned(json.dumps({"return": {"out-data": "x" * streams}}))


def test_pauses_grow_but_not_for_ever() -> None:
    found = [pause for pause, _ in zip(pauses(), range(30), strict=False)]
    assert found == sorted(found)
    assert (found[0] <= 0.05, max(found)) == (True, 0.5)


@pytest.mark.parametrize("words", ADVICE)
def test_what_can_be_mended_is_told(words: str) -> None:
    assert advised(f"QEMU guest agent {words}").endswith(f" ({ADVICE[words]})")
    assert advised("no such thing") == "no such thing"
