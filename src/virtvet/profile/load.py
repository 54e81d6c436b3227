"""Profiles from YAML: found by name or path, merged with what they extend, checked as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from glob import has_magic
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from virtvet import yamlfile
from virtvet.errors import BadInput, Position
from virtvet.profile.demands import impossible
from virtvet.profile.model import Profile
from virtvet.validate import nearest, validated
from virtvet.yamlfile import Node, merged

MAX_FILES = 50
"""Profiles read for one: a parent counts as often as it is extended."""

_PACKAGE = Path(__file__).parents[1]


def shipped_dir() -> Path:
    """Where shipped profiles are: `virtvet/profiles` in an installed wheel, `profiles` at the top of a checkout."""
    installed = _PACKAGE / "profiles"
    return installed if installed.is_dir() else _PACKAGE.parents[1] / "profiles"


def list_shipped() -> list[tuple[str, str]]:
    """Name and title of every shipped profile. Raises BadInput when one cannot be read."""
    return [(name, _head(yamlfile.read(path)).title) for name, path in _shipped().items()]


def find_profile(name_or_path: str, folder: Path = Path()) -> Path:
    """The file of a shipped profile's name, or of a path (it has a slash or .yaml) relative to `folder`.

    Raises BadInput.
    """
    if not is_name(name_or_path):
        return Path(folder, _at_home(name_or_path))
    shipped = _shipped()
    if name_or_path not in shipped:
        hint = nearest(name_or_path, shipped) or "a file's name needs .yaml or a slash"
        raise BadInput.one(f'there is no shipped profile "{name_or_path}"', hint)
    return shipped[name_or_path]


def is_name(name_or_path: str) -> bool:
    """Whether it names a shipped profile, not a file."""
    return "/" not in name_or_path and not name_or_path.endswith((".yaml", ".yml"))


def load_profile(name_or_path: str) -> Profile:
    """A whole profile. Raises BadInput with every mistake, each at its place in the file it stands in."""
    node = _with_parents(find_profile(name_or_path), (), iter(range(MAX_FILES)))
    profile = validated(Profile, node, {"written": node})
    for name in profile.guests:
        if not has_magic(name):  # a guest known by name: do all entries that match it go together?
            profile.guest(name)
    if problems := tuple(impossible(profile)):
        raise BadInput(problems)
    return profile


def _at_home(written: str) -> Path:
    try:
        return yamlfile.at_home(written)
    except ValueError as error:
        raise BadInput.one(str(error)) from None


def _shipped() -> dict[str, Path]:
    return {path.stem: path for path in sorted(shipped_dir().glob("*.yaml"))}


class _Head(BaseModel):
    """What each file must state for itself; it is not inherited."""

    model_config = ConfigDict(extra="ignore", strict=True)

    virtvet: Literal[1]
    title: str = ""
    description: str = ""
    extends: str | list[str] = ""


def _head(node: Node) -> _Head:
    return validated(_Head, node)


def _with_parents(path: Path, children: tuple[Path, ...], budget: Iterator[int]) -> Node:
    """A file merged over all it extends. `children`: the files that extend it; `budget`: how many may still be read."""
    if next(budget, None) is None:
        raise BadInput.one(f"more than {MAX_FILES} profiles are extended", at=Position(str(path)))
    node = yamlfile.read(path)
    base: Node | None = None
    for name, at in _extends(node):
        family = (*children, path.resolve())
        parent = _with_parents(_parent(name, path.parent, at, family), family, budget)
        base = merged(base, parent.without(*_Head.model_fields))
    return merged(base, node)


def _extends(node: Node) -> Iterator[tuple[str, Position]]:
    """What a file extends, and where it says so. Raises BadInput when its head is wrong."""
    names = _head(node).extends
    where = node.child("extends")
    if where and isinstance(where.value, tuple):
        yield from ((str(item.value), item.at) for item in where.value)
    elif where and names:
        yield str(names), where.at


def _parent(name: str, folder: Path, at: Position, family: tuple[Path, ...]) -> Path:
    try:
        path = find_profile(name, folder)
    except BadInput as bad:
        raise BadInput(replace(problem, at=at) for problem in bad.problems) from None
    if not path.exists():
        raise BadInput.one(f"there is no {path} to extend", at=at)
    if path.resolve() in family:
        raise BadInput.one(f"{path} extends itself", "by way of its own parents", at)
    return path
