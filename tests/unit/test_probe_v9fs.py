"""The options of a 9p mount, as kernels show them and as people write them."""

from __future__ import annotations

from typing import Any

import pytest

from virtvet.probes import v9fs
from virtvet.profile.shares import Share

DEBIAN_12, NEWER, OLD = (6, 1, 192), (6, 18, 0), (5, 10, 0)
USUAL = {
    "trans": "virtio",
    "version": "9p2000.L",
    "cache": "none",
    "access": "client",
    "posixacl": False,
    "msize": 131072,
    "readonly": False,
}


@pytest.mark.parametrize(
    ("options", "differs"),
    [
        ("rw,dirsync,relatime,loose,access=client,posixacl,trans=virtio", {"cache": "loose", "posixacl": True}),
        ("rw,relatime,cache=f,access=client,trans=virtio", {"cache": "loose"}),
        ("rw,relatime,cache=0xf,access=client,trans=virtio", {"cache": "loose"}),
        ("rw,relatime,cache=5,access=client,trans=virtio", {"cache": "mmap"}),
        ("rw,relatime,cache=8f,access=client,trans=virtio", {"cache": "fscache"}),
        ("rw,relatime,cache=3,access=client,trans=virtio", {"cache": "3"}),
        ("rw,relatime,cache=é,access=client,trans=virtio", {"cache": "é"}),
        ("ro,relatime,access=client,trans=virtio", {"readonly": True}),
        ("rw,access=user,trans=virtio,version=9p2000.u", {"version": "9p2000.u", "access": "user"}),
        ("rw,access=any,trans=virtio,noextend", {"version": "9p2000", "access": "any"}),
        ("rw,access=1000,msize=262144,trans=virtio", {"access": "1000", "msize": 262144}),
        ("rw,access=client,msize=huge,trans=fd", {"msize": "huge", "trans": "fd"}),
        ("defaults", {}),
        ("trans=virtio,version=9p2000.L,posixacl,cache=loose,_netdev", {"cache": "loose", "posixacl": True}),
        ("version=9p2000.u", {"version": "9p2000.u", "access": "user"}),
    ],
)
def test_settings(options: str, differs: dict[str, Any]) -> None:
    assert v9fs.settings(options.split(","), DEBIAN_12) == USUAL | differs


@pytest.mark.parametrize(("release", "bytes_"), [(OLD, 8192), ((5, 15, 0), 131072), (NEWER, 131072)])
def test_default_msize_depends_on_the_kernel(release: tuple[int, int, int], bytes_: int) -> None:
    assert v9fs.settings((), release)["msize"] == bytes_


@pytest.mark.parametrize(
    ("share", "options"),
    [
        ({"at": "/a"}, "trans=virtio"),
        (
            {"at": "/a", "version": "9p2000.L", "posixacl": True, "cache": "loose", "readonly": False},
            "trans=virtio,version=9p2000.L,posixacl,cache=loose,rw",
        ),
        ({"at": "/a", "posixacl": False, "msize": "256 KiB", "readonly": True}, "trans=virtio,msize=262144,ro"),
    ],
)
def test_options_to_mount_with(share: dict[str, Any], options: str) -> None:
    wanted = Share.model_validate({"source": "/srv", "mount": share})
    assert v9fs.options(wanted) == options
    shown = v9fs.settings(options.split(","), DEBIAN_12)
    assert wanted.mount is not None
    stated = wanted.mount.model_dump(include=set(v9fs.KEYS), exclude_none=True)
    assert {key: shown[key] for key in stated} == stated


def test_virtiofs_has_no_options_of_9p() -> None:
    share = {"source": "/srv", "driver": "virtiofs", "mount": {"at": "/a"}}
    assert v9fs.options(Share.model_validate(share)) == "defaults"
    share["mount"] = {"at": "/a", "readonly": True}
    assert v9fs.options(Share.model_validate(share)) == "ro"
