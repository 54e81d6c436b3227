"""The kernel's command line: what it was started with, and what the next boot will give it.

    BOOT_IMAGE=/boot/vmlinuz-6.1.0-30-amd64 root=UUID=… ro intel_iommu=on,sm_on iommu=pt dyndbg="file a.c +p"

Read as the kernel reads it (next_arg in lib/cmdline.c, parameq in kernel/params.c): words end at blanks outside double
quotes, `-` and `_` are one in names, and what follows `--` is init's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from virtvet.check import Reading
from virtvet.errors import NotApplicable
from virtvet.probes import boot_loader
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import File, Source

RUNNING = File("/proc/cmdline")
CONFIG_SOURCES: tuple[Source, ...] = boot_loader.SOURCES
SOURCES: tuple[Source, ...] = (RUNNING, *CONFIG_SOURCES)

ADDS_UP = frozenset(
    {"intel_iommu", "amd_iommu", "iommu", "intremap", "pci", "console", "earlycon", "hugepages", "hugepagesz", "memmap"}
    | {"initcall_blacklist", "modprobe.blacklist", "systemd.mask", "systemd.wants"}
)
"""Parameters of which every occurrence counts, and each part between commas by itself; of others the last counts.
(drivers/iommu/intel/iommu.c: intel_iommu_setup; arch/x86/kernel/pci-dma.c: iommu_setup; libkmod-config.c …)"""
FIRST_COUNTS = frozenset({"isolcpus", "nohz_full"})
"""A second one with other CPUs is ignored (housekeeping_setup in kernel/sched/isolation.c)."""
OPPOSITES = (("on", "off"), ("pt", "nopt"), ("sm_on", "sm_off"), ("force", "noforce"), ("merge", "nomerge"))
"""Parts of which the later one undoes the earlier."""

_WORD = re.compile(r'(?:[^\s"]|"[^"]*(?:"|\Z))++')


@dataclass(frozen=True, slots=True)
class Word:
    """One parameter. `key` has `_` for `-`; `value` is None where there is no `=`."""

    key: str
    value: str | None

    def __str__(self) -> str:
        return self.key if self.value is None else f"{self.key}={self.value}"


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The words for the kernel in their order, and where they were read."""

    words: tuple[Word, ...]
    source: str
    text: str

    def values(self, key: str) -> tuple[str, ...]:
        """What is in effect of a parameter, "" for one without a value; empty where it is not there.

        `rcu_nocbs=1 rcu_nocbs=2-3` -> ("2-3",); `isolcpus=1 isolcpus=2-3` -> ("1",);
        `intel_iommu=off intel_iommu=on,sm_on` -> ("on", "sm_on").
        """
        found = [word.value or "" for word in self.words if word.key == plain(key)]
        if plain(key) in ADDS_UP:
            return tuple(_together(found))
        return tuple(found[:1] if plain(key) in FIRST_COUNTS else found[-1:])

    def has(self, word: Word) -> bool:
        """The parameter is there, with this value if the word has one."""
        values = self.values(word.key)
        if word.value is None:
            return bool(values)
        return word.value in values or (word.key in ADDS_UP and set(word.value.split(",")) <= set(values))

    def shown(self, key: str) -> str:
        """A parameter as it stands there: "isolcpus=1 isolcpus=2-3", or "" where it does not."""
        return " ".join(str(word) for word in self.words if word.key == plain(key))


def _together(values: Iterable[str]) -> list[str]:
    parts: dict[str, None] = {}
    for part in (part for value in values for part in value.split(",")):
        for undone in (part, *(one for pair in OPPOSITES if part in pair for one in pair)):
            parts.pop(undone, None)
        parts[part] = None
    return list(parts)


def plain(name: str) -> str:
    """How parameters and modules are compared: `vfio-pci` and `vfio_pci` are one."""
    return name.replace("-", "_")


def words(text: str) -> tuple[Word, ...]:
    """`quiet a-b="x y" "c=d e" -- init` -> quiet, a_b=x y, c=d e."""
    return tuple(_words(text))


def _words(text: str) -> Iterator[Word]:
    for match in _WORD.finditer(text):
        if match[0] == "--":
            return
        yield word(match[0])


def word(text: str) -> Word:
    """One word. `a-b="x y"` -> Word("a_b", "x y")."""
    key, equals, value = _unquoted(text).partition("=")
    return Word(plain(key), _unquoted(value) if equals else None)


def _unquoted(text: str) -> str:
    return text[1:].removesuffix('"') if text.startswith('"') else text


def running(snapshot: Snapshot) -> CommandLine:
    """What this kernel was started with. Raises CannotLook."""
    text = snapshot.read(RUNNING).decode("utf-8", "backslashreplace").strip()
    return CommandLine(words(text), str(RUNNING), text)


def configured(snapshot: Snapshot) -> CommandLine:
    """What the boot loader gives the next kernel. Raises NotApplicable where there is no boot loader, CannotLook."""
    entry = boot_loader.default_entry(snapshot)
    return CommandLine(words(entry.options), entry.source, entry.options)


def next_boot(snapshot: Snapshot) -> CommandLine:
    """As `configured`; where there is no boot loader whatever starts the machine gives it what it gave it now."""
    try:
        return configured(snapshot)
    except NotApplicable:
        return running(snapshot)


def generated(snapshot: Snapshot) -> CommandLine | None:
    """What the boot loader's entries are made of whenever a kernel is installed; None where no file says so.

    Without root= and the like, which are added then.
    """
    options = boot_loader.template(snapshot)
    return None if options is None else CommandLine(words(options.options), options.source, options.options)


# --- probes


def config(snapshot: Snapshot, stated: str) -> Iterator[Reading]:
    """The stated word where it is in effect, else what is there instead: at the next boot, and once the boot loader's
    entries are made anew."""
    yield _present(configured(snapshot), word(stated), stated)
    if (later := generated(snapshot)) is not None:
        yield _present(later, word(stated), stated)


def actual(snapshot: Snapshot, stated: str) -> Reading:
    """As `config`, of the kernel that runs."""
    return _present(running(snapshot), word(stated), stated)


def _present(line: CommandLine, wanted: Word, stated: str) -> Reading:
    instead = line.shown(wanted.key) or f"no {wanted.key}"
    return Reading(stated if line.has(wanted) else instead, line.source, line.text[:400])


def config_absent(snapshot: Snapshot, stated: str) -> Iterator[Reading]:
    """`no WORD` where the stated word is not in effect, else what is there: at the next boot, and once the boot
    loader's entries are made anew."""
    yield _absent(configured(snapshot), word(stated), stated)
    if (later := generated(snapshot)) is not None:
        yield _absent(later, word(stated), stated)


def actual_absent(snapshot: Snapshot, stated: str) -> Reading:
    """As `config_absent`, of the kernel that runs."""
    return _absent(running(snapshot), word(stated), stated)


def _absent(line: CommandLine, unwanted: Word, stated: str) -> Reading:
    found = line.shown(unwanted.key) if _any_part(line, unwanted) else f"no {stated}"
    return Reading(found, line.source, line.text[:400])


def _any_part(line: CommandLine, unwanted: Word) -> bool:
    """`mitigations=auto,nosmt` has `mitigations=nosmt`, too."""
    return line.has(unwanted) or any(unwanted.value in value.split(",") for value in line.values(unwanted.key))
