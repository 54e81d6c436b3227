"""The system a guest runs: the lab's app1 (metadata: Debian 12), Windows and other systems as constructed text.

os-release of others is cut to ID and VERSION_ID, as their packages have them.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from tests.unit.backing_looks import XML, look, replaced
from virtvet.errors import BadInput, CannotLook, NotApplicable
from virtvet.probes import guest_os
from virtvet.profile.guest_os import (
    CLIENTS,
    SERVERS,
    GuestOs,
    no_plugging,
    windows_id,
    windows_version,
)
from virtvet.profile.model import GuestWants, Profile
from virtvet.snapshot.model import Absent, Answer, Content, Snapshot, Unreadable
from virtvet.target import GuestTarget

DEBIAN = "http://debian.org/debian/12"


def named(os_id: str) -> Snapshot:
    return look("app1", xml=replaced(XML["app1"], DEBIAN, os_id))


# --- metadata


def test_metadata_names_the_system() -> None:
    assert guest_os.config(look("app1"), "app1", DEBIAN).value == DEBIAN
    assert guest_os.live(look("app1"), "app1", DEBIAN).value == DEBIAN
    assert guest_os.live(look("plain1"), "plain1", DEBIAN).value is None


@pytest.mark.parametrize(
    ("os_id", "edition", "value"),
    [
        (DEBIAN, None, guest_os.PLUGS),
        ("http://microsoft.com/win/2k22", None, guest_os.PLUGS),
        ("http://microsoft.com/win/2k8r2", "datacenter", guest_os.PLUGS),
        (
            "http://microsoft.com/win/2k8r2",
            "standard",
            "Windows 2008r2 standard takes no memory while it runs: only Enterprise and Datacenter do",
        ),
        ("http://microsoft.com/win/8.1", None, "Windows 8.1 takes no memory while it runs"),
    ],
)
def test_whether_the_named_system_takes_memory(os_id: str, edition: str | None, value: str) -> None:
    assert guest_os.config_plugs(named(os_id), "app1", edition, False).value == value
    assert guest_os.live_plugs(named(os_id), "app1", edition, False).value == value


def test_an_edition_nobody_stated_is_not_taken_for_a_good_one() -> None:
    value = guest_os.live_plugs(named("http://microsoft.com/win/2k3"), "app1", None, False).value
    assert "os.windows.edition" in value


def test_without_metadata_nothing_is_said_of_plugging() -> None:
    with pytest.raises(NotApplicable, match="names no operating system"):
        guest_os.live_plugs(look("plain1"), "plain1", None, False)


# --- inside


def inside(said: str | None, second: str | None = None) -> Snapshot:
    answers = dict(zip(guest_os.OS_RELEASE, map(answer, (said, second)), strict=True))
    within = Snapshot("hv1/app1", datetime(2026, 11, 22, tzinfo=UTC), answers)
    return replace(look("app1"), guests={"app1": within})


def answer(said: str | None) -> Answer:
    return Absent() if said is None else Content(said.encode())


@pytest.mark.parametrize(
    ("os_id", "said"),
    [
        (DEBIAN, 'ID=debian\nVERSION_ID="12"\n'),
        ("http://ubuntu.com/ubuntu/24.04", 'PRETTY_NAME="Ubuntu"\nVERSION_ID="24.04"\nID=ubuntu\nID_LIKE=debian\n'),
        ("http://alpinelinux.org/alpinelinux/3.19", "ID=alpine\nVERSION_ID=3.19.1\n"),
        ("http://centos.org/centos/7.0", 'ID="centos"\nVERSION_ID="7"\n'),
        ("http://centos.org/centos-stream/9", 'ID="centos"\nVERSION_ID="9"\n'),
        ("http://redhat.com/rhel/9-unknown", 'ID="rhel"\nVERSION_ID="9.4"\n'),
        ("http://rockylinux.org/rocky/9", "ID='rocky'\nVERSION_ID='9.3'\n"),
        ("http://opensuse.org/opensuse/15.5", 'ID="opensuse-leap"\nVERSION_ID="15.5"\n'),
        ("http://suse.com/sle/15", 'ID="sles"\nVERSION_ID="15.5"\n'),
        ("http://archlinux.org/archlinux/rolling", "ID=arch\nBUILD_ID=rolling\n"),
        ("http://freebsd.org/freebsd/14.0", 'ID=freebsd\nVERSION_ID="14.0"\n'),
        ("http://libosinfo.org/linux/2022", "ID=gentoo\n"),
    ],
)
def test_a_system_agrees_with_its_id(os_id: str, said: str) -> None:
    assert guest_os.inside(inside(said), "app1", os_id).value == os_id
    assert guest_os.inside(inside(None, said), "app1", os_id).value == os_id


@pytest.mark.parametrize(
    ("os_id", "said", "value"),
    [
        (DEBIAN, 'ID=debian\nVERSION_ID="13"\n', "debian 13"),
        (DEBIAN, 'ID=debian\nVERSION_ID="1"\n', "debian 1"),
        (DEBIAN, 'ID=debian\nVERSION_ID="120"\n', "debian 120"),
        (DEBIAN, 'ID=ubuntu\nVERSION_ID="12"\n', "ubuntu 12"),
        (DEBIAN, "ID=debian\n", "debian"),
        (DEBIAN, "", "linux"),
    ],
)
def test_another_system_is_told(os_id: str, said: str, value: str) -> None:
    assert guest_os.inside(inside(said), "app1", os_id).value == value


@pytest.mark.parametrize("said", ["ID=$(reboot)\n", f"ID={'a' * 65}\n", 'ID="debian\n', "ID=debian\nVERSION_ID=1 2\n"])
def test_what_os_release_may_not_say_is_an_error(said: str) -> None:
    with pytest.raises(CannotLook, match="os-release"):
        guest_os.inside(inside(said), "app1", DEBIAN)


def test_a_guest_without_os_release_is_not_judged() -> None:
    with pytest.raises(NotApplicable, match="neither"):
        guest_os.inside(inside(None), "app1", DEBIAN)
    with pytest.raises(NotApplicable, match="Windows"):
        guest_os.inside(inside("ID=debian\n"), "app1", "http://microsoft.com/win/10")


def test_an_os_release_that_cannot_be_read_is_an_error() -> None:
    hidden = Snapshot("hv1/app1", look("app1").taken, {guest_os.OS_RELEASE[0]: Unreadable("Permission denied")})
    with pytest.raises(CannotLook, match="Permission denied"):
        guest_os.inside(replace(look("app1"), guests={"app1": hidden}), "app1", DEBIAN)


@pytest.mark.parametrize(
    ("os", "asked"),
    [({"id": DEBIAN}, 2), ({"windows": {"version": 2022}}, 0), (None, 0)],
)
def test_only_who_has_an_os_release_is_asked_for_it(os: dict[str, Any] | None, asked: int) -> None:
    wants = GuestWants.model_validate({"os": os} if os else {})
    assert len(list(guest_os.guest_sources(GuestTarget("app1", wants, "hv1")))) == asked


# --- the profile


@pytest.mark.parametrize("version", [*SERVERS, *CLIENTS])
def test_ids_of_windows_there_and_back(version: str) -> None:
    assert windows_version(windows_id(version)) == version


@pytest.mark.parametrize(
    ("os_id", "version"),
    [
        ("http://microsoft.com/win/2k8r2", "2008r2"),
        ("http://microsoft.com/win/2k", "2000"),
        ("http://microsoft.com/win/2k25", "2025"),
        ("http://microsoft.com/win/xp", "xp"),
        (DEBIAN, None),
    ],
)
def test_the_windows_of_an_id(os_id: str, version: str | None) -> None:
    assert windows_version(os_id) == version


ABLE = {"2012", "2012r2", "2016", "2019", "2022", "2025", "10", "11"}


@pytest.mark.parametrize("version", [*SERVERS, *CLIENTS])
def test_what_windows_takes(version: str) -> None:
    assert (no_plugging(version, "standard") == "") == (version in ABLE)
    by_edition = version in {"2003", "2003r2", "2008", "2008r2"}
    assert (no_plugging(version, "enterprise") == "") == (version in ABLE or by_edition)
    assert (no_plugging(version, "datacenter") == "") == (version in ABLE or by_edition)
    assert (no_plugging(version, None) == "") == (version in ABLE)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"id": "debian12"}, "is no id of libosinfo"),
        ({"windows": {"version": 95}}, "95 is no Windows"),
        ({"windows": {"version": None}}, "null is no Windows"),
        ({"windows": {"version": 2012, "edition": "home"}}, "Input should be"),
        ({"id": DEBIAN, "windows": {"version": 2012}}, "is not what the id"),
        ({"id": "http://microsoft.com/win/2k8", "windows": {"version": "2008 R2"}}, "is not what the id"),
    ],
)
def test_what_cannot_be_is_refused(written: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        GuestOs.model_validate(written)


@pytest.mark.parametrize(
    ("os", "words"),
    [
        ({"id": "http://microsoft.com/win/2k8"}, "only Enterprise and Datacenter"),
        ({"windows": {"version": "2008 R2", "edition": "standard"}}, "Windows 2008r2 standard"),
        ({"windows": {"version": 8.1}}, "Windows 8.1 takes no memory"),
    ],
)
def test_windows_that_takes_no_memory_may_not_be_asked_to(os: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        GuestWants.model_validate({"os": os, "memory": {"hotplug": {"maximum": "1 GiB"}}})
    assert GuestWants.model_validate({"os": os}).memory.hotplug is None


@pytest.mark.parametrize(
    "os",
    [
        {"id": DEBIAN},
        {"id": "http://microsoft.com/win/2k12"},
        {"windows": {"version": 2003, "edition": "enterprise"}},
        {"windows": {"version": 11}},
    ],
)
def test_systems_that_take_memory(os: dict[str, Any]) -> None:
    assert GuestWants.model_validate({"os": os, "memory": {"hotplug": {"maximum": "1 GiB"}}}).memory.hotplug is not None


def test_no_windows_gives_memory_back() -> None:
    shrinking = {"hotplug": {"unplug": True}}
    assert GuestWants.model_validate({"os": {"id": DEBIAN}, "memory": shrinking}).memory.hotplug
    with pytest.raises(ValidationError, match="gives no memory back"):
        GuestWants.model_validate({"os": {"windows": {"version": 2025}}, "memory": shrinking})
    value = guest_os.live_plugs(named("http://microsoft.com/win/11"), "app1", None, True).value
    assert value == "Windows 11 gives no memory back while it runs: no Windows does"


def test_numa_cells_alone_are_no_wish_to_plug() -> None:
    cells = {"hotplug": {"cells": {0: {"memory": "1 GiB"}}}}
    assert GuestWants.model_validate({"os": {"windows": {"version": 7}}, "memory": cells}).memory.hotplug


def test_entries_that_contradict_each_other_are_refused_together() -> None:
    profile = Profile.model_validate(
        {
            "virtvet": 1,
            "guests": {"*": {"memory": {"hotplug": {"maximum": "1 GiB"}}}, "win*": {"os": {"windows": {"version": 7}}}},
        }
    )
    assert profile.guest("lin1") is not None
    with pytest.raises(BadInput, match="Windows 7 takes no memory"):
        profile.guest("win7")
