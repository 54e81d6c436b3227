"""Whole runs on a look made up here: what was not judged, or could not be kept, never ends with exit code 0."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.test_cli import virtvet
from virtvet.probes.reach import UPTIME
from virtvet.snapshot.model import Content, Domain, LibvirtAnswer, Snapshot
from virtvet.snapshot.sources import Libvirt
from virtvet.snapshot.store import save

XML = "<domain><name>web1</name><vcpu>1</vcpu></domain>"
RUNNING = Domain("web1", "0-1", "running", True, XML, XML)
CHECK = """
from virtvet.check import Case, Control, Reading, check

CONTROL = Control("USER-1", "t", "user", "high", "-", "r", "h")


@check(CONTROL, cases=lambda host: [Case("x", {expected})], actual=lambda snapshot: Reading(1, "here"))
def test_x(case, observed):
    {body}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "p.yaml").write_text("virtvet: 1\nguests: {web1: {state: running}}\n")
    _record(tmp_path, RUNNING)
    return tmp_path


def _record(folder: Path, *domains: Domain) -> None:
    answer = LibvirtAnswer("qemu:///system", "hv1", 9000000, 7002000, "<capabilities/>", {d.name: d for d in domains})
    answers = {UPTIME: Content(b"1 1\n"), Libvirt(): answer}
    save({"hv1": Snapshot("hv1", datetime.now(UTC), answers)}, folder / "look.json")


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    done = virtvet("check", "p.yaml", "-H", "ssh://root@hv1", "--from", "look.json", *arguments, cwd=folder)
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


def test_what_holds_is_green(folder: Path) -> None:
    assert run(folder)[0] == 0


CASES = [
    ("guest misspelt", ["--guest", "web1", "--guest", "wbe1"], 4, "no such guest in the profile: wbe1"),
    ("area that the profile does not use", ["--area", "cpu"], 4, "no checks selected"),
    ("no test ran", ["--", "--setup-plan"], 1, "was not judged"),
    ("reports that cannot be written", ["--reports", "/proc/nowhere"], 21, "cannot write reports to /proc/nowhere"),
    ("a deadline that is no number", ["--deadline", "nan"], 4, "no number of seconds"),
    ("a deadline without end", ["--deadline", "inf"], 4, "no number of seconds"),
    ("a file that is not there", ["--", "nowhere/test_x.py"], 4, "nowhere/test_x.py"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "words"), [one[1:] for one in CASES], ids=[one[0] for one in CASES])
def test_not_green(folder: Path, arguments: list[str], code: int, words: str) -> None:
    ended, said = run(folder, *arguments)
    assert (ended, words in said) == (code, True), said


def test_a_usage_error_leaves_no_report(folder: Path) -> None:
    run(folder, "--guest", "wbe1")
    assert not (folder / "reports" / "latest").exists()


def test_only_what_was_asked_for_makes_a_run_green(folder: Path) -> None:
    """Every case of the area is skipped; that the host answers is not what was asked."""
    (folder / "p.yaml").write_text("virtvet: 1\nguests: {web1: {state: any, cpu: {pins: {vcpu: {0: 1}}}}}\n")
    _record(folder, replace(RUNNING, state="shut off", live_xml=None, config_xml=None))
    ended, said = run(folder, "--control", "CPU-PIN-1")
    assert ended == 5, said


def test_a_keyword_leaves_in_what_the_chosen_tests_need(folder: Path) -> None:
    """Stored pins are right, but the guest is off: its other layers do not exist."""
    (folder / "p.yaml").write_text("virtvet: 1\nguests: {web1: {cpu: {pins: {vcpu: {0: 1}}}}}\n")
    pinned = XML.replace("</vcpu>", "</vcpu><cputune><vcpupin vcpu='0' cpuset='1'/></cputune>")
    _record(folder, replace(RUNNING, state="shut off", live_xml=None, config_xml=pinned))
    ended, said = run(folder, "-k", "test_vcpu_runs_only_on_its_cpus")
    assert (ended, "GUEST-STATE-1" in said) == (1, True), said


@pytest.mark.parametrize(("expected", "body"), [(2, "pass"), (2, "assert observed"), (1, "assert observed == 3")])
def test_users_check_that_forgets_to_compare(folder: Path, expected: int, body: str) -> None:
    (folder / "test_user.py").write_text(CHECK.format(expected=expected, body=body))
    ended, said = run(folder, "--", "test_user.py")
    assert ended == 1, said
    assert "USER-1" in said


def test_users_check_that_cannot_be_imported(folder: Path) -> None:
    (folder / "test_user.py").write_text(CHECK.format(expected=1, body="pass").replace("@check(", "nothing\n\n@check("))
    ended, said = run(folder, "--", "test_user.py")
    assert ended == 21
    assert "test_user.py cannot be imported: NameError" in said


def test_latest_that_is_a_folder_of_the_users(folder: Path) -> None:
    (folder / "reports" / "latest").mkdir(parents=True)
    ended, said = run(folder)
    assert ended == 21
    assert "cannot write reports to" in said
    assert "passed" in said


def test_names_from_a_host_are_shown_without_their_escapes(folder: Path) -> None:
    (folder / "p.yaml").write_text("virtvet: 1\nguests: {'*': {state: running}}\n")
    _record(folder, replace(RUNNING, name="a\x1b[31m\nvirtvet: all is well"))
    _ended, said = run(folder, "--guest", "web1")
    assert "\x1b[31m" not in said
    assert "\nvirtvet: all" not in said
