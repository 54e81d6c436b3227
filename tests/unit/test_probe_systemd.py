"""What systemctl says of units. The text is constructed after what systemd 252 prints."""

from __future__ import annotations

import pytest

from tests.recorded_text import TAKEN
from virtvet.errors import CannotLook
from virtvet.probes import systemd
from virtvet.probes.systemd import NO_SYSTEMD, NOT_THERE, Units
from virtvet.snapshot.model import Absent, Answer, Completed, Snapshot, TooLarge, Unreadable

UNITS = Units.of(["libvirtd.service", "sshd.service", "gone.service", "ksmtuned.service", "getty@tty1.service"])
FILES = """\
ksmtuned.service masked    enabled
libvirtd.service enabled   enabled
sshd.service     alias     -
"""
SHOWN = """\
Id=getty@tty1.service
Names=getty@tty1.service autovt@tty1.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled

Id=gone.service
Names=gone.service
LoadState=not-found
ActiveState=inactive
UnitFileState=

Id=ksmtuned.service
Names=ksmtuned.service
LoadState=masked
ActiveState=failed
UnitFileState=enabled

Id=libvirtd.service
Names=libvirtd.service
LoadState=loaded
ActiveState=inactive
UnitFileState=disabled

Id=ssh.service
Names=ssh.service sshd.service
LoadState=loaded
ActiveState=active
UnitFileState=disabled
"""
NOT_BOOTED = b"System has not been booted with systemd as init system (PID 1). Can't operate.\n"


def looked(files: str | Answer = FILES, shown: str | Answer = SHOWN) -> Snapshot:
    answers = {UNITS.files: files, UNITS.shown: shown}
    return Snapshot(
        "hv1",
        TAKEN,
        {one: Completed(0, said.encode(), b"") if isinstance(said, str) else said for one, said in answers.items()},
    )


@pytest.mark.parametrize(
    ("name", "enabled", "active"),
    [
        ("libvirtd.service", "enabled", "inactive"),  # systemd remembers otherwise: the file is what a boot reads
        ("ksmtuned.service", "masked", "failed"),
        ("sshd.service", "disabled", "active"),
        ("getty@tty1.service", "enabled", "active"),
        ("gone.service", NOT_THERE, NOT_THERE),
    ],
)
def test_units(name: str, enabled: str, active: str) -> None:
    assert systemd.enabled(looked(), UNITS, name).value == enabled
    assert systemd.active(looked(), UNITS, name).value == active


def test_a_unit_that_outlives_its_file_is_active() -> None:
    shown = SHOWN.replace("LoadState=not-found\nActiveState=inactive", "LoadState=not-found\nActiveState=active")
    assert systemd.active(looked(shown=shown), UNITS, "gone.service").value == "active"


def test_no_file_of_such_a_name_is_no_failure() -> None:
    assert systemd.enabled(looked(files=Completed(1, b"", b"")), UNITS, "gone.service").value == NOT_THERE


@pytest.mark.parametrize("answer", [Absent(), Completed(1, b"", NOT_BOOTED)])
def test_no_systemd(answer: Answer) -> None:
    blind = looked(answer, answer)
    assert systemd.enabled(blind, UNITS, "libvirtd.service").value == NO_SYSTEMD
    assert systemd.active(blind, UNITS, "libvirtd.service").value == NO_SYSTEMD


@pytest.mark.parametrize(
    "answer",
    [
        Completed(1, b"", b"Failed to connect to bus: Permission denied\n"),
        Completed(0, b"libvirtd.service EN*BLED\n", b""),
        Completed(0, b"", b""),
        Unreadable("did not end"),
        TooLarge(1),
    ],
)
def test_beyond_understanding(answer: Answer) -> None:
    with pytest.raises(CannotLook):
        systemd.enabled(looked(answer, answer), UNITS, "libvirtd.service")
    with pytest.raises(CannotLook):
        systemd.active(looked(answer, answer), UNITS, "libvirtd.service")


def failed(answer: Answer) -> object:
    return systemd.failed(Snapshot("hv1", TAKEN, {systemd.FAILED: answer})).value


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (Completed(0, b"", b""), frozenset()),
        (
            Completed(0, b"ssh.service loaded failed failed OpenBSD\nnfs\\x2dx.mount not-found failed failed x\n", b""),
            {"ssh.service", "nfs\\x2dx.mount"},
        ),
        (Absent(), NO_SYSTEMD),
        (Completed(1, b"", NOT_BOOTED), NO_SYSTEMD),
    ],
)
def test_failed(answer: Answer, value: object) -> None:
    assert failed(answer) == value


@pytest.mark.parametrize(
    "answer", [Completed(1, b"", b""), Completed(0, "\u25cf ssh.service loaded\n".encode(), b""), Unreadable("x")]
)
def test_failed_beyond_understanding(answer: Answer) -> None:
    with pytest.raises(CannotLook):
        failed(answer)


def test_nothing_is_asked_about_no_unit() -> None:
    assert Units.of([]).sources == ()
