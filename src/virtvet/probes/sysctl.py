"""Sysctls: what the kernel has, and what the next boot sets.

    /proc/sys/vm/swappiness                    10
    /etc/sysctl.d/50-hypervisor.conf           vm.swappiness = 10

systemd-sysctl reads sysctl.d (src/sysctl/sysctl.c), the last of several lines counts, and a line that names the sysctl
wins over one with a pattern. /etc/sysctl.conf counts where a link in sysctl.d leads to it, as Debian and Fedora have
it. Before all that the kernel sets what its command line says (`sysctl.vm.swappiness=10`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from virtvet.check import Reading
from virtvet.errors import NotApplicable
from virtvet.probes import dropins, kernel_cmdline
from virtvet.probes.settings import NOT_SET, comparable
from virtvet.profile.kernel import sysctl_path
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import File, Source

DIRECTORY = "sysctl.d"
CONFIG_SOURCES: tuple[Source, ...] = (*dropins.sources(DIRECTORY), *kernel_cmdline.SOURCES)
NO_SUCH = "no such sysctl"


def file(name: str) -> File:
    """`vm.swappiness` -> /proc/sys/vm/swappiness."""
    return File(f"/proc/sys/{sysctl_path(name)}")


def actual(snapshot: Snapshot, name: str, _persistent: bool) -> Reading:
    """Its value as text, blanks made one: `4096\t131072\t6291456` -> "4096 131072 6291456"."""
    found = snapshot.maybe(file(name))
    if found is None:
        return Reading(NO_SUCH, str(file(name)))
    text = found.decode("utf-8", "backslashreplace")
    return Reading(comparable(text), str(file(name)), text.strip()[:200])


def config(snapshot: Snapshot, name: str, persistent: bool) -> Reading:
    """What sets it at boot. Where nothing does: NOT_SET if it must be persistent, else NotApplicable is raised."""
    if (line := line_in_effect(snapshot, name)) is not None:
        return Reading(comparable(line.value or ""), f"{line.file}:{line.number}", line.text)
    line_of_kernel = kernel_cmdline.next_boot(snapshot)
    for word in reversed(line_of_kernel.words):
        if word.key.startswith("sysctl.") and _is(word.key.removeprefix("sysctl."), name):
            return Reading(comparable(word.value or ""), line_of_kernel.source, str(word))
    if not persistent:
        raise NotApplicable("no file sets it: the kernel's own default counts")
    return Reading(NOT_SET, DIRECTORY)


def _is(written: str, name: str) -> bool:
    """The kernel's command line may have `_` for `-` here, too."""
    return kernel_cmdline.plain(sysctl_path(written)) == kernel_cmdline.plain(sysctl_path(name))


@dataclass(frozen=True, slots=True)
class Line:
    """One line of sysctl.d. `path` is below /proc/sys, perhaps with a pattern; `value` is None where the line takes a
    sysctl out of the patterns' reach (`-net.ipv4.conf.eth0.rp_filter`)."""

    path: str
    value: str | None
    file: str
    number: int
    text: str


def line_in_effect(snapshot: Snapshot, name: str) -> Line | None:
    """The line of sysctl.d that sets it at boot; None where none does. Raises CannotLook."""
    path = sysctl_path(name)
    lines = [line for file, text in dropins.texts(snapshot, DIRECTORY) for line in parse(file, text)]
    named = [line for line in lines if line.path == path]
    counts = named or [line for line in lines if fnmatchcase(path, line.path)]
    return next((line for line in reversed(counts) if line.value is not None), None)


def parse(file: str, text: str) -> Iterator[Line]:
    """`-net.ipv4.conf.*.rp_filter = 2` -> Line("net/ipv4/conf/*/rp_filter", "2", …); the `-` says that it is no error
    where that cannot be set."""
    for number, said in dropins.lines(text):
        name, equals, value = said.partition("=")
        path = sysctl_path(name.strip().removeprefix("-").strip())
        if equals or said.startswith("-"):
            yield Line(path, value.strip() if equals else None, file, number, said[:200])
