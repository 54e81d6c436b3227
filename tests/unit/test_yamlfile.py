"""Text -> plain values with positions, or file:line:column and why not."""

import os
from pathlib import Path

import pytest

from virtvet.errors import BadInput, Position
from virtvet.yamlfile import MAX_BYTES, Node, located, merged, parse, read

READ = {
    "core_schema": (
        "[~, null, true, False, 12, -3, 0o17, 0x1F, 1.5, 1e3]",
        [None, None, True, False, 12, -3, 15, 31, 1.5, 1000.0],
    ),
    "yes_and_on_are_texts": ("[yes, no, on, off, y]", ["yes", "no", "on", "off", "y"]),
    "leading_zeros_are_decimal": ("[0644, 007]", [644, 7]),
    "quoted_scalars_are_texts": ("['1', \"true\", 'null']", ["1", "true", "null"]),
    "sexagesimals_dates_and_underscores_are_texts": ("[12:30, 2024-01-01, 1_000]", ["12:30", "2024-01-01", "1_000"]),
    "infinity_is_a_text": ("[.inf, .nan, 1e999]", [".inf", ".nan", "1e999"]),
    "a_number_of_5000_digits_is_a_text": ("9" * 5000, "9" * 5000),
    "cpu_lists": ("{a: '1-4,^2', b: 1-4, c: 3}", {"a": "1-4,^2", "b": "1-4", "c": 3}),
    "whole_numbers_as_keys": ("{0: a, 1: b}", {0: "a", 1: "b"}),
    "aliases_are_written_out": ("a: &x [1]\nb: *x\n", {"a": [1], "b": [1]}),
    "merge_key_as_text": ("{'a': '<<'}", {"a": "<<"}),
    "block_text": ("a: >\n  one\n  two\n", {"a": "one two\n"}),
    "yaml_1_2_directive": ("%YAML 1.2\n---\na: yes\n", {"a": "yes"}),
    "byte_order_mark": ("\ufeffa: 1\n", {"a": 1}),
    "explicit_end": ("a: 1\n...\n", {"a": 1}),
}

BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{new}: &{new} [{','.join(['*' + old] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
REFUSED = {
    "duplicate_key": ("a: 1\nb: 2\na: 3\n", 'f:3:1: the key "a" stands twice (first in line 1)'),
    "duplicate_key_as_number_and_text": ("1: x\n'1': y\n", 'f:2:1: the key "1" stands twice (first in line 1)'),
    "duplicate_key_below": ("a:\n  b: 1\n  b: 2\n", 'f:3:3: the key "b" stands twice'),
    "tag": ("a: !!python/object:os.system x\n", 'f:1:4: has a tag, "tag:yaml.org,2002:python/object:os.system"'),
    "tag_that_says_nothing": ("a: ! x\n", 'f:1:4: has a tag, "!"'),
    "tag_on_a_mapping": ("!foo\na: 1\n", 'f:1:1: has a tag, "!foo"'),
    "merge_key": ("a: &x {b: 1}\nc:\n  <<: *x\n", "f:3:3: is a merge key (merge keys are not YAML 1.2"),
    "key_that_is_a_list": ("? [a]\n: 1\n", "f:1:3: is no key (a key is a text or a whole number"),
    "key_that_is_true": ("true: 1\n", "f:1:1: is no key"),
    "key_that_is_null": ("a: 1\n~: 1\n", "f:2:1: is no key"),
    "key_that_is_a_fraction": ("1.5: 1\n", "f:1:1: is no key"),
    "unknown_alias": ("a: *b\n", 'f:1:4: "*b" names nothing above (a text that begins with * needs quotes: "*b")'),
    "pattern_without_quotes": ("guests:\n  *web: 1\n", 'f:2:3: "*web" names nothing above'),
    "alias_of_itself": ("a: &x\n  b: *x\n", 'f:2:6: "*x" names nothing above'),
    "bomb": (BOMB, "f:5:29: holds more than 100000 values (aliases count as often as they are used)"),
    "depth": ("[" * 60, "f:1:51: is nested deeper than 50 levels"),
    "depth_in_blocks": ("- " * 60, "f:1:101: is nested deeper than 50 levels"),
    "depth_of_hundreds": ("[" * 700, "f:1:51: is nested deeper than 50 levels"),
    "two_documents": ("a: 1\n---\nb: 2\n", "f:2:1: holds more than one document (one file, one document"),
    "yaml_1_1": ("%YAML 1.1\n---\na: yes\n", "f:2:1: is not YAML 1.2"),
    "only_comments": ("# nothing\n", "f: is empty (it holds nothing but comments)"),
    "two_colons": (
        "a: b: c\n",
        "f:1:5: is not YAML: mapping values are not allowed here (quote a text that contains ': '",
    ),
    "indentation": ("a: 1\n b: 2\n", "f:2:3: is not YAML: mapping values are not allowed here"),
    "tab": ("a:\n\tb: 1\n", "f:2:1: is not YAML: while scanning for the next token found character '\\t'"),
    "open_list": ("a: [1, 2\nb: 3\n", "f:2:2: is not YAML: while parsing a flow sequence"),
    "open_quote": ("a: 'x\n", "f:2:1: is not YAML: while scanning a quoted scalar"),
    "key_without_value": ("a: 1\nb\n", "f:3:1: is not YAML: while scanning a simple key could not find expected ':'"),
    "control_character": ("a: 1\nb: \x07\n", "f:2:4: holds a character YAML does not allow (U+0007)"),
    "character_beyond_unicode": ('a: "\\UFFFFFFFF"\n', "f: is not YAML: "),
    "every_mistake_is_told": ("a: !x 1\na: 2\n", 'f:2:1: the key "a" stands twice'),
}


@pytest.mark.parametrize("name", READ)
def test_read(name):
    text, value = READ[name]
    assert parse(text, "f").plain() == value
    assert repr(parse(text, "f").plain()) == repr(value)  # True is not 1


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    text, message = REFUSED[name]
    with pytest.raises(BadInput) as caught:
        parse(text, "f")
    assert any(line.startswith(message) for line in str(caught.value).splitlines()), str(caught.value)


def test_every_key_and_value_knows_its_place():
    root = parse("a:\n  b: [1, 2]\nc: x\n", "f")
    assert root.at == Position("f", 1, 1)
    assert root.keys["c"] == Position("f", 3, 1)
    assert root.child("c").at == Position("f", 3, 4)
    assert root.child("a").keys["b"] == Position("f", 2, 3)
    assert root.child("a").child("b").child(1).at == Position("f", 2, 10)
    assert root.child("a").child("b").child(2) is None
    assert root.child("c").child("x") is None


def test_merged_by_keys_lists_and_null_replaced_places_kept():
    under = parse("a: {b: 1, c: [1, 2], d: {e: 1}}\nf: 1\n", "under")
    both = merged(under, parse("a: {c: [3], d: null, g: 4}\n", "over"))
    assert both.plain() == {"a": {"b": 1, "c": [3], "d": None, "g": 4}, "f": 1}
    assert both.child("a").child("b").at.file == "under"
    assert both.child("a").child("c").at.file == "over"
    assert both.child("a").without("b", "g").plain() == {"c": [3], "d": None}
    assert merged(None, under) is under


def test_plain_data_stands_at_one_place():
    at = Position("-H hv1")
    assert located({"a": [1]}, at).child("a").child(0) == Node(1, at)


FILES = {
    "missing": (lambda path: None, "cannot be read: No such file or directory"),
    "directory": (lambda path: path.mkdir(), "is a directory"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "blank": (lambda path: path.write_bytes(b" \n\n"), "is empty"),
    "fifo": (lambda path: os.mkfifo(path), "is no regular file"),
    "large": (lambda path: path.write_bytes(b"#" * (10 << 20)), "is larger than 1 MiB"),
    "loop": (lambda path: path.symlink_to(path), "cannot be read: "),
    "not_utf8": (lambda path: path.write_bytes(b"a: 1\nb: \xff\n"), "is not UTF-8 text"),
    "utf16": (lambda path: path.write_bytes("a: 1\n".encode("utf-16")), "is not UTF-8 text"),
}


@pytest.mark.parametrize("name", FILES)
def test_unusable_file(name, tmp_path):
    make, message = FILES[name]
    path = tmp_path / "x.yaml"
    make(path)
    with pytest.raises(BadInput, match=message) as caught:
        read(path)
    assert caught.value.problems[0].at.file == str(path)


def test_place_of_a_byte_that_is_not_utf8(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"a: \xc3\xa4\nb: \xc3\xa4\xff\n")
    with pytest.raises(BadInput) as caught:
        read(tmp_path / "x.yaml")
    assert (caught.value.problems[0].at.line, caught.value.problems[0].at.column) == (2, 5)


def test_unreadable_file():
    secret = Path("/proc/self/mem")  # opens, but reading at 0 fails for everyone, root too
    with pytest.raises(BadInput, match=r"/proc/self/mem: (cannot be read|is empty|is no regular file)"):
        read(secret)


def test_a_file_of_the_largest_size_is_read(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: 1\n#" + "x" * (MAX_BYTES - 6))
    assert read(path).plain() == {"a": 1}


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [((), 1, 1), (("a",), 1, 1), (("a", "b"), 2, 3), (("a", "b", 1), 2, 10), (("a", "c"), 1, 1), (("x", "y"), 1, 1)],
)
def test_place_of_a_path_or_of_the_last_key_that_stands(path, line, column):
    root = parse("a:\n  b: [1, 2]\n", "x.yaml")
    assert root.place(*path) == Position("x.yaml", line, column)
