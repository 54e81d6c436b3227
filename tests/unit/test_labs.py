"""Suites side by side and one after the other: their lines in order, and the worst exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import labs

PASSES, FAILS = "def test_one(): pass", "def test_two(): assert False"


@pytest.mark.parametrize(
    ("suites", "arguments", "ran", "code"),
    [
        ((FAILS, PASSES, PASSES), [], ["first", "beside"], 1),
        ((PASSES, FAILS, PASSES), ["-k", "one"], ["first", "then"], 0),
        ((PASSES, PASSES, PASSES), ["-k", "three"], [], 5),
    ],
)
def test_every_suite_counts(
    suites: tuple[str, ...],
    arguments: list[str],
    ran: list[str],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, text in zip(("first", "beside", "then"), suites, strict=True):
        suite = tmp_path / f"test_{name}.py"
        suite.write_text(text)
        monkeypatch.setattr(labs, name.upper(), (str(suite),))
    assert labs.main(["-p", "no:cacheprovider", *arguments]) == code
    output = capfd.readouterr().out
    seen = {output.index(f"test_{name}.py "): name for name in ("first", "beside", "then") if f"_{name}.py " in output}
    assert [seen[place] for place in sorted(seen)] == ran
