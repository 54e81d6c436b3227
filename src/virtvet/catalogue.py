"""Every check there is, found by importing check modules; no list to keep."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from virtvet.check import ATTRIBUTE, Check
from virtvet.errors import BadInput

MARKS = ("virtvet.check", "\n@check(")
"""A file without these declares no check, and is not imported."""


def shipped_dir() -> Path:
    """The shipped `checks/`: inside the package when installed from a wheel, at the top of a checkout."""
    installed = Path(__file__).parent / "checks"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "checks"


def shipped() -> tuple[Check, ...]:
    """All shipped checks, by control id."""
    return tuple(sorted(load([shipped_dir()]), key=lambda check: check.control.id))


def load(paths: Iterable[Path]) -> tuple[Check, ...]:
    """The checks declared in these files and below these folders. Raises BadInput when one cannot be imported."""
    return tuple(check for path in paths for file in _files(path) for check in declared(_module(file)))


def declared(module: ModuleType) -> Iterator[Check]:
    """The checks of one module, in the order they stand there."""
    for function in vars(module).values():
        if isinstance(made := getattr(function, ATTRIBUTE, None), Check):
            yield made


def _files(path: Path) -> list[Path]:
    """A path that is not there is pytest's to tell."""
    files = sorted(path.rglob("test_*.py")) if path.is_dir() else [path] if path.suffix == ".py" else []
    return [file for file in files if file.is_file() and _declares(file)]


def _declares(file: Path) -> bool:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BadInput.one(f"{file} cannot be read: {error.strerror}") from None
    return all(mark in text for mark in MARKS)


def _module(file: Path) -> ModuleType:
    name = "virtvet_catalogue." + "_".join(file.resolve().with_suffix("").parts[1:])
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{file} is no Python module")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # whatever the author's mistake is
            del sys.modules[name]
            raise BadInput.one(f"{file} cannot be imported: {type(error).__name__}: {error}") from None
    return sys.modules[name]
