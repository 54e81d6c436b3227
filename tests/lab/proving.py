"""Faults proved, the hosts side by side: each has a thread, and a test fetches what became of its fault.

The hosts know nothing of each other, and much of a fault's time is waiting. What departs is compared in the test, which
says what is wrong; what goes wrong in a script is raised there, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import TypeVar

from tests.lab.faults import Fault
from tests.lab.judging import Departures, departures_by
from virtvet.snapshot.connections import Connections

T = TypeVar("T")
Shell = Callable[[str, str], object]
"""Runs a script on "hv1" or "hv1/web1"; raises where it fails."""


@dataclass(frozen=True)
class Stage:
    """Faults of one host, one after the other; how the host is made ready for them, and what it must match then."""

    host: str
    faults: Sequence[Fault]
    profile: Path
    equip: str = ":"
    unequip: str = ":"
    deadline: float = 20
    """Seconds for a look that has no longer one of its own."""


@dataclass(frozen=True)
class Proof:
    """What departed, and the fault that the host had before: had it not been restored, the look would show it, too."""

    found: Departures
    before: str


class Proofs:
    """Faults on their way, by name; a context manager whose end has all restored, done or not.

    wanted: the names of those that are to be proved.
    """

    def __init__(self, stages: Sequence[Stage], inventory: Path, shell: Shell, wanted: Collection[str]) -> None:
        self._proofs: dict[str, Future[Proof]] = {name: Future() for name in wanted}
        hosts: dict[str, list[Stage]] = {}
        for stage in stages:
            hosts.setdefault(stage.host, []).append(stage)
        self._lanes = [Lane(own, inventory, shell, self._proofs) for own in hosts.values()]

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

    def of(self, fault: Fault) -> Proof:
        """What became of this fault, once that is known. Raises what its scripts raised."""
        return self._proofs[fault.name].result()

    def left(self) -> Mapping[str, Departures]:
        """At the end, what still departs on each host. Raises what its scripts raised."""
        return {lane.name: found for lane in self._lanes if (found := lane.left.result())}


class Lane(Thread):
    """One host's faults. That each is restored the next look shows, which must find the next fault and nothing else;
    after the last one, a look that logs in anew."""

    def __init__(
        self, stages: Sequence[Stage], inventory: Path, shell: Shell, proofs: Mapping[str, Future[Proof]]
    ) -> None:
        super().__init__(name=stages[0].host, daemon=True)
        self.stopped = Event()
        self.left: Future[Departures] = Future()
        self._stages, self._inventory, self._shell, self._proofs = stages, inventory, shell, proofs
        self._connections = Connections()
        self._before = ""

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
            self._connections.close()
            return self._departures(self._stages[0]) if self._before else {}

    def _prove_all(self, stage: Stage) -> None:
        try:
            self._shell(self.name, stage.equip)
            for fault in self._wanted(stage):
                if not self.stopped.is_set():
                    _settle(self._proofs[fault.name], lambda fault=fault: self._proved(fault, stage))
        finally:
            self._shell(self.name, stage.unequip)

    def _proved(self, fault: Fault, stage: Stage) -> Proof:
        before, self._before = self._before, fault.name
        try:
            self._shell(fault.on, fault.breaks)
            self._log_in_anew(fault)
            return Proof(self._departures(stage, fault.deadline), before)
        finally:
            self._shell(fault.on, fault.restores)
            self._log_in_anew(fault)

    def _log_in_anew(self, fault: Fault) -> None:
        if fault.anew:
            self._connections.close()

    def _departures(self, stage: Stage, deadline: float = 0) -> Departures:
        longest = max(stage.deadline, deadline)
        return departures_by(self._connections, self._inventory, stage.profile, self.name, longest)


def _settle(future: Future[T], job: Callable[[], T]) -> None:
    try:
        future.set_result(job())
    except BaseException as error:  # belongs to whoever asks for the result
        future.set_exception(error)
