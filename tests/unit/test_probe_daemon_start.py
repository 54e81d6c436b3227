"""How the daemon is started: from the arguments file and the process."""

from __future__ import annotations

import pytest

from tests.unit.certificate_maker import TAKEN
from virtvet.errors import CannotLook
from virtvet.probes import daemon_start
from virtvet.probes.daemon_start import DOES_NOT, LISTENS
from virtvet.snapshot.model import Absent, Answer, Content, Snapshot, Unreadable
from virtvet.snapshot.sources import Source

DEBIAN, RED_HAT = daemon_start.ARGUMENT_FILES


def looked(answers: dict[Source, Answer]) -> Snapshot:
    return Snapshot("hv1", TAKEN, answers)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('LIBVIRTD_ARGS="--listen"\n', LISTENS),
        ("LIBVIRTD_ARGS=--listen\n", LISTENS),
        ("LIBVIRTD_ARGS='-l -v'\n", LISTENS),
        ('LIBVIRTD_ARGS="-dl"\n', LISTENS),
        ('LIBVIRTD_ARGS="-f /etc/libvirt/-l --lis"\n', LISTENS),
        ('LIBVIRTD_ARGS="-f -l"\n', DOES_NOT),
        ('#LIBVIRTD_ARGS="--listen"\n', DOES_NOT),
        ('LIBVIRTD_ARGS="--listen"\nLIBVIRTD_ARGS="--timeout 120"\n', DOES_NOT),
        ('LIBVIRTD_ARGS="" # --listen\n', DOES_NOT),
        ("LIBVIRTD_ARGS=\n", DOES_NOT),
        ("", DOES_NOT),
    ],
)
@pytest.mark.parametrize("place", [DEBIAN, RED_HAT], ids=str)
def test_configured(place: Source, text: str, value: str) -> None:
    answers = {DEBIAN: Absent(), RED_HAT: Absent(), place: Content(text.encode())}
    assert daemon_start.listen_configured(looked(answers), "libvirtd").value == value


def test_no_file_at_all_is_no_listen() -> None:
    assert daemon_start.listen_configured(looked({DEBIAN: Absent(), RED_HAT: Absent()}), "libvirtd").value == DOES_NOT


@pytest.mark.parametrize(
    "answer", [Content(b'LIBVIRTD_ARGS="--listen\n'), Content(b"LIBVIRTD_ARGS=--liston\n"), Unreadable("denied")]
)
def test_configured_beyond_understanding(answer: Answer) -> None:
    with pytest.raises(CannotLook):
        daemon_start.listen_configured(looked({DEBIAN: answer, RED_HAT: Absent()}), "libvirtd")


RUNNING = {"/proc/30/cmdline": Content(b"libvirtd\0-d\0--listen\0")}
USERS_OWN = {"/proc/99/cmdline": Content(b"/usr/sbin/libvirtd\0--timeout=120\0")}


@pytest.mark.parametrize(
    ("pid", "processes", "value"),
    [
        (Content(b"30\n"), RUNNING, LISTENS),
        (Content(b"30"), RUNNING | USERS_OWN, LISTENS),
        (Content(b"30"), {"/proc/30/cmdline": Content(b"/usr/sbin/libvirtd\0")}, DOES_NOT),
        (Content(b"31"), RUNNING, "libvirtd is not running"),
        (Content(b"30"), {"/proc/30/cmdline": Content(b"")}, "libvirtd is not running"),
        (Absent(), USERS_OWN, "libvirtd is not running"),
    ],
)
def test_running(pid: Answer, processes: dict[str, Content], value: str) -> None:
    answers = {daemon_start.pid_file("libvirtd"): pid, daemon_start.processes("libvirtd"): processes}
    assert daemon_start.listen_live(looked(answers), "libvirtd").value == value


@pytest.mark.parametrize("pid", [Content(b""), Content(b"../../etc"), Unreadable("Permission denied")])
def test_pid_file_beyond_understanding(pid: Answer) -> None:
    answers = {daemon_start.pid_file("libvirtd"): pid, daemon_start.processes("libvirtd"): RUNNING}
    with pytest.raises(CannotLook):
        daemon_start.listen_live(looked(answers), "libvirtd")
