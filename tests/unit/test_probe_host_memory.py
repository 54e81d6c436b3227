"""Huge pages, KSM, transparent huge pages and swap, from what the next boot reads and from what the kernel shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.unit.tuning_looks import boot, dropin, look, nothing
from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import cgroup, host_memory, kernel, mounts, tmpfiles
from virtvet.probes.host_memory import KERNEL_DEFAULT, KSM_UNITS, MERGED
from virtvet.probes.systemd import Units
from virtvet.snapshot.model import Absent, Answer, Content, Status, TooLarge, Unreadable
from virtvet.snapshot.sources import Source

MIB, GIB = 1 << 20, 1 << 30
NODE = "/sys/devices/system/node/node{}/hugepages/hugepages-{}kB"
USUAL = {host_memory.USUAL_SIZE: "2097152\n", **dropin("tmpfiles.d"), **dropin("sysctl.d")}


def files(texts: Mapping[str, str]) -> Answer:
    return {path: Content(text.encode()) for path, text in texts.items()}


def values(found: Any) -> list[Any]:
    return [found.value] if isinstance(found, Reading) else [one.value for one in found]


POOLS = look(
    {
        host_memory.POOLS: files(
            {
                f"{host_memory.pool(size)}/{name}_hugepages": f"{number}\n"
                for size, numbers in {2 * MIB: (20, 3, 4), GIB: (2, 0, 0)}.items()
                for name, number in zip(("nr", "free", "surplus"), numbers, strict=True)
            }
        ),
        host_memory.NODE_POOLS: files({f"{NODE.format(0, 2048)}/nr_hugepages": "16\n"}),
        host_memory.NODE_SURPLUS: files({f"{NODE.format(0, 2048)}/surplus_hugepages": "4\n"}),
    }
)


def test_pages_that_are_kept() -> None:
    """4 of 20 are surplus: nobody keeps them."""
    assert host_memory.count(POOLS, 2 * MIB).value == 16
    assert host_memory.count(POOLS, GIB).value == 2
    assert host_memory.count(POOLS, 64 << 10).value == 0
    assert host_memory.free(POOLS, 2 * MIB).value == 3
    assert host_memory.free(POOLS, GIB).value == 0
    assert host_memory.on_node(POOLS, 2 * MIB, 0).value == 12
    assert host_memory.on_node(POOLS, 2 * MIB, 1).value == 0


@pytest.mark.parametrize("answer", [Absent(), Unreadable("denied"), TooLarge(1)])
def test_pages_that_cannot_be_counted(answer: Answer) -> None:
    blind = look({host_memory.POOLS: answer, host_memory.NODE_POOLS: answer, host_memory.NODE_SURPLUS: answer})
    for probe, args in ((host_memory.count, ()), (host_memory.free, ()), (host_memory.on_node, (0,))):
        with pytest.raises(CannotLook):
            probe(blind, 2 * MIB, *args)


@pytest.mark.parametrize("text", ["", "many", "-1", "1 2"])
def test_a_pool_without_a_number(text: str) -> None:
    odd = look({host_memory.POOLS: files({f"{host_memory.pool(2 * MIB)}/nr_hugepages": text})})
    with pytest.raises(CannotLook):
        host_memory.count(odd, 2 * MIB)


@pytest.mark.parametrize(
    ("cmdline", "size", "count"),
    [
        ("hugepages=512", 2 * MIB, 512),
        ("hugepagesz=1G hugepages=4 hugepagesz=2M hugepages=512", GIB, 4),
        ("hugepagesz=1G hugepages=4 hugepagesz=2M hugepages=512", 2 * MIB, 512),
        ("default_hugepagesz=1G hugepages=4", GIB, 4),
        ("default_hugepagesz=1G hugepages=4", 2 * MIB, 0),
        ("hugepages=8 hugepagesz=1G hugepages=8", 2 * MIB, 8),
        ("hugepagesz=1G hugepages=0:4,1:2", GIB, 6),
        ("default_hugepagesz=1GB hugepagesz=1GB hugepages=20", GIB, 20),
        ("hugepagesz=2048k hugepages=512", 2 * MIB, 512),
        ("quiet", 2 * MIB, 0),
    ],
)
def test_pages_of_the_next_boot(cmdline: str, size: int, count: int) -> None:
    assert values(host_memory.count_at_boot(look(boot(cmdline), USUAL), size)) == [count]


def test_what_entries_are_made_of_counts_too() -> None:
    later = look(boot("hugepages=512", "hugepages=256"), USUAL)
    assert values(host_memory.count_at_boot(later, 2 * MIB)) == [512, 256]


def test_tmpfiles_write_last() -> None:
    line = "w /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages - - - - 32\n"
    assert values(
        host_memory.count_at_boot(look(boot("hugepages=512"), USUAL, dropin("tmpfiles.d", line)), 2 * MIB)
    ) == [32]


@pytest.mark.parametrize(
    ("cmdline", "count", "of_gib"),
    [("hugepages=512", 32, 0), ("default_hugepagesz=1G hugepages=4 hugepagesz=2M hugepages=512", 512, 32)],
)
def test_sysctl_is_of_the_usual_size_alone(cmdline: str, count: int, of_gib: int) -> None:
    later = look(boot(cmdline), USUAL, dropin("sysctl.d", "vm.nr_hugepages = 32\n"))
    assert values(host_memory.count_at_boot(later, 2 * MIB)) == [count]
    assert values(host_memory.count_at_boot(later, GIB)) == [of_gib]


@pytest.mark.parametrize("cmdline", ["hugepages=many", "hugepagesz=big hugepages=1", "hugepages"])
def test_a_command_line_that_no_kernel_understands(cmdline: str) -> None:
    with pytest.raises(CannotLook):
        values(host_memory.count_at_boot(look(boot(cmdline), USUAL), 2 * MIB))


def test_what_is_left_to_others() -> None:
    empty = look()
    probes = (host_memory.usual_size_at_boot, host_memory.ksm_at_boot, host_memory.swap_at_boot)
    for probe in probes:
        with pytest.raises(NotApplicable):
            values(probe(empty, False))
    for asked, of in ((host_memory.count_at_boot, GIB), (host_memory.transparent_at_boot, "enabled")):
        with pytest.raises(NotApplicable):
            values(asked(empty, of, False))  # type: ignore[operator]


def test_the_usual_size() -> None:
    seen = look({cgroup.MEMORY_INFO: "MemTotal: 2 kB\nHugepagesize:    1048576 kB\n"})
    assert host_memory.usual_size(seen).value == GIB
    assert values(host_memory.usual_size_at_boot(look(boot("default_hugepagesz=1G"), USUAL))) == [GIB]
    assert values(host_memory.usual_size_at_boot(look(boot("hugepagesz=1G hugepages=1"), USUAL))) == [2 * MIB]
    with pytest.raises(CannotLook):
        host_memory.usual_size(look({cgroup.MEMORY_INFO: "MemTotal: 2 kB\n"}))


TABLE = """\
hugetlbfs /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0
hugetlbfs /dev/hugepages1G hugetlbfs rw,relatime,pagesize=1024M 0 0
tmpfs /dev/shm tmpfs rw,pagesize=2M 0 0
"""


@pytest.mark.parametrize(
    ("conf", "size", "found"),
    [
        (None, 2 * MIB, {"/dev/hugepages"}),
        (None, GIB, {"/dev/hugepages1G"}),
        (None, 64 << 10, set()),
        ('#hugetlbfs_mount = "/x"\n', 2 * MIB, {"/dev/hugepages"}),
        ('hugetlbfs_mount = "/dev/hugepages/"\n', 2 * MIB, {"/dev/hugepages"}),
        ('hugetlbfs_mount = "/dev/hugepages"\n', GIB, set()),
        ('hugetlbfs_mount = ["/dev/hugepages", "/dev/hugepages1G"]\n', GIB, {"/dev/hugepages1G"}),
        ('hugetlbfs_mount = ""\n', 2 * MIB, set()),
        ('hugetlbfs_mount = "/dev/shm"\n', 2 * MIB, set()),
    ],
)
def test_where_libvirt_looks(conf: str | None, size: int, found: set[str]) -> None:
    seen = look({mounts.MOUNTS: TABLE, host_memory.QEMU_CONF: Absent() if conf is None else conf})
    assert host_memory.mount_points(seen, size).value == found


def test_a_qemu_conf_that_libvirt_refuses() -> None:
    with pytest.raises(CannotLook):
        host_memory.mount_points(look({mounts.MOUNTS: TABLE, host_memory.QEMU_CONF: "hugetlbfs_mount = x\n"}), GIB)


@pytest.mark.parametrize(
    ("run", "sharing", "value"), [("1", "0", "on"), ("0", "0", "off"), ("2", "0", "off"), ("0", "71", MERGED)]
)
def test_ksm(run: str, sharing: str, value: str) -> None:
    assert host_memory.ksm(look({host_memory.KSM_RUN: run, host_memory.KSM_SHARING: sharing})).value == value


def units(enabled: str, asked: Units = KSM_UNITS) -> dict[Source, Answer | str]:
    blocks = (
        f"Id={name}\nNames={name}\nLoadState=not-found\nActiveState=inactive\nUnitFileState=\n" for name in asked.names
    )
    return {asked.files: enabled, asked.shown: "\n".join(blocks)}


@pytest.mark.parametrize(
    ("enabled", "line", "value"),
    [
        ("", "", "off"),
        ("ksmtuned.service enabled enabled\n", "", "on"),
        ("ksmtuned.service disabled enabled\n", "", "off"),
        ("ksmtuned.service enabled enabled\n", "w /sys/kernel/mm/ksm/run - - - - 0\n", "on"),
        ("", "w /sys/kernel/mm/ksm/run - - - - 1\n", "on"),
        ("", "w /sys/kernel/mm/ksm/run - - - - 0\n", "off"),
    ],
)
def test_ksm_of_the_next_boot(enabled: str, line: str, value: str) -> None:
    assert values(host_memory.ksm_at_boot(look(units(enabled), dropin("tmpfiles.d", line)))) == [value]


@pytest.mark.parametrize(
    ("defaults", "flags", "value"),
    [
        ("", "flags: fpu svm\n", "on"),
        ("KSM_ENABLED=AUTO\n", "flags: fpu hypervisor svm\n", "off"),
        ("#KSM_ENABLED=0\nKSM_ENABLED=1\n", "flags: fpu hypervisor\n", "on"),
        ("KSM_ENABLED=0\n", "", "off"),
    ],
)
def test_ubuntus_service_turns_ksm_on(defaults: str, flags: str, value: str) -> None:
    """/etc/default/qemu-kvm is constructed."""
    seen = look(
        units("qemu-kvm.service enabled enabled\n"),
        dropin("tmpfiles.d"),
        {host_memory.UBUNTUS_FILE: defaults, kernel.CPU_FLAGS: flags},
    )
    assert values(host_memory.ksm_at_boot(seen)) == [value]


def test_nobody_knows_what_starts_ksm_without_systemd() -> None:
    with pytest.raises(NotApplicable):
        values(host_memory.ksm_at_boot(look(nothing(host_memory.KSM_SOURCES), dropin("tmpfiles.d"))))


def test_transparent() -> None:
    seen = look({host_memory.THP["enabled"]: "always [madvise] never\n"})
    assert host_memory.transparent(seen, "enabled").value == "madvise"
    seen = look({host_memory.THP["defrag"]: "always defer [defer+madvise] madvise never\n"})
    assert host_memory.transparent(seen, "defrag").value == "defer+madvise"
    for odd in ("", "always madvise never", Absent(), Unreadable("denied")):
        with pytest.raises(CannotLook):
            host_memory.transparent(look({host_memory.THP["enabled"]: odd}), "enabled")


@pytest.mark.parametrize(
    ("name", "cmdline", "line", "wanted"),
    [
        ("enabled", "transparent_hugepage=never", "", ["never"]),
        ("enabled", "transparent_hugepage=always", "enabled - - - - never\n", ["never"]),
        ("enabled", "quiet", "", [KERNEL_DEFAULT]),
        ("enabled", "quiet", "defrag - - - - never\n", [KERNEL_DEFAULT]),
        ("defrag", "transparent_hugepage=never", "", ["madvise"]),
        ("defrag", "quiet", "defrag - - - - never\n", ["never"]),
    ],
)
def test_transparent_at_boot(name: str, cmdline: str, line: str, wanted: list[str]) -> None:
    lines = f"w! /sys/kernel/mm/transparent_hugepage/{line}" if line else ""
    seen = look(boot(cmdline), dropin("tmpfiles.d", lines))
    assert values(host_memory.transparent_at_boot(seen, name)) == wanted


BOOTED = Status("directory", 0o755, "root", "root", 0, 0, 0)
SWAPS = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


def test_swap() -> None:
    assert host_memory.swap(look({host_memory.SWAPS: SWAPS})).value == frozenset()
    used = look({host_memory.SWAPS: SWAPS + "/dev/sda2                   partition\t1048572\t0\t-2\n"})
    assert host_memory.swap(used).value == {"/dev/sda2"}
    for odd in ("", "nothing here\n"):
        with pytest.raises(CannotLook):
            host_memory.swap(look({host_memory.SWAPS: odd}))


def test_swap_at_boot() -> None:
    fstab = "/dev/sda1 / ext4 defaults 0 1\n/dev/sda2 none swap sw 0 0\n/dev/sda3 none swap noauto 0 0\n"
    unit = "/etc/systemd/system/swap.target.wants/srv-swap.swap"
    bare = nothing(host_memory.SWAP_SOURCES)
    assert host_memory.swap_at_boot(look(bare)).value == frozenset()
    assert host_memory.swap_at_boot(look(bare, {mounts.FSTAB: fstab})).value == {"/dev/sda2"}
    services = units("zramswap.service enabled enabled\n", host_memory.SWAP_SERVICES)
    enabled = {host_memory.SWAP_UNITS: files({unit: "[Swap]\nWhat=/srv/swap\n"}), mounts.SYSTEMD: BOOTED}
    assert host_memory.swap_at_boot(look(bare, services, enabled)).value == {unit, "zramswap.service"}
    with pytest.raises(CannotLook):
        host_memory.swap_at_boot(look(bare, {mounts.SYSTEMD: Unreadable("denied")}))


@pytest.mark.parametrize(
    ("main", "hidden", "dropin", "value"),
    [
        ("[zram0]\n", "", "", {"zram0"}),
        ("# nothing\n", "[zram0]\n", "", set()),  # /etc's hides the distribution's
        (None, "[zram0]\nzram-size = min(ram, 8192)\n", "", {"zram0"}),
        (None, None, "[zram1]\nfs-type = swap\n", {"zram1"}),
        ("[zram0]\nmount-point = /tmp\n[zram1]\nfs-type=ext4\n", "", "", set()),
        ("[zram0]\n", None, "[zram0]\nmount-point = /run/x\n", set()),
    ],
)
def test_swap_in_compressed_memory(main: str | None, hidden: str | None, dropin: str, value: set[str]) -> None:
    """zram-generator.conf(5), constructed."""
    written = {host_memory.ZRAM[0]: main, host_memory.ZRAM[-1]: hidden}
    told: dict[Source, Answer | str] = {source: text for source, text in written.items() if text is not None}
    told[host_memory.ZRAM_DROPINS[-1]] = files({"/etc/systemd/zram-generator.conf.d/a.conf": dropin} if dropin else {})
    none = (nothing(host_memory.SWAP_SOURCES), units("", host_memory.SWAP_SERVICES), {mounts.SYSTEMD: BOOTED})
    assert host_memory.swap_at_boot(look(*none, told)).value == value


def test_a_file_that_is_none_of_zram_generators() -> None:
    none = (nothing(host_memory.SWAP_SOURCES), units("", host_memory.SWAP_SERVICES), {mounts.SYSTEMD: BOOTED})
    with pytest.raises(CannotLook):
        host_memory.swap_at_boot(look(*none, {host_memory.ZRAM[0]: "zram0\n"}))


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        ("w /sys/a - - - - 1\n", "1"),
        ('w /sys/a - - - - "1"\n', "1"),
        ('w "/sys/a" - - - - 1\n', "1"),
        ("w a - - - - 1\nw . - - - - 1\n", None),  # systemd-tmpfiles wants a path from the root
        ("w /sys/a - - - - 1\nw /sys/a - - - - 2\n", "1"),
        ("w+ /sys/a - - - - 1\nw+ /sys/a - - - - 2\n", "2"),
        ("w! /sys/* - - - - 1\n", "1"),
        ("#w /sys/a - - - - 1\nw /sys/b - - - - 1\nf /sys/a - - - - 1\nw /sys/a - - - -\n", None),
    ],
)
def test_tmpfiles(lines: str, value: str | None) -> None:
    found = tmpfiles.written(look(dropin("tmpfiles.d", lines)), "/sys/a")
    assert (found.value if found else None) == value


def test_no_tmpfiles() -> None:
    assert tmpfiles.written(look(dropin("tmpfiles.d")), "/sys/a") is None
