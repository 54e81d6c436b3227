"""What dpkg-query and rpm say of packages. The text is constructed after what both print."""

from __future__ import annotations

import pytest

from tests.recorded_text import TAKEN
from virtvet.errors import CannotLook
from virtvet.probes import packages
from virtvet.probes.packages import DPKG, NOT_INSTALLED
from virtvet.snapshot.model import Absent, Answer, Completed, Snapshot, Status, TooLarge, Unreadable

NAMES = ("qemu-system-x86", "telnetd", "kernel", "held", "half", "removed", "trouble")
KEPT = Status("regular file", 0o644, "root", "root", 0, 0, 99)
DEBS = """\
ii \tqemu-system-x86\t1:7.2+dfsg-7+deb12u13
hi \theld\t2.0-1
iF \thalf\t1.0-1
rc \tremoved\t1.0-1
iiR\ttrouble\t1.0-1
"""
MISSING = b"dpkg-query: no packages found matching telnetd\ndpkg-query: no packages found matching kernel\n"
RPMS = """\
qemu-kvm-core\t17:7.2.0-14.el9_2
package telnetd is not installed
kernel\t5.14.0-284.11.1.el9_2
kernel\t5.14.0-70.13.1.el9_0
"""
BY_DPKG: dict[object, Answer] = {
    DPKG: KEPT,
    packages.dpkg(NAMES): Completed(1, DEBS.encode(), MISSING),
    packages.rpm(NAMES): Absent(),
}
BY_RPM: dict[object, Answer] = {
    DPKG: Absent(),
    packages.dpkg(NAMES): Absent(),
    packages.rpm(NAMES): Completed(1, RPMS.encode(), b""),
}


def version(answers: dict[object, Answer], name: str) -> str:
    return str(packages.installed(Snapshot("hv1", TAKEN, answers), NAMES, name).value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("qemu-system-x86", "1:7.2+dfsg-7+deb12u13"),
        ("held", "2.0-1"),
        ("half", "only half installed (iF)"),
        ("trouble", "only half installed (iiR)"),
        ("removed", NOT_INSTALLED),
        ("telnetd", NOT_INSTALLED),
    ],
)
def test_dpkg(name: str, value: str) -> None:
    assert version(BY_DPKG, name) == value


@pytest.mark.parametrize(
    ("name", "value"), [("kernel", "5.14.0-284.11.1.el9_2"), ("telnetd", NOT_INSTALLED), ("held", NOT_INSTALLED)]
)
@pytest.mark.parametrize("status", [Absent(), Status("regular file", 0o644, "root", "root", 0, 0, 0)], ids=str)
def test_rpm(name: str, value: str, status: Answer) -> None:
    """dpkg as one package of a host of rpm keeps nothing."""
    assert version(BY_RPM | {DPKG: status}, name) == value


@pytest.mark.parametrize(
    "answer",
    [
        Absent(),
        Unreadable("did not end"),
        TooLarge(1),
        Completed(2, b"", b"error: cannot open Packages database\n"),
        Completed(1, b"", b""),
        Completed(0, b"ii  qemu\n", b""),
        Completed(0, b"ii \tqemu-system-x86\t1 0\n", b""),
    ],
)
@pytest.mark.parametrize("hosts", [BY_DPKG, BY_RPM], ids=["dpkg", "rpm"])
def test_beyond_understanding(hosts: dict[object, Answer], answer: Answer) -> None:
    broken = {one: said if one == DPKG else answer for one, said in hosts.items()}
    with pytest.raises(CannotLook):
        version(broken, "qemu-system-x86")


def test_nothing_is_asked_about_no_package() -> None:
    assert packages.sources(()) == ()
