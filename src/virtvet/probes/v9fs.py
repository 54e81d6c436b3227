"""What the options of a 9p mount mean, as a kernel shows them in /proc/mounts and as people write them in fstab.

Kernel sources: fs/9p/v9fs.c (v9fs_show_options), net/9p/client.c (p9_show_client_options), fs/9p/v9fs.h.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virtvet.profile.shares import Share

CACHES = {0b0: "none", 0b1: "readahead", 0b101: "mmap", 0b1111: "loose", 0b10001111: "fscache"}
"""enum p9_cache_shortcuts (since Linux 6.4)."""


KEYS = frozenset({"version", "cache", "access", "posixacl", "msize", "readonly"})
"""The profile's keys of a mount that are options of it."""


def settings(options: Iterable[str], release: tuple[int, int, int]) -> dict[str, Any]:
    """Every setting of a mount by its profile key, with the kernel's default where its option is not there.

    `rw,relatime,loose,access=client,posixacl,trans=virtio` -> {"trans": "virtio", "version": "9p2000.L",
    "cache": "loose", "access": "client", "posixacl": True, "msize": 131072, "readonly": False}

    The kernel never shows version=9p2000.L, nor an msize that is its default; shows 9p2000 as `noextend`; and the cache
    mode as `loose` (before 6.4), as `cache=f` (6.4) or as `cache=0xf` (6.18).
    """
    given = dict(option.partition("=")[::2] for option in options)
    version = "9p2000" if "noextend" in given else given.get("version", "9p2000.L")
    return {
        "trans": given.get("trans", "virtio"),
        "version": version,
        "cache": _cache(given),
        "access": given.get("access", "client" if version == "9p2000.L" else "user"),
        "posixacl": "posixacl" in given,
        "msize": _number(given["msize"]) if "msize" in given else default_msize(release),
        "readonly": "ro" in given,
    }


def default_msize(release: tuple[int, int, int]) -> int:
    """Bytes: DEFAULT_MSIZE of net/9p/client.c."""
    return 128 * 1024 if release >= (5, 15, 0) else 8192


def _cache(given: dict[str, str]) -> str:
    if "cache" not in given:
        return next((name for name in CACHES.values() if name in given), "none")
    written = given["cache"]
    if written in CACHES.values():
        return written
    bits = _number(written, base=16)
    return CACHES.get(bits, written) if isinstance(bits, int) else written


def _number(text: str, base: int = 10) -> int | str:
    """A number, or the text itself when it is none: it then equals nothing that a profile can state."""
    try:
        return int(text, base)
    except ValueError:
        return text


def options(share: Share) -> str:
    """The options that mount a share as its profile states: `trans=virtio,version=9p2000.L,posixacl,cache=loose`.

    For virtiofs only `ro` or `rw`; `defaults` where nothing is stated.
    """
    mount = share.mount
    stated = {key: getattr(mount, key) for key in ("version", "posixacl", "cache", "access", "msize")} if mount else {}
    words = ["trans=virtio"] if share.driver == "9p" else []
    words += [key if value is True else f"{key}={value}" for key, value in stated.items() if value not in (None, False)]
    if mount and mount.readonly is not None:
        words.append("ro" if mount.readonly else "rw")
    return ",".join(words) or "defaults"
