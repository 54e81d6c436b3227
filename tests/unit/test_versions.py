"""Versions compare as dpkg and rpm compare them; a bound says no more than is written."""

from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise, product

import pytest

from virtvet.versions import Installed, deb_key, parse_constraint, rpm_key

DEB = [
    "~",
    "~~a",
    "0",
    "1~rc1",
    "1~rc1+x",
    "1",
    "1a",
    "1a0",
    "1ab",
    "1+dfsg",
    "1.",
    "1.0",
    "1.01",
    "1.1",
    "1.10",
    "007",
]
DEB += ["7", "7.0.0", "9.0~~", "9.0~", "9.0", "9.0a", "9.0+deb12u2", "9.0.0", "10", "a", "A", "a+", "Z~", "+", "."]


def sign(left: object, right: object) -> int:
    return (left > right) - (left < right)  # type: ignore[operator]


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="no dpkg to compare with")
def test_deb_as_dpkg() -> None:
    pairs = [(f"0{left}", f"0{right}") for left, right in product(DEB, DEB)][::7]
    script = "".join(f"dpkg --compare-versions {left} lt {right}; echo $?\n" for left, right in pairs)
    said = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True).stdout.split()
    assert [(*pair, deb_key(pair[0]) < deb_key(pair[1])) for pair in pairs] == [
        (*pair, code == "0") for pair, code in zip(pairs, said, strict=True)
    ]


@pytest.mark.parametrize(
    "ordered", [["~~", "~~a", "~", "", "a"], ["9.0~rc1", "9.0", "9.0a", "9.0+dfsg", "9.0.1", "9.10"]]
)
def test_deb_in_order(ordered: list[str]) -> None:
    assert all(deb_key(left) < deb_key(right) for left, right in pairwise(ordered))


@pytest.mark.parametrize(("left", "right"), [("", "0"), ("1.0", "1.00"), ("1a", "1a0")])
def test_deb_equal(left: str, right: str) -> None:
    assert deb_key(left) == deb_key(right)


@pytest.mark.parametrize(
    ("left", "right", "wanted"),
    [  # as in rpm's own tests/rpmvercmp.at
        ("1.0", "1.0", 0),
        ("1.0", "2.0", -1),
        ("2.0.1", "2.0.1a", -1),
        ("5.5p1", "5.5p10", -1),
        ("10xyz", "10.1xyz", -1),
        ("xyz10", "xyz10.1", -1),
        ("xyz.4", "8", -1),
        ("5.5p2", "5.6p1", -1),
        ("6.0.rc1", "6.0", 1),
        ("10b2", "10a1", 1),
        ("1.0aa", "1.0a", 1),
        ("10.0001", "10.1", 0),
        ("4.999.9", "5.0", -1),
        ("20101122", "20101121", 1),
        ("2_0", "2.0", 0),
        ("a+", "a_", 0),
        ("1.0~rc1", "1.0", -1),
        ("1.0~rc1~git123", "1.0~rc1", -1),
        ("1.0^", "1.0", 1),
        ("1.0^git1", "1.01", -1),
        ("1.0^20160101^git1", "1.0^20160102", -1),
        ("1.0~rc1^git1", "1.0~rc1", 1),
        ("1.0^git1~pre", "1.0^git1", -1),
    ],
)
def test_rpm(left: str, right: str, wanted: int) -> None:
    assert sign(rpm_key(left), rpm_key(right)) == wanted
    assert sign(rpm_key(right), rpm_key(left)) == -wanted


@pytest.mark.parametrize(
    ("constraint", "version", "holds"),
    [
        (">= 9.0", "9.0.0-4+deb12u2", True),
        (">= 9.0.0", "9.0.0~rc1-1", False),
        ("= 9.0.0", "9.0.0-4+deb12u2", True),
        ("9.0.0-4", "9.0.0-4+deb12u2", False),
        ("9.0.0-4+deb12u2", "9.0.0-4+deb12u2", True),
        ("> 9.0.0", "9.0.0-4", False),
        ("<= 9.0.0", "9.0.0-4", True),
        (">= 9.0, < 10", "9.10-1", True),
        (">= 9.0, < 10", "10.0-1", False),
        (">= 7.2", "1:5.2-1", False),
        (">= 7.2", "1:7.2+dfsg-7", True),
        (">= 1:7.2", "1:7.2+dfsg-7", True),
        (">= 1:7.2", "8.0-1", False),
        (">=9.0.0-4", "9.0.0-10", True),
        (">= 9.0.0-4", "9.0.0-4~bpo11+1", False),
    ],
)
def test_constraint(constraint: str, version: str, holds: bool) -> None:
    assert parse_constraint(constraint).matches(Installed(version, "deb")) is holds


def test_epoch_of_rpm() -> None:
    assert parse_constraint(">= 7.2").matches(Installed("17:7.2.0-14.el9_2", "rpm"))
    assert not parse_constraint(">= 17:7.3").matches(Installed("17:7.2.0-14.el9_2", "rpm"))


@pytest.mark.parametrize("value", ["not installed", "9.0", None])
def test_only_installed_versions_satisfy(value: object) -> None:
    assert not parse_constraint(">= 1").matches(value)


@pytest.mark.parametrize("written", ["", ">=", "newest", "=> 9", ">= 9.0 or 10", "9 0", ">= 9,", "~> 9"])
def test_what_is_no_constraint(written: str) -> None:
    with pytest.raises(ValueError, match="is no version"):
        parse_constraint(written)
