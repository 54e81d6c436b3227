"""Users and groups by name and number, as /etc/passwd and /etc/group have them (passwd(5), group(5)).

What other databases know (LDAP) has no name here, and is then shown by its number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from virtvet.errors import CannotLook
from virtvet.expect import Expectation
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import File

PASSWD = File("/etc/passwd")
GROUP = File("/etc/group")
SOURCES = (PASSWD, GROUP)
_FIELDS = {PASSWD: 7, GROUP: 4}


@dataclass(frozen=True, slots=True)
class Account:
    """A user or group: `libvirt-qemu (64055)`, or `4711` where it has no name."""

    number: int
    name: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.number})" if self.name else str(self.number)


@dataclass(frozen=True, slots=True)
class Is(Expectation):
    """The account that is written by its name, or by its number."""

    written: str

    def matches(self, value: Any) -> bool:
        """Accounts only."""
        return isinstance(value, Account) and self.written in (value.name, str(value.number))

    def __str__(self) -> str:
        return self.written


@dataclass(frozen=True, slots=True)
class Are(Expectation):
    """A set of just these accounts."""

    written: frozenset[str]

    def matches(self, value: Any) -> bool:
        """Each is there, and nothing else."""
        return (
            isinstance(value, frozenset)
            and all(any(Is(word).matches(one) for one in value) for word in self.written)
            and all(any(Is(word).matches(one) for word in self.written) for one in value)
        )

    def __str__(self) -> str:
        return ", ".join(sorted(self.written)) or "none"


def numbered(snapshot: Snapshot, source: File, number: int) -> Account:
    """The first name with a number. `libvirt-qemu:x:64055:104:…` -> Account(64055, "libvirt-qemu")."""
    return Account(number, next((name for name, one in _known(snapshot, source) if one == number), ""))


def written(snapshot: Snapshot, source: File, word: str, where: str) -> Account:
    """What libvirt takes a word for (virGetUserID, src/util/virutil.c): `+0` is a number, `100` a name if somebody has
    it, else a number. Raises CannotLook for a name that nobody has."""
    names: Mapping[str, int] = dict(reversed(list(_known(snapshot, source))))
    if word in names:
        return Account(names[word], word)
    digits = word.removeprefix("+")
    if digits.isascii() and digits.isdecimal() and len(digits) <= 10:
        return numbered(snapshot, source, int(digits))
    raise CannotLook(where, f"{word[:40]!r} is not in {source}")


def _known(snapshot: Snapshot, source: File) -> Iterator[tuple[str, int]]:
    for line in snapshot.read(source).decode("utf-8", "backslashreplace").splitlines():
        fields = line.split(":")
        if len(fields) == _FIELDS[source] and fields[2].isascii() and fields[2].isdecimal() and len(fields[2]) <= 10:
            yield fields[0], int(fields[2])
