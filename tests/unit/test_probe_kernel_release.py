"""Which kernel runs, starts next and is the newest. Releases of Debian 12, Ubuntu 24.04, Fedora 40 and RHEL 9."""

from __future__ import annotations

import pytest

from tests.unit.certificate_maker import TAKEN
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import boot_loader, kernel, kernel_release
from virtvet.probes.kernel_release import NEWEST
from virtvet.snapshot.model import Absent, Answer, Completed, Content, Snapshot
from virtvet.snapshot.sources import File, Source
from virtvet.versions import parse_constraint


@pytest.mark.parametrize(
    ("release", "number"),
    [
        ("6.1.0-30-amd64\n", "6.1.0-30"),
        ("6.8.0-31-generic", "6.8.0-31"),
        ("6.8.5-301.fc40.x86_64", "6.8.5-301"),
        ("5.14.0-427.13.1.el9_4.x86_64", "5.14.0-427.13.1"),
        ("6.12.0", "6.12.0"),
        ("6.10.0-rc3+", "6.10.0"),
    ],
)
def test_numbers(release: str, number: str) -> None:
    assert str(kernel_release.number(release, "x")) == number


@pytest.mark.parametrize(
    ("stated", "good", "bad"),
    [
        (">= 6.1.0-28", "6.1.0-30-amd64", "6.1.0-9-amd64"),
        (">= 6.1", "6.1.0-9-amd64", "5.15.0-1-amd64"),
        (">= 6.1.0-28, < 6.2", "6.1.0-28-amd64", "6.2.0-1-amd64"),
        ("6.1.0-30", "6.1.0-30-cloud-amd64", "6.1.0-31-amd64"),
        (">= 5.14.0-427.13", "5.14.0-427.13.1.el9_4.x86_64", "5.14.0-427.9.1.el9_4.x86_64"),
    ],
)
def test_ranges(stated: str, good: str, bad: str) -> None:
    assert parse_constraint(stated).matches(kernel_release.number(good, "x"))
    assert not parse_constraint(stated).matches(kernel_release.number(bad, "x"))


def looked(running: str, boots: str | None, found: str = "", complaint: str = "") -> Snapshot:
    answers: dict[Source, Answer] = {
        one: Absent() if isinstance(one, File) else {} for one in boot_loader.SOURCES
    }  # fmt: skip
    if boots is not None:
        answers[File("/boot/grub/grub.cfg")] = Content(f"menuentry a {{\nlinux {boots} ro\n}}".encode())
    answers[kernel.OSRELEASE] = Content(f"{running}\n".encode())
    answers[kernel_release.INSTALLED] = Completed(1, found.replace(" ", "\n").encode(), complaint.encode())
    return Snapshot("hv1", TAKEN, answers)


@pytest.mark.parametrize(
    ("kernel_file", "number"),
    [
        ("/boot/vmlinuz-6.1.0-30-amd64", "6.1.0-30"),
        ("/vmlinuz-5.14.0-427.13.1.el9_4.x86_64", "5.14.0-427.13.1"),
        ("/0123456789abcdef/6.8.5-301.fc40.x86_64/linux", "6.8.5-301"),
    ],
)
def test_next(kernel_file: str, number: str) -> None:
    assert str(kernel_release.config(looked("6.1.0-1-amd64", kernel_file)).value) == number


def test_next_beyond_understanding() -> None:
    for kernel_file in ("/vmlinuz", "/boot/vmlinuz-old"):
        with pytest.raises(CannotLook):
            kernel_release.config(looked("6.1.0-1-amd64", kernel_file))
    with pytest.raises(NotApplicable):
        kernel_release.config(looked("6.1.0-1-amd64", None))


RHEL = (
    "/boot/vmlinuz-0-rescue-5f0d3ab1c2e94f0a8d6b7c1e2f3a4b5c "
    "/boot/vmlinuz-5.14.0-427.13.1.el9_4.x86_64 /boot/vmlinuz-5.14.0-362.8.1.el9_3.x86_64"
)
"""With the rescue image that dracut's 51-dracut-rescue.install makes: a copy of some kernel, which no one installs."""
BOTH = "/boot/vmlinuz-6.1.0-9-amd64 /boot/vmlinuz-6.1.0-30-amd64 /lib/modules/6.1.0-31-amd64"


@pytest.mark.parametrize(
    ("running", "boots", "found", "now", "then"),
    [
        ("6.1.0-30-amd64", "/boot/vmlinuz-6.1.0-30-amd64", BOTH, NEWEST, NEWEST),
        (
            "6.1.0-9-amd64",
            "/boot/vmlinuz-6.1.0-30-amd64",
            BOTH,
            "6.1.0-9-amd64, while 6.1.0-30-amd64 is installed",
            NEWEST,
        ),
        (
            "6.1.0-30-amd64",
            "/boot/vmlinuz-6.1.0-9-amd64",
            BOTH,
            NEWEST,
            "6.1.0-9-amd64, while 6.1.0-30-amd64 is installed",
        ),
        ("6.1.0-31-amd64", "/boot/vmlinuz-6.1.0-31-amd64", "/lib/modules/6.1.0-31-amd64", NEWEST, NEWEST),
        ("5.14.0-427.13.1.el9_4.x86_64", "/vmlinuz-5.14.0-427.13.1.el9_4.x86_64", RHEL, NEWEST, NEWEST),
    ],
)
def test_newest(running: str, boots: str, found: str, now: str, then: str) -> None:
    look = looked(running, boots, found)
    assert (kernel_release.newest_runs(look).value, kernel_release.newest_starts(look).value) == (now, then)


def test_nothing_installed() -> None:
    for complaint in ("find: '/boot': No such file or directory", "find: '/boot': Permission denied"):
        with pytest.raises(CannotLook):
            kernel_release.newest_runs(looked("6.1.0-1-amd64", None, "", complaint))
