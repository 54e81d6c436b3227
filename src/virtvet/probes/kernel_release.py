"""Which kernel runs, which starts at the next boot, and which is the newest one installed.

    /proc/sys/kernel/osrelease          6.1.0-30-amd64
    /boot/grub/grub.cfg                 linux /boot/vmlinuz-6.1.0-31-amd64 …
    /boot                               vmlinuz-6.1.0-30-amd64, vmlinuz-6.1.0-31-amd64

Compared without the flavour, as packages are: 6.1.0-30 of `6.1.0-30-amd64`, 5.14.0-427.13.1 of
`5.14.0-427.13.1.el9_4.x86_64`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import boot_loader, kernel
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import Command, Source
from virtvet.versions import Installed

INSTALLED = Command(
    ("find", "/boot", "/lib/modules/", "-mindepth", "1", "-maxdepth", "1", "-name", "[v0-9]*", "-printf", "%p\\n")
)
"""Kernels; and their modules, for machines that get their kernel from elsewhere."""
SOURCES: tuple[Source, ...] = (kernel.OSRELEASE, *boot_loader.SOURCES)
NEWEST_SOURCES: tuple[Source, ...] = (*SOURCES, INSTALLED)
NEWEST = "the newest installed"

_RELEASE = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,9}){1,2}(?:-[0-9]{1,9}(?:\.[0-9]{1,9}(?![0-9A-Za-z_])){0,5})?", re.ASCII)
_FILE = re.compile(r"(?:vmlinuz|vmlinux|linux|kernel|bzImage)-(.{1,200})|.*/([^/]{1,200})/linux", re.DOTALL)


def number(release: str, source: object) -> Installed:
    """`6.1.0-30-amd64` -> 6.1.0-30. Raises CannotLook."""
    if (match := _RELEASE.match(release.strip())) is None:
        raise CannotLook(source, f"{release.strip()[:80]!r} is no kernel release")
    return Installed(match[0], "deb")


def _running(snapshot: Snapshot) -> tuple[str, str]:
    return snapshot.read(kernel.OSRELEASE).decode("utf-8", "backslashreplace").strip(), str(kernel.OSRELEASE)


def _next(snapshot: Snapshot) -> tuple[str, str]:
    """By the name of the file that the boot loader starts."""
    entry = boot_loader.default_entry(snapshot)
    if not entry.kernel:
        raise NotApplicable(f"{entry.source} does not say which kernel starts")
    name = entry.kernel if entry.kernel.endswith("/linux") else entry.kernel.rpartition("/")[2]
    if (match := _FILE.fullmatch(name)) is None:
        raise CannotLook(entry.source, f"{entry.kernel[:100]!r} does not say its release")
    return match[1] or match[2], entry.source


def actual(snapshot: Snapshot) -> Reading:
    """The release that runs, as Installed."""
    release, source = _running(snapshot)
    return Reading(number(release, source), source, release)


def config(snapshot: Snapshot) -> Reading:
    """The release that starts at the next boot. Raises NotApplicable where there is no boot loader."""
    release, source = _next(snapshot)
    return Reading(number(release, source), source, release)


def newest_runs(snapshot: Snapshot) -> Reading:
    """NEWEST, or the one that runs instead."""
    return _against_newest(snapshot, *_running(snapshot))


def newest_starts(snapshot: Snapshot) -> Reading:
    """NEWEST, or the one that starts at the next boot instead."""
    return _against_newest(snapshot, *_next(snapshot))


def _against_newest(snapshot: Snapshot, release: str, source: str) -> Reading:
    installed = _installed(snapshot)
    newest = max(installed, key=lambda one: number(one, INSTALLED).key)
    is_newest = number(release, source).key >= number(newest, INSTALLED).key
    return Reading(NEWEST if is_newest else f"{release[:80]}, while {newest[:80]} is installed", source, release[:80])


def _installed(snapshot: Snapshot) -> list[str]:
    """Releases of /boot, or, where that has none, of /lib/modules. Raises CannotLook where neither has any."""
    done = snapshot.read(INSTALLED)
    errors = done.stderr.decode("utf-8", "backslashreplace").splitlines()
    if unknown := [line for line in errors if "No such file or directory" not in line]:
        raise CannotLook(INSTALLED, unknown[0][:200])
    paths = done.stdout.decode("utf-8", "backslashreplace").splitlines()
    kernels, modules = (_below(start, paths) for start in ("/boot/vmlinu[xz]-", "/lib/modules/"))
    if found := kernels or modules:
        return found
    raise CannotLook(INSTALLED, "no kernel is installed")


def _below(start: str, paths: Sequence[str]) -> list[str]:
    """The releases after such a start; `/boot/vmlinuz-0-rescue-MACHINE-ID` is dracut's copy of another kernel."""
    pattern = re.compile(rf"{start}([0-9]{{1,4}}\..{{1,200}})")
    return [match[1] for path in paths if (match := pattern.fullmatch(path))]
