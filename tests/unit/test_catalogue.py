"""All shipped checks, as a whole."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from virtvet import catalogue
from virtvet.refresh import SAMPLE, TOP, sample, texts
from virtvet.reporting.write import render

CHECKS = catalogue.shipped()


def test_control_ids_are_unique_and_well_formed() -> None:
    ids = Counter(check.control.id for check in CHECKS)
    assert [name for name, count in ids.items() if count > 1] == []
    assert [name for name in ids if not re.fullmatch(r"[A-Z]+(-[A-Z0-9]+)*-\d+", name)] == []


def test_every_control_says_why_and_what_mends_it() -> None:
    for check in CHECKS:
        control = check.control
        assert control.title, control.id
        assert control.rationale, control.id
        assert control.hint, control.id
        assert re.fullmatch(r"R\d+", control.requirement), control.id
        assert all(reference.startswith("https://") for reference in control.references), control.id


def test_every_check_reads_some_layer() -> None:
    assert [check.control.id for check in CHECKS if not check.layers] == []


@pytest.mark.parametrize("path", texts(), ids=lambda path: str(path.relative_to(TOP)))
def test_generated_file_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == texts()[path], "run ./dev refresh"


def test_sample_run_is_current(tmp_path: Path) -> None:
    for made in render(sample(), tmp_path):
        assert made.read_bytes() == (SAMPLE / made.name).read_bytes(), "run ./dev refresh"


def test_a_file_without_checks_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text('raise SystemExit("imported")\n')
    assert catalogue.load([tmp_path]) == ()
