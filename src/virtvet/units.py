"""Units as people write them, converted once: sizes to bytes, times to microseconds, CPU lists to sets.

Each has a pure function (`parse_size`) and the type that models use (`Size`). The functions raise ValueError with a
whole sentence, also for values of a wrong type; what a type returns it also accepts, except `Mode`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, NoReturn, TypeGuard

from pydantic import BeforeValidator, WithJsonSchema

MAX_BYTES = (1 << 63) - 1
MAX_MICROSECONDS = (1 << 63) - 1
MAX_CPUS = 16384
"""libvirt's VIR_DOMAIN_CPUMASK_LEN (src/conf/domain_conf.h)."""
UNLIMITED = -1
"""How libvirt and cpu.cfs_quota_us write "no quota"."""

_SIZE = re.compile(r"(\d{1,19})\s*(?:([kmgtpe])(i?b)?|b|bytes?)?", re.IGNORECASE | re.ASCII)
_BITS = re.compile(r"(\d{1,19})\s*([kmgt]?)bit(?:\s*/\s*s|ps)", re.IGNORECASE | re.ASCII)
_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,2})?)\s*%", re.ASCII)
_TIME = re.compile(r"(\d{1,19})\s*(us|ms|s)", re.ASCII)
_DAYS = re.compile(r"(\d{1,6})\s*(?:d|days?)", re.ASCII)
_CPUS = re.compile(r"\s*(?:(\d{1,5})(?:-(\d{1,5}))?|\^(\d{1,5}))\s*", re.ASCII)
_MODE = re.compile(r"0?[0-7]{3,4}", re.ASCII)
_MICROSECONDS = {"us": 1, "ms": 1000, "s": 1_000_000}


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a host's memory, in percent (0 < percent <= 100)."""

    percent: Decimal

    def of(self, total_bytes: int) -> int:
        """That part of `total_bytes`, rounded down to whole bytes."""
        return int(total_bytes * self.percent / 100)

    def __str__(self) -> str:
        return f"{self.percent}% of the host's memory"


def parse_size(written: object) -> int:
    """Bytes. `"512M"` -> 536870912, `"1 KB"` -> 1000.

    Units as libvirt's virScaleInteger (src/util/virutil.c), in upper or lower case: K, KiB, M, MiB … E, EiB are powers
    of 1024; KB, MB … EB are powers of 1000; B, byte, bytes or none are bytes.
    """
    if _is_int(written):
        return _bounded(written, 0, MAX_BYTES, "size")
    match = _match(_SIZE, written, "size", "use bytes or a unit such as 512 MiB, 1 GiB")
    base = 1000 if (match[3] or "").lower() == "b" else 1024
    power = "kmgtpe".index(match[2].lower()) + 1 if match[2] else 0
    return _bounded(int(match[1]) * base**power, 0, MAX_BYTES, "size", written)


def parse_host_size(written: object) -> int | Share:
    """A size, or a share of the host's memory: `"10%"` -> Share(Decimal("10"))."""
    if isinstance(written, Share):
        return written
    if not (isinstance(written, str) and written.rstrip().endswith("%")):
        return parse_size(written)
    match = _match(_SHARE, written, "share of the host's memory", "use a percentage such as 10% or 12.5%")
    percent = Decimal(match[1])
    if not 0 < percent <= 100:
        raise ValueError(f"{as_written(written)} is no share of the host's memory: use more than 0% and at most 100%")
    return Share(percent)


def parse_rate(written: object) -> int:
    """Bytes a second. `"20 MiB/s"` -> 20971520, `"10 Mbit/s"` -> 1250000 (bits by powers of 1000, as tc(8) has them).

    A plain number, and a size without `/s`, are bytes a second.
    """
    match = _BITS.fullmatch(written.strip()) if isinstance(written, str) else None
    if match is None:
        size = re.sub(r"\s*/\s*s$", "", written.strip()) if isinstance(written, str) else written
        try:
            return parse_size(size)
        except ValueError:
            _refuse(written, "rate", "use bytes a second or a unit such as 20 MiB/s, 10 Mbit/s")
    bits = int(match[1]) * 1000 ** " kmgt".index((match[2] or " ").lower())
    if bits % 8:
        raise ValueError(f"{as_written(written)} is no whole number of bytes a second")
    return _bounded(bits // 8, 0, MAX_BYTES, "rate", written)


def parse_microseconds(written: object) -> int:
    """Microseconds, as the kernel's cpu.cfs_*_us: `"100ms"` -> 100000. A plain number is microseconds, too."""
    if _is_int(written):
        return _bounded(written, 0, MAX_MICROSECONDS, "time")
    match = _match(_TIME, written, "time", "use microseconds or a unit: 250us, 100ms, 1s")
    return _bounded(int(match[1]) * _MICROSECONDS[match[2]], 0, MAX_MICROSECONDS, "time", written)


def parse_quota(written: object) -> int:
    """Microseconds, or -1 for `"unlimited"` (libvirt's own -1 is accepted)."""
    if written == "unlimited" or (_is_int(written) and written == UNLIMITED):
        return UNLIMITED
    try:
        return parse_microseconds(written)
    except ValueError:
        _refuse(written, "quota", 'use a time such as 50ms, microseconds, or "unlimited"')


def parse_days(written: object) -> int:
    """Whole days: `30`, `"30d"` and `"30 days"` -> 30."""
    if _is_int(written):
        return _bounded(written, 0, 999_999, "number of days")
    return int(_match(_DAYS, written, "number of days", "use a whole number, 30d or 30 days")[1])


def parse_cpuset(written: object) -> frozenset[int]:
    """CPU numbers, in the syntax of libvirt's virBitmapParse: `"1-4,^2"` -> {1, 3, 4}; also `3` or `[1, 3]`.

    Read from left to right: `^N` takes N out of what stands before it. At least one CPU must be left.
    """
    if isinstance(written, frozenset | set | list):
        cpus = {cpu for one in written for cpu in parse_cpuset(one if _is_int(one) else _no_cpu(one))}
    elif _is_int(written):
        cpus = {_bounded(written, 0, MAX_CPUS - 1, "CPU number")}
    else:
        cpus = _cpulist(written)
    if not cpus:
        raise ValueError(f"{as_written(written)} names no CPU: at least one must be left")
    return frozenset(cpus)


def _cpulist(written: object) -> set[int]:
    if not isinstance(written, str):
        _no_cpu(written)
    cpus: set[int] = set()
    for part in written.split(","):
        match = _CPUS.fullmatch(part) or _no_cpu(written)
        if match[3]:
            cpus.discard(int(match[3]))
        else:
            cpus.update(_cpu_range(written, int(match[1]), int(match[2] or match[1])))
    return cpus


def _cpu_range(written: str, low: int, high: int) -> range:
    if low > high:
        raise ValueError(f"{as_written(written)} counts down from {low} to {high}: write {high}-{low}")
    _bounded(high, 0, MAX_CPUS - 1, "CPU number")
    return range(low, high + 1)


def _no_cpu(written: object) -> NoReturn:
    _refuse(written, "CPU list", "use numbers and ranges such as 0-3,8 or 1-4,^2")


def parse_mode(written: object) -> int:
    """Permission bits from quoted octal digits: `"0644"` -> 0o644.

    YAML 1.2 reads an unquoted 0644 as the decimal number 644: refused.
    """
    if _is_int(written) and _MODE.fullmatch(str(written)):
        _refuse(written, "mode", 'write octal digits in quotes, such as "0644": without them YAML reads another number')
    return int(_match(_MODE, written, "mode", 'use three or four octal digits in quotes, such as "0644"')[0], 8)


def _is_int(written: object) -> TypeGuard[int]:
    return isinstance(written, int) and not isinstance(written, bool)


def _match(pattern: re.Pattern[str], written: object, what: str, right: str) -> re.Match[str]:
    match = pattern.fullmatch(written.strip()) if isinstance(written, str) else None
    return match or _refuse(written, what, right)


def _bounded(value: int, least: int, most: int, what: str, written: object = None) -> int:
    if not least <= value <= most:
        raise ValueError(
            f"{as_written(value if written is None else written)} is no {what}: it must be {least} to {most}"
        )
    return value


def _refuse(written: object, what: str, right: str) -> NoReturn:
    raise ValueError(f"{as_written(written)} is no {what}: {right}")


def as_written(written: object) -> str:
    """As it stands in YAML, shortened and printable: strings in double quotes, true and null in lower case."""
    match written:
        case None:
            return "null"
        case bool():
            return str(written).lower()
        case str():
            return f'"{_short(written)}"'
        case dict():
            return "a mapping"
        case list():
            return _short(f"[{', '.join(map(as_written, written))}]")
    return _short(str(written))


def _short(text: str) -> str:
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text[:60])
    return shown + ("…" if len(text) > 60 else "")


_SIZE_TEXT = r"[0-9]{1,19}\s*([KkMmGgTtPpEe]([Ii]?[Bb])?|[Bb]([Yy][Tt][Ee][Ss]?)?)?"
_SHARE_TEXT = r"[0-9]{1,3}(\.[0-9]{1,2})?\s*%"
RATE_TEXT = rf"{_SIZE_TEXT}(\s*/\s*s)?|[0-9]{{1,19}}\s*[KkMmGgTt]?[Bb][Ii][Tt](\s*/\s*s|[Pp][Ss])"
_TIME_TEXT = r"[0-9]{1,19}\s*(us|ms|s)"
_CPU_TEXT = r"\s*(\^?[0-9]{1,5}|[0-9]{1,5}-[0-9]{1,5})\s*"


def _schema(pattern: str, examples: list[Any], *others: dict[str, Any]) -> WithJsonSchema:
    """What the JSON Schema accepts: a text of this pattern, or one of the other forms."""
    text = {"type": "string", "pattern": rf"^\s*({pattern})\s*$"}
    return WithJsonSchema({"anyOf": [text, *others], "examples": examples} if others else text | {"examples": examples})


_WHOLE = {"type": "integer", "minimum": 0}
_CPU = {"type": "integer", "minimum": 0, "maximum": MAX_CPUS - 1}

Size = Annotated[int, BeforeValidator(parse_size), _schema(_SIZE_TEXT, ["512 MiB", "1 GiB", 4096], _WHOLE)]
"""Bytes."""
Rate = Annotated[int, BeforeValidator(parse_rate), _schema(RATE_TEXT, ["20 MiB/s", "10 Mbit/s"], _WHOLE)]
"""Bytes a second."""
HostSize = Annotated[
    int | Share,
    BeforeValidator(parse_host_size),
    _schema(f"{_SIZE_TEXT}|{_SHARE_TEXT}", ["1 GiB", "10%"], _WHOLE),
]
"""Bytes, or a Share of the host's memory."""
Microseconds = Annotated[int, BeforeValidator(parse_microseconds), _schema(_TIME_TEXT, ["100ms", 100000], _WHOLE)]
"""Microseconds."""
Quota = Annotated[
    int,
    BeforeValidator(parse_quota),
    _schema(f"{_TIME_TEXT}|unlimited", ["50ms", "unlimited"], {"type": "integer", "minimum": UNLIMITED}),
]
"""Microseconds of CPU time a period, or UNLIMITED."""
Days = Annotated[int, BeforeValidator(parse_days), _schema(r"[0-9]{1,6}\s*(d|days?)", [30, "30 days"], _WHOLE)]
"""Whole days."""
CpuSet = Annotated[
    frozenset[int],
    BeforeValidator(parse_cpuset),
    _schema(
        f"{_CPU_TEXT}(,{_CPU_TEXT})*", ["1-4,^2", 3, [0, 1]], _CPU, {"type": "array", "items": _CPU, "minItems": 1}
    ),
]
"""CPU numbers, never empty."""
Mode = Annotated[int, BeforeValidator(parse_mode), _schema("0?[0-7]{3,4}", ["0644"])]
"""Permission bits."""
