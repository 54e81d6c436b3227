"""What unit files set of a slice at every boot, and what systemd holds of it (systemd.resource-control(5)); by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from virtvet.errors import CannotLook
from virtvet.probes import slices, systemd
from virtvet.snapshot.model import Absent, Answer, Completed, Content, Snapshot, Status
from virtvet.snapshot.sources import File, Source, Stat
from virtvet.units import Share

UNIT = "machine-prod.slice"
ETC, LIB, CONTROL = "/etc/systemd/system", "/usr/lib/systemd/system", "/etc/systemd/system.control"
HEAD = "[Unit]\nDescription=x\n\n[Slice]\n"


def host(files: Mapping[str, str], masked: str = "", said: str = "") -> Snapshot:
    """One with these files, and systemctl's answer."""
    answers: dict[Source, Answer] = {slices.shown(UNIT): Completed(0, said.encode(), b"")}
    for root in slices.ROOTS:
        path = f"{root}/{UNIT}"
        kind = "character special file" if path == masked else "regular file"
        there = path == masked or path in files
        answers[Stat(path)] = Status(kind, 0o644, "root", "root", 0, 0, 1) if there else Absent()
        answers[File(path)] = Content(files.get(path, "").encode())
    for source in slices.DROP_INS:
        folder = source.pattern.removesuffix("/*.conf").removesuffix("*.slice.d").removesuffix("slice.d")
        whole = source.pattern.endswith("/slice.d/*.conf")
        answers[source] = {
            path: Content(text.encode())
            for path, text in files.items()
            if path.startswith(folder) and path.endswith(".conf") and whole == path.startswith(f"{folder}slice.d/")
        }
    return Snapshot("hv1", datetime.now(UTC), answers)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("memory", "MemoryMax=1G", 1 << 30),
        ("memory", "MemoryMax = 512M", 512 << 20),
        ("memory", "MemoryMax=infinity", "unlimited"),
        ("memory", "MemoryMax=50%", Share(Decimal(50))),
        ("memory", "MemoryMax=1G\nMemoryMax=", "unlimited"),
        ("memory", "MemoryMax=1G\nMemoryMax=2G", 2 << 30),
        ("memory", "MemoryMax=\\\n# between\n 4096", 4096),
        ("memory", "[Unit]\nMemoryMax=1G", "unlimited"),
        ("memory_soft", "MemoryHigh=900M", 900 << 20),
        ("swap", "MemorySwapMax=0", 0),
        ("cpu_shares", "CPUWeight=200", 200),
        ("cpu_shares", "CPUWeight=idle", 0),
        ("cpu_shares", "", 100),
        ("cpu_quota", "CPUQuota=190%", 190_000),
        ("cpu_quota", "CPUQuota=12.5%\nCPUQuotaPeriodSec=50ms", 6_250),
        ("cpu_quota", "CPUQuota=1%\nCPUQuotaPeriodSec=10ms", 1_000),
        ("cpu_quota", "", "unlimited"),
        ("cpu_period", "CPUQuotaPeriodSec=0.5", 500_000),
        ("cpu_period", "CPUQuotaPeriodSec=1min 30s", 90_000_000),
        ("cpu_period", "CPUQuotaPeriodSec=1s500ms", 1_500_000),
        ("cpu_period", "", 100_000),
        ("pids", "TasksMax=4096", 4096),
        ("io_weight", "IOWeight=300", 300),
        ("cpus", "AllowedCPUs=0-1, 3", {0, 1, 3}),
        ("cpus", "AllowedCPUs=0\nAllowedCPUs=2 3", {0, 2, 3}),
        ("cpus", "AllowedCPUs=0\nAllowedCPUs=\nAllowedCPUs=2", {2}),
        ("nodes", "", frozenset()),
        ("read_bytes", "IOReadBandwidthMax=/dev/vda 20M", {"/dev/vda": 20_000_000}),
        ("read_bytes", "IOReadBandwidthMax=/dev/vda 512", {"/dev/vda": 512}),
        (
            "read_bytes",
            "IOReadBandwidthMax=/a 1K\nIOReadBandwidthMax=/b 1\nIOReadBandwidthMax=/a 2K",
            {"/a": 2000, "/b": 1},
        ),
        ("write_bytes", "IOWriteBandwidthMax=/a 1K\nIOWriteBandwidthMax=\nIOWriteBandwidthMax=/b 1", {"/b": 1}),
        ("write_iops", "IOWriteIOPSMax=/dev/vda infinity", {"/dev/vda": "unlimited"}),
        ("read_iops", "", {}),
    ],
)
def test_what_a_unit_file_sets(name: str, text: str, value: object) -> None:
    assert slices.config(host({f"{ETC}/{UNIT}": HEAD + text + "\n"}), UNIT, name).value == value


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("memory", "MemoryMax=1 GiB", "'1 GiB' is not understood"),
        ("memory", "MemoryMax=1G # much", "not understood"),
        ("memory", "MemoryLimit=1G", "an old name"),
        ("memory", "MemoryMax 1G", "no unit file"),
        ("cpu_shares", "CPUShares=1024", "write CPUWeight="),
        ("cpu_quota", "CPUQuota=2", "not understood"),
        ("cpu_period", "CPUQuotaPeriodSec=soon", "not understood"),
        ("cpu_period", "CPUQuotaPeriodSec=1234567890123us", "not understood"),
        ("cpu_period", f"CPUQuotaPeriodSec={'1' * 200}x", "not understood"),
        ("pids", "TasksMax=20%", "not understood"),
        ("cpus", "AllowedCPUs=0-^1", "not understood"),
        ("read_bytes", "IOReadBandwidthMax=/dev/vda", "not understood"),
        ("read_bytes", "IOReadBandwidthMax=/dev/%i 20M", "not understood"),
        ("read_bytes", "BlockIOReadBandwidth=/dev/vda 20M", "write IOReadBandwidthMax="),
    ],
)
def test_what_is_not_understood_is_no_value(name: str, text: str, reason: str) -> None:
    with pytest.raises(CannotLook, match=reason):
        slices.config(host({f"{ETC}/{UNIT}": HEAD + text + "\n"}), UNIT, name)


def test_an_assignment_outside_any_section_is_none() -> None:
    with pytest.raises(CannotLook, match="no unit file"):
        slices.config(host({f"{ETC}/{UNIT}": "MemoryMax=1G\n"}), UNIT, "memory")


def _memory(gigabytes: int) -> str:
    return f"[Slice]\nMemoryMax={gigabytes}G\n"


@pytest.mark.parametrize(
    ("files", "gigabytes"),
    [
        ([f"{LIB}/{UNIT}", f"{ETC}/{UNIT}"], 2),
        ([f"{ETC}/{UNIT}", f"{ETC}/{UNIT}.d/a.conf"], 2),
        ([f"{ETC}/{UNIT}.d/b.conf", f"{LIB}/{UNIT}.d/a.conf"], 1),
        ([f"{LIB}/{UNIT}.d/a.conf", f"{ETC}/{UNIT}.d/a.conf"], 2),
        ([f"{ETC}/{UNIT}.d/a.conf", f"{CONTROL}/{UNIT}.d/50-MemoryMax.conf"], 1),
        ([f"{ETC}/{UNIT}.d/10.conf", f"{CONTROL}/{UNIT}.d/50-MemoryMax.conf"], 2),
        ([f"{ETC}/{UNIT}.d/a.conf", f"{ETC}/machine-.slice.d/b.conf"], 2),
        ([f"{ETC}/{UNIT}.d/a.conf", f"{ETC}/machine-.slice.d/a.conf"], 1),
        ([f"{ETC}/slice.d/a.conf", f"{LIB}/{UNIT}.d/a.conf"], 2),
        ([f"{ETC}/{UNIT}", f"{ETC}/machine-.slice.d/b.conf", f"{ETC}/machine-other.slice.d/c.conf"], 2),
        ([f"{ETC}/{UNIT}", f"{ETC}/machine.slice.d/b.conf"], 1),
    ],
)
def test_which_file_holds(files: list[str], gigabytes: int) -> None:
    texts = {path: _memory(number) for number, path in enumerate(files, 1)}
    assert slices.config(host(texts), UNIT, "memory").value == gigabytes << 30


def test_without_files_nothing_is_set() -> None:
    assert slices.config(host({}), UNIT, "memory").value == "unlimited"


def test_a_masked_slice_has_no_limits_at_all() -> None:
    files = {f"{LIB}/{UNIT}": _memory(1)}
    assert slices.config(host(files, masked=f"{ETC}/{UNIT}"), UNIT, "memory").value == slices.MASKED


SAID = """\
MemoryMax=4096
Id=machine.slice
Names=machine.slice

MemoryMax=1073741824
MemoryHigh=infinity
MemorySwapMax=2147483648
CPUWeight=200
CPUQuotaPerSecUSec=1.900s
CPUQuotaPeriodUSec=infinity
TasksMax=4096
IOWeight=[not set]
AllowedCPUs=0-1 3
AllowedMemoryNodes=
IOReadBandwidthMax=/dev/vda 2000000000
IOReadBandwidthMax=/dev/vdb 512
Id=machine-prod.slice
Names=machine-prod.slice
"""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory", 1 << 30),
        ("memory_soft", "unlimited"),
        ("swap", 2 << 30),
        ("cpu_shares", 200),
        ("cpu_quota", 190_000),
        ("cpu_period", 100_000),
        ("pids", 4096),
        ("io_weight", 100),
        ("cpus", {0, 1, 3}),
        ("nodes", frozenset()),
        ("read_bytes", {"/dev/vda": 2_000_000_000, "/dev/vdb": 512}),
        ("write_iops", {}),
    ],
)
def test_what_systemd_holds(name: str, value: object) -> None:
    assert slices.live(host({}, said=SAID), UNIT, name).value == value


@pytest.mark.parametrize(
    "said",
    [
        "",
        SAID.replace("MemoryMax=1073741824", "MemoryMax=much"),
        SAID.replace("MemoryMax=1073741824\n", ""),
        SAID.replace("machine-prod", "machine-other"),
    ],
)
def test_what_systemd_does_not_say_is_no_value(said: str) -> None:
    with pytest.raises(CannotLook):
        slices.live(host({}, said=said), UNIT, "memory")


def test_all_that_is_read_is_asked() -> None:
    assert {one.shown or one.key for one in slices.PROPERTIES.values()} == set(systemd.LIMITS)


@pytest.mark.parametrize(
    ("name", "wanted", "text"),
    [
        ("memory", 1 << 30, "MemoryMax=1073741824"),
        ("pids", "unlimited", "TasksMax=infinity"),
        ("cpu_quota", 150_000, "CPUQuota=150%"),
        ("cpu_period", 50_000, "CPUQuotaPeriodSec=50000us"),
        ("write_iops", "/dev/vda 500", "IOWriteIOPSMax=/dev/vda 500"),
    ],
)
def test_what_sets_it(name: str, wanted: object, text: str) -> None:
    assert slices.assignment(name, wanted) == text
