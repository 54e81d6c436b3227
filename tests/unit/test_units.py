"""Every unit: what is accepted and its value, what is refused and why, and that the JSON Schema agrees."""

from decimal import Decimal

import jsonschema
import pytest
from pydantic import TypeAdapter, ValidationError

from virtvet.units import CpuSet, Days, HostSize, Microseconds, Mode, Quota, Share, Size

ACCEPTED = [
    (Size, 0, 0),
    (Size, 4096, 4096),
    (Size, "4096", 4096),
    (Size, "1 B", 1),
    (Size, "7 bytes", 7),
    (Size, "100 KiB", 102400),
    (Size, "1K", 1024),
    (Size, "1 KB", 1000),
    (Size, "512M", 512 << 20),
    (Size, "512 MiB", 512 << 20),
    (Size, "512mib", 512 << 20),
    (Size, "1MB", 10**6),
    (Size, " 1 GiB ", 1 << 30),
    (Size, "1 GB", 10**9),
    (Size, "2TiB", 2 << 40),
    (Size, "1 PiB", 1 << 50),
    (Size, "1 EB", 10**18),
    (HostSize, "1 GiB", 1 << 30),
    (HostSize, "10%", Share(Decimal(10))),
    (HostSize, "12.5 %", Share(Decimal("12.5"))),
    (HostSize, "100%", Share(Decimal(100))),
    (Microseconds, "250us", 250),
    (Microseconds, "100ms", 100_000),
    (Microseconds, "1 s", 1_000_000),
    (Microseconds, 100_000, 100_000),
    (Quota, "50ms", 50_000),
    (Quota, "unlimited", -1),
    (Quota, -1, -1),
    (Days, 30, 30),
    (Days, "30d", 30),
    (Days, "1 day", 1),
    (Days, "30 days", 30),
    (CpuSet, 3, {3}),
    (CpuSet, "3", {3}),
    (CpuSet, "1-4,^2", {1, 3, 4}),
    (CpuSet, "^2,1-4", {1, 2, 3, 4}),
    (CpuSet, " 0-1 , 8 ", {0, 1, 8}),
    (CpuSet, "1-4,^9", {1, 2, 3, 4}),
    (CpuSet, [0, 2], {0, 2}),
    (CpuSet, "16383", {16383}),
    (Mode, "0644", 0o644),
    (Mode, "644", 0o644),
    (Mode, "01777", 0o1777),
    (Mode, "1777", 0o1777),
]

REFUSED = [
    (Size, "1 Gigs", '"1 Gigs" is no size: use bytes or a unit such as 512 MiB, 1 GiB'),
    (Size, "1.5 GiB", '"1.5 GiB" is no size'),
    (Size, "", '"" is no size'),
    (Size, "-1", '"-1" is no size'),
    (Size, "١ GiB", "is no size"),
    (Size, -1, "-1 is no size: it must be 0 to 9223372036854775807"),
    (Size, 1.5, "1.5 is no size"),
    (Size, True, "true is no size"),
    (Size, None, "null is no size"),
    (Size, {"a": 1}, "a mapping is no size"),
    (Size, "8 EiB", '"8 EiB" is no size: it must be 0 to'),
    (Size, "\x1b[31m\n", '"\\x1b[31m\\n" is no size'),
    (Size, "9" * 5000, '9…" is no size'),
    (Size, "10%", '"10%" is no size'),
    (HostSize, "0%", '"0%" is no share of the host\'s memory: use more than 0% and at most 100%'),
    (HostSize, "101%", "at most 100%"),
    (HostSize, "ten%", "use a percentage such as 10%"),
    (HostSize, "ten", '"ten" is no size'),
    (Microseconds, "100", '"100" is no time: use microseconds or a unit: 250us, 100ms, 1s'),
    (Microseconds, "1m", '"1m" is no time'),
    (Microseconds, -5, "-5 is no time"),
    (Quota, "none", '"none" is no quota: use a time such as 50ms, microseconds, or "unlimited"'),
    (Quota, -2, "-2 is no quota"),
    (Days, "a month", '"a month" is no number of days'),
    (Days, -1, "-1 is no number of days"),
    (CpuSet, "0 - 1", '"0 - 1" is no CPU list: use numbers and ranges such as 0-3,8 or 1-4,^2'),
    (CpuSet, "4-1", '"4-1" counts down from 4 to 1: write 1-4'),
    (CpuSet, "1,^1", '"1,^1" names no CPU'),
    (CpuSet, "0-3,^1-2", "is no CPU list"),
    (CpuSet, "", '"" is no CPU list'),
    (CpuSet, "0-99999", "99999 is no CPU number: it must be 0 to 16383"),
    (CpuSet, 16384, "16384 is no CPU number"),
    (CpuSet, [], "[] names no CPU"),
    (CpuSet, ["1-2"], '"1-2" is no CPU list'),
    (CpuSet, [[1]], "[1] is no CPU list"),
    (CpuSet, True, "true is no CPU list"),
    (CpuSet, {"a": 1}, "a mapping is no CPU list"),
    (Mode, 644, '644 is no mode: write octal digits in quotes, such as "0644"'),
    (Mode, 420, "420 is no mode: write octal digits in quotes"),
    (Mode, 8, "8 is no mode: use three or four octal digits in quotes"),
    (Mode, "0888", '"0888" is no mode'),
    (Mode, "rw-r--r--", "is no mode"),
]
# What only the meaning shows, not the form: a JSON Schema may let these through.
BEYOND_A_SCHEMA = {"8 EiB", "0%", "101%", "4-1", "1,^1", "0-99999"}


def _adapter(kind):
    return TypeAdapter(kind, config={"strict": True})


def _schema_accepts(kind, written):
    return jsonschema.Draft202012Validator(_adapter(kind).json_schema()).is_valid(written)


@pytest.mark.parametrize(("kind", "written", "value"), ACCEPTED)
def test_accepted(kind, written, value):
    seen = _adapter(kind).validate_python(written)
    assert seen == value
    assert not isinstance(seen, bool)
    assert _schema_accepts(kind, written)


@pytest.mark.parametrize(("kind", "written", "message"), REFUSED)
def test_refused(kind, written, message):
    with pytest.raises(ValidationError) as caught:
        _adapter(kind).validate_python(written)
    (error,) = caught.value.errors()
    assert message in str(error["ctx"]["error"])
    assert not _schema_accepts(kind, written) or written in BEYOND_A_SCHEMA


@pytest.mark.parametrize(
    ("percent", "total", "part"), [("10", 1000, 100), ("12.5", 1001, 125), ("100", (1 << 63) - 1, (1 << 63) - 1)]
)
def test_share_of_a_total_is_rounded_down(percent, total, part):
    assert Share(Decimal(percent)).of(total) == part
