"""The lab as fixtures: real hosts, a session on them, and `virtvet` as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from lab.errors import LabError

TOP = Path(__file__).parents[2]
PROFILE = TOP / "profiles" / "lab.yaml"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the lab."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab that is up, left as it is; or one of our own, taken down at the end."""
    try:
        yield Lab.attach()
    except LabError:
        with Lab() as ours:
            yield ours


@dataclass(frozen=True)
class Ended:
    """A finished `virtvet …`."""

    code: int
    out: str
    err: str
    reports: Path

    @property
    def run(self) -> dict[str, Any]:
        """Its run.json."""
        return json.loads((self.reports / "latest" / "run.json").read_text())

    @property
    def outcomes(self) -> dict[str, str]:
        """What was asked -> how it ended, keyed "CONTROL host/subject"."""
        return {f"{one['control']} {one['host']}/{one['subject']}": one["outcome"] for one in self.run["results"]}


Virtvet = Callable[..., Ended]


def virtvet_in(folder: Path, lab: Lab) -> Virtvet:
    """`virtvet check profiles/lab.yaml --inventory LAB …` in a process of its own, its reports in this folder.

    The words that are given by name are put into its environment.
    """

    def check(
        *arguments: str,
        profile: Path | str = PROFILE,
        inventory: Path | None = None,
        timeout: float = 120,
        **environment: str,
    ) -> Ended:
        command = [sys.executable, "-m", "virtvet", "check", str(profile)]
        command += ["--inventory", str(inventory or lab.inventory), "--reports", str(folder / "reports"), *arguments]
        known = {**os.environ, "PYTHONPATH": str(TOP / "src"), "COLUMNS": "160", **environment}
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=known, cwd=folder)
        return Ended(done.returncode, done.stdout, done.stderr, folder / "reports")

    return check


@pytest.fixture
def virtvet(lab: Lab, tmp_path: Path) -> Virtvet:
    """It, its reports in the test's own folder."""
    return virtvet_in(tmp_path, lab)
