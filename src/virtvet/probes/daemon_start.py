"""Whether the daemon is told to listen: by `--listen` in its arguments. (systemd.py tells of TLS sockets.)"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from getopt import GetoptError, gnu_getopt

from virtvet.check import Reading
from virtvet.errors import CannotLook
from virtvet.snapshot.model import Absent, Content, Snapshot, text_of
from virtvet.snapshot.sources import File, Processes

ARGUMENT_FILES = (File("/etc/default/libvirtd"), File("/etc/sysconfig/libvirtd"))
"""Debian's and Red Hat's (libvirtd.service: EnvironmentFile)."""
LISTENS = "--listen"
DOES_NOT = "no --listen"

_ASSIGNMENT = re.compile(r"^[ \t]*LIBVIRTD_ARGS=(.*)$", re.MULTILINE)


def pid_file(program: str) -> File:
    """Held by the one daemon of the system; those of users' sessions have none there (virpidfile.c)."""
    return File(f"/run/{program}.pid")


def processes(program: str) -> Processes:
    """Its command line, also of users' sessions: /proc/813/cmdline is `/usr/sbin/libvirtd\\0-d\\0-l\\0`."""
    return Processes(program, ("cmdline",))


def listen_configured(snapshot: Snapshot, _program: str) -> Reading:
    """LISTENS or DOES_NOT, from the last LIBVIRTD_ARGS="--listen" of the files: of libvirtd, no other daemon has it."""
    for source in ARGUMENT_FILES:
        text = (snapshot.maybe(source) or b"").decode("utf-8", "backslashreplace")
        if lines := list(_ASSIGNMENT.finditer(text)):
            return Reading(_listens(_words(lines[-1][1], source.path), source.path), source.path, lines[-1][0][:200])
    return Reading(DOES_NOT, " or ".join(map(str, ARGUMENT_FILES)), "no LIBVIRTD_ARGS")


def _words(assigned: str, path: str) -> list[str]:
    """`"--listen -v"` -> ["--listen", "-v"]: quotes are taken off once, then words are split (systemd.exec, $VAR)."""
    try:
        return " ".join(shlex.split(assigned, comments=True)).split()
    except ValueError as error:
        raise CannotLook(path, f"LIBVIRTD_ARGS cannot be read: {error}") from None


def _listens(arguments: Sequence[str], source: str) -> str:
    """The options of libvirtd(8), abbreviations and clusters (`-dl`) included."""
    try:
        options, _ = gnu_getopt(
            list(arguments),
            "dlf:p:t:vVh",
            ["listen", "daemon", "config=", "pid-file=", "timeout=", "verbose", "version", "help"],
        )
    except GetoptError as error:
        raise CannotLook(source, f"libvirtd refuses these arguments: {error}") from None
    return LISTENS if {name for name, _ in options} & {"-l", "--listen"} else DOES_NOT


def listen_live(snapshot: Snapshot, program: str) -> Reading:
    """LISTENS or DOES_NOT, from the running daemon's command line; or that it is not running."""
    found = _command_line(snapshot, program)
    if found is None:
        return Reading(f"{program} is not running", str(pid_file(program)))
    source, arguments = found
    return Reading(_listens(arguments[1:], source), source, " ".join(arguments)[:200])


def _command_line(snapshot: Snapshot, program: str) -> tuple[str, list[str]] | None:
    if (pid := snapshot.maybe(pid_file(program))) is None:
        return None
    if not pid.strip().isdigit():
        raise CannotLook(pid_file(program), f"holds no process number: {pid[:40]!r}")
    path = f"/proc/{int(pid)}/cmdline"
    content = snapshot.read(processes(program)).get(path)
    if content is None or content in (Absent(), Content(b"")):
        return None  # a pid file that a crash left behind
    return path, text_of(path, content).rstrip("\0").split("\0")
