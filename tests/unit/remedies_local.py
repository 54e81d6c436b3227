"""Hands that work on this machine, and a check of a file with a remedy: mending with real files and shells."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from virtvet.check import Case, Check, Control, Layer, Reading, Severity
from virtvet.remedies.change import Change, Exercise, Remedy
from virtvet.remedies.journal import NAME, Header, Journal
from virtvet.remedies.modes import Mode, Risk
from virtvet.remedies.settle import Asked, Means
from virtvet.snapshot.model import Completed, Content, Snapshot
from virtvet.snapshot.sources import File


class LocalHands:
    """Every machine is this one."""

    def run(self, machine: str, argv: Sequence[str], stdin: bytes = b"") -> Completed:
        done = subprocess.run(argv, input=stdin, capture_output=True)
        return Completed(done.returncode, done.stdout, done.stderr)

    def libvirt(self, host: str) -> object:
        raise NotImplementedError


CONTROL = Control("TEST-FILE-1", "a file says what it must", "test", Severity.LOW, "T1", "because", "write it")


def look(path: Path) -> Snapshot:
    answers = {File(str(path)): Content(path.read_bytes())} if path.exists() else {File(str(path)): Content(b"")}
    return Snapshot("hv1", datetime.now(UTC), answers)


def content(snapshot: Snapshot, path: str) -> Reading:
    return Reading(snapshot.read(File(path)).decode(), path)


def check_of(*changes: Change) -> Check:
    """A check of one file whose remedy plans these changes, whatever it sees."""
    remedy = Remedy("write the file", Risk.LIVE, lambda _snapshot, _case, _target: changes)
    nothing = lambda _target: ()  # noqa: E731
    return Check(CONTROL, "test_file", nothing, {Layer.ACTUAL: content}, nothing, nothing, remedy)


def asked(path: Path, expected: str, *changes: Change) -> Asked:
    """The case that a file says `expected`."""
    case = Case(path.name, expected, (str(path),))
    return Asked(check_of(*changes), case, Target(), look(path))  # type: ignore[arg-type]


def to_exercise(path: Path, expected: str, then: str, *changes: Change) -> Asked:
    """The case that a file says `expected`, and `then` while these changes are made."""
    ready = asked(path, expected)
    planned = Exercise("write it", lambda _snapshot, case, _target: (changes, replace(case, expected=then)))
    return replace(ready, check=replace(ready.check, remedy=None, exercise=planned))


class Target:
    """As much of a HostTarget as settling needs."""

    name = "hv1"


def means(mode: Mode, path: Path, folder: Path, allowed: Risk = Risk.LIVE) -> Means:
    """With a journal in `folder`; looking again reads `path` again."""
    journal = Journal(folder / NAME, Header(run="test", mode=mode.value, started=datetime.now(UTC)))
    return Means(mode, allowed, journal, LocalHands(), lambda _host: look(path))
