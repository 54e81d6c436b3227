"""What a run keeps: a result for each test as it ends, then the reports and the exit code."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import pytest
from rich.console import Console

from virtvet import __version__
from virtvet.check import Case, Check
from virtvet.errors import BadInput, ExitCode
from virtvet.judge import Observed, Outcome
from virtvet.profile.load import find_profile
from virtvet.reporting import terminal, write
from virtvet.reporting.run import Host, Image, Mending, ProfileUsed, Result, Run, Summary, broken, new_run_id, result_of
from virtvet.session import Session, profile_name
from virtvet.snapshot.model import LibvirtAnswer, Snapshot
from virtvet.snapshot.sources import Libvirt
from virtvet.target import HostTarget


@dataclass
class Pending:
    """A test that has begun to be judged."""

    check: Check
    case: Case
    host: str
    observed: Observed | None = None
    mending: Mending | None = None
    seconds: float = 0.0
    outcome: str = "passed"
    text: str = ""


class Recorder:
    """Collects results in the order of the tests; `directory` is where this run's reports go."""

    def __init__(self, session: Session, reports: Path, profile: str | None, image: Image | None = None) -> None:
        self.session, self.reports, self.profile, self.image = session, reports, profile, image
        self.id = new_run_id(session.started)
        self.directory = reports / self.id
        self.results: list[Result] = []
        self.profiles = tuple(self._profiles())
        self._judged = False
        self._pending: dict[str, Pending] = {}

    def begin(self, nodeid: str, check: Check, case: Case, host: str) -> None:
        """A test starts."""
        self._pending[nodeid] = Pending(check, case, host)

    def observed(self, nodeid: str, observed: Observed, mending: Mending | None) -> None:
        """The test's layers were seen, and mended if that was asked."""
        self._pending[nodeid].observed, self._pending[nodeid].mending = observed, mending

    def phase(self, nodeid: str, report: pytest.TestReport) -> None:
        """setup, call or teardown of a test ended; after teardown its result is made."""
        pending = self._pending[nodeid]
        pending.seconds += report.duration
        if report.outcome != "passed":
            pending.outcome, pending.text = report.outcome, _last_line(report.longreprtext)
        if report.when == "teardown":
            self.results.append(self._result(nodeid, self._pending.pop(nodeid)))

    def _result(self, nodeid: str, pending: Pending) -> Result:
        check, case, seen = pending.check, pending.case, pending.observed
        if self.session.selection.asks(check) and (seen is None or seen.outcome is not Outcome.SKIPPED):
            self._judged = True
        if seen is None:
            return broken(check, case, pending.text or "was not judged", nodeid, pending.host, pending.seconds)
        result = result_of(check, case, seen, nodeid, pending.host, pending.seconds, pending.mending)
        if seen.outcome is Outcome.PASSED and pending.outcome == "failed":  # a check that asserts more than its layers
            return result.model_copy(update={"outcome": Outcome.FAILED, "message": pending.text})
        return result

    def finish(self, status: int, stream: TextIO, undone: bool = False) -> int:
        """Write the reports, print the summary; the exit code. Raises BadInput when reports cannot be written."""
        code = self._exit_code(status, undone)
        run, console = self.run(code), Console(file=stream, soft_wrap=not stream.isatty())
        try:
            paths = write.write_all(run, self.reports)
        except BadInput:
            terminal.summary(run, console, ())
            raise
        terminal.summary(run, console, paths)
        return code

    def _exit_code(self, status: int, undone: bool) -> int:
        """The code that says most; what pytest itself could not do (2-4) stays."""
        if status not in (ExitCode.OK, ExitCode.FAILED, ExitCode.NOTHING_CHECKED):
            return status
        if undone:
            return ExitCode.MENDING_UNDONE
        if any(snapshot.unreachable for snapshot in self.session.snapshots.values()):
            return ExitCode.UNREACHABLE
        if status == ExitCode.OK and (self._departs() or self._blind()):
            return ExitCode.FAILED
        return ExitCode.NOTHING_CHECKED if status == ExitCode.OK and not self._judged else status

    def _departs(self) -> bool:
        """pytest sees only what a test asserts, and with --setup-plan not even that; results are what was observed."""
        return any(result.outcome in (Outcome.FAILED, Outcome.ERROR) for result in self.results)

    def _blind(self) -> bool:
        """A prerequisite that failed may be deselected by -k; what needed it was skipped, and is not vouched for."""
        return any(layer.verdict == "error" for result in self.results for layer in result.layers.values())

    def run(self, code: int) -> Run:
        """Everything, as run.json holds it."""
        targets = self.session.targets.values()
        return Run(
            virtvet=__version__,
            id=self.id,
            started=self.session.started,
            finished=datetime.now(UTC),
            argv=("virtvet", *sys.argv[1:]),
            profiles=self.profiles,
            image=self.image,
            hosts=tuple(described(target, self.session, self.profile) for target in targets),
            results=tuple(self.results),
            summary=Summary.of(self.results),
            exit_code=code,
        )

    def _profiles(self) -> list[ProfileUsed]:
        wanted = [self.profile or profile_name(access) or "" for access in self.session.inventory.hosts.values()]
        return [profile_used(name, find_profile(name)) for name in dict.fromkeys(wanted)]


def profile_used(name: str, path: Path) -> ProfileUsed:
    """The profile of this name, as run.json names it: `path` is how it is shown."""
    return ProfileUsed(name=path.stem, path=str(path), sha256=_digest(find_profile(name)))


def described(target: HostTarget, session: Session, profile: str | None) -> Host:
    """A host of the run, as run.json describes it."""
    snapshot = session.snapshots.get(target.name)
    known = _libvirt(snapshot)
    return Host(
        name=target.name,
        reached=str(target.access),
        profile=Path(profile or profile_name(target.access) or "").stem,
        libvirt=_version(known.libvirt_version) if known else None,
        qemu=_version(known.qemu_version) if known else None,
        unreachable=snapshot.unreachable if snapshot else "nobody looked",
        guests=tuple(sorted({*(known.domains if known else ()), *(snapshot.by_hand if snapshot else ())})),
        taken=snapshot.taken if snapshot else None,
        seconds=round(session.seconds.get(target.name, 0.0), 3),
    )


def _last_line(text: str) -> str:
    """Of a traceback: what went wrong, not where in our code."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _libvirt(snapshot: Snapshot | None) -> LibvirtAnswer | None:
    answer = snapshot.answers.get(Libvirt()) if snapshot else None
    return answer if isinstance(answer, LibvirtAnswer) else None


def _version(number: int) -> str:
    """9000000 -> "9.0.0" (virConnectGetLibVersion)."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
