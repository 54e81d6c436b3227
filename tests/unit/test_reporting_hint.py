import subprocess
from typing import Any

import pytest

from tests.unit.reporting_runs import HOSTILE, made
from virtvet.check import Case, PerLayer
from virtvet.reporting.hint import filled, hint
from virtvet.reporting.text import one_line

PLACES = [
    ("printf %s {word}", "{}"),
    ("printf %s /a/{word}.pid", "/a/{}.pid"),
    ("printf %s '{word}'", "{}"),
    ("printf %s 'it'\"'\"'s {word}, say'", "it's {}, say"),
    ('printf %s "a \\" {word}"', 'a " {}'),
    ("printf %s $(printf %s {word} | tr -d '\\n')", None),
    ("printf %s fixed  # <source dir='{word}'/> and \"{word}", "fixed"),
    ("printf %s a#'{word}'", "a#{}"),
    ("printf %s \\'{word}", "'{}"),
]


@pytest.mark.parametrize(("template", "printed"), PLACES, ids=[template for template, _ in PLACES])
@pytest.mark.parametrize("text", [*HOSTILE, "'", "''", '"', "\\", "$(echo no)", "`echo no`", "#", "a b", "-n"])
def test_a_word_stays_data_wherever_it_stands(template: str, printed: str | None, text: str) -> None:
    done = subprocess.run(["sh", "-c", filled(template, {"word": text})], capture_output=True)
    assert done.stderr == b""
    if printed is not None:
        assert done.stdout.decode() == printed.format(one_line(text))


WORDS: list[tuple[str, dict[str, Any], str]] = [
    ("chmod {mode:04o} {path}", {"mode": 0o600, "path": "/etc/a b"}, "chmod 0600 '/etc/a b'"),
    ("run {argv}", {"argv": ("-o", "a b", 7)}, "run -o 'a b' 7"),
    ("run  # with {argv}", {"argv": ("-o", "a b", 7)}, "run  # with -o, a b, 7"),
    ("set {cpus}", {"cpus": frozenset({0, 1, 2})}, "set 0-2"),
    ("set {unheard_of}", {}, "set '{unheard_of}'"),
    ("awk '{{print $1}}' {file}", {"file": "x"}, "awk '{print $1}' x"),
]


@pytest.mark.parametrize(("template", "words", "shown"), WORDS, ids=[template for template, _, _ in WORDS])
def test_words_are_shown_as_in_reports(template: str, words: dict[str, Any], shown: str) -> None:
    assert filled(template, words) == shown


def test_a_hint_knows_its_case() -> None:
    check = made("X-1", "x", "x", "low", "R0", "on {host}: {guest} {subject} {expected} {more}", "config", "live")
    case = Case("web1/vcpu0", PerLayer(config=frozenset({0, 1}), live=None), guest="web1", words={"more": 7})
    assert hint(check, case, "hv1") == "on hv1: web1 web1/vcpu0 0-1 7"
