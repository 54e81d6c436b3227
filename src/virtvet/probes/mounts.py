"""What is mounted where, and what the next boot will mount: /proc/mounts, fstab(5) and systemd.mount(5)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from virtvet.errors import CannotLook
from virtvet.snapshot.model import Files, Snapshot, text_of
from virtvet.snapshot.sources import File, Glob, Stat

MOUNTS = File("/proc/mounts")
FSTAB = File("/etc/fstab")
UNITS = Glob("/etc/systemd/system/*.wants/*.mount")
"""Enabled mount units: `systemctl enable` links them into the folders of the targets that want them."""
SYSTEMD = Stat("/run/systemd/system")
"""There when systemd is the machine's init: sd_booted(3)."""

_OCTAL = re.compile(r"\\([0-7]{3})")
_ON_DEMAND = "x-systemd.automount"


@dataclass(frozen=True, slots=True)
class Mounted:
    """One mount. `source`: a device, or a tag. `line`: the raw line or unit it was read from, `where` its file."""

    source: str
    at: str
    fstype: str
    options: tuple[str, ...]
    line: str
    where: str


def table(text: str, where: str) -> tuple[Mounted, ...]:
    """The lines of /proc/mounts or fstab, in their order; comments and empty lines left out. Raises CannotLook.

    `hostshare /mnt/share 9p rw,relatime,loose,posixacl,trans=virtio 0 0` ->
    Mounted("hostshare", "/mnt/share", "9p", ("rw", "relatime", "loose", "posixacl", "trans=virtio"), …)
    """
    # the kernel and fstab know no other white space: a name may hold any other character
    lines = (line.strip(" \t\r") for line in text.split("\n"))
    return tuple(_entry(line, where) for line in lines if line and not line.startswith("#"))


def _entry(line: str, where: str) -> Mounted:
    fields = [plain(field) for field in re.split(r"[ \t]+", line)]
    if len(fields) < 3:
        raise CannotLook(where, f"{line[:100]!r} is no mount entry: it must have at least three fields")
    options = fields[3] if len(fields) > 3 else "defaults"
    return Mounted(fields[0], folder(fields[1]), fields[2], tuple(options.split(",")), line[:500], where)


def plain(field: str) -> str:
    """Undo the escapes of getmntent(3): `/mnt/my\\040share` -> `/mnt/my share`."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field)


def escaped(field: str) -> str:
    """The escapes of getmntent(3): `/mnt/my share` -> `/mnt/my\\040share`."""
    return re.sub(r"[ \t\n\r\\#]", lambda match: f"\\{ord(match[0]):03o}", field)


def fstab_line(source: str, at: str, fstype: str, options: str) -> str:
    """`hostshare /mnt/share 9p trans=virtio,cache=loose 0 0`."""
    return " ".join((*map(escaped, (source, at, fstype, options)), "0", "0"))


def folder(path: str) -> str:
    """A directory without slashes at its end: `/mnt/share/` -> `/mnt/share`."""
    return path.rstrip("/") or "/"


def mounted(snapshot: Snapshot, directory: str) -> Mounted | None:
    """What is mounted at a directory now: the last, which hides those before it. None: nothing."""
    return _last(table(snapshot.read(MOUNTS).decode("utf-8", "backslashreplace"), str(MOUNTS)), directory)


def next_boot(snapshot: Snapshot, directory: str) -> Mounted | None:
    """What the next boot mounts at a directory, or None. A mount unit in /etc goes before fstab (systemd.mount(5))."""
    return _last(_units(snapshot), directory) or _last(fstab(snapshot), directory)


def _last(mounts: Iterable[Mounted], directory: str) -> Mounted | None:
    return next((one for one in reversed(tuple(mounts)) if one.at == folder(directory)), None)


def fstab(snapshot: Snapshot) -> tuple[Mounted, ...]:
    """What /etc/fstab has the next boot mount, and swap to; without the file nothing. Raises CannotLook."""
    written = snapshot.maybe(FSTAB) or b""
    return tuple(one for one in table(written.decode("utf-8", "backslashreplace"), str(FSTAB)) if _at_boot(one))


def _at_boot(entry: Mounted) -> bool:
    return "noauto" not in entry.options or _ON_DEMAND in entry.options


def _units(snapshot: Snapshot) -> tuple[Mounted, ...]:
    if snapshot.maybe_stat(SYSTEMD) is None:
        return ()
    files: Files = snapshot.read(UNITS)
    units = (unit(text_of(path, found), path) for path, found in sorted(files.items()))
    return tuple(one for one in units if one)


def unit(text: str, where: str) -> Mounted | None:
    """A systemd mount unit; None when it has no `What=` and `Where=` (a masked unit is empty).

    `[Mount]\\nWhat=hostshare\\nWhere=/mnt/share\\nType=9p\\nOptions=trans=virtio,cache=loose`
    """
    keys = _section(text, "[Mount]")
    if not (keys.get("What") and keys.get("Where")):
        return None
    options = tuple(keys.get("Options", "defaults").split(","))
    return Mounted(keys["What"], folder(keys["Where"]), keys.get("Type", "auto"), options, str(keys)[:500], where)


def _section(text: str, name: str) -> dict[str, str]:
    """The keys of one section; later assignments win (systemd.syntax(7))."""
    inside, keys = False, {}
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            inside = line == name
        elif inside and "=" in line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            keys[key.strip()] = value.strip()
    return keys
