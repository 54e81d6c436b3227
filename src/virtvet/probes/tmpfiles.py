"""What systemd-tmpfiles writes at boot: how settings of /sys survive a reboot where no boot loader or sysctl has them.

w /sys/kernel/mm/ksm/run - - - - 0          (tmpfiles.d(5))
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from virtvet.check import Reading
from virtvet.probes import dropins
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import Source

DIRECTORY = "tmpfiles.d"
SOURCES: tuple[Source, ...] = dropins.sources(DIRECTORY)

_WRITES = re.compile(
    r"""w(?P<adds>\+?)[!=~^$-]*\s+(?P<quote>"?)(?P<path>/\S*)(?P=quote)\s+\S+\s+\S+\s+\S+\s+\S+\s+(?P<text>\S.*)""",
    re.ASCII,
)


def written(snapshot: Snapshot, path: str) -> Reading | None:
    """The text that is written to a file of /sys at boot; None where no line does. Raises CannotLook.

    Of several lines the first counts, but for lines with `w+` the last.
    """
    found = list(_lines(snapshot, path))
    chosen = [one for plus, one in found if plus][-1:] or [one for _plus, one in found[:1]]
    return next(iter(chosen), None)


def _lines(snapshot: Snapshot, path: str) -> Iterator[tuple[bool, Reading]]:
    """Whether it is a `w+`, and what it writes. The path of a line may be a pattern."""
    for file, text in dropins.texts(snapshot, DIRECTORY):
        for number, line in dropins.lines(text, "#"):
            if (match := _WRITES.fullmatch(line)) and PurePosixPath(path).match(match["path"]):
                yield bool(match["adds"]), Reading(match["text"].strip().strip('"'), f"{file}:{number}", line[:200])
