import pytest

from tests.unit.reporting_runs import HOSTILE
from virtvet.reporting.text import EXCERPT, LINE, excerpt, one_line

ESCAPED = [
    ("plain", "plain"),
    ("a\nb\tc", r"a\nb\tc"),
    ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
    ("nul\0 bell\a", r"nul\x00 bell\x07"),
    ("\u202egnp.exe", r"\u202egnp.exe"),
    ("zero\u200bwidth, no\xa0break", r"zero\u200bwidth, no\xa0break"),
    ("\ud800\ufffe\uffff", r"\ud800\ufffe\uffff"),
    ("\u2028\u2029\x85", r"\u2028\u2029\x85"),
    ("Grüße, 日本, 🙂", "Grüße, 日本, 🙂"),
]


@pytest.mark.parametrize(("raw", "shown"), ESCAPED)
def test_what_is_invisible_is_written_out(raw: str, shown: str) -> None:
    assert one_line(raw) == shown


def test_an_excerpt_keeps_its_lines() -> None:
    assert excerpt("a\n\tb\r\n") == "a\n\tb\\r\n"


@pytest.mark.parametrize("text", [*HOSTILE, "x" * 5000, "\0" * 5000, "\n" * 5000])
def test_showing_twice_changes_nothing(text: str) -> None:
    assert one_line(one_line(text)) == one_line(text)
    assert excerpt(excerpt(text)) == excerpt(text)


@pytest.mark.parametrize("text", ["x" * (1 << 20), "\0" * (1 << 20), "://" * (1 << 18), "://a:b" * (1 << 17)])
def test_a_megabyte_is_cut_and_says_so(text: str) -> None:
    assert len(one_line(text)) == LINE
    assert len(excerpt(text)) == EXCERPT
    assert excerpt(text).endswith("…")


SECRETS = [
    ("qemu+ssh://root:hunter2@hv1/system", "qemu+ssh://root:***@hv1/system"),
    ("-H ssh://a:hunter2@h1,ssh://b:hunter2@h2", "-H ssh://a:***@h1,ssh://b:***@h2"),
    ("ssh://root:hunter2@more@hv1", "ssh://root:***@hv1"),
    ("k: -----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----.", "k: ***."),
    ("-----BEGIN PRIVATE KEY-----\nhunter2, and cut", "***"),
]


@pytest.mark.parametrize(("raw", "shown"), SECRETS)
def test_secrets_stay_out(raw: str, shown: str) -> None:
    assert one_line(raw) == excerpt(raw) == shown


@pytest.mark.parametrize("text", ["qemu+tls://hv1:16514/system", "ssh://root@hv1:22", "mailto:a@b", "fe80::1@eth0"])
def test_addresses_stay(text: str) -> None:
    assert one_line(text) == text
