"""Disks for the gate: the lab's own with something changed in its root file system, by debugfs, without mounting it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.image.build import ROOT_STARTS


@dataclass(frozen=True)
class Change:
    """What is done to a root file system: new files, then texts replaced in files, then debugfs's own commands."""

    writes: tuple[tuple[str, str], ...] = ()
    """(path, text)"""
    replaces: tuple[tuple[str, str, str], ...] = ()
    """(path, pattern, what stands there instead); the pattern must be found."""
    commands: tuple[str, ...] = ()
    """In them RELEASE stands for the kernel's."""


def changed(disk: Path, copy: Path, *changes: Change) -> Path:
    """A copy of a raw disk with the changes in it; holes stay holes."""
    subprocess.run(["cp", "--reflink=auto", "--sparse=always", str(disk), str(copy)], check=True)
    scratch = copy.with_suffix(".files")
    scratch.mkdir()
    for change in changes:
        _apply(copy, scratch, change)
    shutil.rmtree(scratch)
    return copy


def _apply(disk: Path, scratch: Path, change: Change) -> None:
    edited = [(path, _replaced(read(disk, path), pattern, new)) for path, pattern, new in change.replaces]
    commands = [f"rm {path}" for path, _text in edited]
    for number, (path, text) in enumerate((*change.writes, *edited)):
        local = scratch / f"{number}"
        local.write_text(text)
        commands.append(f"write {local} {path}")
    release = next(name for name in names(disk, "/usr/lib/modules") if name.strip("."))
    _debugfs(disk, [*commands, *(command.replace("RELEASE", release) for command in change.commands)])


def _replaced(text: str, pattern: str, new: str) -> str:
    replaced, count = re.subn(pattern, new, text, flags=re.MULTILINE)
    assert count, f"{pattern} is not in {text}"
    return replaced


def read(disk: Path, path: str) -> str:
    """A file of the root file system."""
    return _quiet(["debugfs", "-R", f"cat {path}", _root(disk)])


def names(disk: Path, folder: str) -> list[str]:
    """What lies in a folder of the root file system."""
    listed = _quiet(["debugfs", "-R", f"ls -p {folder}", _root(disk)])
    return [line.split("/")[5] for line in listed.splitlines() if line.startswith("/")]


def _debugfs(disk: Path, commands: Sequence[str]) -> None:
    _quiet(["debugfs", "-w", "-f", "-", _root(disk)], "".join(f"{command}\n" for command in commands))


def _root(disk: Path) -> str:
    return f"{disk}?offset={ROOT_STARTS}"


def _quiet(argv: Sequence[str], commands: str = "") -> str:
    """Its standard output. debugfs ends with 0 whatever happens: a complaint is an AssertionError."""
    done = subprocess.run(argv, input=commands, capture_output=True, text=True, check=True)
    complaints = [line for line in done.stderr.splitlines() if not re.match(r"debugfs \d", line)]
    assert complaints == [], complaints
    return done.stdout
