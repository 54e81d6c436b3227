"""Entries of the boot loader specification: `loader/entries/*.conf`, for systemd-boot and for GRUB with `blscfg`.

    title Fedora Linux 40
    version 6.8.5-301.fc40.x86_64
    linux /vmlinuz-6.8.5-301.fc40.x86_64
    options root=UUID=… ro intel_iommu=on $tuned_params

https://uapi-group.org/specifications/specs/boot_loader_specification/, loader.conf(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from virtvet.snapshot.model import Snapshot, text_of
from virtvet.snapshot.sources import File, Glob, Source

FOLDERS = ("/efi/loader", "/boot/loader", "/boot/efi/loader")
CONFIGS = tuple(File(f"{folder}/loader.conf") for folder in FOLDERS)
ENTRIES = tuple(Glob(f"{folder}/entries/*.conf") for folder in FOLDERS)
_VENDOR = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
EFI_CHOICES = tuple(
    File(f"/sys/firmware/efi/efivars/{name}-{_VENDOR}") for name in ("LoaderEntryOneShot", "LoaderEntryDefault")
)
"""What systemd-boot was told to start once, and always: four bytes of attributes, then UTF-16."""
SOURCES: tuple[Source, ...] = (*CONFIGS, *ENTRIES, *EFI_CHOICES)


@dataclass(frozen=True, slots=True)
class BootEntry:
    """One entry. `name` is its file's without `.conf` and the count of its tries."""

    name: str
    title: str
    kernel: str
    options: str
    version: tuple[object, ...]
    path: str


def found(snapshot: Snapshot) -> list[BootEntry]:
    """The entries of the first folder that has any: first what systemd-boot was told to start, then the newest."""
    for files, config in zip(ENTRIES, CONFIGS, strict=True):
        if texts := snapshot.read(files):
            entries = [parse(path, text_of(path, content)) for path, content in texts.items()]
            newest = sorted((one for one in entries if one.kernel), key=lambda one: one.version, reverse=True)
            return _preferred(newest, _preferences(snapshot, config))
    return []


def parse(path: str, text: str) -> BootEntry:
    """One file: a key and its value a line; `options` may stand there more than once."""
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    fields: dict[str, list[str]] = {}
    for key, *value in lines:
        fields.setdefault(key, []).extend(one.strip() for one in value)
    first = {key: values[0] for key, values in fields.items() if values}
    name = re.sub(r"\+\d+(-\d+)?$", "", PurePosixPath(path).stem)
    version = natural(first.get("version") or name)
    return BootEntry(
        name, first.get("title", ""), first.get("linux", ""), " ".join(fields.get("options", [])), version, path
    )


def natural(text: str) -> tuple[object, ...]:
    """Orders names with numbers by their size: 6.1.0-9 is before 6.1.0-30, which is before 6.1.0-30-amd64."""
    parts = re.findall(r"\d{1,18}|[a-z]+", text.lower(), re.ASCII)
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts)


def _preferences(snapshot: Snapshot, config: File) -> Iterator[str]:
    for variable in EFI_CHOICES:
        if (told := snapshot.maybe(variable)) is not None:
            yield (told[4:] + b"\0").decode("utf-16-le", "replace").rstrip("\0")  # the last NUL is not kept
    for line in (snapshot.maybe(config) or b"").decode("utf-8", "backslashreplace").splitlines():
        if (words := line.split(None, 1))[:1] == ["default"] and len(words) > 1:
            yield words[1].strip()


def _preferred(entries: Sequence[BootEntry], patterns: Iterator[str]) -> list[BootEntry]:
    """What the first pattern names that names any goes to the front."""
    for pattern in patterns:
        for one in entries:
            names = (one.name.lower(), f"{one.name}.conf".lower())
            if any(fnmatchcase(name, pattern.lower()) for name in names):
                return [one, *(other for other in entries if other is not one)]
    return list(entries)
