"""CPUs kept for guests: from the scheduler, the timer's tick, RCU callbacks, interrupts, systemd and workqueues.

Documentation/admin-guide/kernel-parameters.txt: isolcpus=, nohz_full=, rcu_nocbs=, irqaffinity=
Documentation/core-api/irq/irq-affinity.rst, Documentation/core-api/workqueue.rst
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.expect import ranges
from virtvet.probes import dropins, kernel, kernel_cmdline, systemd
from virtvet.probes.kernel_cmdline import CommandLine
from virtvet.probes.systemd import Units
from virtvet.snapshot.model import Absent, Files, Snapshot, text_of
from virtvet.snapshot.sources import File, Glob, Processes, Source
from virtvet.units import MAX_CPUS

Cpus = frozenset[int]

POSSIBLE = File("/sys/devices/system/cpu/possible")
ISOLATED = File("/sys/devices/system/cpu/isolated")
NOHZ_FULL = File("/sys/devices/system/cpu/nohz_full")
BUILT_WITH = Glob("/boot/config-*", "CONFIG_RCU_NOCB_CPU")
"""`CONFIG_RCU_NOCB_CPU=y`, or `# CONFIG_RCU_NOCB_CPU is not set`: how kernels were built, where that is told."""
CPU_SOURCES: tuple[Source, ...] = (
    *(*kernel_cmdline.SOURCES, POSSIBLE, ISOLATED, NOHZ_FULL),
    *(BUILT_WITH, kernel.OSRELEASE),
)
DOMAIN = "domain"
LONGEST = 1 << 16
"""Characters of a list; every second CPU of libvirt's most takes 48,000."""

_PART = re.compile(r"(?:(\d{1,5}|N)(?:-(\d{1,5}|N)(?::(\d{1,5})/(\d{1,5}))?)?|all)", re.ASCII)
_FLAG = re.compile(r"[a-z_]{1,40}")


# --- what the kernel's command line says


def kernel_list(text: str, last: int, source: object) -> Cpus:
    """CPU numbers as the kernel's parameters have them; `last` is the highest possible CPU.

    `0-3,8` -> {0, 1, 2, 3, 8}; `2-N` -> from 2 on; `0-15:1/4` -> the first of every four; `all`; "" -> none.
    (bitmap_parselist in lib/bitmap-str.c) Raises CannotLook.
    """
    if len(text) > LONGEST:
        raise CannotLook(source, f"is no list of CPUs: {len(text)} characters")
    cpus: set[int] = set()
    for part in filter(None, text.split(",")):
        match = _PART.fullmatch(part)
        found = _range(match, last) if match else None
        if found is None:
            raise CannotLook(source, f"{part[:40]!r} is no list of CPUs")
        cpus.update(found)
    return frozenset(cpu for cpu in cpus if cpu <= last)


def _range(match: re.Match[str], last: int) -> Iterable[int] | None:
    """None where the kernel refuses it, too (bitmap_check_region)."""
    if match[0] == "all":
        return range(last + 1)
    first, end = (last if one == "N" else int(one) for one in (match[1], match[2] or match[1]))
    used, group = int(match[3] or 1), int(match[4] or 1)
    if first > end or group == 0 or used > group:
        return None
    cpus = range(first, min(end, last) + 1)
    return cpus if used == group else (cpu for cpu in cpus if (cpu - first) % group < used)


def _last_cpu(snapshot: Snapshot) -> int:
    """The highest CPU this host can have. /sys/devices/system/cpu/possible: `0-3` -> 3"""
    return max(_listed(snapshot, POSSIBLE), default=0)


def _listed(snapshot: Snapshot, source: File) -> Cpus:
    """A file with a CPU list; an empty one, or `(null)` (no mask at all), is an empty set."""
    text = snapshot.read(source).decode("ascii", "replace").strip()
    return frozenset() if text == "(null)" else kernel_list(text, MAX_CPUS - 1, source)


@dataclass(frozen=True, slots=True)
class Isolcpus:
    """isolcpus=; without flags it is `domain`."""

    cpus: Cpus
    flags: frozenset[str]


def parse_isolcpus(line: CommandLine, last: int) -> Isolcpus:
    """`isolcpus=managed_irq,domain,2-3` -> {2, 3}, {managed_irq, domain}. Raises CannotLook.

    Of several the first counts, and those with the same CPUs add their flags (housekeeping_setup in
    kernel/sched/isolation.c): `isolcpus=managed_irq,1 isolcpus=domain,1` -> {1}, {managed_irq, domain}.
    """
    texts = [word.value or "" for word in line.words if word.key == "isolcpus"] or [""]
    first, *more = (_isolcpus(text, last, line.source) for text in texts)
    return Isolcpus(first.cpus, first.flags.union(*(one.flags for one in more if one.cpus == first.cpus)))


def _isolcpus(text: str, last: int, source: object) -> Isolcpus:
    parts = text.split(",")
    flags = [part for part in parts if _FLAG.fullmatch(part) and part != "all"]
    return Isolcpus(
        kernel_list(",".join(part for part in parts if part not in flags), last, source), frozenset(flags or [DOMAIN])
    )


def isolcpus_at_boot(snapshot: Snapshot, flags: frozenset[str] | None) -> Iterator[Reading]:
    """The CPUs of isolcpus=, if it has `domain` where no flags are stated."""
    for line in _next_lines(snapshot):
        yield _by_line(line, parse_isolcpus(line, _last_cpu(snapshot)), flags)


def isolcpus(snapshot: Snapshot, flags: frozenset[str] | None) -> Reading:
    """The CPUs that the scheduler leaves out, as /sys/devices/system/cpu/isolated has them: `2-3` -> {2, 3}.

    With flags that lack `domain` it has none; then the command line tells.
    """
    if flags is not None and DOMAIN not in flags:
        line = kernel_cmdline.running(snapshot)
        return _by_line(line, parse_isolcpus(line, _last_cpu(snapshot)), flags)
    return Reading(_listed(snapshot, ISOLATED), str(ISOLATED), _text(snapshot, ISOLATED))


def _by_line(line: CommandLine, found: Isolcpus, flags: frozenset[str] | None) -> Reading:
    scheduled = flags is None and found.cpus and DOMAIN not in found.flags
    value = f"{ranges(found.cpus)}, but not from the scheduler" if scheduled else found.cpus
    return Reading(value, line.source, line.shown("isolcpus") or "no isolcpus=")


def flags_at_boot(snapshot: Snapshot) -> Iterator[Reading]:
    """The flags of isolcpus=."""
    return (_flags(line, _last_cpu(snapshot)) for line in _next_lines(snapshot))


def flags(snapshot: Snapshot) -> Reading:
    """The flags of isolcpus=, of the kernel that runs."""
    return _flags(kernel_cmdline.running(snapshot), _last_cpu(snapshot))


def _flags(line: CommandLine, last: int) -> Reading:
    return Reading(parse_isolcpus(line, last).flags, line.source, line.shown("isolcpus") or "no isolcpus=")


def nohz_full_at_boot(snapshot: Snapshot) -> Iterator[Reading]:
    """The CPUs of nohz_full=."""
    return (_by_parameter(snapshot, line, "nohz_full") for line in _next_lines(snapshot))


def nohz_full(snapshot: Snapshot) -> Reading:
    """/sys/devices/system/cpu/nohz_full: `2-3` -> {2, 3}; `(null)`, and a kernel that cannot: none."""
    if snapshot.maybe(NOHZ_FULL) is None:
        return Reading(frozenset(), str(NOHZ_FULL), "this kernel was built without it")
    return Reading(_listed(snapshot, NOHZ_FULL), str(NOHZ_FULL), _text(snapshot, NOHZ_FULL))


def rcu_nocbs_at_boot(snapshot: Snapshot) -> Iterator[Reading]:
    """The CPUs of rcu_nocbs= and of nohz_full= (rcu_init_nohz in kernel/rcu/tree_nocb.h)."""
    return (_by_parameter(snapshot, line, "rcu_nocbs", "nohz_full") for line in _next_lines(snapshot))


def rcu_nocbs(snapshot: Snapshot) -> Reading:
    """As rcu_nocbs_at_boot, of the kernel that runs: it shows them nowhere else. None where it was built without."""
    release = snapshot.read(kernel.OSRELEASE).decode("utf-8", "backslashreplace").strip()
    path, files = f"/boot/config-{release}", snapshot.read(BUILT_WITH)
    if path in files and "# CONFIG_RCU_NOCB_CPU is not set" in text_of(path, files[path]).splitlines():
        return Reading(frozenset(), path, "CONFIG_RCU_NOCB_CPU is not set")
    return _by_parameter(snapshot, kernel_cmdline.running(snapshot), "rcu_nocbs", "nohz_full")


def _by_parameter(snapshot: Snapshot, line: CommandLine, *keys: str) -> Reading:
    texts = [text for key in keys for text in line.values(key)]
    cpus = (kernel_list(text, _last_cpu(snapshot), line.source) for text in texts)
    shown = " ".join(filter(None, map(line.shown, keys)))
    return Reading(frozenset[int]().union(*cpus), line.source, shown or f"no {' or '.join(keys)}")


def _next_lines(snapshot: Snapshot) -> Iterator[CommandLine]:
    """The next boot's command line, and what the boot loader's entries are made of."""
    yield kernel_cmdline.configured(snapshot)
    if (later := kernel_cmdline.generated(snapshot)) is not None:
        yield later


def _text(snapshot: Snapshot, source: File) -> str:
    return snapshot.read(source).decode("ascii", "replace").strip()[:200]


# --- interrupts

EFFECTIVE = Glob("/proc/irq/*/effective_affinity_list")
ALLOWED = Glob("/proc/irq/*/smp_affinity_list")
ACTIONS = Glob("/sys/kernel/irq/*/actions")
IRQ_SOURCES: tuple[Source, ...] = (EFFECTIVE, ALLOWED, ACTIONS)
MANAGED = ("nvme*q[1-9]*", "virtio*-req.*", "virtio*-request", "mpt3sas*-msix*", "megasas*-msix*")
"""Queues of drivers that let the kernel spread their interrupts (PCI_IRQ_AFFINITY): one for each CPU, which nobody can
move. One whose CPUs are all isolated comes only when one of these CPUs itself reads or writes (isolcpus=managed_irq in
kernel-parameters.txt)."""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """One that is in use. `allowed`: where it may go; `led`: where it goes now."""

    number: int
    name: str
    allowed: Cpus
    led: Cpus

    def __str__(self) -> str:
        return f"{self.number} ({self.name}) on {ranges(self.led)}"


def interrupts(snapshot: Snapshot) -> list[Interrupt]:
    """Every interrupt that a driver asked for. Where the kernel leads it counts (effective_affinity_list), which is one
    of the CPUs where it may go (smp_affinity_list); the latter where the kernel does not tell the former."""
    effective, allowed, actions = snapshot.read(EFFECTIVE), snapshot.read(ALLOWED), snapshot.read(ACTIONS)
    if not actions or not allowed:
        raise CannotLook(ACTIONS, "names no interrupt at all")
    names = {int(PurePosixPath(path).parent.name): text_of(path, found).strip() for path, found in actions.items()}
    return [_interrupt(number, name, allowed, effective) for number, name in sorted(names.items()) if name]


def _interrupt(number: int, name: str, allowed: Files, effective: Files) -> Interrupt:
    may = _cpus(allowed, f"/proc/irq/{number}/smp_affinity_list")
    path = f"/proc/irq/{number}/effective_affinity_list"
    return Interrupt(number, name, may, _cpus(effective, path) if path in effective else may)


def _cpus(files: Files, path: str) -> Cpus:
    return kernel_list(text_of(path, files.get(path, Absent())).strip(), MAX_CPUS - 1, path)


def led_to(snapshot: Snapshot, cpus: Cpus, other_than: tuple[str, ...]) -> Reading:
    """The interrupts that are led to these CPUs: {"36 (eth0-tx-1) on 1"}; none if all is well."""
    every = interrupts(snapshot)
    wrong = frozenset(str(one) for one in every if one.led & cpus and not _may(one, cpus, other_than))
    spared = [str(one) for one in every if one.led & cpus and _may(one, cpus, other_than)]
    excerpt = f"{len(every)} interrupts; left out: {', '.join(spared) or 'none'}"
    return Reading(wrong, "/proc/irq/*/effective_affinity_list", excerpt[:500])


def _may(one: Interrupt, cpus: Cpus, other_than: tuple[str, ...]) -> bool:
    names = one.name.split(",")
    if all(any(fnmatchcase(name, pattern) for pattern in other_than) for name in names):
        return True
    return one.allowed <= cpus and all(any(fnmatchcase(name, pattern) for pattern in MANAGED) for name in names)


DEFAULT = File("/proc/irq/default_smp_affinity")
DEFAULT_SOURCES: tuple[Source, ...] = (*kernel_cmdline.CONFIG_SOURCES, POSSIBLE, DEFAULT)


def default(snapshot: Snapshot) -> Reading:
    """The CPUs of interrupts that nobody placed. /proc/irq/default_smp_affinity: `ffffffff,00000003` as a mask."""
    return Reading(_mask(snapshot, DEFAULT) & _all(snapshot), str(DEFAULT), _text(snapshot, DEFAULT))


def default_at_boot(snapshot: Snapshot) -> Iterator[Reading]:
    """The CPUs of irqaffinity=; all, where the command line has none."""
    for line in _next_lines(snapshot):
        texts = line.values("irqaffinity")
        cpus = kernel_list(texts[-1], _last_cpu(snapshot), line.source) if texts else _all(snapshot)
        yield Reading(cpus, line.source, line.shown("irqaffinity") or "no irqaffinity=")


def _all(snapshot: Snapshot) -> Cpus:
    return _listed(snapshot, POSSIBLE)


def _mask(snapshot: Snapshot, source: File) -> Cpus:
    return mask(snapshot.read(source).decode("ascii", "replace").strip(), source)


def mask(text: str, source: object) -> Cpus:
    """A mask in hexadecimal, 32 bits between commas: `3` -> {0, 1}; `1,00000000` -> {32}. Raises CannotLook."""
    if not re.fullmatch(r"[0-9a-fA-F]{1,8}(,[0-9a-fA-F]{8}){0,1023}", text, re.ASCII):
        raise CannotLook(source, f"{text[:40]!r} is no mask of CPUs")
    bits = int(text.replace(",", ""), 16)
    return frozenset(cpu for cpu in range(bits.bit_length()) if bits >> cpu & 1)


# --- irqbalance, which moves interrupts about

BALANCER = Units.of(("irqbalance.service",))
BALANCER_FILES = (File("/etc/default/irqbalance"), File("/etc/sysconfig/irqbalance"))
"""Debian's and Red Hat's (EnvironmentFile= of irqbalance.service)."""
BALANCING = Processes("irqbalance", ("environ",))
BALANCER_SOURCES: tuple[Source, ...] = (*CPU_SOURCES, *BALANCER.sources, *BALANCER_FILES, BALANCING)
_BANNED = re.compile(r"""^[ \t]*(IRQBALANCE_BANNED_CPU(?:S|LIST))=["']?([^"'\s]*)""", re.MULTILINE)


def balanced_at_boot(snapshot: Snapshot, cpus: Cpus) -> Reading:
    """Those of these CPUs that irqbalance may lead interrupts to, by its arguments file; without a word there it keeps
    off those that the kernel isolates (setup_banned_cpus in irqbalance's cputree.c)."""
    if systemd.enabled(snapshot, BALANCER, BALANCER.names[0]).value != "enabled":
        raise NotApplicable("irqbalance is not started at boot")
    for source in BALANCER_FILES:
        if (text := snapshot.maybe(source)) is not None:
            said = dict(_BANNED.findall(text.decode("utf-8", "backslashreplace")))
            if banned := _banned(snapshot, said, source):
                return Reading(cpus - banned, str(source), str(said))
    line = kernel_cmdline.configured(snapshot)
    kept = parse_isolcpus(line, _last_cpu(snapshot))
    banned = (kept.cpus if DOMAIN in kept.flags else frozenset()) | _by_parameter(snapshot, line, "nohz_full").value
    return Reading(cpus - banned, line.source, f"not banned in {BALANCER_FILES[0]}: irqbalance spares isolated CPUs")


def balanced(snapshot: Snapshot, cpus: Cpus) -> Reading:
    """The same of the irqbalance that runs, by its environment."""
    found = snapshot.read(BALANCING)
    if not found:
        raise NotApplicable("irqbalance does not run")
    path, content = sorted(found.items())[0]
    variables = text_of(path, content).replace("\0", "\n")
    said = dict(_BANNED.findall(variables))
    banned = _banned(snapshot, said, path)
    if banned is None:
        banned = _listed(snapshot, ISOLATED) | nohz_full(snapshot).value
    return Reading(cpus - banned, path, str(said) if said else "not banned: irqbalance spares isolated CPUs")


def _banned(snapshot: Snapshot, said: Mapping[str, str], source: object) -> Cpus | None:
    """`IRQBALANCE_BANNED_CPULIST=2-15`, or as a mask `IRQBALANCE_BANNED_CPUS=fffc`; None where neither says."""
    if text := said.get("IRQBALANCE_BANNED_CPULIST"):
        return kernel_list(text, _last_cpu(snapshot), source)
    text = said.get("IRQBALANCE_BANNED_CPUS", "").removeprefix("0x")
    return mask(text, source) if text else None


# --- systemd, workqueues, tuned

SYSTEM_CONF = File("/etc/systemd/system.conf")
INIT = File("/proc/1/status")
SYSTEM_DROPINS = "systemd/system.conf.d"
SYSTEM_SOURCES: tuple[Source, ...] = (SYSTEM_CONF, *dropins.sources(SYSTEM_DROPINS), INIT)
WORKQUEUES = File("/sys/devices/virtual/workqueue/cpumask")
TUNED_PROFILE = File("/etc/tuned/active_profile")
TUNED = Units.of(("tuned.service",))
TUNED_SOURCES: tuple[Source, ...] = (TUNED_PROFILE, *TUNED.sources)

_AFFINITY = re.compile(r"^CPUAffinity\s*=\s*(.*)$")


def system_at_boot(snapshot: Snapshot) -> Reading:
    """CPUAffinity= of systemd's system.conf and its drop-ins: lists add up, an empty one begins anew
    (systemd-system.conf(5)). None where nothing says."""
    own = snapshot.maybe(SYSTEM_CONF)
    texts = [(str(SYSTEM_CONF), own.decode("utf-8", "backslashreplace"))] if own is not None else []
    cpus: Cpus | None = None
    place = f"{SYSTEM_CONF}, {SYSTEM_DROPINS}"
    for path, text in (*texts, *dropins.texts(snapshot, SYSTEM_DROPINS)):
        for _number, line in dropins.lines(text, wrapped=True):
            if match := _AFFINITY.match(line):
                listed = kernel_list(match[1].strip().replace(" ", ","), MAX_CPUS - 1, path)
                cpus, place = (cpus or frozenset()) | listed if listed else None, path
    return Reading(cpus, place, "" if cpus is None else f"CPUAffinity={ranges(cpus)}")


def system(snapshot: Snapshot) -> Reading:
    """Where systemd may run, and what it starts unless told otherwise. `Cpus_allowed_list:\\t0-1` -> {0, 1}"""
    match = re.search(rb"^Cpus_allowed_list:\s*(\S+)$", snapshot.read(INIT), re.MULTILINE)
    if match is None:
        raise CannotLook(INIT, "names no Cpus_allowed_list")
    return Reading(kernel_list(match[1].decode("ascii", "replace"), MAX_CPUS - 1, INIT), str(INIT), match[0].decode())


def workqueues(snapshot: Snapshot) -> Reading:
    """The CPUs of workqueues that are bound to none. /sys/devices/virtual/workqueue/cpumask: `3` -> {0, 1}"""
    return Reading(_mask(snapshot, WORKQUEUES), str(WORKQUEUES), _text(snapshot, WORKQUEUES))


def tuned_at_boot(snapshot: Snapshot) -> Reading:
    """What tuned starts with: the text of /etc/tuned/active_profile, if its unit is enabled."""
    unit = systemd.enabled(snapshot, TUNED, TUNED.names[0])
    return _tuned(snapshot, unit, "enabled")


def tuned(snapshot: Snapshot) -> Reading:
    """The same, if tuned runs: without it nothing keeps the profile's values."""
    unit = systemd.active(snapshot, TUNED, TUNED.names[0])
    return _tuned(snapshot, unit, "active")


def _tuned(snapshot: Snapshot, unit: Reading, needed: str) -> Reading:
    if unit.value != needed:
        return Reading(f"tuned.service is {unit.value}", unit.source, unit.excerpt)
    text = (snapshot.maybe(TUNED_PROFILE) or b"").decode("utf-8", "backslashreplace")
    return Reading(" ".join(text.split()) or None, str(TUNED_PROFILE), text.strip()[:200])
