"""What is mounted, and what the next boot mounts: /proc/mounts, fstab and systemd units of all kinds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from virtvet.errors import CannotLook
from virtvet.probes import mounts
from virtvet.snapshot.model import Absent, Answer, Content, Snapshot, Status, Unreadable
from virtvet.snapshot.sources import Source

LINE = "hostshare /mnt/share 9p trans=virtio,cache=loose 0 0\n"
UNIT = (
    "[Unit]\nRequires=x\n[Mount]\nWhat=byunit\nWhere=/mnt/share/\nType=9p\n# no\nOptions=trans=virtio,ro\n[Install]\n"
)
DIRECTORY = Status("directory", 0o755, "root", "root", 0, 0, 40)
WANTS = "/etc/systemd/system/multi-user.target.wants/mnt-share.mount"


def guest(table: str = "", fstab: str | None = "", unit: str | None = None) -> Snapshot:
    answers: dict[Source, Answer] = {
        mounts.MOUNTS: Content(table.encode()),
        mounts.FSTAB: Absent() if fstab is None else Content(fstab.encode()),
        mounts.SYSTEMD: Absent() if unit is None else DIRECTORY,
        mounts.UNITS: {} if unit is None else {WANTS: Content(unit.encode())},
    }
    return Snapshot("hv1/web1", datetime(2026, 1, 1, tzinfo=UTC), answers)


def test_the_last_mount_at_a_directory_counts() -> None:
    found = mounts.mounted(guest(LINE + "tmpfs /mnt/share tmpfs rw 0 0\nproc /proc proc rw 0 0\n"), "/mnt/share/")
    assert found is not None
    assert (found.source, found.fstype, found.options) == ("tmpfs", "tmpfs", ("rw",))


def test_names_with_spaces() -> None:
    found = mounts.mounted(guest("my\\040tag /mnt/a\\040b\\134c 9p rw 0 0\n"), "/mnt/a b\\c")
    assert found is not None
    assert found.source == "my tag"


@pytest.mark.parametrize("name", ["plain", "a b", "a\tb", "back\\slash", "#hash", "é", "a\u2028b", "a\x0bb"])
def test_fstab_line_is_read_back(name: str) -> None:
    (found,) = mounts.table(mounts.fstab_line(name, f"/mnt/{name}", "9p", "ro"), "/etc/fstab")
    assert (found.source, found.at, found.fstype, found.options) == (name, f"/mnt/{name}", "9p", ("ro",))


def test_nothing_mounted_there() -> None:
    assert mounts.mounted(guest(LINE), "/mnt") is None


@pytest.mark.parametrize("text", ["lonely\n", "two fields\n"])
def test_a_line_that_is_no_mount(text: str) -> None:
    with pytest.raises(CannotLook, match="at least three fields"):
        mounts.mounted(guest(text), "/mnt")


@pytest.mark.parametrize(
    ("fstab", "source"),
    [
        (LINE, "hostshare"),
        (LINE + LINE.replace("hostshare", "second"), "second"),
        ("# " + LINE, None),
        ("\n\n  \n", None),
        ("", None),
        (None, None),
        (LINE.replace("cache", "noauto,cache"), None),
        (LINE.replace("cache", "noauto,x-systemd.automount,cache"), "hostshare"),
        ("hostshare /mnt/share 9p\n", "hostshare"),
        (LINE.replace("/mnt/share", "/mnt/other"), None),
    ],
)
def test_what_fstab_mounts(fstab: str | None, source: str | None) -> None:
    found = mounts.next_boot(guest(fstab=fstab), "/mnt/share")
    assert (found.source if found else None) == source


def test_an_enabled_unit_goes_before_fstab() -> None:
    found = mounts.next_boot(guest(fstab=LINE, unit=UNIT), "/mnt/share")
    assert found is not None
    assert (found.source, found.options, found.where) == ("byunit", ("trans=virtio", "ro"), WANTS)


@pytest.mark.parametrize("unit", ["", "[Mount]\nWhat=x\n", "[Unit]\nWhat=x\nWhere=/mnt/share\n"])
def test_a_masked_or_broken_unit_mounts_nothing(unit: str) -> None:
    assert mounts.next_boot(guest(unit=unit), "/mnt/share") is None


def test_units_count_only_under_systemd() -> None:
    looked = guest(unit=UNIT)
    without = Snapshot(looked.machine, looked.taken, {**looked.answers, mounts.SYSTEMD: Absent()})
    assert mounts.next_boot(without, "/mnt/share") is None


@pytest.mark.parametrize("source", [mounts.MOUNTS, mounts.FSTAB, mounts.UNITS])
def test_what_cannot_be_read_is_no_answer(source: Source) -> None:
    looked = guest(LINE, LINE, UNIT)
    blind = Snapshot(looked.machine, looked.taken, {**looked.answers, source: Unreadable("Permission denied")})
    with pytest.raises(CannotLook, match="Permission denied"):
        (mounts.mounted if source is mounts.MOUNTS else mounts.next_boot)(blind, "/mnt/other")


def test_an_unreadable_unit_is_no_answer() -> None:
    looked = guest(unit=UNIT)
    blind = Snapshot(
        looked.machine, looked.taken, {**looked.answers, mounts.UNITS: {WANTS: Unreadable("Input/output error")}}
    )
    with pytest.raises(CannotLook, match="Input/output error"):
        mounts.next_boot(blind, "/mnt/share")
