"""Which packages are installed, by dpkg or by rpm, whichever keeps this host."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from virtvet.check import Reading
from virtvet.errors import CannotLook
from virtvet.snapshot.model import Completed, Snapshot
from virtvet.snapshot.sources import Command, Source, Stat
from virtvet.versions import VERSION, Format, Installed

DPKG = Stat("/var/lib/dpkg/status")
"""What dpkg keeps its packages in; empty where rpm does and dpkg is but one of its packages."""
NOT_INSTALLED = "not installed"

_DEB_LINE = re.compile(r"([a-z][A-Za-z])([ R])\t([^\t]+)\t([^\t]*)", re.ASCII)
_RPM_LINE = re.compile(r"([^\t]+)\t([^\t]+)", re.ASCII)
_GOOD = frozenset("iWt")
"""Installed, also where triggers of others are still to run; dpkg-query(1), the second letter of Status-Abbrev."""
_GONE = frozenset("nc")
"""Never installed, or removed but for its configuration."""


def dpkg(names: Iterable[str]) -> Command:
    """`ii \\tqemu-system-x86\\t1:7.2+dfsg-7+deb12u13`"""
    form = "${db:Status-Abbrev}\\t${Package}\\t${Version}\\n"
    return Command(("dpkg-query", "-W", "-f", form, "--", *sorted(names)))


def rpm(names: Iterable[str]) -> Command:
    """`qemu-kvm-core\\t17:7.2.0-14.el9_2`; of a package without an epoch `bash\\t5.1.8-6.el9`"""
    form = "%{NAME}\\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\\n"
    return Command(("rpm", "-q", "--queryformat", form, "--", *sorted(names)))


def sources(names: tuple[str, ...]) -> tuple[Source, ...]:
    """All of them by one command; without any name dpkg-query would list everything."""
    return (DPKG, dpkg(names), rpm(names)) if names else ()


def installed(snapshot: Snapshot, names: tuple[str, ...], name: str) -> Reading:
    """Installed, NOT_INSTALLED, or dpkg's letters for one that is only half installed ("iF").

    Of several versions (kernels of rpm) the newest counts.
    """
    database = snapshot.maybe_stat(DPKG)
    command, read = (dpkg(names), _debs) if database and database.size else (rpm(names), _rpms)
    found = [one for package, one in read(command, _said(snapshot, command)) if package == name]
    broken = [one for one in found if isinstance(one, str)]
    versions = sorted((one for one in found if isinstance(one, Installed)), key=lambda one: one.key)
    value = (broken or versions or [NOT_INSTALLED])[-1]
    return Reading(value, command.argv[0], f"{name}: {', '.join(map(str, found)) or NOT_INSTALLED}"[:500])


def _said(snapshot: Snapshot, command: Command) -> list[str]:
    """The lines of its output. Both exit with a failure, too, where only some package is not there."""
    done: Completed = snapshot.read(command)
    complaints = done.stderr.decode("utf-8", "backslashreplace").strip().splitlines()
    odd = [line for line in complaints if not re.fullmatch(r"dpkg-query: no packages found matching \S+", line)]
    if done.returncode and odd:
        raise CannotLook(command.argv[0], odd[0][:200])
    lines = done.stdout.decode("utf-8", "backslashreplace").splitlines()
    if done.returncode and not lines and not complaints:
        raise CannotLook(command.argv[0], f"exit status {done.returncode}, and not a word")
    return lines


def _debs(command: Command, lines: Iterable[str]) -> Iterator[tuple[str, Installed | str]]:
    for line in lines:
        found = _DEB_LINE.fullmatch(line)
        if found is None:
            raise CannotLook(command.argv[0], f"said nothing we understand: {line[:60]!r}")
        state = found[1][1]
        if state in _GOOD and found[2] == " ":
            yield found[3], _version(found[4], "deb", command)
        elif state not in _GONE:
            yield found[3], f"only half installed ({found[1]}{found[2]})".replace(" )", ")")


def _rpms(command: Command, lines: Iterable[str]) -> Iterator[tuple[str, Installed]]:
    for line in lines:
        if found := _RPM_LINE.fullmatch(line):
            yield found[1], _version(found[2], "rpm", command)
        elif not re.fullmatch(r"package \S+ is not installed", line):
            raise CannotLook(command.argv[0], f"said nothing we understand: {line[:60]!r}")


def _version(version: str, form: Format, command: Command) -> Installed:
    if not VERSION.fullmatch(version):
        raise CannotLook(command.argv[0], f"{version[:60]!r} is no version")
    return Installed(version, form)
