"""Units, as systemd knows them: what starts at the next boot, and what runs.

Both for all units that a check asks for, by one command each, so that the cost does not grow with their number:

- `systemctl list-unit-files` reads the files anew each time: what a boot would do. (`UnitFileState` of `systemctl show`
  is what systemd remembers of a running unit until its next daemon-reload: unit_get_unit_file_state in
  src/core/unit.c.) It knows neither instances of a template nor what an alias stands for: there `show` is asked.
- `systemctl show` says what runs, and the limits of slices.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from virtvet.check import Reading
from virtvet.errors import CannotLook
from virtvet.snapshot.model import Absent, Completed, Snapshot
from virtvet.snapshot.sources import Command, Source

NO_SYSTEMD = "no systemd on this host"
NOT_THERE = "not there"
FAILED = Command(("systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--full", "--no-pager"))
"""`ssh.service loaded failed failed OpenBSD Secure Shell server`"""

_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}", re.ASCII)
_WORD = re.compile(r"[a-z-]{1,40}", re.ASCII)
_STATE = ("Id", "Names", "LoadState", "ActiveState", "UnitFileState")
LIMITS = (
    *("MemoryMax", "MemoryHigh", "MemorySwapMax", "CPUWeight", "CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec"),
    *("TasksMax", "IOWeight", "AllowedCPUs", "AllowedMemoryNodes"),
    *("IOReadBandwidthMax", "IOWriteBandwidthMax", "IOReadIOPSMax", "IOWriteIOPSMax"),
)
"""Of slices (slices.py); asked of all units, so that one command does for all."""


@dataclass(frozen=True, slots=True)
class Units:
    """The units that one check asks for."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str]) -> Units:
        """Each once, in order."""
        return cls(tuple(sorted(set(names))))

    @property
    def files(self) -> Command:
        """`libvirtd.service enabled enabled`: name, state, what the distribution would have."""
        options = ("--plain", "--no-legend", "--full", "--no-pager", "--")
        return Command(("systemctl", "list-unit-files", *options), self.names)

    @property
    def shown(self) -> Command:
        """`Id=libvirtd.service`, `ActiveState=active`, …; an empty line between two units."""
        properties = f"--property={','.join((*_STATE, *LIMITS))}"
        return Command(("systemctl", "show", properties, "--no-pager", "--"), self.names)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Nothing is asked about no unit: systemctl would then answer for all."""
        return (self.files, self.shown) if self.names else ()


def enabled(snapshot: Snapshot, units: Units, name: str) -> Reading:
    """systemctl's word: "enabled", "disabled", "masked", "static", …; or NOT_THERE, NO_SYSTEMD."""
    listed = asked(snapshot, units.files, may_find_nothing=True)
    lines = (line.split() for line in (listed or "").splitlines())
    state = next((words[1] for words in lines if words[:1] == [name] and len(words) > 1), "alias")
    if state != "alias":
        return Reading(_word(state, units.files), "systemctl list-unit-files", f"{name} {state}")
    unit = properties(snapshot, units, name)
    if listed is None or unit is None:
        return Reading(NO_SYSTEMD, str(units.files))
    state = NOT_THERE if unit["LoadState"] == "not-found" else _word(unit["UnitFileState"], units.shown)
    return Reading(state, "systemctl show", _excerpt(unit))


def active(snapshot: Snapshot, units: Units, name: str) -> Reading:
    """systemctl's word: "active", "inactive", "failed", …; or NOT_THERE, NO_SYSTEMD. One whose file was deleted while
    it runs is still active."""
    unit = properties(snapshot, units, name)
    if unit is None:
        return Reading(NO_SYSTEMD, str(units.shown))
    state = _word(unit["ActiveState"], units.shown)
    gone = unit["LoadState"] == "not-found" and state == "inactive"
    return Reading(NOT_THERE if gone else state, "systemctl show", _excerpt(unit))


def failed(snapshot: Snapshot) -> Reading:
    """The names of all units that failed; or NO_SYSTEMD."""
    listed = asked(snapshot, FAILED)
    if listed is None:
        return Reading(NO_SYSTEMD, str(FAILED))
    names = [line.split(maxsplit=1)[0] for line in listed.splitlines() if line.strip()]
    if not all(map(_UNIT.fullmatch, names)):
        raise CannotLook(FAILED, f"said nothing we understand: {listed[:60]!r}")
    return Reading(frozenset(names), str(FAILED), listed[:500])


def asked(snapshot: Snapshot, command: Command, may_find_nothing: bool = False) -> str | None:
    """What systemctl says; None where systemd is not the init system. Raises CannotLook.

    may_find_nothing: some versions of list-unit-files fail without a word where no file has such a name.
    """
    if snapshot.answer(command) == Absent():
        return None
    done: Completed = snapshot.read(command)
    complaint = done.stderr.decode("utf-8", "backslashreplace").strip()
    if done.returncode and "not been booted with systemd" in complaint:
        return None
    if done.returncode and (complaint or not may_find_nothing):
        raise CannotLook(command, complaint[:200] or f"exit status {done.returncode}")
    return done.stdout.decode("utf-8", "backslashreplace")


def properties(snapshot: Snapshot, units: Units, name: str) -> Mapping[str, str] | None:
    """What `systemctl show` says of the unit that has this name, or this alias among its names; None where systemd is
    not the init system. Raises CannotLook."""
    if (said := asked(snapshot, units.shown)) is None:
        return None
    for unit in _blocks(said):
        if name in (unit["Id"], *unit["Names"].split()):
            return unit
    raise CannotLook(units.shown, f"says nothing of {name}")


def _blocks(said: str) -> Iterator[Mapping[str, str]]:
    """Properties of each unit; one that has a line for each of its values has them in as many lines."""
    for block in said.split("\n\n"):
        unit = dict.fromkeys(_STATE, "")
        for key, _equals, value in (line.partition("=") for line in block.splitlines()):
            unit[key] = f"{unit[key]}\n{value}" if unit.get(key) else value
        yield unit


def _word(said: str, command: Command) -> str:
    if not _WORD.fullmatch(said):
        raise CannotLook(command, f"said nothing we understand: {said[:60]!r}")
    return said


def _excerpt(unit: Mapping[str, str]) -> str:
    return " ".join(f"{key}={unit[key]}" for key in _STATE if key != "Names")[:500]
