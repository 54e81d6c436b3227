"""Mending in one run: what the plugin holds. Everything after a change is judged on a look that has seen it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from virtvet.check import Case, Check
from virtvet.judge import Observed
from virtvet.remedies import reach
from virtvet.remedies.journal import NAME, Header, Journal
from virtvet.remedies.modes import EXERCISE, NO, Mode, Risk
from virtvet.remedies.settle import Asked, Means, Mending, exercise, settle
from virtvet.reporting import run as report
from virtvet.snapshot.model import Snapshot

if TYPE_CHECKING:
    from virtvet.session import Session


@dataclass
class Mender:
    """Settles cases, one after the other, where it `mends`; and does those that are exercises. `undone`: some change
    had to be taken back, the run must not look well."""

    session: Session
    means: Means
    mends: bool
    fresh: dict[str, Snapshot] = field(default_factory=dict)
    undone: bool = False

    @classmethod
    def start(cls, fix: str, risk: str, session: Session, directory: Path) -> Mender | None:
        """None where nothing is to be mended or exercised. `directory` is the run's own; a journal appears there with
        the first change."""
        if fix == NO and not session.selection.exercises:
            return None
        mode = Mode.TRY if fix == NO else Mode(fix)
        said, ways = EXERCISE if fix == NO else fix, reach.written(session.inventory)
        header = Header(run=directory.name, mode=said, started=session.started, reach=ways)
        fresh: dict[str, Snapshot] = {}

        def look(host: str) -> Snapshot:
            fresh[host] = session.look_again(host, session.checks)
            return fresh[host]

        journal = Journal(directory / NAME, header)
        return cls(session, Means(mode, Risk(risk), journal, session.connections, look), fix != NO, fresh)

    def settle(self, check: Check, case: Case, host: str, seen: Observed) -> tuple[Observed, report.Mending | None]:
        """The case as the host is left, and what was done about it. `seen` holds unless something was changed since."""
        if check.exercise is None and (check.remedy is None or not self.mends) and host not in self.fresh:
            return seen, None
        snapshot = self.fresh.get(host) or self.session.snapshots[host]
        asked = Asked(check, case, self.session.targets[host], snapshot)
        if check.exercise is None and not self.mends:
            return asked.judged(snapshot), None
        observed, mending = (exercise if check.exercise else settle)(asked, self.means)
        if mending is None:
            return observed, None
        self.undone |= mending.alarming
        return observed, self._reported(mending, EXERCISE if check.exercise else self.means.mode.value)

    def _reported(self, mending: Mending, mode: str) -> report.Mending:
        lines = (line for change in mending.changes for line in str(change).splitlines())
        outcome = f"{mending.result}: {mending.message}" if mending.message else str(mending.result)
        return report.Mending(mode=mode, changes=tuple(lines), outcome=outcome)

    def close(self) -> None:
        """Give the journal free for `virtvet undo`."""
        self.means.journal.close()
