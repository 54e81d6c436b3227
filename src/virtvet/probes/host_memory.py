"""Huge pages, KSM, transparent huge pages and swap: what the next boot will set, and what the kernel has.

Documentation/admin-guide/mm/{hugetlbpage,ksm,transhuge}.rst, Documentation/admin-guide/kernel-parameters.txt
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass, field

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import cgroup, daemon_config, dropins, kernel, kernel_cmdline, mounts, sysctl, systemd, tmpfiles
from virtvet.probes.kernel_cmdline import CommandLine
from virtvet.probes.systemd import NO_SYSTEMD, Units
from virtvet.snapshot.model import Absent, Files, Snapshot, text_of
from virtvet.snapshot.sources import File, Glob, Source, Tree

MM = "/sys/kernel/mm"
POOLS = Tree(f"{MM}/hugepages", ("nr_hugepages", "free_hugepages", "surplus_hugepages"))
NODE_POOLS = Glob("/sys/devices/system/node/node*/hugepages/hugepages-*/nr_hugepages")
NODE_SURPLUS = Glob("/sys/devices/system/node/node*/hugepages/hugepages-*/surplus_hugepages")
USUAL_SIZE = File(f"{MM}/transparent_hugepage/hpage_pmd_size")
"""`2097152`: also the size of huge pages where the command line names no other (HPAGE_SIZE)."""
QEMU_CONF = File("/etc/libvirt/qemu.conf")
KSM_RUN = File(f"{MM}/ksm/run")
KSM_SHARING = File(f"{MM}/ksm/pages_sharing")
KSM_UNITS = Units.of(("ksm.service", "ksmtuned.service", "qemu-kvm.service"))
UBUNTUS = "qemu-kvm.service"
"""Turns KSM on where KSM_ENABLED is 1, or AUTO and the machine is no virtual one; turns it off otherwise."""
UBUNTUS_FILE = File("/etc/default/qemu-kvm")
THP: Mapping[str, File] = {name: File(f"{MM}/transparent_hugepage/{name}") for name in ("enabled", "defrag")}
SWAPS = File("/proc/swaps")
SWAP_UNITS = Glob("/etc/systemd/system/*.wants/*.swap")
SWAP_SERVICES = Units.of(("dphys-swapfile.service", "zram-config.service", "zramswap.service"))
"""What makes swap space of its own at boot: a file, or memory that is compressed (Debian's zram-tools, Ubuntu's)."""
_ZRAM_PLACES = ("/etc", "/run", "/usr/local/lib", "/usr/lib")
ZRAM = tuple(File(f"{place}/systemd/zram-generator.conf") for place in _ZRAM_PLACES)
"""The first that is there counts (zram-generator.conf(5)), and all of ZRAM_DROPINS."""
ZRAM_DROPINS = tuple(Glob(f"{place}/systemd/zram-generator.conf.d/*.conf") for place in reversed(_ZRAM_PLACES))

AT_BOOT: tuple[Source, ...] = (*kernel_cmdline.CONFIG_SOURCES, *tmpfiles.SOURCES)
IN_POOLS = (POOLS, NODE_POOLS, NODE_SURPLUS)
POOL_SOURCES: tuple[Source, ...] = (*AT_BOOT, *dropins.sources(sysctl.DIRECTORY), *IN_POOLS, USUAL_SIZE)
MOUNT_SOURCES: tuple[Source, ...] = (mounts.MOUNTS, QEMU_CONF)
DEFAULT_SOURCES: tuple[Source, ...] = (*AT_BOOT, cgroup.MEMORY_INFO, USUAL_SIZE)
KSM_SOURCES: tuple[Source, ...] = (
    *(KSM_RUN, KSM_SHARING, *tmpfiles.SOURCES, *KSM_UNITS.sources),
    *(UBUNTUS_FILE, kernel.CPU_FLAGS),
)
THP_SOURCES: tuple[Source, ...] = (*AT_BOOT, *THP.values())
SWAP_SOURCES: tuple[Source, ...] = (
    *(SWAPS, SWAP_UNITS, mounts.FSTAB, mounts.SYSTEMD),
    *(*SWAP_SERVICES.sources, *ZRAM, *ZRAM_DROPINS),
)

_LETTERS = "KMGTPE"
_MEMORY = re.compile(rf"([0-9]{{1,19}})([{_LETTERS}]?)(?:i?B)?", re.ASCII | re.IGNORECASE)
MERGED = "off, but pages are still merged"
"""Stopped by writing 0 to ksm/run, where 2 would have taken them apart (ksm.rst)."""
KERNEL_DEFAULT = "the kernel's default: nothing says"


# --- pools of huge pages


def pool(size: int) -> str:
    """The directory of a size: 2 MiB -> /sys/kernel/mm/hugepages/hugepages-2048kB"""
    return f"{POOLS.root}/hugepages-{size // 1024}kB"


def count(snapshot: Snapshot, size: int, _persistent: bool = True) -> Reading:
    """How many pages are kept for good, those that are only borrowed (surplus) left out; 0 for a size that this kernel
    does not have."""
    files = snapshot.read(POOLS)
    path = f"{pool(size)}/nr_hugepages"
    if path not in files:
        return Reading(0, path, "this kernel has no huge pages of this size")
    kept = _number(files, path)
    return Reading(kept - _number(files, f"{pool(size)}/surplus_hugepages"), path, str(kept))


def free(snapshot: Snapshot, size: int) -> Reading:
    """How many pages nobody uses."""
    files = snapshot.read(POOLS)
    path = f"{pool(size)}/free_hugepages"
    return Reading(_number(files, path) if path in files else 0, path)


def on_node(snapshot: Snapshot, size: int, node: int) -> Reading:
    """As `count`, of one NUMA node."""
    directory = f"/sys/devices/system/node/node{node}/hugepages/hugepages-{size // 1024}kB"
    files, surplus = snapshot.read(NODE_POOLS), snapshot.read(NODE_SURPLUS)
    path = f"{directory}/nr_hugepages"
    if path not in files:
        return Reading(0, path, "there is no such node, or no huge pages of this size")
    return Reading(_number(files, path) - _number(surplus, f"{directory}/surplus_hugepages"), path)


def _number(files: Files, path: str) -> int:
    return _whole(text_of(path, files.get(path, Absent())), path)


def _plain(snapshot: Snapshot, source: File) -> int:
    return _whole(snapshot.read(source).decode("ascii", "replace"), source.path)


def _whole(text: str, path: str) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text.strip(), re.ASCII):
        raise CannotLook(path, f"is no whole number: {text.strip()[:40]!r}")
    return int(text)


@dataclass(frozen=True, slots=True)
class Reserved:
    """What a command line reserves: pages by their size, and the size of those that name none."""

    usual: int
    pages: Mapping[int, int] = field(default_factory=dict)


def reserved(line: CommandLine, usual: int) -> Reserved:
    """`default_hugepagesz=1G hugepagesz=1G hugepages=0:4,1:4 hugepagesz=2M hugepages=512` -> 1 GiB: 8, 2 MiB: 512.

    Read in order: hugepages= is of the hugepagesz= before it (hugepages_setup in mm/hugetlb.c). Raises CannotLook.
    """
    usual = next((_size(one, line) for one in line.values("default_hugepagesz")), usual)
    size, pages = usual, dict[int, int]()
    for word in line.words:
        if word.key in ("hugepagesz", "default_hugepagesz"):
            size = _size(word.value or "", line)
        elif word.key == "hugepages":
            pages[size] = sum(_pages(one, line) for one in (word.value or "").split(","))
    return Reserved(usual, pages)


def _size(text: str, line: CommandLine) -> int:
    """As memparse (lib/cmdline.c), to which `1G`, `1g` and `1GB` are one: it looks at no more than a letter."""
    if (match := _MEMORY.fullmatch(text)) is None:
        raise CannotLook(line.source, f"hugepagesz={text[:40]!r} is no size")
    return int(match[1]) << 10 * (_LETTERS.index(match[2].upper()) + 1 if match[2] else 0)


def _pages(text: str, line: CommandLine) -> int:
    """`512`, or `0:256` for 256 pages of node 0."""
    match = re.fullmatch(r"(?:[0-9]{1,4}:)?([0-9]{1,12})", text, re.ASCII)
    if match is None:
        raise CannotLook(line.source, f"hugepages={text[:40]!r} is no number of pages")
    return int(match[1])


def count_at_boot(snapshot: Snapshot, size: int, persistent: bool = True) -> Iterator[Reading]:
    """What the command line reserves, unless tmpfiles.d or, for pages of the usual size, sysctl.d say otherwise, which
    are read after it."""
    _must_persist(persistent)
    later = tmpfiles.written(snapshot, f"{pool(size)}/nr_hugepages")
    if later is not None:
        yield Reading(_whole(later.value, later.source), later.source, later.excerpt)
        return
    for line in _lines(snapshot):
        found = reserved(line, _plain(snapshot, USUAL_SIZE))
        set_later = sysctl.line_in_effect(snapshot, "vm.nr_hugepages") if size == found.usual else None
        if set_later is None:
            yield Reading(found.pages.get(size, 0), line.source, _huge(line))
        else:
            yield Reading(_whole(set_later.value or "", set_later.file), set_later.file, set_later.text)


def _huge(line: CommandLine) -> str:
    words = [str(word) for word in line.words if "hugepage" in word.key]
    return " ".join(words)[:400] or "no hugepages="


def _lines(snapshot: Snapshot) -> Iterator[CommandLine]:
    """The next boot's command line, and what the boot loader's entries are made of."""
    yield kernel_cmdline.configured(snapshot)
    if (later := kernel_cmdline.generated(snapshot)) is not None:
        yield later


def _must_persist(persistent: bool) -> None:
    if not persistent:
        raise NotApplicable("persistent: false leaves the next boot to something else")


# --- the size of pages for those who name none


def usual_size(snapshot: Snapshot, _persistent: bool = True) -> Reading:
    """Bytes. /proc/meminfo: `Hugepagesize:       2048 kB` -> 2097152. Raises CannotLook."""
    match = re.search(rb"^Hugepagesize:\s+(\d{1,12}) kB$", snapshot.read(cgroup.MEMORY_INFO), re.MULTILINE)
    if match is None:
        raise CannotLook(cgroup.MEMORY_INFO, "names no Hugepagesize: a kernel without huge pages")
    return Reading(int(match[1]) * 1024, str(cgroup.MEMORY_INFO), match[0].decode())


def usual_size_at_boot(snapshot: Snapshot, persistent: bool = True) -> Iterator[Reading]:
    """By default_hugepagesz=, else the architecture's own."""
    _must_persist(persistent)
    for line in _lines(snapshot):
        yield Reading(reserved(line, _plain(snapshot, USUAL_SIZE)).usual, line.source, _huge(line))


# --- where libvirt finds them


def mount_points(snapshot: Snapshot, size: int) -> Reading:
    """Where libvirt finds a hugetlbfs with pages of this size: any that is mounted, or those that hugetlbfs_mount of
    qemu.conf names (virQEMUDriverConfigNew, virFileFindHugeTLBFS).

    `hugetlbfs /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0` -> {"/dev/hugepages"}
    """
    named = _named(snapshot)
    table = mounts.table(snapshot.read(mounts.MOUNTS).decode("utf-8", "backslashreplace"), str(mounts.MOUNTS))
    huge = [one for one in table if one.fstype == "hugetlbfs"]
    found = {one.at for one in huge if f"pagesize={_as_mounted(size)}" in one.options}
    excerpt = "\n".join(one.line for one in huge) or "no hugetlbfs"
    return Reading(frozenset(found if named is None else found & named), f"{mounts.MOUNTS}, {QEMU_CONF}", excerpt[:500])


def _as_mounted(size: int) -> str:
    """hugetlbfs_show_options (fs/hugetlbfs/inode.c): 2 MiB -> 2M, 1 GiB -> 1024M, 64 KiB -> 64K."""
    return f"{size >> 20}M" if size >= 1 << 20 else f"{size >> 10}K"


def _named(snapshot: Snapshot) -> frozenset[str] | None:
    """`hugetlbfs_mount = "/dev/hugepages2M"` or a list; None where libvirt looks for itself."""
    text = (snapshot.maybe(QEMU_CONF) or b"").decode("utf-8", "backslashreplace")
    entry = daemon_config.parse(text, QEMU_CONF.path).get("hugetlbfs_mount")
    if entry is None:
        return None
    values = entry.value if isinstance(entry.value, tuple) else (entry.value,)
    return frozenset(mounts.folder(str(value)) for value in values if value)


# --- KSM


def ksm_run(snapshot: Snapshot) -> int:
    """What stands in ksm/run: 0, 1 or 2."""
    return _plain(snapshot, KSM_RUN)


def ksm(snapshot: Snapshot, _persistent: bool = True) -> Reading:
    """ "on", "off", or MERGED. ksm/run: 1 merges, 0 stops, 2 stops and takes apart."""
    run, sharing = ksm_run(snapshot), _plain(snapshot, KSM_SHARING)
    excerpt = f"run: {run}, pages_sharing: {sharing}"
    stopped = "off" if sharing == 0 else MERGED
    return Reading("on" if run == 1 else stopped, str(KSM_RUN), excerpt)


def ksm_at_boot(snapshot: Snapshot, persistent: bool = True) -> Iterator[Reading]:
    """ "on" where a unit that turns it on is enabled or tmpfiles.d writes 1; else "off", as a kernel starts.

    Without systemd nobody knows what starts it: NotApplicable is raised.
    """
    _must_persist(persistent)
    units = [systemd.enabled(snapshot, KSM_UNITS, name) for name in KSM_UNITS.names]
    if any(one.value == NO_SYSTEMD for one in units):
        raise NotApplicable(NO_SYSTEMD)
    if starting := next((one for one in units if one.value == "enabled"), None):
        ubuntus = starting.excerpt.startswith(f"{UBUNTUS} ")
        yield _by_ubuntus(snapshot, starting) if ubuntus else Reading("on", starting.source, starting.excerpt)
        return
    later = tmpfiles.written(snapshot, KSM_RUN.path)
    if later is None:
        yield Reading("off", "systemctl, tmpfiles.d", f"none of {', '.join(KSM_UNITS.names)}, and no line for it")
    else:
        yield Reading("on" if later.value == "1" else "off", later.source, later.excerpt)


def _by_ubuntus(snapshot: Snapshot, unit: Reading) -> Reading:
    """/etc/default/qemu-kvm: `KSM_ENABLED=AUTO` -> "on", but "off" in a virtual machine: its CPUs say `hypervisor`."""
    text = (snapshot.maybe(UBUNTUS_FILE) or b"").decode("utf-8", "backslashreplace")
    told = re.findall(r"""^[ \t]*KSM_ENABLED=["']?(\w*)""", text, re.MULTILINE | re.ASCII)
    wanted = told[-1] if told else "AUTO"
    on = wanted == "1" or (wanted == "AUTO" and b"hypervisor" not in snapshot.read(kernel.CPU_FLAGS).stdout.split())
    excerpt = f"{unit.excerpt}; KSM_ENABLED={wanted}"
    return Reading("on" if on else "off", f"{unit.source}, {UBUNTUS_FILE}", excerpt)


# --- transparent huge pages


def transparent(snapshot: Snapshot, name: str, _persistent: bool = True) -> Reading:
    """The word in brackets: `always [madvise] never` -> "madvise". Raises CannotLook."""
    text = snapshot.read(THP[name]).decode("ascii", "replace").strip()
    match = re.search(r"\[([a-z+]{1,20})\]", text, re.ASCII)
    if match is None:
        raise CannotLook(THP[name], f"chooses nothing: {text[:80]!r}")
    return Reading(match[1], str(THP[name]), text[:100])


def transparent_at_boot(snapshot: Snapshot, name: str, persistent: bool = True) -> Iterator[Reading]:
    """What tmpfiles.d writes, else transparent_hugepage= of the command line, else KERNEL_DEFAULT.

    For `defrag` there is no parameter, and all kernels begin with "madvise" (transparent_hugepage_flags in
    mm/huge_memory.c); for `enabled` each was built with its own.
    """
    _must_persist(persistent)
    if (later := tmpfiles.written(snapshot, THP[name].path)) is not None:
        yield later
    elif name == "defrag":
        yield Reading("madvise", "tmpfiles.d", "nothing writes it: the kernel's default")
    else:
        for line in _lines(snapshot):
            values = line.values("transparent_hugepage")
            value = values[-1] if values else KERNEL_DEFAULT
            yield Reading(value, line.source, line.shown("transparent_hugepage"))


# --- swap


def swap(snapshot: Snapshot, _persistent: bool = True) -> Reading:
    """The devices and files that are swapped to. /proc/swaps: `/dev/sda2 partition 1048572 0 -2` -> {"/dev/sda2"}"""
    text = snapshot.read(SWAPS).decode("utf-8", "backslashreplace")
    head, *lines = text.splitlines() or [""]
    if not head.startswith("Filename"):
        raise CannotLook(SWAPS, f"said nothing we understand: {head[:60]!r}")
    return Reading(frozenset(line.split()[0] for line in lines if line.strip()), str(SWAPS), text[:500])


def swap_at_boot(snapshot: Snapshot, persistent: bool = True) -> Reading:
    """What the next boot swaps to: by fstab, and under systemd by enabled swap units, services that make some, and
    zram-generator."""
    _must_persist(persistent)
    entries = [one for one in mounts.fstab(snapshot) if one.fstype == "swap"]
    made = _made(snapshot) if snapshot.maybe_stat(mounts.SYSTEMD) is not None else []
    found = frozenset([*(one.source for one in entries), *made])
    excerpt = "\n".join([*(one.line for one in entries), *made])[:500]
    return Reading(found, f"{mounts.FSTAB}, {SWAP_UNITS}, systemctl, zram-generator", excerpt or "no swap")


def _made(snapshot: Snapshot) -> list[str]:
    services = [
        name for name in SWAP_SERVICES.names if systemd.enabled(snapshot, SWAP_SERVICES, name).value == "enabled"
    ]
    return [*snapshot.read(SWAP_UNITS), *services, *_zram(snapshot)]


def _zram(snapshot: Snapshot) -> list[str]:
    """The devices that are made to be swapped to: `[zram0]`, unless with `mount-point=` or another `fs-type=`."""
    main = next((text for one in ZRAM if (text := snapshot.maybe(one)) is not None), b"")
    texts = {"zram-generator.conf": main.decode("utf-8", "backslashreplace")}
    for glob in ZRAM_DROPINS:
        texts |= {path: text_of(path, found) for path, found in sorted(snapshot.read(glob).items())}
    devices = ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    for path, written in texts.items():
        try:
            devices.read_string(written, path)
        except ConfigError:
            raise CannotLook(path, "is no file of sections and keys") from None
    found = (devices[name] for name in devices.sections() if re.fullmatch(r"zram[0-9]{1,4}", name))
    return [one.name for one in found if one.get("fs-type", "swap") == "swap" and not one.get("mount-point")]
