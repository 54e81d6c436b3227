"""A control's hint about one case, which people paste into a root shell.

A guest named "a; reboot" must not reboot anything: each word is quoted for the place where the hint's author put it,
bare (`virsh start {guest}`), within quotes of the author's own (`ls '{path}'`) or behind a #.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from shlex import join, quote
from string import Formatter
from typing import Any

from virtvet.check import Case, Check
from virtvet.expect import show
from virtvet.reporting.text import one_line

_SHELL = re.compile(r"""(?P<closed>'[^']*'|"(?:\\.|[^"\\])*"|\\.)|(?P<comment>(?<!\S)\#)|(?P<open>['"])""")
"""What changes how the shell reads the text behind it."""

_QUOTED: Mapping[str, Callable[[str], str]] = {
    "": quote,
    "'": lambda word: word.replace("'", "'\"'\"'"),
    '"': lambda word: re.sub(r'([\\"$`])', r"\\\1", word),
    "#": str,
}
"""By what the word stands in: nothing, quotes, a comment (a hint is one line, so nothing ends it)."""


def hint(check: Check, case: Case, host: str) -> str:
    """The hint with this case's words; a word that neither we nor the case have stays as it is written.

    {expected} is that of the check's first layer; a list or tuple becomes several words where it stands bare.
    """
    expected = case.expected_on(check.layers[0]) if check.layers else case.expected
    words = {"host": host, "guest": case.guest or "", "subject": case.subject, "expected": expected, **case.words}
    return filled(check.control.hint, words)


def filled(template: str, words: Mapping[str, Any]) -> str:
    """A format string filled in: "chmod {mode:04o} {path}" -> "chmod 0600 '/srv/a b'"."""
    text = ""
    for literal, name, spec, _conversion in Formatter().parse(template):
        text += literal
        if name is not None:
            text += _word(words.get(name, f"{{{name}}}"), spec or "", _standing_in(text))
    return text


def _standing_in(text: str) -> str:
    """What is still open at the end of a shell text: a quote, "#", or "" for nothing."""
    return next((found[0] for found in _SHELL.finditer(text) if found.lastgroup != "closed"), "")


def _word(value: Any, spec: str, place: str) -> str:
    if isinstance(value, list | tuple) and not place:
        return join(one_line(show(one)) for one in value)
    return _QUOTED[place](one_line(format(value, spec) if spec else show(value)))
