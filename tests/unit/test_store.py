"""Snapshots to a file and back: equal, strict on reading, never with a private key."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from virtvet.errors import BadInput
from virtvet.snapshot import collector, model, sources
from virtvet.snapshot.model import (
    Absent,
    Completed,
    Content,
    Domain,
    Failed,
    Hostname,
    LibvirtAnswer,
    Shake,
    Snapshot,
    Status,
    TooLarge,
    Unreadable,
)
from virtvet.snapshot.sources import (
    Command,
    File,
    Glob,
    Handshake,
    Libvirt,
    Network,
    NodeDevice,
    Processes,
    Qmp,
    Stat,
    TlsLibvirt,
    Tree,
)
from virtvet.snapshot.store import KINDS, load, save

TAKEN = datetime(2026, 11, 22, 22, 0, 0, 123456, tzinfo=UTC)
DOMAIN = Domain(
    "wéb1", "00000000-0000-4000-8000-000000000001", "running", True, "<domain id='1'/>", None, ("192.0.2.1",)
)
ANSWERS: dict[sources.Source, model.Answer] = {
    File("/text"): Content("ünï\n".encode()),
    File("/bytes", limit=5): Content(b"\xff\0\x01"),
    File("/empty"): Content(b""),
    File("/\udcff"): Absent(),
    File("/unreadable"): Unreadable("Permission denied"),
    File("/large"): TooLarge(5),
    Stat("/text"): Status("regular file", 0o640, "root", "kvm", 0, 103, 12),
    Glob("/etc/*", "x"): {"is": Content(b"a name like any other"), "text": Unreadable("x")},
    Tree("/sys/fs/cgroup", ("tasks", "cpu.max"), "*/machine*"): {},
    Processes("qemu*", ("cmdline",), ("status",)): {"/proc/1/\udcff": Content(b"a\0b")},
    Command(("virt-host-validate", "qemu")): Completed(1, b"out", b"\xfe"),
    Command(("modinfo", "-0"), ("kvm",)): Absent(),
    Libvirt(): LibvirtAnswer("qemu:///system", "hv1", 9000000, 7002000, "<capabilities/>", {"wéb1": DOMAIN}),
    NodeDevice("pci_0000_01_00_0"): Content(b"<device/>"),
    Network("lab"): Content(b"<network/>"),
    TlsLibvirt(): Hostname("hv1"),
    Handshake("none", "1.1", 99): Shake(False, "TLSv1.1", (b"0\x82", b""), "refused"),
    Qmp("wéb1", "qom-get", (("path", "/machine"),)): Content(b"true"),
    Handshake(): Failed("no route"),
}
INSIDE = Snapshot("hv1/wéb1", TAKEN, {File("/proc/uptime"): Content(b"1.5 2.5\n")})
GONE = Snapshot("hv1/db1", TAKEN, unreachable="the guest is shut off")
HV1 = Snapshot("hv1", TAKEN, ANSWERS, {"wéb1": INSIDE, "db1": GONE}, tools="virtvet 1", by_hand={"hand": 4711})
HV2 = Snapshot("hv2", TAKEN, unreachable="did not answer within 30 s")


@pytest.mark.parametrize("name", ["looks.json", "looks.json.gz"])
def test_what_is_read_equals_what_was_written(tmp_path: Path, name: str) -> None:
    save({"hv1": HV1, "hv2": HV2}, tmp_path / name)
    assert load(tmp_path / name) == {"hv1": HV1, "hv2": HV2}
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_every_source_and_answer_there_is_was_written() -> None:
    named = {*get_args(sources.Source), *(one for one in get_args(model.Answer) if isinstance(one, type))}
    assert {type(one) for one in [*ANSWERS, *ANSWERS.values()]} - {dict} == named
    assert named <= set(KINDS.values())


def test_the_same_look_is_the_same_file(tmp_path: Path) -> None:
    for name in ("one.gz", "two.gz"):
        save({"hv1": HV1}, tmp_path / name)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()


def test_a_planted_private_key_reaches_no_file(tmp_path: Path) -> None:
    canary = b"-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----\n"
    frame = b"\nB read\0(\0/key\0\0/key\0" + canary + b"\0\0000\0\nB rest 0\0\nB end\0"
    answers = collector.parse(frame, b"\nB end\0", [File("/key")], "B")
    save({"hv1": Snapshot("hv1", TAKEN, answers)}, tmp_path / "file")
    assert b"CANARY" not in (tmp_path / "file").read_bytes()
    assert load(tmp_path / "file")["hv1"].answers[File("/key")] == collector.PRIVATE


def test_the_last_guard_refuses_a_private_key(tmp_path: Path) -> None:
    leak = Snapshot("hv1", TAKEN, {File("/x"): Content(b"\xff-----BEGIN PRIVATE KEY-----")})
    with pytest.raises(ValueError, match="private key"):
        save({"hv1": leak}, tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_where_it_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot write .*/none/file: No such file or directory"):
        save({"hv1": HV1}, tmp_path / "none" / "file")


BROKEN: dict[str, tuple[str, bytes]] = {
    "is no snapshot file": ("x", b"hello"),
    "is no snapshot file:": ("x", b"[" * 100000),
    "is no snapshot file$|is no snapshot file ": ("x", b"[]"),
    "is a snapshot of format 1": ("x", b'{"virtvet-snapshot": 1}'),
    "is damaged: 'hosts' is missing": ("x", b'{"virtvet-snapshot": 2}'),
    "cannot read .*: Not a gzipped file": ("x.gz", b"hello"),
    "cannot read .*: Compressed file ended": ("x.gz", gzip.compress(b"{}" * 1000)[:-20]),
}


@pytest.mark.parametrize(("message", "file"), BROKEN.items())
def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path, message: str, file: tuple[str, bytes]) -> None:
    path = tmp_path / file[0]
    path.write_bytes(file[1])
    with pytest.raises(BadInput, match=message):
        load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot read .*/none: No such file or directory"):
        load(tmp_path / "none")


def change(**values: object) -> Callable[[dict[str, Any]], None]:
    return lambda host: host.update(values)


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "another type": change(machine=5),
    "a date that is none": change(taken="yesterday"),
    "a field too much": change(more="x"),
    "a field too few": lambda host: host.pop("tools"),
    "an unknown kind": lambda host: host["answers"].append([{"is": "Eval", "x": "1"}, {"is": "Absent"}]),
    "an answer that is none": lambda host: host["answers"].append([{"is": "Libvirt"}, 5]),
    "a source that is none": lambda host: host["answers"].append([{"is": "Absent"}, {"is": "Absent"}]),
    "half a pair": lambda host: host["answers"].append([{"is": "Libvirt"}]),
    "bytes that are none": lambda host: host["answers"][0].__setitem__(1, {"is": "Content", "data": {"base64": "%"}}),
    "no mapping of guests": change(guests=[]),
    "guests that are none": change(guests={"is": "mapping", "of": {"x": {"is": "Absent"}}}),
    "no answers": change(answers=None),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_refused_in_words(tmp_path: Path, damage: Callable[[dict[str, Any]], object]) -> None:
    path = tmp_path / "file"
    save({"hv1": HV1}, path)
    document = json.loads(path.read_text())
    damage(document["hosts"]["hv1"])
    path.write_text(json.dumps(document))
    with pytest.raises(BadInput, match="is damaged: "):
        load(path)


def test_snapshots_from_before_commands_had_names_to_be_about_are_read(tmp_path: Path) -> None:
    save({"hv1": HV1}, tmp_path / "file")
    before = (tmp_path / "file").read_text()
    (tmp_path / "file").write_text(re.sub(r',\s*"about": \[\]', "", before))
    assert before.count('"about"') == 2
    assert (tmp_path / "file").read_text().count('"about"') == 1
    assert load(tmp_path / "file") == {"hv1": HV1}


def test_a_host_that_is_no_snapshot_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text('{"virtvet-snapshot": 2, "hosts": {"hv1": {"is": "Absent"}}}')
    with pytest.raises(BadInput, match="is damaged: hv1 is no snapshot"):
        load(tmp_path / "file")
