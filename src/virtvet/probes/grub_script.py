"""The shell's syntax, as far as grub.cfg and /etc/default/grub use it: commands, quotes, variables. Nothing is run.

menuentry 'Debian' --id "$id" {   ->  Command(("menuentry", "Debian", "--id", "$id", "{"), 1)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from virtvet.errors import CannotLook

LITERAL = "\0"
"""Stands in words for a `$` that begins no variable, until they are `expanded`."""

_TOKEN = re.compile(
    r"(?P<blank>[ \t\r]+|\\\r?\n)|(?P<comment>\#[^\n]*)|(?P<end>[;\n])"
    r"""|(?P<word>(?:[^\s;'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*+")++)""",
    re.DOTALL,
)
_PIECE = re.compile(r"""'([^']*)'|"((?:[^"\\]|\\.)*+)"|\\(.)""", re.DOTALL)
_ESCAPED = re.compile(r'\\([$`"\\\n])')
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)(?::\+([^{}]*))?\}|([A-Za-z_][A-Za-z0-9_]*))", re.ASCII)
_KEYWORDS = ("then", "else", "do")


@dataclass(frozen=True, slots=True)
class Command:
    """One command's words without their quotes. `{` ends a command, `}` is one."""

    words: tuple[str, ...]
    line: int


def script(text: str, path: str) -> Iterator[Command]:
    """Its commands in their order. Raises CannotLook with the line where a quote does not end."""
    words: list[str] = []
    at, line, begun = 0, 1, 1
    while at < len(text):
        if (token := _TOKEN.match(text, at)) is None:
            raise CannotLook(f"{path}:{line}", "a quote that does not end")
        if token["word"]:
            begun = begun if words else line
            words += [unquoted(token["word"])] if words or token["word"] not in _KEYWORDS else []
        if token["end"] or token["word"] in ("{", "}"):
            yield from _command(words, begun)
            words = []
        line, at = line + token[0].count("\n"), token.end()
    yield from _command(words, begun)


def _command(words: list[str], line: int) -> Iterator[Command]:
    if words:
        yield Command(tuple(words), line)


def unquoted(word: str) -> str:
    r"""`a'b c'"d \$e"\ f` -> `ab cd \0e f`."""
    return _PIECE.sub(_piece, word)


def _piece(match: re.Match[str]) -> str:
    single, double, escaped = match.groups()
    if single is not None:
        return single.replace("$", LITERAL)
    return _escaped(escaped) if double is None else _ESCAPED.sub(lambda one: _escaped(one[1]), double)


def _escaped(character: str) -> str:
    return {"$": LITERAL, "\n": ""}.get(character, character)


def expanded(word: str, value: Callable[[str], str]) -> str:
    """The word with the value of each variable in its place: `$a`, `${a}`, `${a:+also}`."""

    def one(match: re.Match[str]) -> str:
        found = value(match[1] or match[3])
        return found if match[2] is None else expanded(match[2], value) if found else ""

    return _VARIABLE.sub(one, word).replace(LITERAL, "$")
