"""Slices of systemd: what their unit files set at every boot, and what systemd holds now.

Read from the files as systemd does at a boot: the unit's own file, then its drop-ins by their names. What lies below
/run (`systemctl set-property --runtime`) is gone then, and shows in what systemd holds now.
Sources: systemd.unit(5), systemd.resource-control(5); config_parse_cg_* in src/core/load-fragment.c.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

from virtvet.check import Reading
from virtvet.errors import CannotLook
from virtvet.probes import systemd
from virtvet.probes.systemd import Units
from virtvet.snapshot.model import Snapshot, text_of
from virtvet.snapshot.sources import Command, File, Glob, Source, Stat
from virtvet.units import Share, parse_cpuset, parse_host_size

RUNS = Stat("/run/systemd/system")
"""There where systemd is the init system (sd_booted(3))."""
ROOTS = (
    *("/etc/systemd/system.control", "/etc/systemd/system", "/usr/local/lib/systemd/system"),
    *("/usr/lib/systemd/system", "/lib/systemd/system"),
)
"""Where units are that survive a reboot; of files with one name the first holds. `set-property` writes the first."""
DROP_INS = tuple(Glob(f"{root}/{folder}/*.conf") for root in ROOTS for folder in ("*.slice.d", "slice.d"))
MASKED = "masked"
UNLIMITED = "unlimited"
DEFAULT_PERIOD = 100_000
"""µs."""

_SIZE = re.compile(r"\d{1,19}[KMGTPE]?|\d{1,3}(?:\.\d{1,2})?%", re.ASCII)
_PERCENT = re.compile(r"(\d{1,9}(?:\.\d{1,2})?)%", re.ASCII)
_SPAN = re.compile(r"(\d{1,12}+(?!\d)(?:\.\d{1,9}+)?+)\s*+(us|ms|s|min|h|d|)", re.ASCII)
_MICROSECONDS = {"us": 1, "ms": 1000, "s": 10**6, "": 10**6, "min": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}
_DEVICE = re.compile(r"/[\w./:@+,=-]{1,255}[ \t]+(?:\d{1,19}[KMGTPE]?|infinity)", re.ASCII)
_PREFIXES = "KMGTPE"
_CPUS = re.compile(r"\d{1,5}(?:-\d{1,5})?(?:[\s,]+\d{1,5}(?:-\d{1,5})?)*", re.ASCII)


# --- what can be set


def _size(text: str) -> int | Share | str:
    """Bytes: `1G` -> 1073741824, `infinity` -> "unlimited", `50%` -> a share of the host's memory."""
    return UNLIMITED if text == "infinity" else parse_host_size(_like(_SIZE, text))


def _count(text: str) -> int | str:
    return UNLIMITED if text == "infinity" else int(_like(re.compile(r"\d{1,19}", re.ASCII), text))


def _weight(text: str) -> int:
    """`idle` is less than any weight."""
    return 0 if text == "idle" else int(_like(re.compile(r"\d{1,5}", re.ASCII), text))


def _percent(text: str) -> int | str:
    """µs of CPU time a second: `150%` -> 1500000."""
    return int(Decimal(_like(_PERCENT, text)[:-1]) * 10**4)


def _span(text: str) -> int | str:
    """µs: `1.500s` -> 1500000, `1min 30s` -> 90000000, `infinity` -> "unlimited"."""
    if text == "infinity":
        return UNLIMITED
    _like(re.compile(rf"(?:{_SPAN.pattern}\s*+)+", re.ASCII), text)
    return int(sum(Decimal(number) * _MICROSECONDS[unit] for number, unit in _SPAN.findall(text)))


def _cpus(text: str) -> frozenset[int]:
    """`0-1 3` or `0-1,3` -> {0, 1, 3}."""
    return parse_cpuset(re.sub(r"[\s,]+", ",", _like(_CPUS, text)))


def _devices(text: str) -> Mapping[str, int | str]:
    """A device a line, by its path as it is written: `/dev/vda 20M` -> {"/dev/vda": 20000000} (in thousands)."""
    pairs = (_like(_DEVICE, line).split() for line in text.splitlines())
    return {path: _thousands(limit) for path, limit in pairs}


def _thousands(text: str) -> int | str:
    if text == "infinity":
        return UNLIMITED
    digits = text.rstrip(_PREFIXES)
    power = _PREFIXES.index(text[-1]) + 1 if text != digits else 0
    return int(digits) * int(1000**power)


def _like(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(text)
    return text


@dataclass(frozen=True, slots=True)
class Property:
    """A setting of slices. key: in unit files. shown: in `systemctl show`, if it is called otherwise there.

    unset: its value where nothing sets it. old: former keys, which systemd converts. extends: each assignment adds to
    those before it. listed: a line of `systemctl show` for each of its values, none where nothing sets it.
    """

    key: str
    read: Callable[[str], Any]
    unset: Any
    shown: str = ""
    read_shown: Callable[[str], Any] | None = None
    old: tuple[str, ...] = ()
    extends: bool = False
    listed: bool = False


PROPERTIES: Mapping[str, Property] = {
    "memory": Property("MemoryMax", _size, UNLIMITED, old=("MemoryLimit",)),
    "memory_soft": Property("MemoryHigh", _size, UNLIMITED),
    "swap": Property("MemorySwapMax", _size, UNLIMITED),
    "cpu_shares": Property("CPUWeight", _weight, 100, old=("CPUShares",)),
    "cpu_quota": Property("CPUQuota", _percent, UNLIMITED, "CPUQuotaPerSecUSec", _span),
    "cpu_period": Property("CPUQuotaPeriodSec", _span, UNLIMITED, "CPUQuotaPeriodUSec"),
    "pids": Property("TasksMax", _count, UNLIMITED),
    "io_weight": Property("IOWeight", _weight, 100, old=("BlockIOWeight",)),
    "cpus": Property("AllowedCPUs", _cpus, frozenset(), extends=True),
    "nodes": Property("AllowedMemoryNodes", _cpus, frozenset(), extends=True),
    **{
        key: Property(name, _devices, {}, old=(old,) if old else (), extends=True, listed=True)
        for key, name, old in (
            ("read_bytes", "IOReadBandwidthMax", "BlockIOReadBandwidth"),
            ("write_bytes", "IOWriteBandwidthMax", "BlockIOWriteBandwidth"),
            ("read_iops", "IOReadIOPSMax", ""),
            ("write_iops", "IOWriteIOPSMax", ""),
        )
    },
}
"""By the profile's keys of a partition and of its devices, and the words for its CPUs and NUMA nodes."""


def assignment(name: str, wanted: object) -> str:
    """What sets it: ("memory", 1 << 30) -> `MemoryMax=1073741824`."""
    limit = "infinity" if wanted == UNLIMITED else wanted
    if name == "cpu_quota" and isinstance(limit, int):
        return f"CPUQuota={limit * 100 // DEFAULT_PERIOD}%"
    return f"{PROPERTIES[name].key}={limit}" + ("us" if name == "cpu_period" else "")


# --- what the files say


def files(units: Iterable[str]) -> Iterator[Source]:
    """What `config` reads of these slices."""
    yield RUNS
    yield from DROP_INS
    for path in (f"{root}/{unit}" for unit in units for root in ROOTS):
        yield from (Stat(path), File(path))


def config(snapshot: Snapshot, unit: str, name: str) -> Reading:
    """What a boot sets: bytes or a share of memory, µs, a weight, a number, a set, numbers by device; "unlimited"; or
    MASKED.

    `[Slice]`, `MemoryMax=1G` -> 1073741824. A quota is µs in each period: `CPUQuota=150%` -> 150000.
    """
    told = list(_fragments(snapshot, unit))
    if told[:1] == [(MASKED, MASKED)]:
        return Reading(MASKED, f"{unit} in {ROOTS[1]}", "a link to /dev/null")
    assignments = [(key, value, path) for path, text in told for key, value in parse(text, path)]

    def value(one: Property) -> Reading:
        return _assigned(one, assignments, unit)

    return _told(name, value)


def _fragments(snapshot: Snapshot, unit: str) -> Iterator[tuple[str, str]]:
    """Path and text of the unit's own file, if there is one, and of its drop-ins, in the order they count."""
    for path in (f"{root}/{unit}" for root in ROOTS):
        if (found := snapshot.maybe_stat(Stat(path))) is not None:
            if found.kind == "character special file":
                yield MASKED, MASKED
            else:
                yield path, snapshot.read(File(path)).decode("utf-8", "backslashreplace")
            break
    shown = {path: answer for source in DROP_INS for path, answer in snapshot.read(source).items()}
    first = {PurePosixPath(path).name: path for path in reversed([*_drop_ins(unit, shown)])}
    for _name, path in sorted(first.items()):
        yield path, text_of(path, shown[path])


def _drop_ins(unit: str, shown: Iterable[str]) -> Iterator[str]:
    """Those of one slice, the strongest first: its own, those of its name's beginnings, those of all slices.

    machine-prod.slice: machine-prod.slice.d, machine-.slice.d, slice.d (unit_file_find_dropin_paths, dropin.c).
    """
    stem = unit.removesuffix(".slice")
    begins = [stem[: at + 1] for at in range(len(stem) - 2, 0, -1) if stem[at] == "-"]
    own = [f"{root}/{name}.slice.d" for root in ROOTS for name in (stem, *begins)]
    for folder in (*own, *(f"{root}/slice.d" for root in ROOTS)):
        yield from sorted(path for path in shown if str(PurePosixPath(path).parent) == folder)


def parse(text: str, path: str) -> Iterator[tuple[str, str]]:
    """Keys and values of [Slice]. Raises CannotLook on what systemd would complain of (systemd.syntax(7)).

    `[Slice]\\nMemoryMax=1G # no comment\\nTasksMax=\\\\\\n 4096` -> MemoryMax `1G # no comment`, TasksMax `4096`
    """
    section = ""
    for line in _lines(text):
        if match := re.fullmatch(r"\[([^\]\[]{1,100})\]", line):
            section = match[1]
        elif "=" not in line or not section:
            raise CannotLook(path, f"is no unit file: {line[:80]!r}")
        elif section == "Slice":
            key, _equals, value = line.partition("=")
            yield key.strip(), value.strip()


def _lines(text: str) -> Iterator[str]:
    """Without comments and empty ones; what ends with a backslash goes on in the next."""
    begun = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith(("#", ";")) or not (line or begun):
            continue
        begun += line.removesuffix("\\")
        if line.endswith("\\"):
            begun += " "
            continue
        yield begun.strip()
        begun = ""
    if begun.strip():
        yield begun.strip()


def _assigned(one: Property, assignments: Iterable[tuple[str, str, str]], unit: str) -> Reading:
    """The last assignment holds; an empty one takes back what was before it."""
    seen = Reading(one.unset, f"unit files of {unit}", f"no {one.key}=")
    for key, text, path in assignments:
        if key in one.old and text:
            raise CannotLook(path, f"{key}= is an old name, whose value systemd converts: write {one.key}=")
        if key == one.key:
            value = _parsed(one.read, text, f"{path} {key}=") if text else one.unset
            seen = Reading(seen.value | value if one.extends and text else value, path, f"{key}={text}"[:200])
    return seen


def _parsed(read: Callable[[str], Any], text: str, source: object) -> Any:
    try:
        return read(text)
    except ValueError:
        raise CannotLook(source, f"{text[:80]!r} is not understood") from None


# --- quota and period, which belong together


def _told(name: str, value: Callable[[Property], Reading]) -> Reading:
    match name:
        case "cpu_period":
            return _period(value)
        case "cpu_quota":
            return _per_period(value)
    return value(PROPERTIES[name])


def _period(value: Callable[[Property], Reading]) -> Reading:
    told = value(PROPERTIES["cpu_period"])
    return Reading(DEFAULT_PERIOD, told.source, told.excerpt) if told.value == UNLIMITED else told


def _per_period(value: Callable[[Property], Reading]) -> Reading:
    """CPU time in each period, at least 1 ms (cgroup_apply_unified_cpu_quota, src/core/cgroup.c)."""
    quota, period = value(PROPERTIES["cpu_quota"]), _period(value)
    if quota.value == UNLIMITED:
        return quota
    excerpt = f"{quota.excerpt}, {period.excerpt}"
    return Reading(max(quota.value * period.value // 10**6, 1000), quota.source, excerpt)


# --- what systemd says


def shown(unit: str) -> Command:
    """`MemoryMax=1073741824`, `CPUWeight=[not set]`, `CPUQuotaPerSecUSec=1.900s`, `AllowedCPUs=0-1`, …"""
    return Units.of([unit]).shown


def live(snapshot: Snapshot, unit: str, name: str) -> Reading:
    """What systemd holds of a slice now, as `config`."""
    told = systemd.properties(snapshot, Units.of([unit]), unit) or {}
    source = f"systemctl show {unit}"

    def value(one: Property) -> Reading:
        key = one.shown or one.key
        if key not in told and not one.listed:
            raise CannotLook(source, f"says nothing of {key}")
        text = told.get(key, "")
        read = one.read_shown or one.read
        unset = text in ("", "[not set]")
        return Reading(one.unset if unset else _parsed(read, text, source), source, f"{key}={text}"[:200])

    return _told(name, value)
