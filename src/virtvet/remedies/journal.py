"""The write-ahead journal of one run: what is about to be done and how to take it back is on disk before it is done.

`<run>/journal.jsonl`, one JSON object a line. First the header, then for every change, by its number:

    {"seq":1,"state":"planned","at":"2026-03-01T12:00:00Z","change":{"title":…,"risk":"live","steps":[…]}}
    {"seq":1,"state":"applied","at":…}   then "verified", "kept" or "undone"; "failed": taking it back did not work

Every line is synced before the call returns. A last line without its newline was never acted upon and is ignored.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from virtvet.errors import BadInput, Position
from virtvet.remedies.change import Change
from virtvet.remedies.operations import OperationFailed

NAME = "journal.jsonl"


class State(StrEnum):
    """How far a change has come. All but `undone` may have left something on a machine."""

    PLANNED = "planned"
    APPLIED = "applied"
    VERIFIED = "verified"
    KEPT = "kept"
    UNDONE = "undone"
    FAILED = "failed"


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_LineModel = TypeVar("_LineModel", bound=_Line)


class Header(_Line):
    """Whose journal it is. `reach` is what `virtvet undo` needs to reach the machines again; never a secret."""

    format: Literal[1] = 1
    run: str
    mode: str
    started: AwareDatetime
    reach: dict[str, Any] = Field(default_factory=dict)


class Record(_Line):
    """One change came to one state. The change itself stands with `planned` only."""

    seq: int
    state: State
    at: AwareDatetime
    change: Change | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A change and the last state it came to."""

    seq: int
    state: State
    change: Change


class Journal:
    """The journal of a run that is going on. The file appears with the first change, and is locked until `close`."""

    def __init__(self, path: Path, header: Header) -> None:
        self.path, self.header = path, header
        self._file: BinaryIO | None = None
        self._last = 0

    @classmethod
    def reopen(cls, path: Path) -> Journal:
        """To go on where a run ended. Raises BadInput when that run still goes on, or the journal cannot be read."""
        file = _locked(path, os.O_RDWR)
        whole = _whole(file.read())
        header, records = _parse(path, whole)
        file.truncate(len(whole))
        file.seek(0, os.SEEK_END)
        journal = cls(path, header)
        journal._file = file
        journal._last = max((record.seq for record in records), default=0)
        return journal

    def plan(self, change: Change) -> Entry:
        """Put a change on disk, before anything of it is done. Raises OperationFailed when that is not possible."""
        if self._file is None:
            self._file = self._begin()
        self._last += 1
        self._write(Record(seq=self._last, state=State.PLANNED, at=_now(), change=change))
        return Entry(self._last, State.PLANNED, change)

    def mark(self, entry: Entry, state: State, reason: str = "") -> None:
        """Put on disk what became of it."""
        self._write(Record(seq=entry.seq, state=state, at=_now(), reason=reason))

    def close(self) -> None:
        """Give the journal free for `virtvet undo`."""
        if self._file is not None:
            self._file.close()

    def _begin(self) -> BinaryIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = _locked(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        self._write(self.header)
        for folder in (self.path.parent, self.path.parent.parent):
            _sync_folder(folder)
        return self._file

    def _write(self, line: _Line) -> None:
        assert self._file is not None, "nothing was planned"
        try:
            self._file.write(line.model_dump_json().encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OperationFailed(self.path, str(error.strerror)) from None


def read(path: Path) -> tuple[Header, list[Record]]:
    """A whole journal. Raises BadInput when it is not there or not one."""
    try:
        return _parse(path, _whole(path.read_bytes()))
    except OSError as error:
        raise BadInput.one(f"{path}: {error.strerror}") from None


def open_changes(path: Path) -> list[Entry]:
    """The changes of a run that were not taken back, kept ones too, in the order they were made."""
    return [entry for entry in _entries(read(path)[1]) if entry.state is not State.UNDONE]


def _entries(records: Iterable[Record]) -> list[Entry]:
    entries: dict[int, Entry] = {}
    for record in records:
        entries[record.seq] = Entry(record.seq, record.state, record.change or entries[record.seq].change)
    return list(entries.values())


def _parse(path: Path, whole: bytes) -> tuple[Header, list[Record]]:
    lines = whole.split(b"\n")[:-1] or [b""]
    header = _line(Header, path, 1, lines[0])
    records: list[Record] = []
    for number, line in enumerate(lines[1:], start=2):
        records.append(_line(Record, path, number, line))
        if records[-1].change is None and all(record.seq != records[-1].seq for record in records[:-1]):
            raise _damaged(path, number)
    return header, records


def _line(model: type[_LineModel], path: Path, number: int, line: bytes) -> _LineModel:
    try:
        return model.model_validate_json(line)
    except ValidationError:
        raise _damaged(path, number) from None


def _damaged(path: Path, number: int) -> BadInput:
    return BadInput.one("not a line of a journal, or damaged", at=Position(str(path), number, 1))


def _whole(written: bytes) -> bytes:
    """Without a torn last line."""
    return written[: written.rfind(b"\n") + 1]


def _locked(path: Path, flags: int) -> BinaryIO:
    try:
        file = os.fdopen(os.open(path, flags | os.O_CLOEXEC, 0o600), "r+b" if flags & os.O_RDWR else "wb")
    except OSError as error:
        raise BadInput.one(f"{path}: {error.strerror}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise BadInput.one(f"{path}: its run is still going on", "wait for its end, or stop it") from None
    return file


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _now() -> datetime:
    return datetime.now(UTC)
