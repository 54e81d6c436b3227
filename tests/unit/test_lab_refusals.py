"""What the lab says when it cannot or must not start."""

import os

import pytest

from lab import Lab, preflight, shell, state
from lab import __main__ as command
from lab.errors import LabError, PreflightError


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "TOP", tmp_path / "top")
    monkeypatch.setattr(state, "ROOT", tmp_path / "top" / "lab")
    monkeypatch.setattr(state, "LOCK", tmp_path / "top" / "lock")
    return tmp_path / "top"


def test_second_lab_names_the_first(own_folder):
    first, second = state.Lock(), state.Lock()
    first.acquire()
    with pytest.raises(LabError, match=f"in use by process {os.getpid()} "):
        second.acquire()
    first.release()
    second.acquire()
    second.release()
    assert not own_folder.exists()


def test_missing_packages_are_one_line_to_paste(monkeypatch):
    monkeypatch.setattr(preflight.shutil, "which", lambda name: None if name in ("dnsmasq", "virtlogd") else name)
    with pytest.raises(PreflightError, match=r"apt-get install --no-install-recommends dnsmasq-base libvirt-daemon-"):
        preflight._commands()


def test_missing_controllers_are_named(monkeypatch):
    monkeypatch.setattr(preflight.cgroups, "hierarchies", list)
    with pytest.raises(PreflightError, match="no cgroup v1 controllers blkio, cpu,"):
        preflight._cgroups()


def test_without_root_it_is_exit_2(monkeypatch, capsys):
    monkeypatch.setattr(preflight.os, "geteuid", lambda: 1000)
    monkeypatch.setattr("sys.argv", ["lab", "up"])
    assert command.main() == 2
    assert capsys.readouterr().err == "lab: the lab needs root: run it with sudo\n"


def test_nothing_up_is_said(own_folder, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["lab", "run", "hv1", "--", "true"])
    assert command.main() == 1
    assert "no lab is up" in capsys.readouterr().err


@pytest.mark.parametrize("kept", [True, False])
def test_a_lab_whose_hosts_have_ended_is_not_attached_to(own_folder, kept):
    state.ROOT.mkdir(parents=True)
    state.State(os.getpid(), "lab up", "logs", "up", kept).save()
    with pytest.raises(LabError, match=f"process {os.getpid()} left a lab behind: `python -m lab down`"):
        Lab.attach()


def test_failed_command_shows_its_own_words():
    with pytest.raises(LabError, match="hv1: do: exit 3: because"):
        shell.run(["/bin/sh", "-c", "echo because >&2; exit 3"], shown=["hv1:", "do"])


def test_hanging_command_meets_its_deadline():
    with pytest.raises(LabError, match=r"no end after 0.1 s"):
        shell.run(["sleep", "5"], timeout=0.1)
