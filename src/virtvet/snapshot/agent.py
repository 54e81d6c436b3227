"""Commands inside a guest through its QEMU guest agent: no network, no login, nothing but libvirt on its host.

A conversation is guest-exec, then guest-exec-status until the command has ended (virDomainQemuAgentCommand; QEMU's
qga/qapi-schema.json). Question and answer travel in one message each, and libvirt's messages are small: in the guest, a
shell packs each stream by gzip, where there is one, and cuts it off. More is an error, never half an answer. No file is
written in the guest, and its policy needs to allow these two commands only. libvirt marks a domain whose agent was
asked as tainted (custom-ga-command) until it stops.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from time import sleep
from typing import Any

from virtvet.errors import Unreachable
from virtvet.snapshot.model import Completed
from virtvet.snapshot.side_by_side import Deadline, background
from virtvet.snapshot.transport import MAX_STREAM, Overflow, guarded, judged, late

MAX_QUESTION = 100_000
"""Bytes of a command. libvirt puts it into a socket at once, and loses count of what a full one did not take
(qemuAgentIOWrite, src/qemu/qemu_agent.c): beyond some 200 KiB (net.core.wmem_default) the agent falls silent."""
MAX_ANSWER = 4 << 20
"""Bytes of a string that libvirt carries (REMOTE_STRING_MAX, src/remote/remote_protocol.x)."""
MAX_OUT, MAX_ERR = 2_500_000, 500_000
"""Bytes of a packed stream: both in base64, and what is around them, are one answer."""

PACK = f"""\
Z=cat M=-; gzip </dev/null >/dev/null 2>&1 && Z=gzip M=z
pack() {{ printf %s "$M"; head -c {MAX_STREAM + 1} | "$Z" | head -c "$1"; }}
exec 5>&1 6>&2
r=$({{ {{ {{ "$@" 3>&- 4>&- 5>&- 6>&-; echo "$?" >&3; }} 2>&1 1>&4 | pack {MAX_ERR} >&6; }} 4>&1 |
  pack {MAX_OUT} >&5; }} 3>&1)
exit "$r"
"""
"""Runs its arguments. Each stream begins with `z` if gzip made it, else with `-`."""

Ask = Callable[[str], str]
"""One of the agent's commands as JSON -> what the agent said, as JSON. Raises Unreachable."""


class Garbled(Exception):
    """The agent said something that is not an answer."""


class Agent:
    """One guest's agent. `meet` opens a conversation, for which libvirt must be there."""

    def __init__(self, machine: str, meet: Callable[[Deadline], Ask]) -> None:
        self.machine, self._meet = machine, meet

    def run(self, argv: Sequence[str], stdin: bytes, deadline: Deadline) -> Completed:
        """Run one command, every word taken literally. It ends at the deadline in the guest, too. Raises Unreachable.

        libvirt waits for an agent in its own way, so it is left behind if it does not keep the deadline.
        """
        conversation = background(partial(self._converse, argv, stdin, deadline))
        try:
            return judged(self.machine, conversation.result(timeout=deadline.patience), deadline)
        except TimeoutError:
            raise Unreachable(self.machine, late(deadline)) from None
        except (Garbled, Overflow) as error:
            raise Unreachable(self.machine, f"the guest's agent {error}") from None
        except Unreachable as lost:
            raise Unreachable(self.machine, advised(lost.reason)) from None

    def _converse(self, argv: Sequence[str], stdin: bytes, deadline: Deadline) -> Completed:
        ask = self._meet(deadline)
        asked = status_command(started(ask(exec_command(guarded(argv, deadline), stdin))))
        for pause in pauses():
            if done := ended(ask(asked)):
                return Completed(done.returncode, unpacked(done.stdout, MAX_OUT), unpacked(done.stderr, MAX_ERR))
            if deadline.passed:
                raise Unreachable(self.machine, late(deadline))
            sleep(pause)
        raise AssertionError("pauses have no end")

    def close(self) -> None:
        """Nothing stays open."""


def pauses() -> Iterator[float]:
    """Seconds between two questions whether the command has ended: each costs a round trip through libvirt."""
    pause = 0.02
    while True:
        yield pause
        pause = min(pause * 1.5, 0.5)


# --- what is said to the agent, and what it says: pure


def exec_command(argv: Sequence[str], stdin: bytes) -> str:
    """guest-exec of a command whose streams are packed. Raises Overflow when libvirt would not carry it."""
    arguments = {
        "path": "/bin/sh",
        "arg": ["-c", PACK, "sh", *argv],
        "input-data": b64encode(stdin).decode(),
        "capture-output": True,
    }
    command = json.dumps({"execute": "guest-exec", "arguments": arguments})
    if len(command) > MAX_QUESTION:
        raise Overflow(f"cannot be asked so much at once: {len(command)} bytes, at most {MAX_QUESTION}")
    return command


def status_command(pid: int) -> str:
    """guest-exec-status."""
    return json.dumps({"execute": "guest-exec-status", "arguments": {"pid": pid}})


def started(said: str) -> int:
    """`{"return":{"pid":723}}` -> 723. Raises Garbled."""
    return _number(returned(said).get("pid"), "named no process")


def ended(said: str) -> Completed | None:
    """`{"return":{"exited":true,"exitcode":0,"out-data":"LWhpCg=="}}` -> Completed(0, b"-hi\\n", b""), packed as yet.

    None for `{"return":{"exited":false}}`. A command that a signal ended has 128 more as its code, as a shell says it.
    Raises Garbled, also when the agent left anything out.
    """
    status = returned(said)
    if not isinstance(exited := status.get("exited"), bool):
        raise Garbled("did not say whether the command has ended")
    if not exited:
        return None
    if status.get("out-truncated") or status.get("err-truncated"):
        raise Garbled("cut the command's output off")
    return Completed(_code(status), _data(status, "out-data"), _data(status, "err-data"))


def returned(said: str) -> dict[str, Any]:
    """What stands under "return". Raises Garbled."""
    try:
        answer = json.loads(said) if len(said) <= MAX_ANSWER else None
    except (ValueError, RecursionError):
        answer = None
    found = answer.get("return") if isinstance(answer, dict) else None
    if not isinstance(found, dict):
        raise Garbled(f"answered {said[:80]!r}")
    return found


def _code(status: dict[str, Any]) -> int:
    if "signal" in status:
        return 128 + _number(status["signal"], "named no signal")
    return _number(status.get("exitcode"), "named no exit code")


def _number(value: object, otherwise: str) -> int:
    if type(value) is not int or not 0 <= value < 1 << 32:
        raise Garbled(otherwise)
    return value


def _data(status: dict[str, Any], key: str) -> bytes:
    data = status.get(key, "")
    try:
        return b64decode(data, validate=True)
    except (ValueError, TypeError):
        raise Garbled(f"sent no base64 as {key}") from None


def unpacked(data: bytes, limit: int) -> bytes:
    """One stream as PACK made it: b"-hi" -> b"hi". Raises Overflow when it was cut off, Garbled for anything else."""
    mark, body = data[:1], data[1:]
    if len(body) >= limit:
        packed = "packed by gzip" if mark == b"z" else "as the guest has no gzip to pack it"
        raise Overflow(f"cannot send so much: {limit} bytes and more, {packed}")
    match mark:
        case b"-":
            return body
        case b"z":
            return _inflated(body)
    raise Garbled("ran the command in a shell that is none")


def _inflated(body: bytes) -> bytes:
    """Bounded, whatever it claims to be."""
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        found = stream.decompress(body, MAX_STREAM + 1)
    except zlib.error:
        raise Garbled("sent what gzip cannot have made") from None
    if len(found) > MAX_STREAM:
        raise Overflow(f"answered more than {MAX_STREAM} bytes")
    if not stream.eof:
        raise Garbled("sent half an answer")
    return found


# --- what people can do about it

ADVICE = {
    "is not configured": "virsh edit: add a channel org.qemu.guest_agent.0; in the guest, qemu-guest-agent",
    "is not connected": "install and start qemu-guest-agent in the guest",
    "not available": "restart qemu-guest-agent in the guest",
    "timed out": "restart qemu-guest-agent in the guest",
    "been disabled": "allow guest-exec and guest-exec-status in the guest: qemu-ga.conf, /etc/sysconfig/qemu-ga",
    "Domain not found": "a guest that was started by hand cannot be reached by libvirt's agent channel: state ssh:",
}
"""Words of libvirt (qemuDomainAgentAvailable, qemuAgentSend) and of qemu-ga, and what mends it."""


def advised(reason: str) -> str:
    """libvirt's or the agent's own words, and what to do."""
    advice = next((advice for words, advice in ADVICE.items() if words in reason), None)
    return f"{reason} ({advice})" if advice else reason
