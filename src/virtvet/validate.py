"""A located tree made into a pydantic model; what is wrong with it said in plain words, with file, line and column."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from itertools import groupby
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from virtvet.errors import BadInput, Position, Problem
from virtvet.units import as_written
from virtvet.yamlfile import Key, Node

M = TypeVar("M", bound=BaseModel)

FEW = 16
"""Up to so many allowed names are listed in a hint."""

_WANTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "none_required": "null",
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), "a list"),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "model_attributes_type"), "a mapping"),
}
_BOUNDS = {"greater_than_equal": ("at least", "ge"), "less_than_equal": ("at most", "le")}
_SWITCHES = {"yes", "no", "on", "off", "y", "n"}


def validated(
    model: type[M], node: Node, context: Mapping[str, Any] | None = None, unknown: Mapping[str, str] | None = None
) -> M:
    """The tree as `model`; raises BadInput with every mistake.

    context: what validators need beside the value. unknown: hints for keys that are not allowed but often tried.
    """
    try:
        return model.model_validate(node.plain(), context=dict(context or {}))
    except ValidationError as error:
        mistakes = [_mistake(node, details) for details in error.errors(include_url=False)]
        found = {_problem(one, model, unknown or {}) for one in _readable(mistakes)}
        raise BadInput(sorted(found, key=_place)) from None


def _place(problem: Problem) -> tuple[str, int, int, str]:
    at = problem.at or Position("")
    return at.file, at.line, at.column, problem.message


def nearest(name: str, allowed: Iterable[str]) -> str:
    """A hint: the allowed name most like `name`, and all of them when they are few."""
    names = [str(one) for one in allowed]
    close = get_close_matches(str(name), names, n=1, cutoff=0.6)
    said = f'did you mean "{close[0]}"?' if close else ""
    listed = f"allowed: {', '.join(names)}" if 0 < len(names) <= FEW else ""
    return " ".join(filter(None, (said, listed)))


@dataclass(frozen=True, slots=True)
class _Mistake:
    """One pydantic error. `path`: the part of its location that exists in the tree; `branch`: the first part that does
    not, the name of a union's member; `fork`: how long the path is up to there."""

    path: tuple[Key, ...]
    node: Node
    at: Position
    details: ErrorDetails
    fork: int | None = None
    branch: Key = ""

    @property
    def type(self) -> str:
        return self.details["type"]

    @property
    def is_inside(self) -> bool:
        """Whether the union's member fits in kind, and only something in it does not."""
        return self.type in {"extra_forbidden", "missing", *_BOUNDS} or len(self.path) > (self.fork or 0)


def _mistake(root: Node, details: ErrorDetails) -> _Mistake:
    path: list[Key] = []
    node, key_at, fork, branch = root, root.at, None, ""
    steps = details["loc"][:-1] if details["type"] == "missing" else details["loc"]
    for step in steps:
        below = node.child(step)
        if below is not None:
            key_at = node.keys.get(step, below.at)
            node, path = below, [*path, step]
        elif fork is None and step != "[key]":
            fork, branch = len(path), str(step)
    is_scalar = not isinstance(node.value, tuple | Mapping)
    on_key = "[key]" in steps or details["type"] == "extra_forbidden" or not is_scalar
    return _Mistake(tuple(path), node, key_at if on_key else node.at, details, fork, branch)


def _readable(mistakes: list[_Mistake]) -> Iterator[list[_Mistake]]:
    """Mistakes to be told as one: each alone, but those of a union's members together, or only the member that fits."""
    for (_, fork), group in groupby(mistakes, key=lambda one: (one.path[: one.fork], one.fork)):
        together = list(group)
        if fork is None:
            yield from ([one] for one in together)
        elif inside := [one for one in together if one.is_inside]:
            yield from ([one] for one in inside if one.branch == inside[0].branch)
        else:
            yield together


def _problem(together: list[_Mistake], model: type[BaseModel], unknown: Mapping[str, str]) -> Problem:
    first = together[0]
    key = str(first.details["loc"][-1]) if first.details["loc"] else ""
    if first.type == "extra_forbidden":
        allowed = _allowed(_schema(model), first.path[:-1])
        return Problem(f"unknown key {as_written(key)}", unknown.get(key.lower()) or nearest(key, allowed), first.at)
    if first.type == "missing":
        return Problem(f'"{key}" is missing', at=first.at)
    return Problem(_name(first.path) + _sentence(together), _hint(together, model), first.at)


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    """Slow to make, and needed only to say which keys are allowed."""
    return model.model_json_schema()


def _name(path: tuple[Key, ...]) -> str:
    """What a message begins with: `memory.limits: `, `names[0]: `; nothing for the whole file."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path[-2:])
    return f"{text.lstrip('.')}: " if path else ""


def _sentence(together: list[_Mistake]) -> str:
    own = [str(one.details["ctx"]["error"]) for one in together if "error" in one.details.get("ctx", {})]
    wanted = list(dict.fromkeys(words for one in together if (words := _wanted(one))))
    if own:
        return "; or ".join(dict.fromkeys([*own, *wanted]))
    if wanted:
        return f"must be {' or '.join(wanted)}, not {as_written(together[0].details['input'])}"
    return _other(together[0].details)


def _wanted(mistake: _Mistake) -> str:
    if mistake.type in ("literal_error", "enum"):
        return str(mistake.details["ctx"]["expected"]).replace("'", '"')
    return _WANTED.get(mistake.type, "")


def _other(details: ErrorDetails) -> str:
    """pydantic's words without its jargon: "Input should be greater than 0" -> "must be greater than 0, not -1"."""
    shown = as_written(details["input"])
    if details["type"] == "string_pattern_mismatch":
        return f"{shown} does not match {details['ctx']['pattern']}"
    if bound := _BOUNDS.get(details["type"]):
        return f"must be {bound[0]} {details['ctx'][bound[1]]}, not {shown}"
    said = re.sub(r"^\w+ should ", "must ", details["msg"]).replace(" after validation", "").replace("'", '"')
    return f"{said}, not {shown}" if said.startswith("must be ") else said


def _hint(together: list[_Mistake], model: type[BaseModel]) -> str:
    wanted = {words for one in together if (words := _wanted(one))}
    seen = together[0].details["input"]
    if "true or false" in wanted and isinstance(seen, str) and seen.lower() in _SWITCHES:
        return f"YAML 1.2 reads {seen} as a text: write true or false"
    if wanted == {"a mapping"} and seen is None:
        return "write {} when there is nothing to state"
    if wanted == {"a mapping"} and (keys := _allowed(_schema(model), together[0].path)):
        return f"its keys: {', '.join(keys)}" if len(keys) <= FEW else ""
    if wanted == {"a text"} and isinstance(seen, bool | int | float):
        return "put it in quotes"
    return ""


def _allowed(schema: dict[str, Any], path: tuple[Key, ...]) -> list[str]:
    """The keys a JSON Schema allows at a path."""
    places = list(_alternatives(schema, schema))
    for step in path:
        places = [each for place in places for below in _below(place, step) for each in _alternatives(schema, below)]
    return list(dict.fromkeys(key for place in places for key in place.get("properties", {})))


def _alternatives(root: dict[str, Any], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schema itself, references and unions followed."""
    if "$ref" in schema:
        yield from _alternatives(root, root["$defs"][schema["$ref"].rpartition("/")[2]])
        return
    yield schema
    for member in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from _alternatives(root, member)


def _below(schema: dict[str, Any], step: Key) -> Iterator[dict[str, Any]]:
    candidates = [
        schema.get("properties", {}).get(step),
        *schema.get("patternProperties", {}).values(),
        schema.get("additionalProperties"),
        schema.get("items"),
    ]
    yield from (each for each in candidates if isinstance(each, dict))
