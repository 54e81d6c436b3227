"""What the boot loader starts when nobody touches the keyboard: the kernel and its command line.

GRUB with menu entries of its own (Debian, Ubuntu, SUSE), GRUB with `blscfg` (Fedora, Red Hat), systemd-boot, and
unified kernel images, which are built with /etc/kernel/cmdline (kernel-install(8)).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import boot_entries, grub
from virtvet.probes.boot_entries import BootEntry
from virtvet.probes.grub import Item, Menu
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import File, Source

TUNED = "$tuned_params"
KERNEL_CMDLINE = File("/etc/kernel/cmdline")
SOURCES: tuple[Source, ...] = (*grub.SOURCES, *boot_entries.SOURCES, KERNEL_CMDLINE)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is started. `kernel`: its file as the boot loader names it, "" where none does."""

    kernel: str
    options: str
    source: str


def default_entry(snapshot: Snapshot) -> Entry:
    """What starts at the next boot. Raises NotApplicable where there is no boot loader, CannotLook where what there is
    cannot be followed."""
    if (menu := grub.menu(snapshot)) is not None:
        return _by_grub(menu, boot_entries.found(snapshot) if menu.blscfg else [])
    if entries := boot_entries.found(snapshot):
        return _by_itself(entries[0])
    if (unified := _kernel_cmdline(snapshot)) is not None:
        return unified
    raise NotApplicable("no boot loader is set up here: neither grub.cfg nor loader/entries nor /etc/kernel/cmdline")


def _by_itself(entry: BootEntry) -> Entry:
    """As systemd-boot reads it, which knows no variables: what has any is GRUB's, whose grub.cfg is in some other
    place (Red Hat Enterprise Linux 8 with UEFI: /boot/efi/EFI/redhat)."""
    if "$" in entry.options:
        raise CannotLook(entry.path, "has variables of GRUB's, and there is no grub.cfg where we look")
    return Entry(entry.kernel, entry.options, entry.path)


def _by_grub(menu: Menu, entries: list[BootEntry]) -> Entry:
    chosen = menu.chosen([Item(one.title, one.name) for one in entries])
    for one in entries:
        if (one.title, one.name) == (chosen.title, chosen.name):
            return Entry(one.kernel, menu.expanded(one.options), one.path)
    if not chosen.linux:
        raise CannotLook(menu.path, f"the default entry {chosen.title[:80]!r} starts no Linux by itself")
    kernel, *options = chosen.linux
    return Entry(menu.expanded(kernel), " ".join(_passed_on(menu, word) for word in options), chosen.at)


def _passed_on(menu: Menu, word: str) -> str:
    """A word with blanks goes to the kernel in double quotes (grub-core/lib/cmdline.c)."""
    passed = menu.expanded(word)
    return f'"{passed}"' if " " in word else passed


def _kernel_cmdline(snapshot: Snapshot) -> Entry | None:
    found = snapshot.maybe(KERNEL_CMDLINE)
    if found is None:
        return None
    return Entry("", " ".join(found.decode("utf-8", "backslashreplace").split()), str(KERNEL_CMDLINE))


def template(snapshot: Snapshot) -> Entry | None:
    """What entries are made of when a kernel is installed: /etc/default/grub or, for loader/entries,
    /etc/kernel/cmdline. None where there is none."""
    if (menu := grub.menu(snapshot)) is not None and not menu.blscfg:
        found = grub.template(snapshot, menu)
        return Entry("", *found) if found else None
    entries, made = boot_entries.found(snapshot), _kernel_cmdline(snapshot)
    if not entries or made is None:
        return None
    return made if menu is None else replace(made, options=menu.expanded(made.options + _tuned(entries)))


def _tuned(entries: list[BootEntry]) -> str:
    """Where tuned is, each new entry gets its variable, as those got it that are there (tuned's 92-tuned.install)."""
    return f" {TUNED}" if any(TUNED in one.options for one in entries) else ""
