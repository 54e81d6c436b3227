"""What systemd-tmpfiles writes at boot: how settings of /sys survive a reboot where no boot loader or sysctl has them.

w /sys/kernel/mm/ksm/run - - - - 0          (tmpfiles.d(5))
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from virtvet.check import Reading
from virtvet.errors import CannotLook
from virtvet.snapshot.model import Absent, Snapshot
from virtvet.snapshot.sources import Command

LINES = Command(("systemd-tmpfiles", "--cat-config"))
"""All files in their order, those hidden left out, each behind a comment with its path."""

_WRITES = re.compile(r"(w\+?)[!=~^$-]*\s+(\S+)\s+\S+\s+\S+\s+\S+\s+\S+\s+(\S.*)", re.ASCII)


def written(snapshot: Snapshot, path: str) -> Reading | None:
    """What is written to a file of /sys at boot; None for nothing, and where there is no systemd. Raises CannotLook.

    Of several lines the first counts, of lines with `w+` the last.
    """
    if snapshot.answer(LINES) == Absent():
        return None
    done = snapshot.read(LINES)
    if done.returncode:
        complaint = done.stderr.decode("utf-8", "backslashreplace").strip()
        raise CannotLook(LINES, complaint[:200] or f"exit status {done.returncode}")
    found = _lines(done.stdout.decode("utf-8", "backslashreplace"), path)
    chosen = [one for one in found if one[0] == "w+"][-1:] or found[:1]
    return next((Reading(value, file, line) for _kind, value, file, line in chosen), None)


def _lines(text: str, path: str) -> list[tuple[str, str, str, str]]:
    """Kind, argument, file and line of all that write to the path; theirs may be a pattern."""
    file, found = "tmpfiles.d", []
    for line in text.splitlines():
        if line.startswith("# /"):
            file = line[2:].strip()
        elif (match := _WRITES.fullmatch(line.strip())) and PurePosixPath(path).match(match[2]):
            found.append((match[1], match[3].strip().strip('"'), file, line[:200]))
    return found
