"""The one comparison, and how values are shown."""

from __future__ import annotations

import pytest

from virtvet.expect import Anything, AtLeast, AtMost, Between, Contains, OneOf, Unit, Within, matches, ranges, show


@pytest.mark.parametrize(
    ("expected", "value", "good"),
    [
        (1, 1, True),
        (True, 1, False),
        (0, False, False),
        (None, None, True),
        (None, 0, False),
        (frozenset({1}), {1}, True),
        (AtLeast(30), 30, True),
        (AtLeast(30), 29.9, False),
        (AtLeast(30), "31", False),
        (AtMost(30), 30, True),
        (AtMost(30), 30.1, False),
        (AtMost(30), "29", False),
        (AtMost(30), None, False),
        (Between(30, 40), 30, True),
        (Between(30, 40), 41, False),
        (Between(30, 40), "31", False),
        (Between(30, 40), None, False),
        (Anything(), "", True),
        (Anything(), None, False),
        (Contains.of("ab"), ["a", "b", "c"], True),
        (Contains.of("ab"), "abc", False),
        (Within(frozenset({0, 1})), {1}, True),
        (Within(frozenset({0, 1})), {2}, False),
        (OneOf(("running", "idle")), "idle", True),
    ],
)
def test_matches(expected: object, value: object, good: bool) -> None:
    assert matches(expected, value) is good


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "not set"),
        (True, "yes"),
        (frozenset({0, 1, 2, 5}), "0-2,5"),
        (frozenset(), "none"),
        (frozenset({"b", "a"}), "a, b"),
        ({"x": 1}, "x=1"),
        (AtLeast(30, "days"), "at least 30 days"),
        (AtMost(1.5, "vCPUs for each CPU"), "at most 1.5 vCPUs for each CPU"),
    ],
)
def test_show(value: object, shown: str) -> None:
    assert show(value) == shown


def test_ranges_are_the_kernels_cpulist_format() -> None:
    assert ranges([7, 0, 1, 2, 5]) == "0-2,5,7"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (369098752, "bytes", "352 MiB"),
        (369098752, "", "369098752"),
        (1536 << 20, "bytes", "1536 MiB"),
        (193282048, "bytes", "184.3 MiB (193282048)"),
        (4096, "bytes", "4 KiB"),
        (0, "bytes", "0 B"),
        (20971520, "bytes/s", "20 MiB/s"),
        (1250000, "bits/s", "10 Mbit/s"),
        (1249992, "bits/s", "10.0 Mbit/s (1249992)"),
        ("unlimited", "bytes/s", "unlimited"),
        (True, "bytes", "yes"),
        (None, "bytes", "not set"),
        (AtLeast(512 << 20), "bytes", "at least 512 MiB"),
        (Between(228 << 20, 352 << 20), "bytes", "228 MiB to 352 MiB"),
    ],
)
def test_sizes_and_rates_are_shown_as_people_write_them(value: object, unit: Unit, text: str) -> None:
    assert show(value, unit) == text
