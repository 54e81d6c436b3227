"""Whether the IOMMU is on, by what the kernel drives, and which link of the chain is missing where it is not.

Firmware table -> units that the kernel drives -> groups of devices -> what the groups do. Neither the CPU's vendor nor
the command line proves anything: kernels turn VT-d on by themselves, and an Intel IOMMU may stand beside AMD CPUs. The
kernel's log is not asked, which wraps around and is closed to many (dmesg_restrict). Sources: the kernel's
Documentation/ABI/testing/sysfs-class-iommu, sysfs-class-iommu-intel-iommu, sysfs-kernel-iommu_groups, sysfs-kernel-irq.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.expect import Expectation
from virtvet.probes import host_validate, kernel_cmdline, modules
from virtvet.probes.kernel_cmdline import CommandLine
from virtvet.snapshot.model import Snapshot, text_of
from virtvet.snapshot.sources import Command, File, Glob, Source, Stat

TABLES = tuple(Stat(f"/sys/firmware/acpi/tables/{name}") for name in ("DMAR", "IVRS", "IORT", "VIOT"))
"""Intel VT-d, AMD-Vi, ARM SMMU, virtio-iommu: whichever the firmware has, whatever the CPU."""
UNITS = "/sys/class/iommu"
GROUPS = "/sys/kernel/iommu_groups"
LISTING = Command(("find", UNITS, GROUPS, "-mindepth", "1", "-maxdepth", "1"))
NAMES = Glob(f"{GROUPS}/*/name")
TYPES = Glob(f"{GROUPS}/*/type")
CHIPS = Glob("/sys/kernel/irq/*/chip_name")
ACTIONS = Glob("/sys/kernel/irq/*/actions")
CAPABILITIES = Glob(f"{UNITS}/*/intel-iommu/ecap")
UNSAFE = File("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts")
DEVICE = Stat("/dev/vfio/vfio")

UNSAFE_SOURCES: tuple[Source, ...] = (UNSAFE, *modules.sources("vfio_iommu_type1"), *modules.CONFIG_SOURCES)
FOUND_SOURCES: tuple[Source, ...] = (*TABLES, LISTING)
ON_SOURCES: tuple[Source, ...] = (*FOUND_SOURCES, NAMES, TYPES, kernel_cmdline.RUNNING)
GROUP_SOURCES: tuple[Source, ...] = (LISTING, NAMES, TYPES)
REMAPPING_SOURCES: tuple[Source, ...] = (LISTING, CHIPS, ACTIONS, CAPABILITIES, kernel_cmdline.RUNNING)

KINDS = {
    "intel": re.compile(r"dmar\d{1,4}", re.ASCII),
    "amd": re.compile(r"ivhd\d{1,4}", re.ASCII),
    "arm": re.compile(r"(?:smmu|arm-smmu).{0,60}", re.ASCII),
}
"""What drivers call their units (iommu_device_sysfs_add): `dmar0`, `ivhd0`, `smmu3.0x0000000009050000`."""
ON_HINT = (
    "ls /sys/firmware/acpi/tables /sys/class/iommu /sys/kernel/iommu_groups; cat /proc/cmdline   # the first that is "
    "missing: no DMAR or IVRS: VT-d or AMD-Vi in the firmware setup of {host}; no units: intel_iommu=on on its command "
    "line, and no amd_iommu=off or iommu=off; then reboot"
)
"""What to do, whichever link is missing."""

UNSTATED = "not stated"
_PASSTHROUGH = {"1": "pt", "y": "pt", "on": "pt", "0": "nopt", "n": "nopt", "off": "nopt"}
_NO_IOMMU = "vfio-noiommu"
"""The name of groups that VFIO makes up for devices without an IOMMU (vfio_noiommu_group_alloc)."""
_TYPE = re.compile(r"[A-Za-z-]{1,20}", re.ASCII)
_CHIP = re.compile(r"(IR-)?(PCI-MSI|IO-APIC)[\x21-\x7e]{0,80}", re.ASCII)
"""Chips of devices' interrupts on x86; since Linux 6.2 followed by the device: `IR-PCI-MSIX-0000:01:00.0`."""
_OWN = re.compile(r"AMD-Vi[0-9]{0,4}(-Evt|-PPR|-GA)?", re.ASCII)
"""The action of an interrupt of AMD's IOMMU itself (iommu_setup_msi, iommu_setup_intcapxt in drivers/iommu/amd/init.c).
It remaps all but its own: `PCI-MSI-0000:00:00.2` among `IR-PCI-MSI-…`, or `IOMMU-MSI` where the CPUs use x2APIC."""
_REMAPS = 1 << 3
"""IR of the extended capability register (Intel VT-d specification, 11.4.3)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether something is on; `missing` tells what it lacks where it is not."""

    on: bool
    missing: str = ""

    def __str__(self) -> str:
        return "on" if self.on else f"off: {self.missing}"


@dataclass(frozen=True, slots=True)
class Is(Expectation):
    """A Verdict that is so."""

    on: bool

    def matches(self, value: Any) -> bool:
        """Whatever is missing."""
        return isinstance(value, Verdict) and value.on is self.on

    def __str__(self) -> str:
        return "on" if self.on else "off"


# --- is there one, and is it on


def found(snapshot: Snapshot) -> Reading:
    """The firmware describes an IOMMU, or the kernel drives one (device tree, POWER, s390x)."""
    tables, units, groups = _tables(snapshot), _below(snapshot, UNITS), _below(snapshot, GROUPS)
    return Reading(bool(tables or units or groups), _WHERE, _shown(tables, units, f"{len(groups)} groups"))


_WHERE = f"ACPI tables, {UNITS}, {GROUPS}"


def on(snapshot: Snapshot) -> Reading:
    """A Verdict: there are groups of devices behind an IOMMU.

    `ACPI: DMAR; units: dmar0; 7 groups (7 identity)` -> on; `ACPI: none; units: none; no groups` -> off: the firmware …
    """
    tables, units, types = _tables(snapshot), _below(snapshot, UNITS), _types(snapshot)
    missing = "" if types else _missing(snapshot, tables, units)
    return Reading(Verdict(bool(types), missing), _WHERE, _shown(tables, units, _groups_shown(types)))


def _tables(snapshot: Snapshot) -> list[str]:
    return [source.path.rpartition("/")[2] for source in TABLES if snapshot.maybe_stat(source)]


def _below(snapshot: Snapshot, folder: str) -> list[str]:
    """The names of what a folder of sysfs holds; a kernel without IOMMU support has no such folder."""
    listed = snapshot.read(LISTING)
    errors = listed.stderr.decode("utf-8", "backslashreplace").splitlines()
    if unknown := [line for line in errors if "No such file or directory" not in line]:
        raise CannotLook(LISTING, unknown[0][:200])
    paths = listed.stdout.decode("utf-8", "backslashreplace").splitlines()
    return sorted(path.removeprefix(f"{folder}/") for path in paths if path.startswith(f"{folder}/"))


def _types(snapshot: Snapshot) -> Mapping[str, str]:
    """What each group that has an IOMMU does by default: {"0": "identity", "6": "DMA-FQ"}; "" where it is not told."""
    without = {group for group, name in _of_groups(snapshot, NAMES).items() if name == _NO_IOMMU}
    told = _of_groups(snapshot, TYPES)
    return {group: told.get(group, "") for group in _below(snapshot, GROUPS) if group not in without}


def _of_groups(snapshot: Snapshot, source: Glob) -> Mapping[str, str]:
    return {path.split("/")[4]: text_of(path, said).strip() for path, said in snapshot.read(source).items()}


def _missing(snapshot: Snapshot, tables: list[str], units: list[str]) -> str:
    """The first link of the chain that is not there."""
    if units:
        return f"the kernel drives {', '.join(units[:8])}, but has put no device in a group"
    if _below(snapshot, GROUPS):
        return "all groups are VFIO's own, for devices without an IOMMU (enable_unsafe_noiommu_mode)"
    if not tables:
        return "the firmware describes none: VT-d or AMD-Vi is off in its setup, or not there"
    line = kernel_cmdline.running(snapshot)
    said = [line.shown(key) for key in ("intel_iommu", "amd_iommu", "iommu") if line.values(key)]
    told = " ".join(said)[:120] or "nothing of intel_iommu= or amd_iommu="
    return f"the firmware describes one ({', '.join(tables)}), the kernel drives none; its command line says {told}"


def _groups_shown(types: Mapping[str, str]) -> str:
    counted = Counter(kind or "of no type" for kind in types.values())
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counted.items()))
    return f"{len(types)} groups ({kinds[:120]})" if types else "no groups"


def _shown(tables: list[str], units: list[str], groups: str) -> str:
    return f"ACPI: {' '.join(tables) or 'none'}; units: {' '.join(units[:8]) or 'none'}; {groups}"


# --- what it is and does


def kind(snapshot: Snapshot) -> list[Reading]:
    """ "intel", "amd" or "arm" by the name of each unit: `/sys/class/iommu/dmar0` -> "intel"."""
    units = _below(snapshot, UNITS)
    kinds = {_kind(unit): f"{UNITS}/{unit}" for unit in reversed(units)} or {"none": UNITS}
    return [Reading(value, source, " ".join(units[:8])) for value, source in kinds.items()]


def _kind(unit: str) -> str:
    return next((name for name, pattern in KINDS.items() if pattern.fullmatch(unit)), f"unknown ({unit[:40]})")


def groups(snapshot: Snapshot) -> Reading:
    """How many groups there are; those without an IOMMU do not count."""
    types = _types(snapshot)
    return Reading(len(types), GROUPS, _groups_shown(types))


def default_domain(snapshot: Snapshot) -> Iterable[Reading]:
    """What groups do with a device's addresses while no guest has it: "identity" passes them through, "DMA" and
    "DMA-FQ" translate them. One reading for each that is there. /sys/kernel/iommu_groups/0/type: `identity`.
    """
    types = _types(snapshot)
    if not types:
        raise NotApplicable("there are no IOMMU groups")
    for one in sorted(set(types.values())):
        members = sorted((group for group, kind in types.items() if kind == one), key=lambda group: (len(group), group))
        source = f"{GROUPS}/{members[0]}/type"
        if not _TYPE.fullmatch(one):
            raise CannotLook(source, "does not tell the group's type")
        yield Reading(one, source, f"{one}: {len(members)} of {len(types)} groups, the first {members[0]}")


def remapping(snapshot: Snapshot) -> Reading:
    """A Verdict: the IOMMU remaps interrupts of devices, so that a device in a guest's hands cannot send any other.

    /sys/kernel/irq/25/chip_name: `IR-PCI-MSI` -> on, `PCI-MSI` -> off; each must be remapped. Chips that no IOMMU
    remaps (`XT-PIC`, its own `DMAR-MSI`), and the own interrupts of AMD's, say nothing. Raises NotApplicable where no
    chip is x86's: others do it elsewhere.
    """
    names = {path: text_of(path, said).strip() for path, said in snapshot.read(CHIPS).items()}
    told = {path: match for path, name in sorted(names.items()) if (match := _CHIP.fullmatch(name))}
    told = {path: match for path, match in told.items() if match[1] or not _is_own(snapshot, path)}
    if not told:
        _must_be_another(set(names.values()))
    plain = [path for path, match in told.items() if not match[1]]
    counted = Counter(f"{match[1] or ''}{match[2]}" for match in told.values())
    excerpt = ", ".join(f"{count} {name}" for name, count in sorted(counted.items()))
    missing = _why_not_remapped(snapshot) if plain else ""
    return Reading(Verdict(not plain, missing), (plain or list(told))[0], excerpt)


def _is_own(snapshot: Snapshot, chip_name: str) -> bool:
    """/sys/kernel/irq/25/actions, beside chip_name: `AMD-Vi` -> True."""
    path, actions = chip_name.replace("/chip_name", "/actions"), snapshot.read(ACTIONS)
    return path in actions and _OWN.fullmatch(text_of(path, actions[path]).strip()) is not None


def _must_be_another(names: set[str]) -> None:
    if any(name.startswith(("GIC", "ITS", "XICS", "XIVE", "RISC-V")) for name in names):
        raise NotApplicable("interrupts are remapped by the IOMMU on x86 only")
    raise CannotLook(CHIPS, f"no interrupt has a chip that we know: {', '.join(sorted(names))[:120] or 'none at all'}")


def _why_not_remapped(snapshot: Snapshot) -> str:
    """Of VT-d its units tell whether they could: /sys/class/iommu/dmar0/intel-iommu/ecap: `f00f4a`."""
    registers = {path: text_of(path, said).strip() for path, said in snapshot.read(CAPABILITIES).items()}
    if told := _turned_off(kernel_cmdline.running(snapshot)):
        return f"the command line says {told}"
    for path, value in registers.items():
        if not re.fullmatch(r"[0-9a-f]{1,16}", value):
            raise CannotLook(path, f"is no register: {value[:40]!r}")
        if not int(value, 16) & _REMAPS:
            return f"{path.split('/')[4]} cannot (ecap {value})"
    return "the units can, the kernel does not" if _below(snapshot, UNITS) else "the kernel drives no unit"


def _turned_off(line: CommandLine) -> str:
    """What leaves interrupts as they are. Other than intel_iommu=off, amd_iommu=off turns off both."""
    if "off" in line.values("intremap") or line.values("nointremap"):
        return line.shown("intremap") or "nointremap"
    return _switched_off(line, "amd_iommu", "iommu")


# --- what the next boot will make of it


def on_config(snapshot: Snapshot) -> Iterator[Reading]:
    """A Verdict: the command line does not switch the IOMMU off, nor lacks what switches it on now."""
    asked = "on" in kernel_cmdline.running(snapshot).values("intel_iommu")
    for line in _coming(snapshot):
        said = _switched_off(line, "intel_iommu", "amd_iommu", "iommu")
        lacks = asked and "on" not in line.values("intel_iommu")
        missing = f"the command line says {said}" if said else "intel_iommu=on, which it is on by now" if lacks else ""
        yield Reading(Verdict(not missing, missing), line.source, line.text[:400])


def _coming(snapshot: Snapshot) -> Iterator[CommandLine]:
    """Of the next boot, and of those after the boot loader's entries are made anew."""
    yield kernel_cmdline.configured(snapshot)
    if (later := kernel_cmdline.generated(snapshot)) is not None:
        yield later


def _switched_off(line: CommandLine, *keys: str) -> str:
    return next((line.shown(key) for key in keys if "off" in line.values(key)), "")


def remapping_config(snapshot: Snapshot) -> Iterator[Reading]:
    """A Verdict: the command line does not turn remapping off."""
    for line in _coming(snapshot):
        said = _turned_off(line)
        yield Reading(Verdict(not said, f"the command line says {said}" if said else ""), line.source, line.text[:400])


def default_domain_config(snapshot: Snapshot) -> Iterator[Reading]:
    """`iommu=pt` is "identity", `iommu=nopt` "DMA", and neither UNSTATED: the kernel was built with a default."""
    for line in _coming(snapshot):
        told = {*line.values("iommu"), *(_PASSTHROUGH.get(value, "") for value in line.values("iommu.passthrough"))}
        value = "identity" if "pt" in told else "DMA" if "nopt" in told else UNSTATED
        yield Reading(value, line.source, line.text[:400])


# --- VFIO


def unsafe(snapshot: Snapshot) -> Reading:
    """Whether VFIO gives devices away although nothing remaps their interrupts. `N` -> False. Raises NotApplicable
    while its module is not loaded."""
    said = snapshot.maybe(UNSAFE)
    if said is None:
        raise NotApplicable("the module vfio_iommu_type1 is not loaded")
    word = said.decode("ascii", "replace").strip()
    if word not in ("Y", "N"):
        raise CannotLook(UNSAFE, f"is neither Y nor N: {word[:20]!r}")
    return Reading(word == "Y", UNSAFE.path, word)


def unsafe_config(snapshot: Snapshot) -> Reading:
    """As `unsafe`, once the module is loaded anew. Raises NotApplicable where nothing says so: then it is not.

    /etc/modprobe.d/vfio.conf: `options vfio_iommu_type1 allow_unsafe_interrupts=1` -> True
    """
    found = modules.parameter_config(snapshot, "vfio_iommu_type1", "allow_unsafe_interrupts", False)
    return replace(found, value=found.value == "1")


def accessible(snapshot: Snapshot) -> Reading:
    """As `host_validate.accessible`, of /dev/vfio/vfio: libvirt opens /dev/vfio/GROUP to QEMU, but not this one."""
    return host_validate.accessible(snapshot, DEVICE)
