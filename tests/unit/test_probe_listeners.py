"""Listeners and their owners from recorded tables; and the command that finds owners, run here."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.certificate_maker import TAKEN
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import listeners
from virtvet.snapshot.model import Absent, Completed, Content, FileAnswer, Snapshot

DATA = Path(__file__).parents[1] / "probes" / "listeners"


def looked(case: str) -> Snapshot:
    folder = DATA / case
    errors = folder / "errors"
    names = (line.split(maxsplit=1) for line in (folder / "processes").read_text().splitlines())
    return Snapshot(
        "hv1",
        TAKEN,
        {
            listeners.TCP4: _content(folder / "tcp"),
            listeners.TCP6: _content(folder / "tcp6"),
            listeners.HOLDERS: Completed(
                0, (folder / "holders").read_bytes(), errors.read_bytes() if errors.exists() else b""
            ),
            listeners.NAMES: {f"/proc/{pid}/comm": Content(f"{name}\n".encode()) for pid, name in names},
        },
    )


def _content(path: Path) -> FileAnswer:
    return Content(path.read_bytes()) if path.exists() else Absent()


def said(function: Any, snapshot: Snapshot) -> Any:
    """As the recorded expectation writes it."""
    try:
        found = function(snapshot, 16514)
        return sorted(found.value) if function is listeners.addresses else [sorted(one.value) for one in found]
    except NotApplicable as reason:
        return str(reason)
    except CannotLook as error:
        return f"error: {error}"


@pytest.mark.parametrize("case", sorted(folder.name for folder in DATA.iterdir()))
def test_recorded(case: str) -> None:
    expected = json.loads((DATA / case / "expected.json").read_text())
    snapshot = looked(case)
    for what, function in (("addresses", listeners.addresses), ("owners", listeners.owners)):
        seen = said(function, snapshot)
        if str(expected[what]).startswith("error: "):
            assert seen.startswith("error: ")
            assert expected[what].removeprefix("error: ") in seen
        else:
            assert seen == expected[what]


def test_missing_tables_are_errors() -> None:
    with pytest.raises(CannotLook):
        listeners.addresses(Snapshot("hv1", TAKEN, {listeners.TCP4: Absent(), listeners.TCP6: Absent()}), 16514)


def test_the_owner_is_found_for_real() -> None:
    """Our own listener, in this machine's own tables."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = subprocess.run(listeners.HOLDERS.argv, capture_output=True, check=False)
        names = {f"/proc/{os.getpid()}/comm": Content(Path("/proc/self/comm").read_bytes())}
        answers = {
            listeners.TCP4: Content(Path("/proc/net/tcp").read_bytes()),
            listeners.TCP6: _content(Path("/proc/net/tcp6")),
            # other users' processes cannot be seen without root; ours can
            listeners.HOLDERS: Completed(done.returncode, done.stdout, b""),
            listeners.NAMES: names,
        }
        snapshot = Snapshot("here", TAKEN, answers)
        assert listeners.addresses(snapshot, port).value == {"127.0.0.1"}
        (reading,) = listeners.owners(snapshot, port)
    assert reading.value == {Path("/proc/self/comm").read_text().strip()}
    assert f"/proc/{os.getpid()}" in reading.excerpt


def test_a_list_of_owners_that_could_not_be_made_is_an_error() -> None:
    broken = Completed(127, b"", b"sh: 2: awk: not found\n")
    answers = {**looked(sorted(folder.name for folder in DATA.iterdir())[0]).answers, listeners.HOLDERS: broken}
    with pytest.raises(CannotLook, match="awk: not found"):
        list(listeners._holders(Snapshot("hv1", TAKEN, answers)))
