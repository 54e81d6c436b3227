"""Configuration in `NAME.d` directories, as systemd and kmod read it: sysctl.d, modprobe.d, tmpfiles.d, …

Of several files with one name that in /etc counts, then /run, /usr/local/lib, /usr/lib; empty, or a link to /dev/null,
it hides the others. All are read in the order of their names, wherever they are (sysctl.d(5), modprobe.d(5)).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from virtvet.errors import CannotLook
from virtvet.snapshot.model import Absent, Snapshot, text_of
from virtvet.snapshot.sources import Command, Glob, Source

NAMES = ("sysctl.d", "modprobe.d", "modules-load.d", "tmpfiles.d", "systemd/system.conf.d")
PLACES = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
HIDING = Command(
    (
        *("find", *(f"{place}/{name}" for place in PLACES for name in NAMES)),
        *("-maxdepth", "1", "-name", "*.conf", "-lname", "/dev/null"),
    )
)
"""Files that hide others: a Glob finds regular files only."""


def sources(name: str) -> tuple[Source, ...]:
    """What `texts` reads."""
    return (*_globs(name), HIDING)


def _globs(name: str) -> Iterator[Glob]:
    return (Glob(f"{place}/{name}/*.conf") for place in PLACES)


def texts(snapshot: Snapshot, name: str) -> Iterator[tuple[str, str]]:
    """Path and text of each file that counts, in the order in which they are read. Raises CannotLook."""
    hiding = _hiding(snapshot)
    chosen: dict[str, tuple[str, str]] = {}
    for place, glob in zip(PLACES, _globs(name), strict=True):
        found = {path: text_of(path, content) for path, content in snapshot.read(glob).items()}
        for path, text in (found | {path: "" for path in hiding if path.startswith(f"{place}/{name}/")}).items():
            chosen.setdefault(PurePosixPath(path).name, (path, text))
    return (chosen[file] for file in sorted(chosen))


def _hiding(snapshot: Snapshot) -> list[str]:
    if snapshot.answer(HIDING) == Absent():
        raise CannotLook(HIDING, "there is no find")
    done = snapshot.read(HIDING)
    errors = done.stderr.decode("utf-8", "backslashreplace").splitlines()
    if unknown := [line for line in errors if "No such file or directory" not in line]:
        raise CannotLook(HIDING, unknown[0][:200])
    return done.stdout.decode("utf-8", "backslashreplace").splitlines()


def lines(text: str, comments: str = "#;", *, wrapped: bool = False) -> Iterator[tuple[int, str]]:
    """Number and text of each line that says something; wrapped: a line that ends with a backslash, a comment too, goes
    on in the next, as kmod reads it (getline_wrapped). sysctl.d, tmpfiles.d and modules-load.d know no such lines."""
    joined = text.replace("\\\n", " \0") if wrapped else text
    number = 1
    for line in joined.split("\n"):
        said = line.replace("\0", "").strip()
        if said and said[0] not in comments:
            yield number, said
        number += 1 + line.count("\0")
