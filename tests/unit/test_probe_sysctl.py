"""Sysctls, in the kernel and in files written by hand, in the words of sysctl.d(5)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.unit.certificate_maker import TAKEN
from virtvet.errors import CannotLook, NotApplicable
from virtvet.expect import matches
from virtvet.probes import dropins, settings, sysctl
from virtvet.probes.settings import NOT_SET
from virtvet.profile.kernel import AnySetting, Setting, sysctl_path
from virtvet.snapshot.model import Absent, Answer, Completed, Content, Snapshot, Unreadable
from virtvet.snapshot.sources import File, Glob, Source

ETC, RUN, USR = "/etc/sysctl.d", "/run/sysctl.d", "/usr/lib/sysctl.d"


def looked(files: Mapping[str, str], hiding: tuple[str, ...] = ()) -> Snapshot:
    def answer(path: str) -> Answer:
        return Content(files[path].encode()) if path in files else Absent()

    answers: dict[Source, Answer] = {dropins.HIDING: Completed(1, "".join(f"{one}\n" for one in hiding).encode(), b"")}
    for source in sysctl.CONFIG_SOURCES:
        if isinstance(source, File):
            answers[source] = answer(source.path)
        elif isinstance(source, Glob):
            folder = source.pattern.rpartition("/")[0]
            answers[source] = {
                path: Content(files[path].encode()) for path in files if path.rpartition("/")[0] == folder
            }
    answers[File("/proc/cmdline")] = answer("/proc/cmdline") if "/proc/cmdline" in files else Content(b"ro\n")
    return Snapshot("hv1", TAKEN, answers)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("vm.swappiness", "vm/swappiness"),
        ("vm/swappiness", "vm/swappiness"),
        ("net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
    ],
)
def test_both_spellings(name: str, path: str) -> None:
    assert sysctl_path(name) == path
    assert str(sysctl.file(name)) == f"/proc/sys/{path}"


@pytest.mark.parametrize(
    ("files", "hiding", "value", "source"),
    [
        ({f"{ETC}/50.conf": "# a\nvm.swappiness = 10\n"}, (), "10", f"{ETC}/50.conf:2"),
        ({f"{ETC}/50.conf": "vm/swappiness=10\n vm.swappiness =20"}, (), "20", f"{ETC}/50.conf:2"),
        ({f"{ETC}/50.conf": "-vm.swappiness = 10"}, (), "10", f"{ETC}/50.conf:1"),
        ({f"{ETC}/50.conf": "vm.swappiness=1\n# as on A:\\\nvm.swappiness=2"}, (), "2", f"{ETC}/50.conf:3"),
        ({f"{ETC}/50.conf": "vm.swappiness=1", f"{USR}/60.conf": "vm.swappiness=2"}, (), "2", f"{USR}/60.conf:1"),
        ({f"{ETC}/50.conf": "vm.swappiness=1", f"{USR}/50.conf": "vm.swappiness=2"}, (), "1", f"{ETC}/50.conf:1"),
        ({f"{ETC}/50.conf": "", f"{USR}/50.conf": "vm.swappiness=2"}, (), NOT_SET, "sysctl.d"),
        ({f"{USR}/50.conf": "vm.swappiness=2"}, (f"{ETC}/50.conf",), NOT_SET, "sysctl.d"),
        ({f"{RUN}/50.conf": "vm.swappiness=2"}, (f"{USR}/50.conf",), "2", f"{RUN}/50.conf:1"),
        ({f"{ETC}/50.conf": "vm.*=1\nvm.swappiness=2\nvm.swap*=3"}, (), "2", f"{ETC}/50.conf:2"),
        ({f"{ETC}/50.conf": "vm.*=1\nvm.swap*=3"}, (), "3", f"{ETC}/50.conf:2"),
        ({f"{ETC}/50.conf": "-vm.swappiness\nvm.swap*=3"}, (), NOT_SET, "sysctl.d"),
        ({f"{ETC}/50.conf": "vm.swappinessx=1\nnonsense\n"}, (), NOT_SET, "sysctl.d"),
        ({f"{ETC}/50.conf": "", "/proc/cmdline": "sysctl.vm/swappiness=4"}, (), "4", "/proc/cmdline"),
        ({f"{ETC}/50.conf": "vm.swappiness=2", "/proc/cmdline": "sysctl.vm.swappiness=4"}, (), "2", f"{ETC}/50.conf:1"),
    ],
)
def test_config(files: Mapping[str, str], hiding: tuple[str, ...], value: str, source: str) -> None:
    found = sysctl.config(looked(files, hiding), "vm.swappiness", True)
    assert (found.value, found.source) == (value, source)


def test_what_need_not_be_in_a_file() -> None:
    with pytest.raises(NotApplicable, match="default"):
        sysctl.config(looked({}), "vm.swappiness", False)
    assert sysctl.config(looked({f"{ETC}/a.conf": "vm.swappiness=1"}), "vm.swappiness", False).value == "1"


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (Content(b"10\n"), "10"),
        (Content(b"4096\t131072\t6291456\n"), "4096 131072 6291456"),
        (Absent(), sysctl.NO_SUCH),
    ],
)
def test_actual(answer: Answer, value: str) -> None:
    look = Snapshot("hv1", TAKEN, {File("/proc/sys/vm/swappiness"): answer})
    assert sysctl.actual(look, "vm.swappiness", True).value == value


def test_actual_beyond_reach() -> None:
    with pytest.raises(CannotLook):
        sysctl.actual(Snapshot("hv1", TAKEN, {sysctl.file("vm.x"): Unreadable("denied")}), "vm.x", True)


@pytest.mark.parametrize(
    ("stated", "good", "bad", "set_to"),
    [
        (10, "10", "100", "10"),
        (True, "Y\n", "N", "1"),
        (False, "0", "1", "0"),
        ("4096 131072\t1", "4096\t131072\t1", "4096 131072", "4096 131072 1"),
        (Setting(value="Y"), "1", "0", "1"),
        (Setting(at_least=5), "5", "4", "5"),
        (Setting(at_most=5), "-1", "6", "5"),
        (Setting(at_least=5, at_most=7), "6", "8", "7"),
        (Setting(at_least=5, at_most=7), "6", NOT_SET, "5"),
    ],
)
def test_settings(stated: AnySetting, good: str, bad: str, set_to: str) -> None:
    expected = settings.expected(stated)
    assert matches(expected, settings.comparable(good))
    assert not matches(expected, settings.comparable(bad))
    assert settings.nearest(expected, bad) == set_to
