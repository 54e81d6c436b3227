"""Snapshots in a file: JSON, gzip when the name ends in .gz. What is read back equals what was written.

    {"virtvet-snapshot": 1, "hosts": {"hv1": {"is": "Snapshot", "machine": "hv1", "taken": "2026-…+00:00", "answers":
      [[{"is": "File", "path": "/proc/uptime", "limit": 1048576}, {"is": "Content", "data": {"text": "12.5 …"}}]], …

Values of our own types are objects that say what they are; bytes are `{"text": …}` when they are UTF-8, else
`{"base64": …}`.
"""

from __future__ import annotations

import gzip
import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from virtvet.errors import BadInput
from virtvet.snapshot import collector, model, sources
from virtvet.snapshot.model import Snapshot

FORMAT = "virtvet-snapshot"
VERSION = 2
MAX_BYTES = 1 << 30
"""Of the JSON text; a larger file, or one that unpacks to more, is refused."""

KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        *(sources.File, sources.Stat, sources.Glob, sources.Tree, sources.Processes, sources.Command),
        *(sources.Libvirt, sources.Qmp, sources.NodeDevice, sources.Network, sources.TlsLibvirt, sources.Handshake),
        *(model.Content, model.Absent, model.Unreadable, model.TooLarge, model.Status, model.Completed),
        *(model.LibvirtAnswer, model.Domain, model.Hostname, model.Shake, model.Failed, Snapshot),
    )
}
LITERAL = "mapping"
"""The kind of a mapping of names to values, so that no name in it can look like a kind."""


def save(snapshots: Mapping[str, Snapshot], path: Path) -> None:
    """Write the file whole or not at all. Raises BadInput when it cannot be written.

    A private key never is: the collector has left it out, and here is the last guard.
    """
    text = json.dumps({FORMAT: VERSION, "hosts": {name: _written(one) for name, one in snapshots.items()}}, indent=1)
    data = text.encode()
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(gzip.compress(data, mtime=0) if path.name.endswith(".gz") else data)
        partial.replace(path)
    except OSError as error:
        raise BadInput.one(f"cannot write {path}: {error.strerror}") from None


def load(path: Path) -> dict[str, Snapshot]:
    """Raises BadInput for a file that cannot be read or is no snapshot file of this version."""
    data = _bytes(path)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadInput.one(f"{path} is no snapshot file: {error}") from None
    if not isinstance(document, dict) or FORMAT not in document:
        raise BadInput.one(f"{path} is no snapshot file", "write one with --save-snapshot")
    if document[FORMAT] != VERSION:
        raise BadInput.one(f"{path} is a snapshot of format {document[FORMAT]}", f"this virtvet reads format {VERSION}")
    try:
        return _hosts(document)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadInput.one(f"{path} is damaged: {_why(error)}", "take the snapshot again") from None


def _bytes(path: Path) -> bytes:
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput.one(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise BadInput.one(f"{path} is larger than {MAX_BYTES} bytes")
    return data


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return error.errors()[0]["msg"]
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


# --- writing


def _written(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case bytes():
            return _bytes_written(value)
        case datetime():
            return value.isoformat()
        case tuple():
            return [_written(one) for one in value]
        case Snapshot():
            return _object(value) | {"answers": [[_written(key), _written(one)] for key, one in value.answers.items()]}
        case Mapping():
            return {"is": LITERAL, "of": {name: _written(one) for name, one in value.items()}}
    return _object(value)


def _object(value: Any) -> dict[str, Any]:
    kind = type(value).__name__
    names = [field.name for field in fields(KINDS[kind]) if not (kind == "Snapshot" and field.name == "answers")]
    return {"is": kind} | {name: _written(getattr(value, name)) for name in names}


def _bytes_written(data: bytes) -> dict[str, str]:
    if collector.SECRET in data:
        raise ValueError("a private key came as far as the snapshot file: a bug of virtvet, please report it")
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode()}


# --- reading


def _hosts(document: dict[str, Any]) -> dict[str, Snapshot]:
    hosts = {name: _read(one) for name, one in document["hosts"].items()}
    if strange := [name for name, one in hosts.items() if not isinstance(one, Snapshot)]:
        raise ValueError(f"{strange[0]} is no snapshot")
    return hosts


def _read(value: Any) -> Any:
    match value:
        case list():
            return tuple(_read(one) for one in value)
        case {"text": str(text), **rest} if not rest:
            return text.encode()
        case {"base64": str(text), **rest} if not rest:
            return b64decode(text, validate=True)
        case {"is": str(kind), "of": dict(of), **rest} if kind == LITERAL and not rest:
            return {name: _read(one) for name, one in of.items()}
        case {"is": "Snapshot"}:
            return _snapshot(_fields(value))
        case {"is": "Command"}:
            return _made(sources.Command, {"about": ()} | _fields(value))  # older snapshots have no `about`
        case {"is": str(kind)} if kind in KINDS:
            return _made(KINDS[kind], _fields(value))
        case dict():
            raise ValueError(f"{str(value)[:60]} is nothing that a snapshot holds")
    return value


def _fields(written: dict[str, Any]) -> dict[str, Any]:
    return {name: _read(one) for name, one in written.items() if name != "is"}


def _snapshot(values: dict[str, Any]) -> Any:
    taken, answers = datetime.fromisoformat(values["taken"]), dict(values["answers"])
    return _made(Snapshot, values | {"taken": taken, "answers": answers})


def _made(kind: Any, values: dict[str, Any]) -> Any:
    """The value, every field there and of its type."""
    adapters = _adapters(kind)
    if set(values) != set(adapters):
        raise ValueError(f"{kind.__name__} with {', '.join(sorted(set(values) ^ set(adapters)))}")
    return kind(**{name: adapters[name].validate_python(one, strict=True) for name, one in values.items()})


@cache
def _adapters(kind: Any) -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(kind)
    return {field.name: TypeAdapter(hints[field.name]) for field in fields(kind)}
