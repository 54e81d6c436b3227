"""One run, without pytest: from what was asked to snapshots and cases. The plugin wires this to pytest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from time import monotonic

from virtvet.check import Case, Check
from virtvet.errors import BadInput, Problem
from virtvet.inventory import HostAccess, Inventory
from virtvet.probes import qemu
from virtvet.probes.reach import UPTIME
from virtvet.profile import Profile
from virtvet.profile.load import load_profile
from virtvet.snapshot.connections import Connections
from virtvet.snapshot.look import HostPlan, look
from virtvet.snapshot.model import LibvirtAnswer, Snapshot
from virtvet.snapshot.sources import HostSource, Libvirt, Qmp, Source
from virtvet.snapshot.store import load as load_snapshots
from virtvet.target import GuestTarget, HostTarget


@dataclass(frozen=True, slots=True)
class Selection:
    """Which cases were asked for; empty means all. Patterns as in a shell. Prerequisites are always in."""

    areas: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    guests: tuple[str, ...] = ()
    exercises: bool = False
    """Whether checks are wanted, too, that do something first."""

    def takes(self, check: Check) -> bool:
        """Whether any case of this check can be wanted."""
        return self._names(check) or bool(check.prerequisite)

    def asks(self, check: Check) -> bool:
        """Whether it was asked for itself. That machines answer is no check of a profile, unless it is named."""
        if self.areas or self.controls:
            return self._names(check)
        return check.prerequisite not in ("host", "libvirt")

    def _names(self, check: Check) -> bool:
        return (self.exercises or check.exercise is None) and self._is_named(check)

    def _is_named(self, check: Check) -> bool:
        return _any(check.control.area, self.areas) and _any(check.control.id, self.controls)

    def takes_guest(self, name: str | None) -> bool:
        """Matters of the host are left out when guests were named."""
        return not self.guests or (name is not None and _any(name, self.guests))

    def verify(self, checks: Iterable[Check]) -> None:
        """Raises BadInput for an area or control that no check has, or only an exercise that was not asked for: a typo
        must not select nothing and look fine."""
        checks = tuple(checks)
        _known("area", self.areas, {check.control.area for check in checks})
        _known("control", self.controls, {check.control.id for check in checks})
        named = [check for check in checks if self._is_named(check)]
        if named and not self.exercises and all(check.exercise for check in named):
            raise BadInput.one(f"{named[0].control.id} changes something for a moment", "ask for that: --exercise")


def _any(name: str, patterns: Collection[str]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


def _known(what: str, patterns: Iterable[str], names: Collection[str]) -> None:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise BadInput.one(f"no such {what}: {pattern}", f"there are: {', '.join(sorted(names)) or 'none'}")


@dataclass
class Session:
    """The state of one run. checks: everything collected, of which it keeps what the selection takes."""

    inventory: Inventory
    profiles: Mapping[str, Profile]
    checks: tuple[Check, ...]
    selection: Selection
    connections: Connections
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    targets: dict[str, HostTarget] = field(default_factory=dict)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: dict[str, float] = field(default_factory=dict)
    """How long the look at each host took."""

    def __post_init__(self) -> None:
        self.checks = tuple(filter(self.selection.takes, self.checks))
        for access in self.inventory.hosts.values():
            self.targets[access.name] = self._with_inside(HostTarget.unseen(access, self.profiles[access.name]))

    def look(self, progress: Callable[[str, str], None], deadline: float) -> None:
        """Ask every host, in parallel, everything the selected checks need."""
        began = monotonic()

        def told(host: str, what: str) -> None:
            self.seconds[host] = monotonic() - began
            progress(host, what)

        plans = [self.plan(target) for target in self.targets.values()]
        self._saw(look(plans, told, deadline=deadline, connections=self.connections))

    def replay(self, file: Path) -> None:
        """Take the looks from a snapshot file instead."""
        recorded = load_snapshots(file)
        if missing := sorted(set(self.targets) - set(recorded)):
            raise BadInput.one(f"{file} holds no snapshot of {', '.join(missing)}", f"it holds {', '.join(recorded)}")
        self._saw({name: recorded[name] for name in self.targets})

    def verify_guests(self) -> None:
        """Raises BadInput for a --guest that names none: beside a right one, a typo would check nothing and look fine.

        Where a host's libvirt did not answer, nobody knows its guests' names, and that is told already.
        """
        if all(isinstance(_libvirt_of(snapshot), LibvirtAnswer) for snapshot in self.snapshots.values()):
            names = {guest.name for target in self.targets.values() for guest in target.guests}
            _known("guest in the profile", self.selection.guests, names)

    def look_again(self, host: str, checks: Collection[Check]) -> Snapshot:
        """A fresh look at one host, only as far as these checks need. The session's own snapshot stays."""
        plan = self.plan(self.targets[host], checks)
        return look([plan], lambda _host, _what: None, self.connections.seconds, self.connections)[host]

    def plan(self, target: HostTarget, checks: Collection[Check] | None = None) -> HostPlan:
        """The union of the sources of these checks (default: all selected), host and guests."""
        chosen = self.checks if checks is None else tuple(checks)
        sources: set[Source] = {UPTIME, Libvirt(), *(qemu.SOURCES if target.profile.guests else ())}
        for check in chosen:
            sources.update(check.sources(target))

        def inside(domains: Collection[str]) -> dict[str, frozenset[HostSource]]:
            guests = (guest for guest in target.seen(domains).guests if guest.matched)
            asked = {guest.name: self._inside(guest, chosen) for guest in guests}
            return {name: wanted for name, wanted in asked.items() if wanted}

        def named(domains: Collection[str]) -> set[Source]:
            seen = target.seen(domains)
            return {source for check in chosen for source in check.sources(seen)}

        def monitors(domains: Collection[str]) -> frozenset[Qmp]:
            asked = {source for source in named(domains) if isinstance(source, Qmp)}
            return frozenset(one for one in asked if one.guest in domains and self.selection.takes_guest(one.guest))

        def late(domains: Collection[str]) -> frozenset[HostSource]:
            return frozenset(one for one in named(domains) - sources if isinstance(one, HostSource))

        patterns = {source for source in sources if isinstance(source, Qmp)}
        return HostPlan(target.access, frozenset(sources - patterns), inside, monitors, late, qemu.started_by_hand)

    def cases(self, check: Check, host: str) -> Iterable[Case]:
        """The check's cases on this host that the selection takes."""
        return (case for case in check.cases(self.targets[host]) if self._takes(check, case))

    def _takes(self, check: Check, case: Case) -> bool:
        if check.prerequisite and case.guest is None:
            return True
        return self.selection.takes_guest(case.guest)

    def _saw(self, snapshots: Mapping[str, Snapshot]) -> None:
        self.snapshots.update(snapshots)
        for name, snapshot in snapshots.items():
            answer = _libvirt_of(snapshot)
            domains = answer.domains if isinstance(answer, LibvirtAnswer) else None
            if domains is not None or snapshot.by_hand:
                seen = self.targets[name].seen({*(domains or ()), *snapshot.by_hand}, domains is not None)
                self.targets[name] = self._with_inside(seen)

    def _with_inside(self, target: HostTarget) -> HostTarget:
        guests = (replace(guest, inside=bool(self._inside(guest, self.checks))) for guest in target.guests)
        return replace(target, guests=tuple(guests))

    def _inside(self, guest: GuestTarget, checks: Collection[Check]) -> frozenset[HostSource]:
        if not self.selection.takes_guest(guest.name):
            return frozenset()
        wanted = {source for check in checks for source in check.guest_sources(guest)}
        return frozenset(wanted | {UPTIME}) if wanted else frozenset()


def _libvirt_of(snapshot: Snapshot) -> object:
    return None if snapshot.unreachable else snapshot.answers.get(Libvirt())


def profiles_of(inventory: Inventory, option: str | None) -> dict[str, Profile]:
    """Each host's profile: the option's for all, else the one its inventory names. Raises BadInput."""
    loaded: dict[str, Profile] = {}

    def once(name: str) -> Profile:
        return loaded[name] if name in loaded else loaded.setdefault(name, load_profile(name))

    found, problems = {}, []
    for access in inventory.hosts.values():
        if wanted := option or profile_name(access):
            found[access.name] = once(wanted)
        else:
            problems.append(
                Problem(f"no profile for host {access.name}", "give --profile, or profile: in the inventory")
            )
    if problems:
        raise BadInput(problems)
    return found


def profile_name(access: HostAccess) -> str | None:
    """The profile the inventory names for this host."""
    return None if access.profile is None else str(access.profile)
