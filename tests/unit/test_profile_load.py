"""Profiles from files: what they extend, how entries merge, and every way a profile can be unusable."""

from textwrap import dedent

import pytest

from virtvet.errors import BadInput
from virtvet.profile import Profile
from virtvet.profile.load import find_profile, list_shipped, load_profile, shipped_dir

# name -> (files, the whole of what is said, each line from its beginning); a.yaml is loaded
UNUSABLE = {
    "no_such_file": ({}, ["a.yaml: cannot be read: No such file or directory"]),
    "empty": ({"a.yaml": ""}, ["a.yaml: is empty"]),
    "only_comments": ({"a.yaml": "# later\n"}, ["a.yaml: is empty (it holds nothing but comments)"]),
    "not_utf8": ({"a.yaml": b"virtvet: 1\ntitle: \xe4\n"}, ["a.yaml:2:8: is not UTF-8 text"]),
    "not_yaml": ({"a.yaml": "virtvet: 1\nhost: {tls: [}\n"}, ["a.yaml:2:14: is not YAML: "]),
    "binary": ({"a.yaml": b"\x7fELF\x02\x01\x01\x00"}, ["a.yaml:1:1: holds a character YAML does not allow (U+007F)"]),
    "a_text": ({"a.yaml": "virtvet\n"}, ['a.yaml:1:1: must be a mapping, not "virtvet"']),
    "a_list": ({"a.yaml": "- virtvet: 1\n"}, ["a.yaml:1:1: must be a mapping, not "]),
    "ten_megabytes": ({"a.yaml": b"#" * (10 << 20)}, ["a.yaml: is larger than 1 MiB"]),
    "bomb": (
        {"a.yaml": "virtvet: 1\na: &a [" + "x," * 999 + "]\nb: &b [" + "*a," * 999 + "]\n"},
        ["a.yaml:3:302: holds more than 100000 values"],
    ),
    "too_deep": ({"a.yaml": "virtvet: 1\nhost: " + "{a: " * 99}, ["a.yaml:2:200: is nested deeper than 50 levels"]),
    "tag": (
        {"a.yaml": "virtvet: 1\ntitle: !!python/name:os.system x\n"},
        ['a.yaml:2:8: has a tag, "tag:yaml.org,2002:python/name:os.system"'],
    ),
    "merge_key": ({"a.yaml": "virtvet: 1\nx: &x {}\nhost:\n  <<: *x\n"}, ["a.yaml:4:3: is a merge key"]),
    "two_documents": ({"a.yaml": "virtvet: 1\n---\nvirtvet: 1\n"}, ["a.yaml:2:1: holds more than one document"]),
    "duplicate_key": (
        {"a.yaml": "virtvet: 1\nhost: {}\nhost: {}\n"},
        ['a.yaml:3:1: the key "host" stands twice (first in line 2)'],
    ),
    "duplicate_guest": (
        {"a.yaml": "virtvet: 1\nguests:\n  web*: {}\n  'web*': {}\n"},
        ['a.yaml:4:3: the key "web*" stands twice (first in line 3)'],
    ),
    "no_version": ({"a.yaml": "title: x\n"}, ['a.yaml:1:1: "virtvet" is missing']),
    "later_version": ({"a.yaml": "virtvet: 2\n"}, ["a.yaml:1:10: virtvet: must be 1, not 2"]),
    "version_as_text": ({"a.yaml": "virtvet: '1'\n"}, ['a.yaml:1:10: virtvet: must be 1, not "1"']),
    "unknown_key": (
        {"a.yaml": "virtvet: 1\nhosts: {}\n"},
        ['a.yaml:2:1: unknown key "hosts" (did you mean "host"? allowed: virtvet, title, description, '],
    ),
    "unknown_key_below": (
        {"a.yaml": "virtvet: 1\nguests:\n  web1:\n    cpu: {pin: {}}\n"},
        [
            'a.yaml:4:11: unknown key "pin" (did you mean "pins"? '
            "allowed: model, topology, vcpus, pins, bandwidth, schedulers)",
        ],
    ),
    "wrong_types": (
        {"a.yaml": "virtvet: 1\ntitle: 5\nhost: []\nguests:\n  web1: {optional: yes, state: on}\n"},
        ["a.yaml:2:8: title: must be a text, not 5 (put it in quotes)"],  # a file's head comes first
    ),
    "wrong_types_below": (
        {"a.yaml": "virtvet: 1\nhost: []\nguests:\n  web1: {optional: yes, memory: {limits: 3}, state: on}\n"},
        [
            "a.yaml:2:1: host: must be a mapping, not []",
            'a.yaml:4:20: web1.optional: must be true or false, not "yes" (YAML 1.2 reads yes as a text: ',
            "a.yaml:4:42: memory.limits: must be a mapping, not 3",
            'a.yaml:4:53: web1.state: must be "running", "shut off", "paused" or "any", not "on"',
        ],
    ),
    "wrong_units": (
        {"a.yaml": "virtvet: 1\nguests:\n w:\n  memory: {limits: {hard: 1 Gigs}}\n  cpu: {pins: {emulator: 4-1}}\n"},
        [
            'a.yaml:4:27: limits.hard: "1 Gigs" is no size: use bytes or a unit such as 512 MiB, 1 GiB',
            'a.yaml:5:26: pins.emulator: "4-1" counts down from 4 to 1: write 1-4',
        ],
    ),
    "mode_without_quotes": (
        {"a.yaml": "virtvet: 1\nhost: {tls: {ca: {mode: 0644}}}\n"},
        ['a.yaml:2:25: ca.mode: 644 is no mode: write octal digits in quotes, such as "0644"'],
    ),
    "pattern_without_quotes": (
        {"a.yaml": "virtvet: 1\nguests:\n  *: {}\n"},
        [
            'a.yaml:3:3: "*" names nothing above (a text that begins with * needs quotes: "*")',
            "a.yaml:3:6: is not YAML: ",
        ],
    ),
    "guests_that_contradict": (
        {"a.yaml": "virtvet: 1\nguests:\n '?': {memory: {limits: {hard: 2}}}\n w: {memory: {limits: {swap_hard: 1}}}"},
        ["a.yaml:4:15: memory.limits: swap_hard must not be less than hard"],
    ),
    "extends_nothing": (
        {"a.yaml": "virtvet: 1\nextends: base.yaml\n"},
        ["a.yaml:2:10: there is no base.yaml to extend"],
    ),
    "extends_unknown_shipped": (
        {"a.yaml": "virtvet: 1\nextends: [lab, labb]\n"},
        ['a.yaml:2:16: there is no shipped profile "labb" (did you mean "lab"? '],
    ),
    "extends_a_number": (
        {"a.yaml": "virtvet: 1\nextends: [1]\n"},
        ["a.yaml:2:11: extends[0]: must be a text, not 1 (put it in quotes)"],
    ),
    "extends_itself": (
        {"a.yaml": "virtvet: 1\nextends: a.yaml\n"},
        ["a.yaml:2:10: a.yaml extends itself"],
    ),
    "cycle": (
        {"a.yaml": "virtvet: 1\nextends: d/b.yaml\n", "d/b.yaml": "virtvet: 1\nextends:\n  - ../a.yaml\n"},
        ["d/b.yaml:3:5: d/../a.yaml extends itself"],
    ),
    "explosion": (
        {
            "a.yaml": "virtvet: 1\nextends: [b.yaml, b.yaml, b.yaml, b.yaml]\n",
            "b.yaml": "virtvet: 1\nextends: [c.yaml, c.yaml, c.yaml, c.yaml]\n",
            "c.yaml": "virtvet: 1\nextends: [d.yaml, d.yaml, d.yaml, d.yaml]\n",
            "d.yaml": "virtvet: 1\n",
        },
        ["d.yaml: more than 50 profiles are extended"],
    ),
    "mistake_in_a_parent": (
        {
            "a.yaml": "virtvet: 1\nextends: b.yaml\nguests: {w: {stat: any}}\n",
            "b.yaml": "virtvet: 1\nhost: {tsl: {}}\n",
        },
        ['a.yaml:3:14: unknown key "stat"', 'b.yaml:2:8: unknown key "tsl"'],
    ),
    "parent_without_version": (
        {"a.yaml": "virtvet: 1\nextends: b.yaml\n", "b.yaml": "host: {}\n"},
        ['b.yaml:1:1: "virtvet" is missing'],
    ),
    "version_is_not_inherited": (
        {"a.yaml": "extends: b.yaml\n", "b.yaml": "virtvet: 1\n"},
        ['a.yaml:1:1: "virtvet" is missing'],
    ),
    "parent_that_is_empty": (
        {"a.yaml": "virtvet: 1\nextends: b.yaml\n", "b.yaml": ""},
        ["b.yaml: is empty"],
    ),
}


def _write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else dedent(text).encode())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable(name, folder):
    files, wanted = UNUSABLE[name]
    _write(folder, files)
    with pytest.raises(BadInput) as caught:
        load_profile("a.yaml")
    lines = str(caught.value).splitlines()
    assert len(lines) == len(wanted), lines
    for line, beginning in zip(lines, wanted, strict=True):
        assert line.startswith(beginning)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("labb", 'there is no shipped profile "labb" (did you mean "lab"?'),
        ("a.txt", 'there is no shipped profile "a.txt"'),
        ("", 'there is no shipped profile ""'),
        (".", 'there is no shipped profile "."'),
        ("~nobody-at-all/a.yaml", '"~nobody-at-all/a.yaml" names no user\'s home directory'),
        ("./", ".: is a directory"),
        ("../", "..: is a directory"),
        ("/dev/null", "/dev/null: is no regular file"),
        ("a\0b.yaml", r"a\x00b.yaml: cannot be read: embedded null byte"),
        ("x" * 300 + ".yaml", "x" * 300 + ".yaml: cannot be read: File name too long"),
    ],
)
def test_no_such_profile(name, message, folder):
    with pytest.raises(BadInput) as caught:
        load_profile(name)
    assert str(caught.value).startswith(message)


def test_parents_merge_key_by_key_and_lists_are_replaced(folder):
    _write(
        folder,
        {
            "a.yaml": """\
                virtvet: 1
                title: mine
                extends: [d/b.yaml, c.yml]
                host: {tls: null}
                guests: {w: {memory: {limits: {hard: 3G}}}}
                """,
            "d/b.yaml": """\
                virtvet: 1
                title: theirs
                description: theirs
                extends: ../e.yaml
                host: {tls: {}}
                guests: {w: {state: any, memory: {limits: {hard: 2G, soft: 1G}}}}
                """,
            "c.yml": "virtvet: 1\nguests: {w: {state: paused}}\n",
            "e.yaml": "virtvet: 1\nguests: {w: {partition: /machine}, v: {}}\n",
        },
    )
    profile = load_profile("a.yaml")
    wants = profile.guests["w"]
    assert (profile.title, profile.description) == ("mine", "")
    assert profile.extends == ["d/b.yaml", "c.yml"]
    assert list(profile.guests) == ["w", "v"]
    assert profile.host.tls is None
    assert (wants.state, wants.partition) == ("paused", "/machine")
    assert (wants.memory.limits.hard, wants.memory.limits.soft) == (3 << 30, 1 << 30)


def test_two_ways_to_one_parent_are_no_cycle(folder):
    files = {
        "b.yaml": "extends: d.yaml",
        "c.yaml": "extends: d.yaml",
        "d.yaml": "",
        "a.yaml": "extends: [b.yaml, c.yaml]",
    }
    _write(folder, {name: f"virtvet: 1\n{text}\n" for name, text in files.items()})
    assert load_profile("./a.yaml").extends == ["b.yaml", "c.yaml"]


def test_shipped_profiles_are_found_by_name_and_sound():
    assert "lab" in dict(list_shipped())
    for name, title in list_shipped():
        assert title
        assert find_profile(name) == shipped_dir() / f"{name}.yaml"
        assert load_profile(name).title == title


def _profile(**guests):
    return Profile.model_validate({"virtvet": 1, "guests": guests})


def test_a_guest_takes_all_entries_that_match_later_ones_win_key_by_key():
    profile = _profile(
        **{
            "*": {
                "state": "any",
                "memory": {"limits": {"hard": "2 GiB", "soft": "1 GiB"}},
                "cpu": {"pins": {"emulator": 0}},
            },
            "web*": {"memory": {"limits": {"hard": "4 GiB"}}, "cpu": {"pins": {"vcpu": {0: "1-2"}}}},
            "web[12]": {"partition": "/machine", "cpu": {"pins": {"vcpu": {0: 3, 1: 4}}}},
        }
    )
    wants = profile.guest("web1")
    assert (wants.state, wants.partition) == ("any", "/machine")
    assert (wants.memory.limits.hard, wants.memory.limits.soft) == (4 << 30, 1 << 30)
    assert wants.cpu.pins.emulator == {0}
    assert wants.cpu.pins.vcpu == {0: {3}, 1: {4}}
    assert profile.guest("web1") is wants
    assert profile.guest("web3").cpu.pins.vcpu == {0: {1, 2}}
    assert profile.guest("db") == profile.guests["*"]


def test_a_default_is_no_statement():
    profile = _profile(**{"w*": {"state": "any"}, "w1": {"partition": "/machine"}})
    assert profile.guest("w1").state == "any"


def test_no_entry_matches():
    assert _profile(web={}).guest("Web") is None
    assert Profile.model_validate({"virtvet": 1}).guest("web") is None


def test_entries_that_no_guest_matches():
    profile = _profile(**{"web*": {}, "db": {}, "old": {"optional": True}})
    assert [pattern for pattern, _ in profile.unmatched(["web1"])] == ["db", "old"]


def test_entries_right_by_themselves_that_contradict_each_other():
    profile = _profile(
        **{"*": {"memory": {"limits": {"hard": "2G"}}}, "w*": {"memory": {"limits": {"swap_hard": "1G"}}}}
    )
    with pytest.raises(BadInput, match="swap_hard must not be less than hard"):
        profile.guest("w")
