"""Regenerate what is generated: `./dev refresh`. Tests compare it with what is committed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from virtvet import __version__, catalogue
from virtvet.check import Check
from virtvet.inventory import from_hostspecs
from virtvet.judge import judge
from virtvet.profile import schema as profile_schema
from virtvet.profile.load import find_profile, load_profile
from virtvet.record import described, profile_used
from virtvet.reporting import schema as run_schema
from virtvet.reporting.run import Result, Run, Summary, result_of
from virtvet.reporting.write import render
from virtvet.session import Selection, Session
from virtvet.snapshot.connections import Connections

TOP = Path(__file__).parents[2]
CONTROLS = TOP / "docs" / "controls.md"
SAMPLE = TOP / "reports" / "sample"
RECORDED = TOP / "tests" / "recorded" / "lab.json"
"""A look at both lab hosts with a few faults in them: `python -m tests.record`."""


def texts() -> Mapping[Path, str]:
    """The generated text files of the checkout."""
    schemas = {TOP / "profiles" / name: text for name, text in profile_schema.files().items()}
    return schemas | {TOP / "reports" / "run.schema.json": run_schema.schema(), CONTROLS: controls_table()}


def controls_table() -> str:
    """docs/controls.md: every control, by area."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    checks = catalogue.shipped()
    yield "# Controls"
    yield ""
    yield f"{len(checks)} controls; this page is made by `./dev refresh` from the checks themselves."
    yield "`virtvet controls --long` says why each exists and what mends it."
    for area in sorted({check.control.area for check in checks}):
        yield from _area(area, [check for check in checks if check.control.area == area])


def _area(area: str, checks: list[Check]) -> Iterator[str]:
    yield from ("", f"## {area}", "", "| control | what must hold | severity | layers | of |", "|---|---|---|---|---|")
    for check in checks:
        control = check.control
        layers = ", ".join(check.layers)
        yield f"| {control.id} | {control.title} | {control.severity} | {layers} | {control.requirement} |"


def sample_session() -> Session:
    """The recorded hosts, to be judged by profiles/lab.yaml."""
    inventory = from_hostspecs(["ssh://root@hv1", "ssh://root@hv2"])
    profile = load_profile("lab")
    session = Session(
        inventory, dict.fromkeys(inventory.hosts, profile), catalogue.shipped(), Selection(), Connections()
    )
    session.replay(RECORDED)
    return session


def sample() -> Run:
    """The sample run, with the record's own time and no durations."""
    session = sample_session()
    taken = min(snapshot.taken for snapshot in session.snapshots.values())
    results = tuple(_results(session))
    return Run(
        virtvet=__version__,
        id=f"{taken:%Y%m%dT%H%M%SZ}-0000",
        started=taken,
        finished=taken,
        argv=("virtvet", "check", "lab", "-H", "ssh://root@hv1", "-H", "ssh://root@hv2"),
        profiles=(profile_used("lab", Path("profiles") / find_profile("lab").name),),
        hosts=tuple(described(target, session, "lab") for target in session.targets.values()),
        results=results,
        summary=Summary.of(results),
        exit_code=1,
    )


def _results(session: Session) -> Iterator[Result]:
    for check in session.checks:
        for host, snapshot in session.snapshots.items():
            for case in session.cases(check, host):
                nodeid = f"checks::{check.test}[{host}/{case.subject}]"
                yield result_of(check, case, judge(check, case, snapshot), nodeid, host, 0.0)


def main() -> None:
    """Write everything."""
    for path, text in texts().items():
        path.write_text(text, encoding="utf-8")
    if RECORDED.exists():
        render(sample(), SAMPLE)


if __name__ == "__main__":
    main()
