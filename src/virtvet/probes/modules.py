"""Kernel modules: what is loaded, what is loaded at boot, what modprobe.d keeps out, and parameters.

    /sys/module/vfio_pci/initstate             live
    /etc/modules-load.d/vfio.conf              vfio_pci
    /etc/modprobe.d/kvm.conf                   options kvm_amd nested=1
                                               blacklist pcspkr
                                               install cramfs /bin/false

modprobe.d(5), modules-load.d(5); libkmod/libkmod-config.c and libkmod-module.c. /etc/modules counts where a link in
modules-load.d leads to it, as Debian has it. Words of the kernel's command line come last (`kvm_amd.nested=1`,
`modprobe.blacklist=pcspkr`, `modules_load=vfio_pci`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import dropins, kernel_cmdline
from virtvet.probes.kernel_cmdline import plain
from virtvet.probes.settings import NOT_SET, comparable
from virtvet.snapshot.model import Absent, Snapshot
from virtvet.snapshot.sources import Command, File, Source, Stat

LOADED, BUILT_IN, NOT_LOADED = "loaded", "built in", "not loaded"
AT_BOOT, NOT_AT_BOOT = "loaded at boot", "not loaded at boot"
BLOCKED, FREE, NOT_INSTALLED = "blocked", "not blocked", "not installed"
CONFIG_SOURCES: tuple[Source, ...] = (
    *dropins.sources("modprobe.d"),
    *dropins.sources("modules-load.d"),
    *kernel_cmdline.SOURCES,
)
_DOES_NOTHING = ("/bin/false", "/bin/true", "/usr/bin/false", "/usr/bin/true", "/sbin/nologin", "false", "true", ":")
"""What `install` lines run instead of loading a module."""


def init_state(module: str) -> File:
    """Of a module that is no part of the kernel itself: `live`, `coming` or `going` (kernel/module/sysfs.c)."""
    return File(f"/sys/module/{plain(module)}/initstate")


def directory(module: str) -> Stat:
    """Also of what is built in, where it has a parameter or a version."""
    return Stat(f"/sys/module/{plain(module)}")


def installed_file(module: str) -> Command:
    """Says the module's file for the kernel that runs, or that it is built in, each word ended by NUL.

    `filename:       /lib/modules/6.1.0-30-amd64/…/vfio-pci.ko`, `license=GPL v2`, …, `name=vfio_pci`, …,
    `name:           ipv6`, `filename:       (builtin)`, `alias=net-pf-10`, …
    """
    return Command(("modinfo", "-0"), (plain(module),))


def sources(module: str) -> tuple[Source, ...]:
    """What tells of one module."""
    return (init_state(module), directory(module), installed_file(module))


# --- loaded


def actual(snapshot: Snapshot, module: str) -> Reading:
    """LOADED, BUILT_IN or NOT_LOADED; or `coming`, `going`."""
    state = snapshot.maybe(init_state(module))
    if state is not None:
        word = state.decode("ascii", "backslashreplace").strip()
        return Reading(LOADED if word == "live" else word[:40], str(init_state(module)), word[:40])
    if snapshot.maybe_stat(directory(module)) is not None:
        return Reading(BUILT_IN, directory(module).path)
    built_in = _installed(snapshot, module) == "(builtin)"
    return Reading(BUILT_IN if built_in else NOT_LOADED, f"/sys/module and {installed_file(module)}")


def _installed(snapshot: Snapshot, module: str) -> str | None:
    """The module's file, "(builtin)", or None where the running kernel has no such module. Raises CannotLook."""
    command = installed_file(module)
    if snapshot.answer(command) == Absent():
        raise CannotLook(command, "there is no modinfo")
    done = snapshot.read(command)
    said, complaint = (stream.decode("utf-8", "backslashreplace") for stream in (done.stdout, done.stderr))
    if (file := _files(said).get(plain(module))) is not None:
        return file
    if f" {plain(module)} not found" in complaint:
        return None
    raise CannotLook(command, complaint.strip()[:200] or "says nothing of it: a module by another name?")


def _files(said: str) -> dict[str, str]:
    """The file, or "(builtin)", by the module's own name: that of what is built in stands right before."""
    words = said.split("\0")
    found = {}
    for before, word in pairwise(("", *words)):
        file = word.removeprefix("filename:").strip()
        if word.startswith("filename:"):
            name = before.removeprefix("name:").strip() if file == "(builtin)" else file.rpartition("/")[2]
            found[plain(name.partition(".")[0])] = file
    return found


# --- what the next boot does


@dataclass(frozen=True, slots=True)
class Said:
    """One line of modprobe.d, or word of the kernel's command line, about a module."""

    verb: str
    rest: str
    at: str
    text: str


def _about(snapshot: Snapshot, module: str) -> Iterator[Said]:
    """Everything that modprobe heeds for one module, in the order in which it does."""
    for path, text in dropins.texts(snapshot, "modprobe.d"):
        for number, line in dropins.lines(text, comments="#", wrapped=True):
            verb, name, rest = (*line.split(None, 2), "", "")[:3]
            if _names(verb, name, module):
                yield Said(verb, rest, f"{path}:{number}", line[:200])
    yield from _of_command_line(snapshot, module)


def _names(verb: str, pattern: str, module: str) -> bool:
    """`install usb-* /bin/false` names usb_storage; only install and remove take patterns."""
    if verb == "install":
        return fnmatchcase(plain(module), plain(pattern))
    return plain(pattern) == plain(module)


def _of_command_line(snapshot: Snapshot, module: str) -> Iterator[Said]:
    line = kernel_cmdline.next_boot(snapshot)
    for word in line.words:
        names = [plain(one) for one in (word.value or "").split(",")]
        if word.key in ("modprobe.blacklist", "module_blacklist") and plain(module) in names:
            yield Said("blacklist", "", line.source, str(word))
        elif word.key.startswith(f"{plain(module)}."):
            yield Said("options", str(word).partition(".")[2], line.source, str(word))


def blocking(snapshot: Snapshot, module: str) -> Reading:
    """BLOCKED, with the line that says so, FREE or NOT_INSTALLED."""
    if (installed := _installed(snapshot, module)) is None:
        return Reading(NOT_INSTALLED, str(installed_file(module)))
    if installed != "(builtin)" and (block := _block(snapshot, module)) is not None:
        return Reading(BLOCKED, block.at, block.text)
    return Reading(FREE, "modprobe.d", installed[:200])


def _block(snapshot: Snapshot, module: str) -> Said | None:
    """What keeps udev and modules-load.d from loading it."""
    return next((said for said in _about(snapshot, module) if said.verb == "blacklist" or _is_void(said)), None)


def _is_void(said: Said) -> bool:
    return said.verb == "install" and any(word in _DOES_NOTHING for word in said.rest.split()[:1])


def at_boot(snapshot: Snapshot, module: str) -> Reading:
    """AT_BOOT, BUILT_IN, NOT_AT_BOOT; or BLOCKED or NOT_INSTALLED, whatever modules-load.d says."""
    held = blocking(snapshot, module)
    if held.value != FREE:
        return held
    if held.excerpt == "(builtin)":
        return Reading(BUILT_IN, str(installed_file(module)))
    return _loading(snapshot, module) or Reading(NOT_AT_BOOT, "modules-load.d")


def _loading(snapshot: Snapshot, module: str) -> Reading | None:
    for path, text in dropins.texts(snapshot, "modules-load.d"):
        for number, line in dropins.lines(text):
            if plain(line.split()[0]) == plain(module):
                return Reading(AT_BOOT, f"{path}:{number}", line[:200])
    command_line = kernel_cmdline.next_boot(snapshot)
    for word in command_line.words:
        if word.key in ("modules_load", "rd.modules_load") and plain(module) in map(
            plain, (word.value or "").split(",")
        ):
            return Reading(AT_BOOT, command_line.source, str(word))
    return None


# --- parameters


def parameter_file(module: str, parameter: str) -> File:
    """`/sys/module/kvm_amd/parameters/nested`: `1` or `Y`."""
    return File(f"/sys/module/{plain(module)}/parameters/{plain(parameter)}")


def parameter_actual(snapshot: Snapshot, module: str, parameter: str, _persistent: bool) -> Reading:
    """Its value as text, yes and no as "1" and "0"; or NOT_LOADED. NotApplicable where the kernel does not show it."""
    source = parameter_file(module, parameter)
    if (found := snapshot.maybe(source)) is not None:
        text = found.decode("utf-8", "backslashreplace")
        return Reading(comparable(text), str(source), text.strip()[:200])
    if snapshot.maybe_stat(directory(module)) is None:
        return Reading(NOT_LOADED, directory(module).path)
    raise NotApplicable(f"{source} does not exist: the kernel does not show this parameter")


def parameter_config(snapshot: Snapshot, module: str, parameter: str, persistent: bool) -> Reading:
    """What sets it when the module is loaded. Where nothing does: NOT_SET if it must be persistent, else NotApplicable
    is raised."""
    if (reading := _option(snapshot, module, parameter)) is not None:
        return reading
    if not persistent:
        raise NotApplicable("no file sets it: the module's own default counts")
    return Reading(NOT_SET, "modprobe.d")


def _option(snapshot: Snapshot, module: str, parameter: str) -> Reading | None:
    """The last of all: modprobe gives the module its options in this order. What is built in heeds only the command
    line."""
    said = _of_command_line if actual(snapshot, module).value == BUILT_IN else _about
    found = [
        Reading(comparable("1" if word.value is None else word.value), one.at, one.text)
        for one in said(snapshot, module)
        if one.verb == "options"
        for word in kernel_cmdline.words(one.rest)
        if word.key == plain(parameter)
    ]
    return found[-1] if found else None


# --- nested virtualization

NESTED = ("kvm_intel", "kvm_amd", "kvm_hv", "kvm")
"""Modules with a parameter `nested`: of x86, of POWER, of s390x."""
NESTED_SOURCES: tuple[Source, ...] = (
    *(parameter_file(module, "nested") for module in NESTED),
    *(source for module in NESTED for source in (init_state(module), directory(module))),
    *CONFIG_SOURCES,
)


def nested_actual(snapshot: Snapshot) -> Reading:
    """Whether the module of KVM that is loaded lets guests run guests; False where none is."""
    if (module := _nesting(snapshot)) is None:
        return Reading(False, "/sys/module", f"none of {', '.join(NESTED)} shows a parameter nested")
    found = parameter_actual(snapshot, module, "nested", True)
    return Reading(found.value == "1", found.source, found.excerpt)


def nested_config(snapshot: Snapshot) -> Reading:
    """What a file says; NotApplicable where none does."""
    if (module := _nesting(snapshot)) is None:
        raise NotApplicable(f"none of {', '.join(NESTED)} is loaded")
    found = parameter_config(snapshot, module, "nested", False)
    return Reading(found.value == "1", found.source, found.excerpt)


def _nesting(snapshot: Snapshot) -> str | None:
    return next((one for one in NESTED if snapshot.maybe(parameter_file(one, "nested")) is not None), None)
