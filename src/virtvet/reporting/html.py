"""report.html: one file for people, which asks no network and trusts nothing it shows.

The verdict, the matrix and the first troubles stand in the HTML itself, so that it reads and prints without JavaScript;
report.js shows all results from the run embedded as JSON. The CSP allows this style sheet and this script, by hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from urllib.parse import urlencode

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from virtvet.judge import Outcome
from virtvet.reporting.run import LABEL, SYMBOL, WORST_FIRST, Host, Result, Run, Summary

STATIC = 100
"""Troubles that can be read without JavaScript; run.json holds them all."""


@dataclass(frozen=True, slots=True)
class Cell:
    """How one area ended on one host."""

    host: str
    area: str
    counts: Mapping[Outcome, int]

    @property
    def worst(self) -> Outcome | None:
        """The worst outcome in it; None when the area was not checked there."""
        return next((outcome for outcome in WORST_FIRST if self.counts.get(outcome)), None)

    @property
    def words(self) -> str:
        """For a tooltip and for who cannot see the colour."""
        said = ", ".join(
            f"{self.counts[outcome]} {LABEL[outcome]}" for outcome in WORST_FIRST if self.counts.get(outcome)
        )
        return f"{self.host}, {self.area}: {said}"

    @property
    def link(self) -> str:
        """The filter that shows it; report.js reads it back."""
        return "#" + urlencode({"host": self.host, "area": self.area})


@dataclass(frozen=True, slots=True)
class Row:
    """A host of the matrix."""

    host: Host
    cells: tuple[Cell, ...]

    @property
    def urgency(self) -> tuple[bool, int, int, str]:
        """Hosts that did not answer first, then the most failures."""
        total: Counter[Outcome] = Counter()
        for cell in self.cells:
            total.update(cell.counts)
        return self.host.unreachable is None, -total[Outcome.FAILED], -total[Outcome.ERROR], self.host.name


def html(run: Run) -> str:
    """The report as one HTML document."""
    style, script = _part("report.css"), _part("report.js")
    areas = sorted({result.area for result in run.results})
    troubles = run.troubles
    return _template().render(
        run=run,
        verdict=verdict(run),
        worst=_worst(run),
        outcomes=[outcome for outcome in WORST_FIRST if getattr(run.summary, outcome)],
        labels=LABEL,
        symbols=SYMBOL,
        areas=areas,
        rows=matrix(run, areas),
        troubles=troubles[:STATIC],
        hidden=max(0, len(troubles) - STATIC),
        style=style,
        script=script,
        policy=_policy(style, script),
        data=_embedded(run),
    )


def verdict(run: Run) -> str:
    """The first thing a reader wants to know, in one sentence."""
    count: Summary = run.summary
    if count.failed:
        hosts = len({result.host for result in run.results if result.outcome is Outcome.FAILED})
        where = "" if len(run.hosts) == 1 else f" on {hosts} of {len(run.hosts)} hosts"
        return f"{count.failed} of {_plural(count.total, 'check')} {'fails' if count.failed == 1 else 'fail'}{where}"
    if count.error:
        return f"{count.error} of {_plural(count.total, 'check')} could not look"
    if not count.passed:
        return "Nothing was found to pass"
    if run.exit_code:
        return f"No check failed, but the run ended with exit code {run.exit_code}"
    return f"All {_plural(count.passed, 'check')} that were judged pass"


def matrix(run: Run, areas: Iterable[str]) -> list[Row]:
    """Hosts by areas, the worst host first."""
    counts: dict[tuple[str, str], Counter[Outcome]] = {}
    for result in run.results:
        counts.setdefault((result.host, result.area), Counter())[result.outcome] += 1
    rows = [
        Row(host, tuple(Cell(host.name, area, counts.get((host.name, area), {})) for area in areas))
        for host in run.hosts
    ]
    return sorted(rows, key=lambda row: row.urgency)


def _worst(run: Run) -> Outcome:
    """The colour of the verdict: nothing but passes, and exit code 0, is green."""
    found: Iterable[Result] = run.troubles[:1]
    green = Outcome.PASSED if run.summary.passed and not run.exit_code else Outcome.ERROR
    return next((result.outcome for result in found), green)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _embedded(run: Run) -> Markup:
    """The run as JSON, worst results first; no text in it can end the script element it stands in."""
    ordered = run.model_copy(update={"results": run.worst_first})
    text = ordered.model_dump_json(exclude_defaults=True)
    return Markup(text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e"))  # noqa: S704


def _policy(style: str, script: str) -> str:
    """Nothing is loaded, nothing is sent, nothing runs but our own style and script."""
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _part(name: str) -> Markup:
    return Markup((files(__package__) / name).read_text(encoding="utf-8"))  # noqa: S704


def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_part("report.html.j2"))
