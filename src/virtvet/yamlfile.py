"""YAML 1.2 files that people wrote, read strictly, with the position of every key and value.

ruamel.yaml scans and parses; what its events mean is said here, so that nothing is built before it is bounded: no tags,
no merge keys, no duplicate keys, one document, and aliases only as long as the whole stays small when written out.
Values are those of the core schema (https://yaml.org/spec/1.2.2/#103-core-schema): `yes` is a text, 0644 is 644.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from virtvet.errors import BadInput, Position, Problem
from virtvet.units import as_written

MAX_BYTES = 1 << 20
MAX_DEPTH = 50
MAX_NODES = 100_000
"""Keys and values of a file, aliases written out."""

Key = str | int
Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands.

    `keys`: where the keys of a mapping stand. `size`: keys and values in it, aliases written out.
    """

    value: Scalar | tuple[Node, ...] | Mapping[Key, Node]
    at: Position
    keys: Mapping[Key, Position] = field(default_factory=dict)
    size: int = 1

    def plain(self) -> Any:
        """The same without positions: dicts, lists and scalars."""
        match self.value:
            case tuple():
                return [item.plain() for item in self.value]
            case Mapping():
                return {key: item.plain() for key, item in self.value.items()}
        return self.value

    def child(self, step: Key) -> Node | None:
        """What stands under a key, or at an index of a list."""
        match self.value:
            case Mapping():
                return self.value.get(step)
            case tuple() if isinstance(step, int) and 0 <= step < len(self.value):
                return self.value[step]
        return None

    def children(self, step: Key) -> Mapping[Key, Node]:
        """The mapping that stands under a key; empty when there is none."""
        below = self.child(step)
        return below.value if below and isinstance(below.value, Mapping) else {}

    def place(self, *path: Key) -> Position:
        """Where the key at the end of a path stands; of a path that leads further than the file, the last that does."""
        node, at = self, self.at
        for step in path:
            if (below := node.child(step)) is None:
                break
            node, at = below, node.keys.get(step, below.at)
        return at

    def without(self, *keys: Key) -> Node:
        """A mapping less some keys."""
        assert isinstance(self.value, Mapping)
        return Node({key: item for key, item in self.value.items() if key not in keys}, self.at, self.keys)


def read(path: Path) -> Node:
    """The one document of a file. Raises BadInput with every mistake found; a file's name is shown as it was given."""
    return parse(read_text(path), str(path))


def parse(text: str, file: str) -> Node:
    """The same from text; `file` names it in messages."""
    builder = _Builder(file)
    try:
        root = builder.document(YAML(typ="safe", pure=True).parse(text))
    except MarkedYAMLError as error:
        raise BadInput([*builder.problems, _syntax(error, file)]) from None
    except ReaderError as error:
        at = _position(file, text[: error.position])
        raise BadInput.one("holds a character YAML does not allow", f"U+{error.character:04X}", at) from None
    except (ValueError, OverflowError) as error:  # ruamel.yaml's chr() of "\\UFFFFFFFF"
        raise BadInput.one(f"is not YAML: {error}", at=Position(file)) from None
    if builder.problems:
        raise BadInput(builder.problems)
    return root


def located(value: Any, at: Position) -> Node:
    """A node made of plain data, such as an option of the command line: everything stands at one place."""
    match value:
        case Mapping():
            return Node({key: located(item, at) for key, item in value.items()}, at, dict.fromkeys(value, at))
        case list() | tuple():
            return Node(tuple(located(item, at) for item in value), at)
    return Node(value, at)


def merged(under: Node | None, over: Node) -> Node:
    """Mappings are merged key by key; scalars, lists and null of `over` replace what stands in `under`."""
    if under is None or not (isinstance(under.value, Mapping) and isinstance(over.value, Mapping)):
        return over
    both = {key: merged(under.value.get(key), item) for key, item in over.value.items()}
    return Node({**under.value, **both}, over.at, {**under.keys, **over.keys})


def at_home(written: str) -> Path:
    """A path with `~` or `~user` at its beginning expanded. Raises ValueError when there is no such user."""
    try:
        return Path(written).expanduser()
    except RuntimeError:
        raise ValueError(f"{as_written(written)} names no user's home directory") from None


def read_text(path: Path) -> str:
    """A text file of at most MAX_BYTES, never empty. Raises BadInput."""
    at = Position(str(path))
    data = _bytes(path, at)
    if not data.strip():
        raise BadInput.one("is empty", at=at)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig")
        raise BadInput.one("is not UTF-8 text", at=_position(str(path), before)) from None


def _bytes(path: Path, at: Position) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise BadInput.one("is a directory" if path.is_dir() else "is no regular file", at=at)
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise BadInput.one(f"cannot be read: {reason}", at=at) from None
    if len(data) > MAX_BYTES:
        raise BadInput.one(f"is larger than {MAX_BYTES >> 20} MiB", at=at)
    return data


def _position(file: str, before: str) -> Position:
    return Position(file, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


_HINTS = {
    "mapping values are not allowed here": "quote a text that contains ': '; indent the keys of a mapping alike",
    "found character '\\t' that cannot start any token": "indent with spaces, not tabs",
    "could not find expected ':'": "a key needs ': ' and its value after it",
}


def _syntax(error: MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    at = Position(file, mark.line + 1, mark.column + 1) if mark else Position(file)
    words = " ".join(str(part) for part in (error.context, error.problem) if part)
    return Problem(f"is not YAML: {words}", _HINTS.get(str(error.problem), ""), at)


class _Builder:
    """Makes nodes of ruamel's events and gathers every mistake on the way."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.anchors: dict[str, Node] = {}
        self.nodes = 0

    def document(self, events: Iterator[Event]) -> Node:
        """The root node of a stream; raises BadInput when reading on makes no sense, else see `self.problems`."""
        self.events = events
        root: Node | None = None
        for event in events:
            if isinstance(event, DocumentStartEvent):
                if root:
                    self._stop("holds more than one document", "one file, one document: remove the '---'", event)
                self._directives(event)
                root = self._node(next(events), 1)
        if root is None:
            raise BadInput.one("is empty", "it holds nothing but comments", Position(self.file))
        return root

    def _directives(self, event: DocumentStartEvent) -> None:
        if event.version and tuple(event.version) != (1, 2):
            self._problem("is not YAML 1.2", "remove the %YAML line", event)

    def _node(self, event: Event, depth: int) -> Node:
        if depth > MAX_DEPTH:
            self._stop(f"is nested deeper than {MAX_DEPTH} levels", "", event)
        if isinstance(event, AliasEvent):
            return self._alias(event)
        assert isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent)
        self._count(1, event)
        if event.tag is not None:
            self._problem(f'has a tag, "{event.tag}"', "tags are not used here: write the plain value", event)
        node = self._content(event, depth)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def _content(self, event: Event, depth: int) -> Node:
        if isinstance(event, MappingStartEvent):
            return self._mapping(event, depth)
        if isinstance(event, SequenceStartEvent):
            items = tuple(self._until(SequenceEndEvent, depth))
            return Node(items, self._at(event), size=1 + sum(item.size for item in items))
        assert isinstance(event, ScalarEvent)
        return Node(event.value if event.style else _plain_scalar(event.value), self._at(event))

    def _alias(self, event: AliasEvent) -> Node:
        found = self.anchors.get(event.anchor)
        if found is None:
            name = "*" + event.anchor.rstrip(":")
            self._problem(f'"{name}" names nothing above', f'a text that begins with * needs quotes: "{name}"', event)
            return Node(None, self._at(event))
        self._count(found.size, event)
        return found

    def _until(self, end: type[Event], depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self.events), end):
            yield self._node(event, depth + 1)

    def _mapping(self, start: Event, depth: int) -> Node:
        values: dict[Key, Node] = {}
        keys: dict[Key, Position] = {}
        nodes = self._until(MappingEndEvent, depth)
        for key in nodes:
            value = _placed(next(nodes), key)
            if self._is_new_key(key, keys):
                values[key.value], keys[key.value] = value, key.at  # type: ignore[index]
        return Node(values, self._at(start), keys, 1 + sum(1 + item.size for item in values.values()))

    def _is_new_key(self, key: Node, keys: Mapping[Key, Position]) -> bool:
        if key.value == "<<":
            self._refuse("is a merge key", "merge keys are not YAML 1.2: write the keys out, or use extends", key.at)
        elif isinstance(key.value, bool) or not isinstance(key.value, str | int):
            self._refuse("is no key", "a key is a text or a whole number; put others in quotes", key.at)
        elif twin := next((at for one, at in keys.items() if str(one) == str(key.value)), None):
            self._refuse(f"the key {as_written(str(key.value))} stands twice", f"first in line {twin.line}", key.at)
        else:
            return True
        return False

    def _count(self, nodes: int, event: Event) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            self._stop(f"holds more than {MAX_NODES} values", "aliases count as often as they are used", event)

    def _at(self, event: Event) -> Position:
        return Position(self.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _refuse(self, message: str, hint: str, at: Position) -> None:
        self.problems.append(Problem(message, hint, at))

    def _problem(self, message: str, hint: str, event: Event) -> None:
        self._refuse(message, hint, self._at(event))

    def _stop(self, message: str, hint: str, event: Event) -> NoReturn:
        self._problem(message, hint, event)
        raise BadInput(self.problems)


def _placed(value: Node, key: Node) -> Node:
    """A value that is left out stands where the parser noticed, lines below: its key's place is of more use."""
    return replace(value, at=key.at) if value.value is None and value.at.line != key.at.line else value


_CORE: tuple[tuple[re.Pattern[str], Any], ...] = (
    (re.compile(r"null|Null|NULL|~|"), lambda _: None),
    (re.compile(r"true|True|TRUE"), lambda _: True),
    (re.compile(r"false|False|FALSE"), lambda _: False),
    (re.compile(r"[-+]?[0-9]{1,40}"), int),
    (re.compile(r"0o[0-7]{1,40}"), lambda text: int(text, 8)),
    (re.compile(r"0x[0-9a-fA-F]{1,40}"), lambda text: int(text, 16)),
    (re.compile(r"[-+]?(\.[0-9]{1,40}|[0-9]{1,40}(\.[0-9]{0,40})?)([eE][-+]?[0-9]{1,2})?"), float),
)


def _plain_scalar(text: str) -> Scalar:
    """An unquoted scalar by the core schema; infinities and NaN stay texts, nobody wants them."""
    for pattern, value in _CORE:
        if pattern.fullmatch(text):
            return value(text)  # type: ignore[no-any-return]
    return text
