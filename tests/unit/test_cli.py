"""The command as users meet it: every mistake is a line and an exit code, nothing is green by accident."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]


def virtvet(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(TOP / "src"), "COLUMNS": "120"}
    command = [sys.executable, "-m", "virtvet", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=60)


def pytest_run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments], capture_output=True, text=True, cwd=TOP, timeout=60
    )


MISTAKES = [
    ("no profile", ["-H", "local://"], 4, "no profile: say what hosts must be with --profile"),
    ("no hosts", ["kvm-baseline"], 4, "no hosts: name them"),
    ("no such profile", ["nothing-such", "-H", "local://"], 21, "nothing-such"),
    ("no such inventory", ["kvm-baseline", "--inventory", "none.yaml"], 21, "none.yaml"),
    ("no such area", ["kvm-baseline", "-H", "local://", "--area", "tsl"], 21, "no such area: tsl"),
    ("no such control", ["kvm-baseline", "-H", "local://", "--control", "CPU-9"], 21, "no such control: CPU-9"),
    ("nothing selected", ["empty.yaml", "-H", "local://", "--list"], 4, "no checks selected"),
    ("no such snapshot", ["kvm-baseline", "-H", "local://", "--from", "none.json"], 21, "none.json"),
    ("bad host", ["kvm-baseline", "-H", "gopher://x"], 21, "gopher"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "words"), [one[1:] for one in MISTAKES], ids=[one[0] for one in MISTAKES]
)
def test_mistake_is_one_clear_line(arguments: list[str], code: int, words: str, tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("virtvet: 1\n")
    done = virtvet("check", *arguments, cwd=tmp_path)
    said = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == code, done.stdout + done.stderr
    assert len(said) == 1, done.stderr
    assert words in said[0]
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments", [["--bogus"], ["nothing-such"], ["check", "--bogus"], ["controls", "--area", "x"]]
)
def test_mistake_of_usage_is_not_an_interruption(arguments: list[str], tmp_path: Path) -> None:
    assert virtvet(*arguments, cwd=tmp_path).returncode == 4


def test_list_touches_no_host(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("virtvet: 1\nguests: {web*: {cpu: {pins: {vcpu: {0: 1}}}}}\n")
    done = virtvet("check", "p.yaml", "-H", "ssh://host.invalid", "--list", cwd=tmp_path)
    assert "test_vcpu_runs_only_on_its_cpus[host.invalid/web*/vcpu0]" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
    assert not (tmp_path / "reports").exists()


def test_unreachable_host_is_reported_once_and_has_its_own_code(tmp_path: Path) -> None:
    (tmp_path / "known_hosts").write_text("")
    (tmp_path / "inventory.yaml").write_text(
        "virtvet: 1\nhosts: {hv1: {ssh: {address: 127.0.0.1, port: 1, user: root, known_hosts: known_hosts}}}\n"
    )
    done = virtvet("check", "kvm-baseline", "--inventory", "inventory.yaml", cwd=tmp_path)
    assert done.returncode == 20, done.stdout + done.stderr
    assert done.stdout.strip().startswith("! HOST-REACH-1 · hv1/ssh"), "no letters of pytest"
    assert done.stdout.count("The host answers") == 1
    assert "skipped: see HOST-REACH-1 · hv1/ssh" in done.stdout
    assert "ssh -p 1 -o UserKnownHostsFile=known_hosts root@127.0.0.1 true" in done.stdout
    assert (tmp_path / "reports" / "latest" / "run.json").exists()


def test_verbose_is_a_line_for_every_check(tmp_path: Path) -> None:
    (tmp_path / "known_hosts").write_text("")
    where = "ssh://root@127.0.0.1:1?known_hosts=known_hosts"
    done = virtvet("check", "kvm-baseline", "-H", where, "--area", "validation", "-v", cwd=tmp_path)
    lines = done.stdout.partition("\n\n")[0].splitlines()
    assert len(lines) > 5
    assert all(line.startswith(("! HOST-REACH-", "– HOST-")) for line in lines), done.stdout


def test_plain_pytest_in_a_checkout_wants_a_profile() -> None:
    done = pytest_run("checks")
    assert done.returncode == 4
    assert "no profile" in done.stderr


def test_plugin_leaves_other_peoples_tests_alone(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text("def test_one():\n    pass\n")
    done = pytest_run(str(tmp_path), "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}")
    assert done.returncode == 0
    assert "1 passed" in done.stdout


@pytest.mark.parametrize(
    "arguments", [["controls"], ["controls", "--long"], ["profiles"], ["--help"], ["check", "--help"]]
)
def test_help_and_lists(arguments: list[str], tmp_path: Path) -> None:
    done = virtvet(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 5


@pytest.mark.parametrize("run", ["latest", "nothing"])
def test_undo_of_no_run_is_refused(run: str, tmp_path: Path) -> None:
    done = virtvet("undo", run, cwd=tmp_path)
    assert done.returncode == 21
    assert f"no such run: {run}" in done.stderr


COMPLETED = {
    "che": "check",
    "check --save": "--save-snapshot",
    "check kvm": "kvm-baseline",
    "check --area tl": "tls",
    "check --inventory ho": "",  # bash's own: files
}


def test_completion_in_a_real_bash(tmp_path: Path) -> None:
    (tmp_path / "virtvet").write_text(f"#!{sys.executable}\nfrom virtvet.cli import main\nmain()\n")
    (tmp_path / "virtvet").chmod(0o755)
    script = """eval "$(virtvet completion bash)"; compopt() { true; }
        for words; do COMPREPLY=() COMP_WORDS=(virtvet $words); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _virtvet_completion virtvet; echo "${COMPREPLY[*]}"; done"""
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(TOP / "src")}
    command = ["bash", "-c", script, "bash", *COMPLETED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.splitlines(), done.stderr) == (list(COMPLETED.values()), "")
