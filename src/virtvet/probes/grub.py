"""GRUB: which entry of grub.cfg starts when nobody touches the keyboard, and what /etc/default/grub makes of it.

    set default="${saved_entry}"
    menuentry 'Debian GNU/Linux' --class os $menuentry_id_option 'gnulinux-simple-…' {
        linux /boot/vmlinuz-6.1.0-30-amd64 root=UUID=… ro intel_iommu=on
    }

grub-core/normal/menu.c, grub-core/commands/legacycfg.c, util/grub-mkconfig.in; `blscfg` is Red Hat's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from virtvet.errors import CannotLook
from virtvet.probes.grub_script import expanded, script
from virtvet.snapshot.model import Snapshot, text_of
from virtvet.snapshot.sources import File, Glob, Source

FOLDERS = ("/boot/grub", "/boot/grub2")
CONFIGS = tuple(File(f"{folder}/grub.cfg") for folder in FOLDERS)
ENVIRONMENTS = tuple(File(f"{folder}/grubenv") for folder in FOLDERS)
DEFAULTS = File("/etc/default/grub")
MORE_DEFAULTS = Glob("/etc/default/grub.d/*.cfg")
SOURCES: tuple[Source, ...] = (*CONFIGS, *ENVIRONMENTS, DEFAULTS, MORE_DEFAULTS)

HARMLESS = frozenset({"vt_handoff"})
"""Ubuntu's, which says nothing but on which console boot messages go on."""

_LINUX = ("linux", "linux16", "linuxefi")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.ASCII | re.DOTALL)
_SETS_OTHERWISE = re.compile(r"GRUB_CMDLINE_LINUX(?:_DEFAULT)?\+?=")
_COMMAND_LINES = ("GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT")


@dataclass(slots=True)
class Item:
    """One line of a menu: an entry with the words of its `linux` command, or a submenu."""

    title: str
    name: str
    linux: tuple[str, ...] = ()
    at: str = ""
    below: list[Item] = field(default_factory=list)


@dataclass(slots=True)
class Menu:
    """What grub.cfg says that matters for which entry starts, and grubenv."""

    path: str
    environment: Mapping[str, str]
    items: list[Item] = field(default_factory=list)
    variables: dict[str, list[str]] = field(default_factory=dict)
    default: str = ""
    once: bool = False
    """It heeds grubenv's next_entry."""
    blscfg: bool = False
    """It shows the entries of loader/entries."""

    def expanded(self, word: str) -> str:
        """A word with its variables' values. Raises CannotLook where one is not known."""
        return expanded(word, self._value)

    def _value(self, name: str) -> str:
        """grubenv's, else the one that the script sets."""
        if self.environment.get(name):
            return self.environment[name]
        values = list(dict.fromkeys(self.variables.get(name, [""])))
        if name in HARMLESS:
            return ""
        if len(values) > 1:
            raise CannotLook(self.path, f"what ${name} is depends on what GRUB finds: {', '.join(values)[:100]}")
        return values[0]

    def chosen(self, others: Sequence[Item] = ()) -> Item:
        """The entry that starts, `others` (of loader/entries) first. Raises CannotLook."""
        once = self.environment.get("next_entry", "") if self.once else ""
        return _chosen([*others, *self.items], once or self.expanded(self.default), self.path)


def menu(snapshot: Snapshot) -> Menu | None:
    """grub.cfg and grubenv; None where there is no grub.cfg. Raises CannotLook where it cannot be followed."""
    for config, environment in zip(CONFIGS, ENVIRONMENTS, strict=True):
        if (text := snapshot.maybe(config)) is not None:
            return parse(_text(text), str(config), _environment(_text(snapshot.maybe(environment) or b"")))
    return None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _environment(text: str) -> dict[str, str]:
    """`saved_entry=0` a line, filled up with `#` to 1024 bytes (grub-core/lib/envblk.c)."""
    matches = (_ASSIGNMENT.fullmatch(line) for line in text.splitlines() if not line.startswith("#"))
    return {match[1]: re.sub(r"\\(.)", r"\1", match[2]) for match in matches if match}


def parse(text: str, path: str, environment: Mapping[str, str]) -> Menu:
    """Follow the script without running it: what stands in an `if` counts as if its condition held, save for a second
    `set default`."""
    made = Menu(path, environment)
    blocks: list[Item | None] = []
    conditions = 0
    for command in script(text, path):
        verb, *rest = command.words
        conditions += (verb == "if") - (verb == "fi")
        if verb == "}":
            _close(blocks, f"{path}:{command.line}")
        elif rest[-1:] == ["{"]:
            blocks.append(_opened(made, blocks, verb, rest))
        elif verb in _LINUX and blocks and (item := blocks[-1]) is not None and not item.linux:
            item.linux, item.at = tuple(rest), f"{path}:{command.line}"
        elif match := _ASSIGNMENT.fullmatch(rest[0] if verb == "set" and rest else verb):
            _set(made, match[1], match[2], conditional=conditions > 0)
        made.blscfg |= verb == "blscfg"
    return made


def _close(blocks: list[Item | None], at: str) -> None:
    if not blocks:
        raise CannotLook(at, "a block ends that never began")
    blocks.pop()


def _opened(made: Menu, blocks: Sequence[Item | None], verb: str, words: Sequence[str]) -> Item | None:
    """The menu's item that a block is; None of a function's block."""
    if verb not in ("menuentry", "submenu"):
        return None
    above = next((one for one in reversed(blocks) if one is not None), None)
    item = Item(words[0], _name(words))
    (above.below if above else made.items).append(item)
    return item


def _name(words: Sequence[str]) -> str:
    """`menuentry 'Debian' --class os $menuentry_id_option 'gnulinux-1' {` -> "gnulinux-1"."""
    for option, value in pairwise(words):
        if option in ("$menuentry_id_option", "${menuentry_id_option}", "--id"):
            return value
        if option.startswith("--id="):
            return option.removeprefix("--id=")
    return ""


def _set(made: Menu, name: str, value: str, conditional: bool) -> None:
    if name != "default":
        made.variables.setdefault(name, []).append(value)
    elif "next_entry" in value:
        made.once = True
    elif not made.default or not conditional:
        made.default = value


def _chosen(items: Sequence[Item], default: str, path: str) -> Item:
    """What `default` names: `0`, `1>2`, a title, an id, each also below a submenu; the first where nothing has that
    name (get_entry_number in grub-core/normal/menu.c)."""
    if not items:
        raise CannotLook(path, "has no menu entry")
    first, *rest = re.split(r"(?<!>)>(?!>)", default)
    named = first.replace(">>", ">")
    item = next((one for at, one in enumerate(items) if named and named in (str(at), one.title, one.name)), items[0])
    return _chosen(item.below, ">".join(rest), path) if item.below else item


# --- /etc/default/grub


def template(snapshot: Snapshot, made: Menu) -> tuple[str, str] | None:
    """GRUB_CMDLINE_LINUX and GRUB_CMDLINE_LINUX_DEFAULT together, and the files that set them; None without the file.

    As grub-mkconfig(8) sources them, one file after another. What GRUB itself is to expand (`\\$tuned_params`) has the
    value it has in grub.cfg.
    """
    if (text := snapshot.maybe(DEFAULTS)) is None:
        return None
    more = snapshot.read(MORE_DEFAULTS)
    files = {str(DEFAULTS): _text(text)} | {path: text_of(path, more[path]) for path in sorted(more)}
    values: dict[str, str] = {}
    places = [path for path, content in files.items() if _source(content, path, values)]
    options = " ".join(values[name] for name in _COMMAND_LINES if name in values)
    return made.expanded(options), " and ".join(places) or str(DEFAULTS)


def _source(text: str, path: str, values: dict[str, str]) -> bool:
    """Take one file's assignments; whether there is any. Raises CannotLook where one is no plain assignment (`+=`)."""
    found = False
    for command in script(text, path):
        at = f"{path}:{command.line}"
        if (match := _ASSIGNMENT.fullmatch(command.words[0])) and match[1] in _COMMAND_LINES:
            values[match[1]] = _assigned(match[2], values, at)
            found = True
        elif any(map(_SETS_OTHERWISE.match, command.words)):
            raise CannotLook(at, "sets the kernel's command line by more than an assignment")
    return found


def _assigned(value: str, values: Mapping[str, str], at: str) -> str:
    if "`" in value or "$(" in value:
        raise CannotLook(at, "the kernel's command line is what a command prints")
    return expanded(value, lambda name: values.get(name, ""))
