"""Values of sysctls and module parameters, made comparable: what a profile states, and what the kernel shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from virtvet.expect import Expectation
from virtvet.profile.kernel import AnySetting, Setting

BOOLEANS: Mapping[str, str] = {"Y": "1", "y": "1", "on": "1", "N": "0", "n": "0", "off": "0"}
"""How the kernel shows, and takes, what is yes or no (param_get_bool in kernel/params.c, kstrtobool)."""
NOT_SET = "set by no file"


def comparable(value: str | int | bool) -> str:
    """`Y` and yes are "1", 10 is "10", `4096\t131072` is "4096 131072"."""
    text = " ".join(str(int(value) if isinstance(value, bool) else value).split())
    return BOOLEANS.get(text, text)


@dataclass(frozen=True, slots=True)
class InRange(Expectation):
    """A whole number, written in decimal, from `least` to `most`; None is no limit."""

    least: int | None
    most: int | None

    def matches(self, value: Any) -> bool:
        """Texts such as "1048576"."""
        try:
            number = int(value)
        except (TypeError, ValueError):
            return False
        return (self.least is None or number >= self.least) and (self.most is None or number <= self.most)

    def __str__(self) -> str:
        limits = {"at least": self.least, "at most": self.most}
        return " and ".join(f"{words} {limit}" for words, limit in limits.items() if limit is not None)


def expected(stated: AnySetting) -> Any:
    """What a setting must show on every layer."""
    if not isinstance(stated, Setting):
        return comparable(stated)
    return InRange(stated.at_least, stated.at_most) if stated.value is None else comparable(stated.value)


def is_persistent(stated: AnySetting) -> bool:
    """Whether a file must set it."""
    return not isinstance(stated, Setting) or stated.persistent


def nearest(expected: Any, seen: str = "") -> str:
    """A value that satisfies `expected`, of a range the limit that the seen one is beyond."""
    if not isinstance(expected, InRange):
        return str(expected)
    beyond = seen.isdecimal() and expected.most is not None and int(seen) > expected.most
    return str(expected.most if beyond or expected.least is None else expected.least)
