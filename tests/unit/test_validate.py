"""Mistakes in plain words: one message each, at its place, without a validator's jargon."""

from typing import Annotated, Literal

import pytest
from pydantic import AfterValidator, Field, Strict, model_validator

from virtvet.errors import BadInput
from virtvet.profile.base import Wants
from virtvet.units import CpuSet, Size
from virtvet.validate import nearest, validated
from virtvet.yamlfile import parse


def _even(number):
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number


class Inner(Wants):
    size: Size = 0
    switch: bool = False
    mode: Literal["fast", "safe"] = "safe"
    even: Annotated[int, AfterValidator(_even)] = 0

    @model_validator(mode="after")
    def _sane(self):
        if self.switch and self.mode == "safe":
            raise ValueError("switch needs mode: fast")
        return self


class Outer(Wants):
    name: str
    port: int = Field(default=1, ge=1, le=65535)
    text: str = Field(default="", pattern="^[a-z]*$", max_length=5)
    pins: dict[int, CpuSet] = Field(default_factory=dict)
    inner: Inner | None = None
    inners: dict[str, Inner] = Field(default_factory=dict)
    names: Annotated[tuple[str, ...], Strict(False)] = ()
    either: bool | Inner = False
    parents: str | list[str] = ""
    limit: Size | Literal["unlimited"] = 0
    fraction: float = 1.0


SAID = {
    "": ["f:1:1: must be a mapping, not null"],
    "[a]": ['f:1:1: must be a mapping, not ["a"]'],
    "text: x": ['f:1:1: "name" is missing'],
    "name: 1": ["f:1:7: name: must be a text, not 1 (put it in quotes)"],
    "name: null": ["f:1:7: name: must be a text, not null"],
    "name: [x]": ['f:1:1: name: must be a text, not ["x"]'],
    "{name: a, port: '22'}": ['f:1:17: port: must be a whole number, not "22"'],
    "{name: a, port: 2.5}": ["f:1:17: port: must be a whole number, not 2.5"],
    "{name: a, port: true}": ["f:1:17: port: must be a whole number, not true"],
    "{name: a, port: 0}": ["f:1:17: port: must be at least 1, not 0"],
    "{name: a, text: aB}": ['f:1:17: text: "aB" does not match ^[a-z]*$'],
    "{name: a, text: abcdef}": ["f:1:17: text: must have at most 5 characters"],
    "{name: a, fraction: x}": ['f:1:21: fraction: must be a number, not "x"'],
    "{name: a, nmae: b}": [
        'f:1:11: unknown key "nmae" (did you mean "name"? allowed: name, port, text, pins, inner, inners, names, '
        "either, parents, limit, fraction)"
    ],
    "{name: a, inner: {swich: true}}": [
        'f:1:19: unknown key "swich" (did you mean "switch"? allowed: size, switch, mode, even)'
    ],
    "{name: a, inners: {x: {swich: true}}}": [
        'f:1:24: unknown key "swich" (did you mean "switch"? allowed: size, switch, mode, even)'
    ],
    "{name: a, inner: {secret: x}}": ['f:1:19: unknown key "secret" (tell nobody)'],
    "{name: a, inner: {switch: yes}}": [
        'f:1:27: inner.switch: must be true or false, not "yes" (YAML 1.2 reads yes as a text: write true or false)'
    ],
    "{name: a, inner: {switch: 1}}": ["f:1:27: inner.switch: must be true or false, not 1"],
    "{name: a, inner: {mode: slow}}": ['f:1:25: inner.mode: must be "fast" or "safe", not "slow"'],
    "{name: a, inner: {even: 3}}": ["f:1:25: inner.even: 3 is odd"],
    "{name: a, inner: {size: 1 Gigs}}": [
        'f:1:25: inner.size: "1 Gigs" is no size: use bytes or a unit such as 512 MiB, 1 GiB'
    ],
    "{name: a, inner: {switch: true}}": ["f:1:11: inner: switch needs mode: fast"],
    "{name: a, inner: 5}": ["f:1:18: inner: must be a mapping, not 5"],
    "{name: a, pins: {0: 4-1}}": ['f:1:21: pins[0]: "4-1" counts down from 4 to 1: write 1-4'],
    "{name: a, pins: {x: 1}}": ['f:1:18: pins.x: must be a whole number, not "x"'],
    "{name: a, names: [b, 1]}": ["f:1:22: names[1]: must be a text, not 1 (put it in quotes)"],
    "{name: a, names: b}": ['f:1:18: names: must be a list, not "b"'],
    "{name: a, either: 5}": ["f:1:19: either: must be true or false or a mapping, not 5"],
    "{name: a, either: {even: 1}}": ["f:1:26: either.even: 1 is odd"],
    "{name: a, either: {evn: 1}}": [
        'f:1:20: unknown key "evn" (did you mean "even"? allowed: size, switch, mode, even)'
    ],
    "{name: a, parents: 5}": ["f:1:20: parents: must be a text or a list, not 5"],
    "{name: a, parents: [5]}": ["f:1:21: parents[0]: must be a text, not 5 (put it in quotes)"],
    "{name: a, limit: none}": [
        'f:1:18: limit: "none" is no size: use bytes or a unit such as 512 MiB, 1 GiB; or "unlimited"'
    ],
    "{name: 1, port: x}": ["f:1:8: name: must be a text", 'f:1:17: port: must be a whole number, not "x"'],
}


@pytest.mark.parametrize("text", SAID)
def test_said(text):
    with pytest.raises(BadInput) as caught:
        validated(Outer, parse(text or "~", "f"), unknown={"secret": "tell nobody"})
    lines = str(caught.value).splitlines()
    assert len(lines) == len(SAID[text]), lines
    for line, wanted in zip(lines, SAID[text], strict=True):
        assert line.startswith(wanted)
    assert "pydantic" not in str(caught.value)
    assert "Input" not in str(caught.value)


def test_right():
    assert validated(Outer, parse("{name: a, pins: {0: '1-3,^2'}, either: {even: 2}, limit: unlimited}", "f")) == Outer(
        name="a", pins={0: frozenset({1, 3})}, either=Inner(even=2), limit="unlimited"
    )


def test_every_mistake_is_found_in_the_order_of_the_file():
    text = "{zzz: 1, name: 2, aaa: 3, inner: {mode: x, bbb: 1}}"
    with pytest.raises(BadInput) as caught:
        validated(Outer, parse(text, "f"))
    assert [problem.at.column for problem in caught.value.problems] == [2, 16, 19, 41, 44]


@pytest.mark.parametrize(
    ("name", "allowed", "hint"),
    [
        ("hv11", ["hv1", "hv2"], 'did you mean "hv1"? allowed: hv1, hv2'),
        ("x", ["hv1", "hv2"], "allowed: hv1, hv2"),
        ("hv7", [f"hv{n}" for n in range(20)], 'did you mean "hv7"?'),
        ("x", [f"hv{n}" for n in range(20)], ""),
        ("x", [], ""),
    ],
)
def test_nearest(name, allowed, hint):
    assert nearest(name, allowed) == hint
