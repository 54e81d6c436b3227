"""Two suites side by side: the second's lines after the first's, and the worst exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import both_labs

PASSES, FAILS = "def test_one(): pass", "def test_two(): assert False"


@pytest.mark.parametrize(
    ("first", "second", "arguments", "code"),
    [
        (FAILS, PASSES, [], 1),
        (PASSES, FAILS, [], 1),
        (PASSES, FAILS, ["-k", "one"], 0),
        (PASSES, FAILS, ["-k", "three"], 5),
    ],
)
def test_both_suites_count(
    first: str,
    second: str,
    arguments: list[str],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    suites = [tmp_path / name for name in ("test_a.py", "test_b.py")]
    for suite, text in zip(suites, (first, second), strict=True):
        suite.write_text(text)
    monkeypatch.setattr(both_labs, "SUITES", tuple(map(str, suites)))
    assert both_labs.main(["-p", "no:cacheprovider", *arguments]) == code
    output = capfd.readouterr().out
    if "-k" not in arguments:
        assert output.index("test_a.py") < output.index("test_b.py")
