"""Faults proved, the hosts side by side: each has a thread, and a test fetches what became of its fault.

The hosts know nothing of each other, and much of a fault's time is waiting. Where a look is dear, faults of different
concerns are broken together and looked at once: what departs must be what all of them name, and nothing else. If it is
not, or a script fails, all is restored and each of them proved alone; so what fails, fails alone. What departs is
compared in the test, which says what is wrong; what goes wrong in a script is raised there, too.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from threading import Event, Thread
from types import TracebackType
from typing import TypeVar

from lab.image.spec import INSIDE
from lab.spec import HOSTS
from tests.lab.faults import Fault
from tests.lab.judging import Departures, could_not_look, departures_by, unlike
from virtvet.snapshot.connections import Connections

T = TypeVar("T")
LOOKS = 3
"""At most, at the end."""
RELOADS = re.compile(r"systemctl (?:-q )?(?:daemon-reload|enable|disable|mask|unmask)\b")
SETS = re.compile(r"systemctl (?:-q )?set-property\b")
UNITS = re.compile(r"/systemd/")
GROUPS = re.compile(r">\$scope|>/sys/fs/cgroup")
TAKEN = re.compile(r"/(?:run|etc|boot|proc|usr|var)/[\w./@-]+|\b\w+lan\b")
"""Files, and taps."""
ONLY_READ = "/run/libvirt/"
STARTS, NEEDED = re.compile(r"virsh (?:destroy|start|save|restore) "), "/dev/net/tun"
STORES, STORED = re.compile(r"virsh define "), re.compile(r"virsh define | --config\b")
GUEST = re.compile(rf"\b(?:{'|'.join(guest.name for host in (*HOSTS, INSIDE) for guest in host.guests)})\b")
Shell = Callable[[str, str], object]
"""Runs a script on "hv1" or "hv1/web1"; raises where it fails."""
Revive = Callable[[str], bool]
"""Makes a host anew that has fallen silent; False where it answers."""


@dataclass(frozen=True)
class Stage:
    """Faults of one host, one after the other; how the host is made ready for them, and what it must match then."""

    host: str
    faults: Sequence[Fault]
    profile: Path
    equip: str = ":"
    unequip: str = ":"
    deadline: float = 20
    """Seconds for a look at faults that state none of their own."""
    together: int = 1
    """How many faults may be broken at once."""


@dataclass(frozen=True)
class Proof:
    """What departed of what no other fault names that was broken with it; and the faults that the host had before: had
    they not been restored, the look would show them, too."""

    found: Departures
    before: str

    def of(self, fault: Fault, company: Collection[Fault]) -> Proof:
        """As seen of this one fault among those broken together."""
        others = {key for other in company if other is not fault for key in other.departs}
        found = {key: layers for key, layers in self.found.items() if not others & {key, key.partition(" ")[0]}}
        return Proof(found, self.before)


class Proofs:
    """Faults on their way, by name; a context manager whose end has all restored, done or not.

    wanted: the names of those that are to be proved.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        inventory: Path,
        shell: Shell,
        wanted: Collection[str],
        revive: Revive = lambda _host: False,
    ) -> None:
        self._proofs: dict[str, Future[Proof]] = {name: Future() for name in wanted}
        hosts: dict[str, list[Stage]] = {}
        for stage in stages:
            hosts.setdefault(stage.host, []).append(stage)
        self._lanes = [Lane(own, inventory, shell, revive, self._proofs) for own in hosts.values()]

    def __enter__(self) -> Proofs:
        for lane in self._lanes:
            lane.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lane in self._lanes:
            lane.stopped.set()
        for lane in self._lanes:
            lane.join()
            for told in lane.told:
                warnings.warn(told, stacklevel=2)

    def of(self, fault: Fault) -> Proof:
        """What became of this fault, once that is known. Raises what its scripts raised."""
        return self._proofs[fault.name].result()

    def left(self) -> Mapping[str, Departures]:
        """At the end, what still departs on each host. Raises what its scripts raised."""
        return {lane.name: found for lane in self._lanes if (found := lane.left.result())}


class Lane(Thread):
    """One host's faults. That each is restored the next look shows, which must find the next faults and nothing else;
    after the last one, a look that logs in anew."""

    def __init__(
        self,
        stages: Sequence[Stage],
        inventory: Path,
        shell: Shell,
        revive: Revive,
        proofs: Mapping[str, Future[Proof]],
    ) -> None:
        super().__init__(name=stages[0].host, daemon=True)
        self.stopped = Event()
        self.left: Future[Departures] = Future()
        self._stages, self._inventory, self._shell, self._revive = stages, inventory, shell, revive
        self._proofs = proofs
        self._connections = Connections()
        self._before = ""
        self.told: list[str] = []
        """What cost time and was no failure."""

    def run(self) -> None:
        """Everything; whatever comes, nobody waits for ever."""
        _settle(self.left, self._all)
        why = self.left.exception() or RuntimeError("stopped")
        for fault in self._wanted(*self._stages):
            if not self._proofs[fault.name].done():
                self._proofs[fault.name].set_exception(why)

    def _wanted(self, *stages: Stage) -> list[Fault]:
        return [fault for stage in stages for fault in stage.faults if fault.name in self._proofs]

    def _all(self) -> Departures:
        with self._connections:
            for stage in self._stages:
                if self._wanted(stage) and not self.stopped.is_set():
                    self._prove_all(stage)
            return self._at_the_end() if self._before else {}

    def _at_the_end(self) -> Departures:
        """Once more where nothing departs and one could not look: on a busy machine a login may take too long."""
        found: Departures = {}
        for _ in range(LOOKS):
            self._connections.close()
            found = self._departures(self._stages[0], self._stages[0].deadline)
            if not found or not (self._made_anew() or all(map(could_not_look, found.values()))):
                return found
            self.told.append(f"{self.name}, looked at once more, for at the end it was {found}")
        return found

    def _prove_all(self, stage: Stage) -> None:
        try:
            self._shell(self.name, stage.equip)
            for faults in companies(self._wanted(stage), stage.together):
                self._prove(stage, faults)
        finally:
            self._shell(self.name, stage.unequip)

    def _prove(self, stage: Stage, faults: Sequence[Fault]) -> None:
        """Together; each alone where that is not as it should be; all again on another host where this one died."""
        if self.stopped.is_set():
            return
        seen = self._seen(stage, faults)
        if not _as_named(seen, faults) and self._made_anew():
            self.told.append(f"{self.name} fell silent and was made anew: {self._before}")
            seen = self._seen(stage, faults)
        if len(faults) == 1 or _as_named(seen, faults):
            for fault in faults:
                _settle(self._proofs[fault.name], lambda fault=fault: seen.result().of(fault, faults))
        else:
            self.told.append(f"{self.name}, each alone, for together it is {_unlike(seen, faults)}: {self._before}")
            for fault in faults:
                self._prove(stage, [fault])

    def _seen(self, stage: Stage, faults: Sequence[Fault]) -> Future[Proof]:
        """All broken, a look, all restored, whatever failed."""
        before, self._before = self._before, ", ".join(fault.name for fault in faults)
        seen: Future[Proof] = Future()
        _settle(seen, lambda: Proof(self._departures_of(stage, faults), before))
        return seen

    def _departures_of(self, stage: Stage, faults: Sequence[Fault]) -> Departures:
        anew = any(fault.anew for fault in faults)
        with ExitStack() as restored:
            for where in dict.fromkeys(fault.on for fault in faults):
                own = [fault for fault in faults if fault.on == where]
                restored.callback(self._run, where, _all(fault.restores for fault in reversed(own)), anew)
                self._run(where, _each(fault.breaks for fault in own), anew)
            return self._departures(stage, max(fault.deadline or stage.deadline for fault in faults))

    def _run(self, where: str, script: str, anew: bool) -> None:
        try:
            self._shell(where, script)
        finally:
            if anew:
                self._connections.close()

    def _made_anew(self) -> bool:
        if not self._revive(self.name):
            return False
        self._connections.close()
        return True

    def _departures(self, stage: Stage, deadline: float) -> Departures:
        return departures_by(self._connections, self._inventory, stage.profile, self.name, deadline)


def _each(scripts: Iterable[str]) -> str:
    """One after the other, up to the first that fails."""
    return " && ".join(f"sh -euc {quote(script)}" for script in scripts)


def _all(scripts: Iterable[str]) -> str:
    """Every one; it fails if one of them does."""
    return "failed=; " + " ".join(f"sh -euc {quote(script)} || failed=1;" for script in scripts) + " [ -z $failed ]"


def companies(faults: Iterable[Fault], most: int) -> list[list[Fault]]:
    """Those that may be broken together: of different concerns ("MEM-LIMIT" of MEM-LIMIT-2), on different files and
    taps, and no way in cut."""
    made: list[list[Fault]] = []
    for fault in faults:
        for company in made:
            if len(company) < most and all(_apart(fault, other) for other in company):
                company.append(fault)
                break
        else:
            made.append([fault])
    return made


def _apart(one: Fault, other: Fault) -> bool:
    if one.anew or other.anew or _concerns(one) & _concerns(other) or _files(one) & _files(other):
        return False
    return not (_undoes(one, other) or _undoes(other, one))


def _concerns(fault: Fault) -> set[str]:
    return {named.partition(" ")[0].rpartition("-")[0] for named in fault.departs}


def _files(fault: Fault) -> set[str]:
    """What its scripts write, or may write."""
    return {path for path in TAKEN.findall(_scripts(fault)) if not path.startswith(ONLY_READ)}


def _undoes(one: Fault, other: Fault) -> bool:
    """systemd, made to read one of its files, reads them all, and then, or told a property, writes its control groups
    anew; a guest that is started anew needs its host's devices and forgets what was done to it, and one that is defined
    anew what its definition was."""
    did, does = _scripts(one), _scripts(other)
    if RELOADS.search(did) and not RELOADS.search(does) and any(one.search(does) for one in (UNITS, SETS, GROUPS)):
        return True
    if SETS.search(did) and GROUPS.search(does):
        return True
    if STARTS.search(did) and NEEDED in does:
        return True
    again = STARTS.search(did) or (STORES.search(did) and STORED.search(does))
    return bool(again and _guests(one) & _guests(other))


def _guests(fault: Fault) -> set[str]:
    return set(GUEST.findall(" ".join((fault.on, _scripts(fault), *fault.departs))))


def _scripts(fault: Fault) -> str:
    return f"{fault.breaks}\n{fault.restores}"


def _as_named(seen: Future[Proof], faults: Iterable[Fault]) -> bool:
    return not _unlike(seen, faults)


def _unlike(seen: Future[Proof], faults: Iterable[Fault]) -> list[str]:
    """What differs from what they name; [] where nothing does."""
    if error := seen.exception():
        return [f"{error}"[:500] or repr(error)]
    named = {key: layers for fault in faults for key, layers in fault.departs.items()}
    return unlike(seen.result().found, named)


def _settle(future: Future[T], job: Callable[[], T]) -> None:
    try:
        future.set_result(job())
    except BaseException as error:  # belongs to whoever asks for the result
        future.set_exception(error)
