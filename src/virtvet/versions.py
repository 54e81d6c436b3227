"""Versions of packages, compared as their own package managers compare them, and the constraints people write.

Both algorithms are short, documented and final, so they stand here in a few lines each; the libraries that have them
bring a package manager, or vulnerability databases, along. `dpkg --compare-versions` would ask a machine in a probe.

    deb-version(7): https://manpages.debian.org/deb-version.7
    rpm-version(7): https://rpm-software-management.github.io/rpm/man/rpm-version.7
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from virtvet.expect import Expectation
from virtvet.units import as_written

Format = Literal["deb", "rpm"]
Key = tuple[tuple[Any, ...], ...]

_EPOCH = r"(?:([0-9]{1,9}):)?"
VERSION = re.compile(rf"{_EPOCH}([A-Za-z0-9.+~^_-]{{1,200}})", re.ASCII)
_BOUND = re.compile(rf"\s*(>=|<=|=|>|<|)\s*{_EPOCH}([0-9][A-Za-z0-9.+~^_-]{{0,199}})\s*", re.ASCII)
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
    "": operator.eq,
}


def deb_key(part: str) -> Key:
    """Sorts as one part of a deb's version: text and numbers in turn; `~` before the end, letters before the rest.

    "9.0~rc1" < "9.0" < "9.0a" < "9.0+dfsg" < "9.0.1" < "9.10"
    """
    pairs = re.findall(r"([^0-9]*)([0-9]*)", part or "0")
    return tuple(((*map(_deb_order, text), 0), int(number or 0)) for text, number in pairs)


def _deb_order(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) + (0 if character.isalpha() else 256)


def rpm_key(part: str) -> Key:
    """Sorts as one part of an rpm's version: `~` before the end, `^` behind it, then letters, then numbers; whatever
    else stands between them only separates. "9.0~rc1" < "9.0" < "9.0^git1" < "9.0.a" < "9.0.1"."""
    found = re.findall(r"[~^]|[A-Za-z]+|[0-9]+", part)
    return (*map(_rpm_order, found), (1,))


def _rpm_order(segment: str) -> tuple[Any, ...]:
    if segment in "~^":
        return (0,) if segment == "~" else (2,)
    return (4, int(segment)) if segment.isdigit() else (3, segment)


_KEYS: Mapping[Format, Callable[[str], Key]] = {"deb": deb_key, "rpm": rpm_key}


@dataclass(frozen=True, slots=True)
class Installed:
    """An installed version: `1:7.2+dfsg-7+deb12u13`. `version` must match VERSION."""

    version: str
    format: Format

    def __str__(self) -> str:
        return self.version

    @property
    def key(self) -> tuple[Any, ...]:
        """Sorts as the package manager sorts."""
        parts = _parts(self.version)
        return int(parts.epoch or 0), _KEYS[self.format](parts.upstream), _KEYS[self.format](parts.revision or "")


@dataclass(frozen=True, slots=True)
class _Parts:
    epoch: str | None
    upstream: str
    revision: str | None


def _parts(version: str) -> _Parts:
    """`1:7.2+dfsg-7+deb12u13` -> 1, 7.2+dfsg, 7+deb12u13. What is not there is None."""
    epoch, colon, rest = version.rpartition(":")
    upstream, hyphen, revision = rest.rpartition("-")
    return _Parts(epoch if colon else None, upstream if hyphen else rest, revision if hyphen else None)


@dataclass(frozen=True, slots=True)
class Bound:
    """One comparison: `>= 9.0`."""

    relation: str
    version: str

    def holds(self, installed: Installed) -> bool:
        """A bound says no more than is written: what it has no epoch or revision for is compared without them.

        So `>= 7.2` does not hold for every `1:5.2`, and `= 9.0.0` holds for `9.0.0-4+deb12u2`.
        """
        key, mine, its = _KEYS[installed.format], _parts(self.version), _parts(installed.version)
        wanted, seen = [key(mine.upstream)], [key(its.upstream)]
        if mine.epoch is not None:
            wanted, seen = [((int(mine.epoch),),), *wanted], [((int(its.epoch or 0),),), *seen]
        if mine.revision is not None:
            wanted, seen = [*wanted, key(mine.revision)], [*seen, key(its.revision or "")]
        return _COMPARE[self.relation](seen, wanted)


@dataclass(frozen=True, slots=True)
class Satisfies(Expectation):
    """An installed version within all bounds; without bounds, any."""

    written: str
    bounds: tuple[Bound, ...] = ()

    def matches(self, value: Any) -> bool:
        """Installed versions only."""
        return isinstance(value, Installed) and all(bound.holds(value) for bound in self.bounds)

    def __str__(self) -> str:
        return self.written


def parse_constraint(written: str) -> Satisfies:
    """`>= 9.0`, `>= 9.0, < 10`, `9.0.0-4` (exactly). Raises ValueError."""
    found = [_BOUND.fullmatch(part) for part in written.split(",")]
    if not all(found):
        raise ValueError(
            f'{as_written(written)} is no version: use ">= 9.0", ">= 9.0, < 10", "9.0.0-4", installed or absent'
        )
    bounds = (Bound(one[1], f"{one[2]}:{one[3]}" if one[2] else one[3]) for one in found if one)
    return Satisfies(written.strip(), tuple(bounds))
