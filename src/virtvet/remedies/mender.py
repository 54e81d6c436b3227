"""Mending in one run: what the plugin holds. Everything after a change is judged on a look that has seen it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from virtvet.check import Case, Check
from virtvet.judge import Observed
from virtvet.remedies import reach
from virtvet.remedies.journal import NAME, Header, Journal
from virtvet.remedies.modes import NO, Mode, Risk
from virtvet.remedies.settle import Asked, Means, Mending, settle
from virtvet.reporting import run as report
from virtvet.snapshot.model import Snapshot

if TYPE_CHECKING:
    from virtvet.session import Session


@dataclass
class Mender:
    """Settles cases, one after the other. `undone`: some change had to be taken back, the run must not look well."""

    session: Session
    means: Means
    fresh: dict[str, Snapshot] = field(default_factory=dict)
    undone: bool = False

    @classmethod
    def start(cls, fix: str, risk: str, session: Session, directory: Path) -> Mender | None:
        """For `--fix=no` None. `directory` is the run's own; a journal appears there with the first change."""
        if fix == NO:
            return None
        header = Header(run=directory.name, mode=fix, started=session.started, reach=reach.written(session.inventory))
        fresh: dict[str, Snapshot] = {}

        def look(host: str) -> Snapshot:
            fresh[host] = session.look_again(host, session.checks)
            return fresh[host]

        journal = Journal(directory / NAME, header)
        return cls(session, Means(Mode(fix), Risk(risk), journal, session.connections, look), fresh)

    def settle(self, check: Check, case: Case, host: str, seen: Observed) -> tuple[Observed, report.Mending | None]:
        """The case as the host is left, and what was done about it. `seen` holds unless something was changed since."""
        if check.remedy is None and host not in self.fresh:
            return seen, None
        snapshot = self.fresh.get(host) or self.session.snapshots[host]
        observed, mending = settle(Asked(check, case, self.session.targets[host], snapshot), self.means)
        if mending is None:
            return observed, None
        self.undone |= mending.alarming
        return observed, self._reported(mending)

    def _reported(self, mending: Mending) -> report.Mending:
        lines = (line for change in mending.changes for line in str(change).splitlines())
        outcome = f"{mending.result}: {mending.message}" if mending.message else str(mending.result)
        return report.Mending(mode=self.means.mode.value, changes=tuple(lines), outcome=outcome)

    def close(self) -> None:
        """Give the journal free for `virtvet undo`."""
        self.means.journal.close()
