"""Text from machines made fit to show: bounded, without secrets, nothing invisible left in it."""

from __future__ import annotations

import re

LINE = 2000
"""Characters of a one-line text that are kept."""
EXCERPT = 400
"""Characters of an excerpt that are kept."""

_SECRET = re.compile(
    r"(?P<uri>://[^/\s:@]*:)[^/\s]+(?=@)"  # qemu+ssh://root:secret@hv1/system
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
_UNUSUAL = re.compile(r"[^ -~]")
_UNUSUAL_BUT_LINES = re.compile(r"[^ -~\n\t]")


def one_line(text: str, limit: int = LINE) -> str:
    r"""At most `limit` characters on one line: "a\nb\x1b[31m" -> r"a\nb\x1b[31m". What is not printable (controls,
    direction overrides, surrogates, what XML forbids) is written as Python's escape. Doing it again changes nothing."""
    return _shown(text, _UNUSUAL, limit)


def excerpt(text: str, limit: int = EXCERPT) -> str:
    """As `one_line`, but line feeds and tabs stay."""
    return _shown(text, _UNUSUAL_BUT_LINES, limit)


def visible(text: str) -> str:
    """As `one_line`, but whole and as it was said: for messages of our own that name what people and hosts wrote."""
    return _UNUSUAL.sub(_escape, text)


def redacted(text: str) -> str:
    """Without passwords in URIs and without private keys."""
    if "://" not in text and "PRIVATE KEY" not in text:
        return text
    return _SECRET.sub(lambda found: f"{found['uri'] or ''}***", text)


def _shown(text: str, unusual: re.Pattern[str], limit: int) -> str:
    # one character more than the limit is enough to know that something was cut
    visible = unusual.sub(_escape, redacted(text)[: limit + 1])
    return visible if len(visible) <= limit else visible[: limit - 1] + "…"


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    return char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
