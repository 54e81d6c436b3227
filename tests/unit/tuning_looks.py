"""Looks at a host as a whole, made of what its files say. The texts are constructed after Debian 12's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.recorded_text import TAKEN
from virtvet.probes import dropins, grub, kernel_cmdline
from virtvet.snapshot.model import Absent, Answer, Completed, Content, Snapshot
from virtvet.snapshot.sources import Command, Glob, Source

Said = Mapping[Source, "str | Answer"]


def answered(said: str | Answer, source: Source) -> Answer:
    if not isinstance(said, str):
        return said
    return Completed(0, said.encode(), b"") if isinstance(source, Command) else Content(said.encode())


def nothing(sources: Iterable[Source]) -> dict[Source, Answer]:
    """No such files, none that matches, no such commands."""
    return {one: {} if isinstance(one, Glob) else Absent() for one in sources}


def boot(cmdline: str, defaults: str | None = None) -> dict[Source, str | Answer]:
    """GRUB gives the kernel this; `defaults`: what its entries are made of, where that is told."""
    menu = f"menuentry 'Debian' --class os {{\n\tlinux\t/boot/vmlinuz-6.1.0-30-amd64 root=/dev/vda3 {cmdline}\n}}\n"
    said: dict[Source, str | Answer] = {**nothing(kernel_cmdline.CONFIG_SOURCES), grub.CONFIGS[0]: menu}
    return said | ({grub.DEFAULTS: f'GRUB_CMDLINE_LINUX="{defaults}"\n'} if defaults is not None else {})


def dropin(name: str, text: str | None = None) -> dict[Source, str | Answer]:
    """One file in a `NAME.d` directory of /etc; or none."""
    sources = dropins.sources(name)
    files = {f"/etc/{name}/a.conf": Content(text.encode())} if text is not None else {}
    return {**nothing(sources), sources[0]: files, dropins.HIDING: ""}


def look(*said: Said) -> Snapshot:
    """What is said last counts."""
    answers = {source: one for part in said for source, one in part.items()}
    return Snapshot("hv1", TAKEN, {source: answered(one, source) for source, one in answers.items()})
