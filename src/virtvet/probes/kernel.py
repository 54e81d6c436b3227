"""The kernel and the CPUs of a machine: release, architecture, CPU flags."""

from __future__ import annotations

import re

from virtvet.errors import CannotLook
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import Command, File

UNAME = Command(("uname", "-sr"))
MACHINE = Command(("uname", "-m"))
OSRELEASE = File("/proc/sys/kernel/osrelease")
"""The release alone: `6.1.0-30-amd64`."""
CPU_FLAGS = Command(("awk", r"/^(flags|features|facilities)[ \t]*:/ && !seen[$0]++", "/proc/cpuinfo"))
"""The different flag lines of all CPUs: a machine with a thousand CPUs has two megabytes of /proc/cpuinfo."""

_RELEASE = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,5}))?", re.ASCII)


def version(release: str, source: object) -> tuple[int, int, int]:
    """`"6.1.0-30-amd64"` -> (6, 1, 0). Raises CannotLook."""
    if not (match := _RELEASE.match(release.strip())):
        raise CannotLook(source, f"{release.strip()[:60]!r} is no kernel release")
    return int(match[1]), int(match[2]), int(match[3] or 0)


def text(snapshot: Snapshot, command: Command) -> str:
    """What a command printed. Raises CannotLook when it failed or printed nothing."""
    done = snapshot.read(command)
    if done.returncode or not done.stdout.strip():
        why = done.stderr.decode("utf-8", "backslashreplace").strip()[:200]
        raise CannotLook(command, f"exit status {done.returncode}: {why or 'no output'}")
    return done.stdout.decode("utf-8", "backslashreplace").strip()


def architecture(snapshot: Snapshot) -> str:
    """`x86_64`, `aarch64`, `ppc64le`, `s390x` …"""
    return text(snapshot, MACHINE)


def cpu_flags(snapshot: Snapshot) -> frozenset[str]:
    """The words that all CPUs have. Raises CannotLook when /proc/cpuinfo names none.

    x86: `flags\t\t: fpu vme … svm`; s390x: `features\t: esan3 … sie` and `facilities      : 0 1 2 … 158`, written here
    as `facility158`.
    """
    lines = [_flag_line(line) for line in text(snapshot, CPU_FLAGS).splitlines()]
    keys = {key for key, _words in lines}
    common = (frozenset.intersection(*(words for key, words in lines if key == one)) for one in keys)
    return frozenset[str]().union(*common)


def _flag_line(line: str) -> tuple[str, frozenset[str]]:
    key, _, words = line.partition(":")
    prefix = "facility" if key.strip() == "facilities" else ""
    return key.strip(), frozenset(prefix + word for word in words.split())
