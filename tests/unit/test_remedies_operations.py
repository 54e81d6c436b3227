"""Operations on real files and with real shells: exact, atomic, guarded, and harmless when taken back twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from tests.unit.remedies_local import LocalHands
from virtvet.remedies.operations import (
    EditLine,
    Given,
    Operation,
    OperationFailed,
    Pin,
    Run,
    Throttle,
    Unpin,
    WriteFile,
    edit,
)

HANDS = LocalHands()


@pytest.mark.parametrize(
    ("text", "before", "after", "edited"),
    [
        (b"a\nb\n", None, b"c", b"a\nb\nc\n"),
        (b"a\nb", None, b"c", b"a\nb\nc"),
        (b"", None, b"c", b"c\n"),
        (b"a\nbb\n", None, b"b", b"a\nbb\nb\n"),
        (b"a\nb\n", b"b", b"B", b"a\nB\n"),
        (b"a\nb\na\n", b"a", b"A", b"a\nb\nA\n"),
    ],
)
def test_a_line_is_edited_and_edited_back(text: bytes, before: bytes | None, after: bytes, edited: bytes) -> None:
    assert edit(text, before, after) == edited
    assert edit(edited, after, before) == text


def test_a_line_is_removed() -> None:
    assert edit(b"a\nb\n", b"a", None) == b"b\n"


@pytest.mark.parametrize(
    ("text", "before", "after", "edited"),
    [
        (b"a\nc\n", None, b"c", b"a\nc\n"),
        (b"a\n", b"gone", None, b"a\n"),
        (b"a\nnew\n", b"old", b"new", b"a\nnew\n"),
        (b"a\n", b"old", b"new", None),
    ],
    ids=["already added", "already removed", "already replaced", "neither line is there"],
)
def test_an_edit_knows_when_it_is_done(
    text: bytes, before: bytes | None, after: bytes | None, edited: bytes | None
) -> None:
    assert edit(text, before, after) == edited


def test_edit_line_spares_what_others_wrote(tmp_path: Path) -> None:
    table = tmp_path / "fstab"
    table.write_text("root / ext4\n")
    table.chmod(0o640)
    add = EditLine("hv1", str(table), None, "share /mnt 9p")
    add.perform(HANDS)
    table.write_text(table.read_text() + "other /opt nfs\n")
    add.back().perform(HANDS)
    add.back().perform(HANDS)
    assert table.read_text() == "root / ext4\nother /opt nfs\n"
    assert table.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [table]


def test_write_file_creates_and_removes(tmp_path: Path) -> None:
    path = tmp_path / "it's $HOME; new"
    create = WriteFile("hv1", str(path), None, "line ' \" $x `y`\n", 0o600)
    create.perform(HANDS)
    create.perform(HANDS)
    assert path.read_text() == "line ' \" $x `y`\n"
    assert path.stat().st_mode & 0o777 == 0o600
    create.back().perform(HANDS)
    create.back().perform(HANDS)
    assert list(tmp_path.iterdir()) == []


def test_write_file_follows_a_link_and_keeps_the_mode(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old\n")
    real.chmod(0o604)
    link.symlink_to(real)
    WriteFile("hv1", str(link), "old\n", "new\n").perform(HANDS)
    assert link.is_symlink()
    assert (real.read_text(), real.stat().st_mode & 0o777) == ("new\n", 0o604)


@pytest.mark.parametrize("found", ["somebody else's\n", None])
def test_write_file_refuses_what_it_did_not_plan(tmp_path: Path, found: str | None) -> None:
    path = tmp_path / "file"
    if found is not None:
        path.write_text(found)
    with pytest.raises(OperationFailed, match="changed since it was looked at"):
        WriteFile("hv1", str(path), "old\n", "new\n").perform(HANDS)
    assert (path.read_text() if path.exists() else None) == found


def test_run_tells_what_the_machine_said() -> None:
    with pytest.raises(OperationFailed, match=r"^hv1\$ sh -c .*: no\\x1b\[31m; way$"):
        Run("hv1", ("sh", "-c", "printf 'no\\033[31m\\nway' >&2; exit 7")).perform(HANDS)


@pytest.mark.parametrize(
    ("given", "runs"),
    [
        (lambda folder: Given(f"{folder}/absent"), False),
        (lambda folder: Given(f"{folder}"), True),
        (lambda folder: Given(f"{folder}/mounts", " /mnt 9p "), True),
        (lambda folder: Given(f"{folder}/mounts", " /mnt ext4 "), False),
        (lambda folder: Given(f"{folder}/mounts", " /m.t 9p "), False),
        (lambda folder: Given(f"{folder}/absent", " /mnt "), False),
    ],
    ids=["no such path", "path there", "text there", "other text", "text is no pattern", "no file to say it"],
)
def test_a_guarded_command_runs_only_where_its_condition_holds(tmp_path: Path, given: object, runs: bool) -> None:
    (tmp_path / "mounts").write_text("share /mnt 9p rw\n")
    Run("hv1", ("tee", str(tmp_path / "made")), "x", given(tmp_path)).perform(HANDS)  # type: ignore[operator]
    assert (tmp_path / "made").exists() is runs


@pytest.mark.parametrize(
    ("operation", "shown"),
    [
        (Run("hv1", ("mkdir", "/a b")), "hv1$ mkdir '/a b'"),
        (Run("hv1", ("tee", "/x"), "0-1"), "hv1$ tee /x <<< 0-1"),
        (Run("hv1/g", ("rmdir", "/x"), given=Given("/x")), "hv1/g$ rmdir /x   # if /x is there"),
        (Run("hv1", ("echo", "\x1b[2J")), "hv1$ echo '\\x1b[2J'"),
        (EditLine("hv1/g", "/etc/fstab", "a", "b"), "--- hv1/g:/etc/fstab\n+++ hv1/g:/etc/fstab\n-a\n+b"),
        (WriteFile("hv1", "/f", None, "a\n"), "--- hv1:/f\n+++ hv1:/f\n@@ -0,0 +1 @@\n+a"),
        (Pin("hv1", "web1", "u", "vcpu0", (0, 1, 3), 7), "hv1$ virsh vcpupin web1 0 0-1,3 --live"),
        (Pin("hv1", "a b", "u", "iothread12", (2,), None), "hv1$ virsh iothreadpin 'a b' 12 2 --config"),
        (Pin("hv1", "web1", "u", "emulator", (2,), None), "hv1$ virsh emulatorpin web1 2 --config"),
        (
            Throttle("hv1", "a b", "u", "vda", (("total_iops_sec", 0), ("read_bytes_sec", 1)), 7),
            "hv1$ virsh blkdeviotune 'a b' vda --read-bytes-sec 1 --live   # and no other limit",
        ),
        (Unpin("hv1", "web1", "u", "vcpu0"), "hv1$ virsh edit web1   # without the pin of vcpu0"),
    ],
)
def test_operations_read_exactly_and_survive_json(operation: Operation, shown: str) -> None:
    adapter: TypeAdapter[Operation] = TypeAdapter(Operation)
    assert str(operation) == shown
    assert adapter.validate_json(adapter.dump_json(operation)) == operation
