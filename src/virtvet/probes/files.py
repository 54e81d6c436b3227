"""Who owns a path and what its mode allows, by stat(1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from virtvet.check import Reading
from virtvet.expect import Expectation
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import Stat

MISSING = "does not exist"


@dataclass(frozen=True, slots=True)
class Guard:
    """What stat says of a path: "regular file root:root 0644"."""

    kind: str
    owner: str
    group: str
    mode: int

    def __str__(self) -> str:
        return f"{self.kind} {self.owner}:{self.group} {self.mode:04o}"


@dataclass(frozen=True, slots=True)
class NoMoreThan(Expectation):
    """A Guard of this kind, owner and group whose mode allows nothing beyond `mode` (0400 is no more than 0600)."""

    kind: str
    owner: str
    group: str
    mode: int

    def matches(self, value: Any) -> bool:
        """Guards only: a path that does not exist is not guarded."""
        return (
            isinstance(value, Guard)
            and (value.kind, value.owner, value.group) == (self.kind, self.owner, self.group)
            and value.mode & ~self.mode == 0
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.owner}:{self.group}, mode at most {self.mode:04o}"


def guard(snapshot: Snapshot, path: str) -> Reading:
    """The path's Guard, or "does not exist"."""
    status = snapshot.maybe_stat(Stat(path))
    if status is None:
        return Reading(MISSING, path)
    return Reading(Guard(status.kind, status.owner, status.group, status.mode), path)
