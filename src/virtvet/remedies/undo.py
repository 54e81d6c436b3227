"""`virtvet undo RUN`: take back what a run did and left, kept changes too, newest first. May be repeated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from virtvet.errors import BadInput
from virtvet.remedies.journal import NAME, Entry, Journal, open_changes
from virtvet.remedies.operations import Hands
from virtvet.remedies.settle import TakeBackFailed, take_back


@dataclass(frozen=True, slots=True)
class Undone:
    """One change and whether taking it back worked; `trouble` is why it did not."""

    title: str
    trouble: str = ""


def find_journal(run: str, reports: Path) -> Path:
    """The journal of a run named by its folder, its id below `reports`, or "latest". Raises BadInput."""
    for folder in (reports / run, Path(run)):
        if folder.is_dir():
            break
    else:
        raise BadInput.one(f"no such run: {run}", f"runs are the folders in {reports}")
    if not (folder / NAME).is_file():
        raise BadInput.one(f"run {run} changed nothing", f"there is no {folder / NAME}")
    return folder / NAME


def undo(path: Path, hands: Hands) -> list[Undone]:
    """Take back all open changes of a journal, last first; one failing stops no other. Raises as Journal.reopen."""
    journal = Journal.reopen(path)
    try:
        return [_undone(entry, journal, hands) for entry in reversed(open_changes(path))]
    finally:
        journal.close()


def _undone(entry: Entry, journal: Journal, hands: Hands) -> Undone:
    try:
        take_back(entry, journal, hands)
    except TakeBackFailed as failure:
        return Undone(entry.change.title, str(failure))
    return Undone(entry.change.title)
