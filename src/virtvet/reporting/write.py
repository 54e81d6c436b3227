"""All reports of a run into their directory, and `latest` to the newest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from virtvet.errors import BadInput
from virtvet.reporting.html import html
from virtvet.reporting.junit import junit
from virtvet.reporting.run import Run, write_run


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the reports of one run are."""

    run: Path
    junit: Path
    html: Path

    def __iter__(self) -> Iterator[Path]:
        yield from (self.html, self.junit, self.run)


def write_all(run: Run, reports: Path) -> Paths:
    """Write `<reports>/<run id>/{run.json,junit.xml,report.html}` and point `<reports>/latest` there.

    Raises BadInput when that directory cannot be written.
    """
    directory = reports / run.id
    with _writing(reports):
        directory.mkdir(parents=True, exist_ok=True)
        paths = render(run, directory)
        _point(reports / "latest", run.id)
    return paths


def make_room(reports: Path) -> None:
    """Have the directory where reports will go: better known before a long look than after it. Raises BadInput."""
    with _writing(reports), TemporaryFile(dir=_made(reports)):
        pass


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextmanager
def _writing(reports: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInput.one(
            f"cannot write reports to {reports}: {error.strerror}", "--reports names the directory"
        ) from None


def render(run: Run, directory: Path) -> Paths:
    """Write run.json and what is made from it into an existing directory. Raises OSError."""
    paths = Paths(directory / "run.json", directory / "junit.xml", directory / "report.html")
    write_run(run, directory)
    paths.junit.write_bytes(junit(run))
    paths.html.write_text(html(run), encoding="utf-8")
    return paths


def _point(link: Path, target: str) -> None:
    """Replace a symlink at once: whoever reads `latest` meets the old run or the new one, never none."""
    fresh = link.with_name(f".latest-{target}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target, target_is_directory=True)
    os.replace(fresh, link)  # noqa: PTH105
