"""What a host and each of its guests must be: the profile applied to real names. Checks make their cases from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtvet.profile import Profile

if TYPE_CHECKING:
    from virtvet.inventory import HostAccess
    from virtvet.profile.model import GuestWants, HostWants


@dataclass(frozen=True, slots=True)
class GuestTarget:
    """A guest by its real domain name, or, before anyone looked, by the profile's pattern."""

    name: str
    wants: GuestWants
    host: str
    matched: bool = True
    """False: the profile's entry matched no domain (an error, unless it is optional)."""
    inside: bool = False
    """Some selected check looks inside this guest."""


@dataclass(frozen=True, slots=True)
class HostTarget:
    """A host of the inventory with the profile it must match."""

    name: str
    profile: Profile
    access: HostAccess
    guests: tuple[GuestTarget, ...]

    @property
    def wants(self) -> HostWants:
        """The profile's `host:` part."""
        return self.profile.host

    @property
    def names(self) -> tuple[str, ...]:
        """The DNS names and addresses by which others reach this host: its certificate must cover them."""
        return self.access.names

    @classmethod
    def unseen(cls, access: HostAccess, profile: Profile) -> HostTarget:
        """Before the look: guests stand for their patterns."""
        guests = (GuestTarget(pattern, wants, access.name) for pattern, wants in profile.guests.items())
        return cls(access.name, profile, access, tuple(guests))

    def seen(self, names: Iterable[str], all_of_them: bool = True) -> HostTarget:
        """After its guests were named: every guest an entry matches, and the entries that matched none, without the
        optional ones.

        all_of_them: False if libvirt did not name its own; every entry that matched none then stands for itself.
        """
        found = dict(self._found(sorted(names)))
        lost = {
            pattern: GuestTarget(pattern, wants, self.name, matched=not all_of_them)
            for pattern, wants in self.profile.unmatched(found)
            if not (all_of_them and wants.optional)
        }
        return HostTarget(self.name, self.profile, self.access, (*found.values(), *lost.values()))

    def _found(self, names: list[str]) -> Iterable[tuple[str, GuestTarget]]:
        for name in names:
            if (wants := self.profile.guest(name)) is not None:
                yield name, GuestTarget(name, wants, self.name)

    def guests_by_name(self) -> Mapping[str, GuestTarget]:
        """The same guests, by name."""
        return {guest.name: guest for guest in self.guests}
