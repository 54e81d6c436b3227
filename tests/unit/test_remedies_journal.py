"""The journal outlives whatever happens to the run: torn lines, damage, a run that is still going on."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from virtvet.errors import BadInput
from virtvet.remedies.change import Change, Step
from virtvet.remedies.journal import NAME, Header, Journal, State, open_changes, read
from virtvet.remedies.modes import Risk
from virtvet.remedies.operations import EditLine, Run


def change(name: str) -> Change:
    make, remove = Run("hv1", ("mkdir", name)), Run("hv1", ("rmdir", name))
    return Change(
        f"make {name}", Risk.LIVE, (Step(make, (remove,)), Step(EditLine("hv1", "/etc/fstab", None, "ä\x00")))
    )


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "run" / NAME, Header(run="r1", mode="keep", started=datetime.now(UTC), reach={"a": [1]}))


def test_nothing_is_written_before_the_first_change(journal: Journal) -> None:
    assert not journal.path.parent.exists()


def test_it_reads_as_it_was_written(journal: Journal) -> None:
    for state in (State.UNDONE, State.KEPT, State.FAILED):
        journal.mark(journal.plan(change(str(state))), state)
    journal.plan(change("begun"))
    assert read(journal.path)[0] == journal.header
    left = [(entry.seq, entry.state, entry.change) for entry in open_changes(journal.path)]
    states = (State.KEPT, State.FAILED)
    assert left == [
        *((seq, state, change(str(state))) for seq, state in enumerate(states, start=2)),
        (4, State.PLANNED, change("begun")),
    ]


def test_only_its_owner_may_read_it(journal: Journal) -> None:
    journal.plan(change("x"))
    assert journal.path.stat().st_mode & 0o777 == 0o600


def test_a_torn_last_line_was_never_acted_upon(journal: Journal) -> None:
    journal.plan(change("whole"))
    journal.plan(change("torn"))
    journal.close()
    os.truncate(journal.path, journal.path.stat().st_size - 40)
    assert [entry.change.title for entry in open_changes(journal.path)] == ["make whole"]
    again = Journal.reopen(journal.path)
    again.mark(open_changes(journal.path)[0], State.UNDONE)
    again.close()
    assert open_changes(journal.path) == []


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        (lambda lines: [b"", *lines[1:]], ":1:1"),
        (lambda lines: [lines[0], b"\0" * 20, *lines[2:]], ":2:1"),
        (lambda lines: [lines[0], *lines[2:]], ":2:1"),
        (lambda lines: [*lines, b'{"seq":1,"state":"done","at":"2026-01-01T00:00:00Z"}'], ":4:1"),
        (lambda lines: [], ":1:1"),
    ],
    ids=["no header", "zeros", "a state without its change", "an unknown state", "empty"],
)
def test_damage_is_told_with_its_place(journal: Journal, damage: object, place: str) -> None:
    journal.mark(journal.plan(change("x")), State.APPLIED)
    journal.close()
    lines = journal.path.read_bytes().splitlines()
    journal.path.write_bytes(b"".join(line + b"\n" for line in damage(lines)))  # type: ignore[operator]
    for reading in (read, Journal.reopen):
        with pytest.raises(BadInput, match=place):
            reading(journal.path)


def test_undo_waits_for_the_end_of_the_run(journal: Journal) -> None:
    journal.plan(change("x"))
    with pytest.raises(BadInput, match="still going on"):
        Journal.reopen(journal.path)
    journal.close()
    Journal.reopen(journal.path).close()


def test_no_run_writes_into_another_ones_journal(journal: Journal) -> None:
    journal.plan(change("x"))
    with pytest.raises(BadInput, match="File exists"):
        Journal(journal.path, journal.header).plan(change("y"))


def test_there_is_no_journal(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        read(tmp_path / NAME)
