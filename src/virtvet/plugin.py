"""pytest wiring: options, one look before collection, a case per test, and what becomes of the results."""

from __future__ import annotations

import sys
from argparse import SUPPRESS, ArgumentTypeError
from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from virtvet import catalogue
from virtvet.check import ATTRIBUTE, Case, Check
from virtvet.errors import BadInput, ExitCode
from virtvet.inventory import Inventory, from_hostspecs, load_inventory
from virtvet.judge import Observed, Outcome, judge
from virtvet.progress import LookProgress
from virtvet.record import Recorder
from virtvet.remedies.mender import Mender
from virtvet.remedies.modes import MODES, NO, RISKS, Mode
from virtvet.reporting.run import Image
from virtvet.reporting.text import one_line
from virtvet.reporting.write import make_room
from virtvet.session import Selection, Session, profiles_of
from virtvet.snapshot.connections import Connections
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.store import save as save_snapshots

RUN = pytest.StashKey["Run"]()

MAX_DEADLINE = 86_400
"""Seconds. Threads cannot wait for ever: a day is as good."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameter of one test: a case of a check on a host."""

    check: Check
    host: str
    case: Case

    def __str__(self) -> str:
        return f"{self.host}/{self.case.subject}"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options; testinfra brings --hosts, --ssh-config, --ssh-identity-file, --sudo."""
    group = parser.getgroup("virtvet", "virtvet: check KVM/libvirt hosts against a profile")
    add = group.addoption
    add("--profile", metavar="P", help="what hosts and guests must be: a YAML file or the name of a shipped profile")
    add(
        "-H",
        dest="virtvet_hosts",
        metavar="HOST",
        action="append",
        default=[],
        help="a host, as in --hosts; repeatable",
    )
    add("--inventory", metavar="FILE", help="which hosts there are and how each is reached (YAML)")
    add("--area", metavar="AREA", action="append", default=[], help="only checks of this area (tls, cpu …); repeatable")
    add("--guest", metavar="NAME", action="append", default=[], help="only guests of this name or pattern; repeatable")
    add("--control", metavar="ID", action="append", default=[], help="only this control id or pattern; repeatable")
    add("--from", dest="from_file", metavar="FILE", help="judge a recorded snapshot instead of looking at hosts")
    add("--save-snapshot", metavar="FILE", help="write what was seen to this file (.json or .json.gz)")
    add("--fix", choices=MODES, default="no", help="mend what departs: plan touches nothing, try undoes, keep keeps")
    add("--fix-risk", choices=RISKS, default=RISKS[0], help="the riskiest change allowed (default: %(default)s)")
    add("--exercise", action="store_true", help="also checks that do something, see it work and take it back")
    add("--reports", metavar="DIR", help="where reports go (default: ./reports)")
    add("--image-facts", metavar="FILE", help=SUPPRESS)  # of `virtvet image`: what it booted, for run.json
    add(
        "--deadline",
        metavar="S",
        type=_seconds,
        default=30.0,
        help="seconds a host has to answer (default: %(default)g)",
    )


def _seconds(text: str) -> float:
    """Raises argparse.ArgumentTypeError."""
    with suppress(ValueError):
        if 0 < (seconds := float(text)) <= MAX_DEADLINE:
            return seconds
    raise ArgumentTypeError(f"{text} is no number of seconds from 0 to {MAX_DEADLINE}")


@dataclass
class Run:
    """What one pytest run of checks carries, from command line to reports."""

    session: Session
    recorder: Recorder
    mender: Mender | None = None


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Refuse bad input before anything starts. Inert unless the collected files declare checks."""
    if any(config.getoption(name, None) for name in ("help", "version", "showfixtures", "markers")):
        return None
    try:
        if checks := catalogue.load(_paths(config)):
            config.stash[RUN] = _prepare(config, checks)
    except BadInput as bad:
        _tell(bad)
        return ExitCode.BAD_INPUT
    return None


def _tell(bad: BadInput) -> None:
    for problem in bad.problems:
        sys.stderr.write(f"virtvet: {problem}\n")


def _paths(config: pytest.Config) -> list[Path]:
    return [config.invocation_params.dir / argument.split("::")[0] for argument in config.args]


def _prepare(config: pytest.Config, checks: tuple[Check, ...]) -> Run:
    option = config.getoption
    selection = Selection(
        _split(option("area")), _split(option("control")), _split(option("guest")), option("exercise")
    )
    selection.verify(checks)
    inventory = _inventory(config)
    profiles = profiles_of(inventory, option("profile"))
    session = Session(inventory, profiles, checks, selection, Connections(deadline=option("deadline")))
    if option("from_file") and option("fix") not in (NO, Mode.PLAN):
        raise pytest.UsageError("a recorded snapshot can be mended in a plan only: --from goes with --fix=plan")
    if option("exercise") and (option("from_file") or option("fix") == Mode.PLAN):
        raise pytest.UsageError("an exercise touches machines: --exercise goes without --from and --fix=plan")
    if option("from_file"):
        session.replay(Path(option("from_file")))
    reports = Path(option("reports") or config.invocation_params.dir / "reports")
    if not option("collectonly"):
        make_room(reports)
    return Run(session, Recorder(session, reports, option("profile"), _image(option("image_facts"))))


def _image(facts: str | None) -> Image | None:
    return Image.model_validate_json(Path(facts).read_bytes()) if facts else None


def _split(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(part for value in values for part in value.split(",") if part)


def _inventory(config: pytest.Config) -> Inventory:
    option = config.getoption
    specs = [*option("virtvet_hosts"), *(option("hosts") or "").split(",")]
    specs = [spec for spec in specs if spec]
    if not option("profile") and not option("inventory"):
        raise pytest.UsageError(
            "no profile: say what hosts must be with --profile P (virtvet profiles lists shipped ones)"
        )
    if option("inventory"):
        return load_inventory(Path(option("inventory")), only=specs)
    if not specs:
        raise pytest.UsageError("no hosts: name them with --hosts/-H ssh://host, or --inventory FILE")
    return from_hostspecs(
        specs, ssh_config=option("ssh_config"), identity=option("ssh_identity_file"), sudo=option("sudo")
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Look at every host once, before the cases are made from what is there; then there must be some."""
    run = session.config.stash.get(RUN, None)
    option = session.config.getoption
    if run and not option("collectonly"):
        try:
            _look(run, option)
        except BadInput as bad:  # two patterns that contradict each other for a guest that is really there
            raise pytest.UsageError(str(bad)) from None
    collected = yield
    if run:
        _must_ask(run, session.items)
    return collected


def _look(run: Run, option: Callable[[str], Any]) -> None:
    if not option("from_file"):
        with LookProgress(sys.stderr) as progress:
            run.session.look(progress, option("deadline"))
    run.session.verify_guests()
    if option("save_snapshot"):
        save_snapshots(run.session.snapshots, Path(option("save_snapshot")))
    run.mender = Mender.start(option("fix"), option("fix_risk"), run.session, run.recorder.directory)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, obj: object) -> list[pytest.Item] | None:
    """A check without cases is not asked: no empty-parameter skip may look like a result."""
    return [] if (asked := _cases(obj, collector.config)) is not None and not asked else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each case of its check on each host."""
    if asked := _cases(metafunc.function, metafunc.config):
        metafunc.parametrize("case", asked, indirect=True, ids=map(str, asked))


def _cases(function: object, config: pytest.Config) -> list[Asked] | None:
    """What is asked of the check that this function asserts; None when it asserts none."""
    check, run = getattr(function, ATTRIBUTE, None), config.stash.get(RUN, None)
    if not isinstance(check, Check) or run is None:
        return None
    hosts = run.session.targets if run.session.selection.takes(check) else ()
    return [Asked(check, host, case) for host in hosts for case in run.session.cases(check, host)]


def _asked(item: pytest.Item) -> Asked | None:
    callspec = getattr(item, "callspec", None)
    asked = callspec.params.get("case") if callspec else None
    return asked if isinstance(asked, Asked) else None


def _must_ask(run: Run, items: list[pytest.Item]) -> None:
    """A selection that leaves nothing of what was asked for is a mistake."""
    asked = [found for item in items if (found := _asked(item))]
    if not any(run.session.selection.asks(found.check) for found in asked) and not _others(items):
        raise pytest.UsageError("no checks selected: nothing in the profile fits this selection")


def _others(items: list[pytest.Item]) -> list[pytest.Item]:
    return [item for item in items if _asked(item) is None]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, object, object]:
    """-k, --deselect and --lf leave in what the chosen tests need: that a guest is off would look like a pass."""
    everything = list(items)
    result = yield
    chosen = set(items)
    about = {(found.host, found.case.guest) for item in items if (found := _asked(item))}
    items[:0] = [item for item in everything if item not in chosen and _needed(item, about)]
    return result


def _needed(item: pytest.Item, about: Collection[tuple[str, str | None]]) -> bool:
    if (found := _asked(item)) is None or not found.check.prerequisite:
        return False
    guest = found.case.guest
    return (found.host, guest) in about if guest else any(host == found.host for host, _guest in about)


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """What is expected: the case this test is for."""
    asked: Asked = request.param
    return asked.case


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Snapshot:
    """The snapshot of the host this test is about, for checks that read more than their layers."""
    run = request.config.stash[RUN]
    return run.session.snapshots[_asked_of(request).host]


def _asked_of(request: pytest.FixtureRequest) -> Asked:
    asked = _asked(request.node)
    assert asked is not None, "this fixture is for tests decorated with @check"
    return asked


@pytest.fixture
def observed(request: pytest.FixtureRequest, case: Case) -> Observed:
    """What every layer shows; mended first if --fix allows. Could not look is an error here, not a failed assertion."""
    run, asked = request.config.stash[RUN], _asked_of(request)
    seen = judge(asked.check, case, run.session.snapshots[asked.host])
    mending = None
    if run.mender:
        seen, mending = run.mender.settle(asked.check, case, asked.host, seen)
    run.recorder.observed(request.node.nodeid, seen, mending)
    if seen.outcome is Outcome.SKIPPED:
        pytest.skip(one_line(seen.message()))
    if seen.outcome is Outcome.ERROR:
        pytest.fail(one_line(f"could not look: {seen.message()}"), pytrace=False)
    return seen


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Say which layer departs instead of two long objects."""
    return [one_line(left.message())] if isinstance(left, Observed) and op == "==" else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test of ours begins."""
    if (run := item.config.stash.get(RUN, None)) and (asked := _asked(item)):
        run.recorder.begin(item.nodeid, asked.check, asked.case, asked.host)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    """Results are kept as tests end, so that an interrupted run still has a report."""
    report = yield
    if (run := item.config.stash.get(RUN, None)) and _asked(item):
        run.recorder.phase(item.nodeid, report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """Write the reports, print the summary, and set the exit code that says most."""
    result = yield
    run = session.config.stash.get(RUN, None)
    if run and not session.config.getoption("collectonly") and session.exitstatus != ExitCode.USAGE:
        session.exitstatus = _finish(run, int(session.exitstatus))
    return result


def _finish(run: Run, status: int) -> int:
    try:
        return run.recorder.finish(status, sys.stdout, undone=run.mender is not None and run.mender.undone)
    except BadInput as bad:
        _tell(bad)
        return status or ExitCode.BAD_INPUT


def pytest_unconfigure(config: pytest.Config) -> None:
    """Hang up."""
    if run := config.stash.get(RUN, None):
        if run.mender:
            run.mender.close()
        run.session.connections.close()
