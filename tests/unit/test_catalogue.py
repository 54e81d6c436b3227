"""All shipped checks, as a whole."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from virtvet import catalogue
from virtvet.inventory import from_hostspecs
from virtvet.profile.load import load_profile
from virtvet.refresh import SAMPLE, TOP, sample, texts
from virtvet.reporting.hint import hint
from virtvet.reporting.write import render
from virtvet.target import HostTarget

CHECKS = catalogue.shipped()


def test_control_ids_are_unique_and_well_formed() -> None:
    ids = Counter(check.control.id for check in CHECKS)
    assert [name for name, count in ids.items() if count > 1] == []
    assert [name for name in ids if not re.fullmatch(r"[A-Z]+(-[A-Z0-9]+)*-\d+", name)] == []


def test_every_control_says_why_and_what_mends_it() -> None:
    for check in CHECKS:
        control = check.control
        assert control.title, control.id
        assert control.rationale, control.id
        assert control.hint, control.id
        assert re.fullmatch(r"R\d+", control.requirement), control.id
        assert all(reference.startswith("https://") for reference in control.references), control.id


COMMANDS = """apt-get cat chown chmod {change} echo find for grep ip ls lsns migratepages mkdir modprobe mount openssl
    prlimit ps {login} ss sysctl systemctl umount uname vi virsh virt-admin {way}""".split()


def test_every_hint_begins_with_a_command() -> None:
    assert [check.control.hint for check in CHECKS if check.control.hint.split()[0] not in COMMANDS] == []


def test_every_hint_can_be_pasted_into_a_shell() -> None:
    """As the checks of the lab's profile fill them in."""
    access = from_hostspecs(["ssh://root@hv1"]).hosts["hv1"]
    target = HostTarget.unseen(access, load_profile("lab"))
    hints = [hint(check, case, "hv1") for check in CHECKS for case in check.cases(target)]
    assert [one for one in hints if re.search(r"(?<!\$)\{[a-z_]+\}", one)] == []
    said = subprocess.run(["sh", "-n"], input="\n".join(hints), capture_output=True, text=True, check=False)
    assert said.stderr == ""


def test_every_check_reads_some_layer() -> None:
    assert [check.control.id for check in CHECKS if not check.layers] == []


@pytest.mark.parametrize("path", texts(), ids=lambda path: str(path.relative_to(TOP)))
def test_generated_file_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == texts()[path], "run ./dev refresh"


def test_sample_run_is_current(tmp_path: Path) -> None:
    for made in render(sample(), tmp_path):
        assert made.read_bytes() == (SAMPLE / made.name).read_bytes(), "run ./dev refresh"


def test_a_file_without_checks_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text('raise SystemExit("imported")\n')
    assert catalogue.load([tmp_path]) == ()
