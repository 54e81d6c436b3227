"""The summary a run ends with: each failure in three lines (what, which layer, the command that mends it), then counts.

Everything is rich Text, never markup, and the terminal wraps the lines, so that a command can be copied whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from shlex import quote

from rich.console import Console
from rich.table import Table
from rich.text import Text

from virtvet.judge import Outcome
from virtvet.reporting.run import LABEL, SYMBOL, WORST_FIRST, Mending, Result, Run, Summary

COLOUR: Mapping[Outcome, str] = {
    Outcome.FAILED: "red",
    Outcome.ERROR: "magenta",
    Outcome.WAIVED: "yellow",
    Outcome.SKIPPED: "bright_black",
    Outcome.PASSED: "green",
}
SHOWN = 50
"""Troubles printed in full; the reports hold them all."""
REASONS = 5
"""Reasons for skipping that are printed."""

Troubles = dict[tuple[str, ...], list[Result]]


def summary(run: Run, console: Console, paths: Iterable[Path]) -> None:
    """What needs doing, what was mended, why anything was skipped, the counts a host, and where the reports are."""
    paths = tuple(paths)
    _troubles(run, console)
    _mendings(run, console, str(paths[0].parent) if paths else run.id)
    _unjudged(run, console)
    console.print(_table(run))
    console.print(_verdict(run))
    for path in paths:
        _line(console, Text(f"  {path}", "bright_black"))


def _troubles(run: Run, console: Console) -> None:
    grouped = _once(run.troubles)
    for alike in islice(grouped.values(), SHOWN):
        _trouble(console, alike[0], len(alike) - 1)
    if len(grouped) > SHOWN:
        _line(console, Text(f"… and {len(grouped) - SHOWN} more in the reports\n", "bold"))


def _once(troubles: Iterable[Result]) -> Troubles:
    """What could not be read for one reason on one host is one trouble, however many controls asked for it."""
    grouped: Troubles = {}
    for result in troubles:
        same = (result.host, result.message) if result.outcome is Outcome.ERROR else (result.id,)
        grouped.setdefault(same, []).append(result)
    return grouped


def headline(result: Result) -> Text:
    """How a case ended, in one line: "✗ CPU-PIN-1 · hv1/web1/vcpu0 — Each vCPU runs only on its CPUs"."""
    head = Text(f"{SYMBOL[result.outcome]} {result.control}", f"bold {COLOUR[result.outcome]}")
    head.append(f" · {result.where}", "not bold default" if result.outcome is Outcome.PASSED else "bold")
    return head.append(f" — {result.title}", "not bold default")


def _trouble(console: Console, result: Result, more: int) -> None:
    head = headline(result)
    if more:
        head.append(f" (and {more} more)", "not bold bright_black")
    _line(console, head)
    _line(console, Text(f"  {result.message}"))
    _line(console, Text(f"  {result.hint}\n" if result.hint else "", "cyan"))


def _mendings(run: Run, console: Console, where: str) -> None:
    """Exactly what was done or would be done, once for all the cases that it mends."""
    grouped: dict[Mending, list[Result]] = {}
    for result in run.results:
        if result.mending:
            grouped.setdefault(result.mending, []).append(result)
    for mending, results in grouped.items():
        _mending(console, mending, results)
    if any(mending.left for mending in grouped):
        _line(
            console,
            Text.assemble(("  virtvet undo ", "cyan"), (quote(where), "cyan"), "   # takes back what was left\n"),
        )


def _mending(console: Console, mending: Mending, results: Iterable[Result]) -> None:
    head = Text(f"⚒ {mending.outcome}", "bold blue")
    for result in results:
        head.append(f" · {result.control} {result.where}", "not bold default")
    for line in (head, *(Text(f"  {line}") for line in mending.changes), Text()):
        _line(console, line)


def _unjudged(run: Run, console: Console) -> None:
    told = {seen.error: trouble for trouble in run.troubles for seen in trouble.layers.values() if seen.error}
    for outcome in (Outcome.WAIVED, Outcome.SKIPPED):
        reasons = Counter(_reason(result, told) for result in run.results if result.outcome is outcome)
        for reason, count in reasons.most_common(REASONS):
            _line(console, Text(f"{SYMBOL[outcome]} {count} {outcome}: {reason}", COLOUR[outcome]))


def _reason(result: Result, told: Mapping[str, Result]) -> str:
    """Why it was not judged: what all layers say once, what was told as a trouble by its name."""
    said = dict.fromkeys(seen.error or seen.not_applicable for seen in result.layers.values())
    reasons = [f"see {told[one].control} · {told[one].where}" if one in told else one for one in said if one]
    return "; ".join(reasons) if result.outcome is Outcome.SKIPPED and reasons else result.message


def _table(run: Run) -> Table:
    """Counts by host; hosts where all passed share a line when there is more than one of them."""
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    table.add_column("host", overflow="fold")
    for outcome in WORST_FIRST:
        table.add_column(str(outcome), justify="right", no_wrap=True)
    counts = {host.name: Summary.of(result for result in run.results if result.host == host.name) for host in run.hosts}
    good = [name for name, count in counts.items() if 0 < count.total == count.passed]
    for name, count in counts.items():
        if name not in good or len(good) == 1:
            table.add_row(Text(name), *_cells(count))
    if len(good) > 1:
        table.add_row(Text(f"{len(good)} hosts"), *_cells(Summary.of(r for r in run.results if r.host in good)))
    return table


def _cells(count: Summary) -> Iterable[Text]:
    for outcome in WORST_FIRST:
        number = getattr(count, outcome)
        yield Text(f"{SYMBOL[outcome]} {number}" if number else "·", COLOUR[outcome] if number else "bright_black")


def _verdict(run: Run) -> Text:
    count, seconds = run.summary, (run.finished - run.started).total_seconds()
    worst = next((outcome for outcome in WORST_FIRST if getattr(count, outcome)), Outcome.ERROR)
    parts = [f"{number} {_label(outcome, number)}" for outcome in WORST_FIRST if (number := getattr(count, outcome))]
    text = ", ".join(parts) or "nothing was checked"
    return Text(f"\n{SYMBOL[worst]} {text} in {seconds:.1f} s", f"bold {COLOUR[worst]}")


def _label(outcome: Outcome, number: int) -> str:
    return str(outcome) if number == 1 else LABEL[outcome]


def _line(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=True)
