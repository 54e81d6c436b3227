"""Which addresses a TCP port listens on, and whose listener that is, from the kernel's own tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.expect import Expectation
from virtvet.snapshot.model import Snapshot, text_of
from virtvet.snapshot.sources import Command, File, Glob

MANY_CONNECTIONS = 16 << 20
"""Bytes: a hundred thousand connections."""
TCP4, TCP6 = File("/proc/net/tcp", MANY_CONNECTIONS), File("/proc/net/tcp6", MANY_CONNECTIONS)
TABLES = (TCP4, TCP6)

_HOLDERS = """\
{ cat /proc/net/tcp*; find /proc/[0-9]*/fd -lname 'socket:*' -printf '%p %l\\n'; } |
awk '$4 == "0A" { listens["socket:[" $10 "]"] } $2 in listens'"""

HOLDERS = Command(("sh", "-c", _HOLDERS))
"""The open files that are listening TCP sockets, one a line: `/proc/813/fd/17 socket:[34065]`."""
NAMES = Glob("/proc/[0-9]*/comm")

_LISTEN = "0A"
"""TCP_LISTEN (include/net/tcp_states.h)."""
_HELD = re.compile(r"/proc/([0-9]+)/fd/[0-9]+ socket:\[([0-9]+)\]")


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening TCP socket: ("10.77.0.1", 16514, 34065)."""

    address: str
    port: int
    inode: int


@dataclass(frozen=True, slots=True)
class Anywhere(Expectation):
    """A set of addresses that is not empty."""

    def matches(self, value: Any) -> bool:
        """Sets only."""
        return isinstance(value, frozenset) and bool(value)

    def __str__(self) -> str:
        return "any address"


@dataclass(frozen=True, slots=True)
class SomeOf(Expectation):
    """A set of addresses that is not empty and has none but these."""

    addresses: frozenset[str]

    def matches(self, value: Any) -> bool:
        """Sets only."""
        return isinstance(value, frozenset) and bool(value) and value <= self.addresses

    def __str__(self) -> str:
        return f"one or more of {', '.join(sorted(self.addresses))}"


def addresses(snapshot: Snapshot, port: int) -> Reading:
    """The addresses the port listens on; an empty set when it does not listen."""
    found = [one for one in _listeners(snapshot) if one.port == port]
    excerpt = ", ".join(f"{one.address}:{one.port} inode {one.inode}" for one in found)
    return Reading(frozenset(one.address for one in found), "/proc/net/tcp, /proc/net/tcp6", excerpt)


def owners(snapshot: Snapshot, port: int) -> Iterator[Reading]:
    """For each listener of the port, the names of the processes that hold it: {"libvirtd"}."""
    found = [one for one in _listeners(snapshot) if one.port == port]
    if not found:
        raise NotApplicable(f"nothing listens on port {port}")
    held = _holders(snapshot)
    for one in found:
        pids = held.get(one.inode, frozenset())
        yield Reading(_names(snapshot, pids), f"/proc/*/fd, {one.address}:{port}", _about(one, pids))


def _about(listener: Listener, pids: frozenset[int]) -> str:
    return f"socket:[{listener.inode}] is open in {', '.join(f'/proc/{pid}' for pid in sorted(pids)) or 'no process'}"


def _listeners(snapshot: Snapshot) -> Iterator[Listener]:
    yield from parse(snapshot.read(TCP4).decode("ascii", "backslashreplace"), TCP4.path)
    # absent where IPv6 is switched off
    yield from parse((snapshot.maybe(TCP6) or b"").decode("ascii", "backslashreplace"), TCP6.path)


def parse(text: str, path: str) -> Iterator[Listener]:
    """Listening sockets of /proc/net/tcp or tcp6 (Documentation/networking/proc_net_tcp.rst).

    `   0: 00000000:4082 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 34065 1 …` is
    Listener("0.0.0.0", 16514, 34065).
    """
    for number, line in enumerate(text.splitlines()[1:], 2):
        fields = line.split()
        if len(fields) < 10:
            raise CannotLook(f"{path}:{number}", f"is no line of a socket table: {line[:120]}")
        if fields[3] == _LISTEN:
            yield _listener(fields, f"{path}:{number}")


def _listener(fields: list[str], source: str) -> Listener:
    address, _, port = fields[1].partition(":")
    try:
        return Listener(_address(address), int(port, 16), int(fields[9]))
    except ValueError as error:
        raise CannotLook(source, f"has no address, port and inode: {error}") from None


def _address(text: str) -> str:
    """Words of four bytes in the byte order of x86, ARM and POWER: 0100007F is 127.0.0.1."""
    raw = bytes.fromhex(text)
    words = [raw[at : at + 4][::-1] for at in range(0, len(raw), 4)]
    return str(ip_address(b"".join(words)))


def _holders(snapshot: Snapshot) -> dict[int, frozenset[int]]:
    """Which processes have which listening socket open, by inode."""
    done = snapshot.read(HOLDERS)
    if done.returncode:
        raise CannotLook("/proc/*/fd", done.stderr.decode("ascii", "backslashreplace").strip()[:200] or "awk failed")
    held: dict[int, set[int]] = {}
    for line in done.stdout.decode("ascii", "backslashreplace").splitlines():
        if (match := _HELD.fullmatch(line)) is None:
            raise CannotLook("/proc/*/fd", f"a line we do not understand: {line[:120]}")
        held.setdefault(int(match[2]), set()).add(int(match[1]))
    if b"Permission denied" in done.stderr:
        raise CannotLook("/proc/*/fd", "only root may see whose sockets these are")
    return {inode: frozenset(pids) for inode, pids in held.items()}


def _names(snapshot: Snapshot, pids: frozenset[int]) -> frozenset[str]:
    """The processes' names; a socket that none of ours holds belongs to the kernel or to another container."""
    files = snapshot.read(NAMES)
    paths = [f"/proc/{pid}/comm" for pid in sorted(pids)]
    names = {text_of(path, files[path]).rstrip("\n") for path in paths if path in files}
    return frozenset(names or {"no process of this host"})
