"""What a guest does by itself when a device is plugged in: its rules of udev, or of busybox's mdev.

udev(7) reads *.rules of five directories in the order of their names; of one name the first directory's file counts, so
that an empty one in /etc hides another. A distribution's rule is often skipped by a GOTO: Ubuntu's 40-vm-hotadd.rules
brings CPUs and memory online on Hyper-V and Xen only. Where a condition cannot be told from here both ways must lead
there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from virtvet.check import Reading
from virtvet.probes import kernel
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import Command, File, Processes, Stat

DIRECTORIES = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
_FILES = " ".join(f"{one}/udev/rules.d/*.rules" for one in DIRECTORIES)
RULES = Command(
    (
        "sh",
        "-c",
        f"ls -d {_FILES} 2>/dev/null; set -- $(grep -lsE 'ATTR[{{](online|state)[}}]' {_FILES}); "
        '[ $# -eq 0 ] || grep -H "" "$@"',
    )
)
"""The names of all files, then the lines of those that matter: `/etc/udev/rules.d/40-cpu.rules:SUBSYSTEM=="cpu", …`"""
UDEV = Stat("/run/udev/control")
"""udevd's socket."""
MDEV = Processes("mdev", files=("cmdline",))
"""`mdev -d`, which hears of devices by itself."""
MDEV_CONF = File("/etc/mdev.conf")
VENDOR, PRODUCT = File("/sys/class/dmi/id/sys_vendor"), File("/sys/class/dmi/id/product_name")
SOURCES = (RULES, UDEV, MDEV, MDEV_CONF, VENDOR, PRODUCT, kernel.MACHINE)
AUTOMATIC, BY_HAND = "automatic", "by hand"
"""How what is plugged comes online."""
UNAME = "/bin/uname -p"
"""By which Red Hat's rules ask for the machine before CONST{arch} (systemd 244): of systemd's names for it, these."""
ARCHITECTURES = {"x86_64": "x86-64", "aarch64": "arm64", "ppc64le": "ppc64-le", "s390x": "s390x"}

_TOKEN = re.compile(r'([A-Z]{2,20}(?:\{[^}"]{1,80}\})?)\s*(==|!=|\+=|-=|:=|=)\s*"([^"]{0,400})"')
_ASKS = ("PROGRAM", "IMPORT")
"""Keys that are conditions whatever their operator."""
_LINE = re.compile(r"(/[^:]{1,400}\.rules)(?::(.*))?", re.DOTALL)

Values = frozenset[str]
"""Any of these will do."""


@dataclass(frozen=True, slots=True)
class Event:
    """A device that appears, as rules see it: `Event("cpu", "cpu9", "online", "0")`."""

    subsystem: str
    name: str
    attribute: str
    value: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a rules file, its continuations joined, as (key, operator, value)."""

    path: str
    line: str

    @property
    def tokens(self) -> list[tuple[str, str, str]]:
        """`SUBSYSTEM=="cpu", ATTR{online}="1"` -> [("SUBSYSTEM", "==", "cpu"), ("ATTR{online}", "=", "1")]"""
        return [(key, operator, value) for key, operator, value in _TOKEN.findall(self.line)]

    def assigned(self, key: str) -> str | None:
        """What the rule sets a key to: `GOTO="end"` -> assigned("GOTO") "end"."""
        return next((value for one, operator, value in self.tokens if one == key and operator in ("=", ":=")), None)

    def holds(self, facts: Mapping[str, str]) -> bool | None:
        """Whether its conditions hold; None where that cannot be told, as where something else is written, too.

        Of a PROGRAM only UNAME is known; RESULT without one is that of some rule before.
        """
        asks = any(key == "PROGRAM" and value == UNAME for key, _, value in self.tokens)
        known = {**facts, "PROGRAM": UNAME, "RESULT": facts[UNAME]} if asks else facts
        verdicts = [_holds(*one, known) for one in self.tokens if one[1] in ("==", "!=") or one[0].startswith(_ASKS)]
        if _TOKEN.sub("", self.line).strip(" \t,"):
            verdicts.append(None)
        return False if False in verdicts else None if None in verdicts else True


def _holds(key: str, operator: str, pattern: str, facts: Mapping[str, str]) -> bool | None:
    if (fact := facts.get(key)) is None:
        return None
    return any(fnmatchcase(fact, one) for one in pattern.split("|")) == (operator != "!=")


def udev_runs(inside: Snapshot) -> bool:
    """Whether the guest's devices are udev's. Raises CannotLook."""
    return inside.maybe_stat(UDEV) is not None


def mdev_runs(inside: Snapshot) -> bool:
    """Whether they are mdev's. Raises CannotLook."""
    return bool(inside.read(MDEV))


def comes_online(inside: Snapshot, event: Event, wanted: Values) -> Reading:
    """Whether udev or mdev, whichever runs, surely sets the event's attribute to one of these. Raises CannotLook."""
    if udev_runs(inside):
        rule = _udev_rule(inside, event, wanted)
        return Reading(AUTOMATIC, rule.path, rule.line) if rule else Reading(BY_HAND, "udev", "no rule surely does it")
    if mdev_runs(inside):
        line = _mdev_rule(inside, event, wanted)
        return Reading(AUTOMATIC if line else BY_HAND, str(MDEV_CONF), line or "no line does it")
    return Reading(BY_HAND, f"{UDEV} and {MDEV}", "neither udev nor mdev runs")


def _udev_rule(inside: Snapshot, event: Event, wanted: Values) -> Rule | None:
    facts = _facts(inside, event)
    by_file: dict[str, list[Rule]] = {}
    for rule in _rules(inside):
        by_file.setdefault(rule.path, []).append(rule)
    found = (_sure(rules, facts, f"ATTR{{{event.attribute}}}", wanted) for rules in by_file.values())
    return next(filter(None, found), None)


def _facts(inside: Snapshot, event: Event) -> Mapping[str, str]:
    return {
        "ACTION": "add",
        "SUBSYSTEM": event.subsystem,
        "KERNEL": event.name,
        "DEVPATH": f"/devices/system/{event.subsystem}/{event.name}",
        "TEST": event.attribute,
        f"ATTR{{{event.attribute}}}": event.value,
        **_machine(inside),
    }


def _machine(inside: Snapshot) -> Mapping[str, str]:
    machine = kernel.architecture(inside)
    arch = {"CONST{arch}": ARCHITECTURES[machine]} if machine in ARCHITECTURES else {}
    dmi = {"sys_vendor": inside.maybe(VENDOR), "product_name": inside.maybe(PRODUCT)}
    said = {f"ATTR{{[dmi/id]{key}}}": (text or b"").decode("utf-8", "replace").strip() for key, text in dmi.items()}
    return {UNAME: machine, **arch, **said}


def _rules(inside: Snapshot) -> Iterator[Rule]:
    """Of one name only the first directory's, whatever it holds."""
    counts: dict[str, str] = {}
    for path, line in _lines(inside.read(RULES).stdout.decode("utf-8", "replace")):
        if counts.setdefault(path.rpartition("/")[2], path) == path and line and not line.lstrip().startswith("#"):
            yield Rule(path, line)


def _lines(said: str) -> Iterator[tuple[str, str]]:
    """Path and line, continuations joined; a file's name alone comes without a line."""
    begun = ""
    for match in filter(None, map(_LINE.fullmatch, said.split("\n"))):
        begun += match[2] or ""
        if begun.endswith("\\"):
            begun = begun[:-1]
        else:
            yield match[1], begun
            begun = ""


def _sure(rules: list[Rule], facts: Mapping[str, str], key: str, wanted: Values) -> Rule | None:
    """From the last rule to the first: what each leads to. GOTO only leads forward (udev(7))."""
    after: Rule | None = None
    labels: dict[str, Rule | None] = {}
    for rule in reversed(rules):
        holds, goto = rule.holds(facts), rule.assigned("GOTO")
        if holds and rule.assigned(key) in wanted:
            after = rule
        elif goto and holds is not False:
            jumped = labels.get(goto)
            after = jumped if holds else (after and jumped)
        if label := rule.assigned("LABEL"):
            labels[label] = after
    return after


def _mdev_rule(inside: Snapshot, event: Event, wanted: Values) -> str | None:
    """The line of /etc/mdev.conf that writes one of these to the attribute, if no line before it takes the device.

    `SUBSYSTEM=cpu;.* 0:0 660 @echo 1 >/sys$DEVPATH/online`, or `$SUBSYSTEM=cpu 0:0 …`. Regular expressions are not
    run, for the guest wrote them: only these forms are known. Raises CannotLook.
    """
    text = (inside.maybe(MDEV_CONF) or b"").decode("utf-8", "replace")
    lines = (line.split(maxsplit=3) for line in text.splitlines() if line and not line.startswith("#"))
    first = next((words for words in lines if _takes(words[0], event)), [])
    writes = {f"echo {one} >/sys$DEVPATH/{event.attribute}" for one in wanted}
    return " ".join(first) if len(first) == 4 and first[3].lstrip("@*").replace("> ", ">") in writes else None


def _takes(what: str, event: Event) -> bool:
    subsystem = f"SUBSYSTEM={event.subsystem}"
    return what in _anything([f"{subsystem};", ""], event) or what == f"${subsystem}"


def _anything(before: Iterable[str], event: Event) -> set[str]:
    return {f"{one}{name}" for one in before for name in (".*", f"{event.subsystem}.*", f"{event.subsystem}[0-9]+")}
