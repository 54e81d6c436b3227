"""The IOMMU: hv3 of the image lab, and hosts of other kinds as constructed text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from tests import looks
from tests.unit.certificate_maker import TAKEN
from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import host_validate, iommu, kernel_cmdline, modules
from virtvet.profile.iommu import Iommu
from virtvet.snapshot.model import Absent, Answer, Completed, Content, LibvirtAnswer, Snapshot, Status, Unreadable
from virtvet.snapshot.sources import Command, File, Glob, Libvirt, Source, Stat

HV3 = looks.look("iommu/hv3")
FILE = Status("regular file", 0o400, "root", "root", 0, 0, 136)
ECAP = f"{iommu.UNITS}/dmar0/intel-iommu/ecap"


def files(found: Mapping[str, str]) -> dict[str, Content]:
    return {path: Content(f"{text}\n".encode()) for path, text in found.items()}


def listed(text: str, err: str = "") -> Completed:
    return Completed(int(bool(err)), text.encode(), err.encode())


def made(**said: Any) -> Snapshot:
    """Constructed: a host whose firmware, kernel and command line say this."""
    units, types, names = said.get("units", ()), said.get("types", {}), said.get("names", {})
    paths = [*(f"{iommu.UNITS}/{unit}" for unit in units), *(f"{iommu.GROUPS}/{group}" for group in types)]
    chips = enumerate(said.get("chips", ()))
    answers: dict[Source, Answer] = {
        **{table: FILE if table.path.endswith(said.get("tables", ())) else Absent() for table in iommu.TABLES},
        iommu.LISTING: listed("".join(f"{path}\n" for path in paths), said.get("err", "")),
        iommu.TYPES: files({f"{iommu.GROUPS}/{group}/type": kind for group, kind in types.items()}),
        iommu.NAMES: files({f"{iommu.GROUPS}/{group}/name": name for group, name in names.items()}),
        iommu.CHIPS: files({f"/sys/kernel/irq/{number}/chip_name": chip for number, chip in chips}),
        iommu.ACTIONS: files({f"/sys/kernel/irq/{at}/actions": name for at, name in said.get("actions", {}).items()}),
        iommu.CAPABILITIES: files({ECAP: said["ecap"]} if "ecap" in said else {}),
        kernel_cmdline.RUNNING: Content(said.get("line", "quiet").encode()),
    }
    return Snapshot("hv1", TAKEN, answers)


def one(found: Reading | Iterable[Reading]) -> Reading:
    (reading,) = (found,) if isinstance(found, Reading) else found
    return reading


# --- recorded


def test_everything_is_on_in_the_lab() -> None:
    assert iommu.found(HV3).value is True
    seen = iommu.on(HV3)
    assert (str(seen.value), seen.excerpt) == ("on", "ACPI: DMAR; units: dmar0; 7 groups (7 identity)")
    assert one(iommu.kind(HV3)).value == "intel"
    assert str(iommu.remapping(HV3).value) == "on"
    assert iommu.remapping(HV3).excerpt == "20 IR-IO-APIC, 12 IR-PCI-MSI"
    assert one(iommu.default_domain(HV3)).value == "identity"
    assert iommu.groups(HV3).value == 7
    assert iommu.unsafe(HV3).value is False


# --- the chain


@pytest.mark.parametrize(
    ("said", "there", "missing"),
    [
        ({"tables": ("DMAR",), "units": ("dmar0",), "types": {"0": "DMA-FQ"}}, True, None),
        ({"tables": ("IVRS",), "units": ("ivhd0",), "types": {"0": "DMA", "1": "identity"}}, True, None),
        ({"types": {"0": "DMA"}}, True, None),  # POWER
        ({}, False, "firmware describes none: VT-d or AMD-Vi is off in its setup"),
        ({"tables": ("DMAR",)}, True, "kernel drives none; its command line says nothing of intel_iommu="),
        ({"tables": ("DMAR",), "line": "intel_iommu=sm_on,off"}, True, "command line says intel_iommu=sm_on,off"),
        ({"tables": ("IVRS",), "line": "amd_iommu=off"}, True, r"one \(IVRS\), .* says amd_iommu=off"),
        ({"tables": ("DMAR",), "units": ("dmar0",)}, True, "drives dmar0, but has put no device in a group"),
        ({"types": {"0": "unknown"}, "names": {"0": "vfio-noiommu"}}, True, "VFIO's own"),
        ({"err": "find: '/sys/kernel/iommu_groups': No such file or directory\n"}, False, "firmware describes none"),
    ],
)
def test_the_missing_link_is_named(said: dict[str, Any], there: bool, missing: str | None) -> None:
    snapshot = made(**said)
    verdict = iommu.on(snapshot).value
    assert iommu.found(snapshot).value is there
    assert iommu.Is(missing is None).matches(verdict)
    assert not iommu.Is(missing is not None).matches(verdict)
    assert re.search(missing or "^on$", str(verdict))


def test_a_sysfs_that_cannot_be_read_is_no_answer() -> None:
    for probe in (iommu.found, iommu.on, iommu.groups, iommu.kind):
        with pytest.raises(CannotLook, match="Permission denied"):
            one(probe(made(err="find: '/sys/class/iommu': Permission denied\n")))


@pytest.mark.parametrize(
    ("units", "kinds"),
    [
        ((), ["none"]),
        (("dmar0", "dmar1"), ["intel"]),
        (("ivhd0",), ["amd"]),
        (("smmu3.0x0000000009050000",), ["arm"]),
        (("dmar0", "virtio0"), ["unknown (virtio0)", "intel"]),
    ],
)
def test_kind(units: tuple[str, ...], kinds: list[str]) -> None:
    assert [reading.value for reading in iommu.kind(made(units=units))] == kinds


def test_every_type_is_read() -> None:
    snapshot = made(types={"0": "DMA-FQ", "10": "identity", "9": "identity"})
    assert [(reading.value, reading.source[-7:]) for reading in iommu.default_domain(snapshot)] == [
        ("DMA-FQ", "/0/type"),
        ("identity", "/9/type"),
    ]
    with pytest.raises(CannotLook):
        list(iommu.default_domain(made(types={"0": "?"})))
    with pytest.raises(NotApplicable):
        list(iommu.default_domain(made()))


# --- interrupts


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"chips": ["IR-IO-APIC", "IR-PCI-MSIX-0000:01:00.0", "DMAR-MSI", "XT-PIC"]}, "on"),
        ({"chips": ["IR-IO-APIC", "PCI-MSI"]}, "off: the kernel drives no unit"),
        ({"chips": ["IR-IO-APIC", "IOMMU-MSI", "IR-PCI-MSI-0000:00:01.1"], "units": ("ivhd0",)}, "on"),
        ({"chips": ["IR-IO-APIC", "PCI-MSI"], "actions": {0: "timer", 1: "AMD-Vi"}, "units": ("ivhd0",)}, "on"),
        (
            {"chips": ["PCI-MSI-0000:00:00.2", "IR-PCI-MSI-0000:00:01.1"], "actions": {0: "AMD-Vi0-Evt"}},
            "on",
        ),
        (
            {"chips": ["PCI-MSI", "PCI-MSI"], "actions": {0: "AMD-Vi", 1: "nvme0q0"}, "units": ("ivhd0",)},
            "off: the units can, the kernel does not",
        ),
        ({"chips": ["PCI-MSIX-0000:00:01.0"], "units": ("ivhd0",)}, "off: the units can, the kernel does not"),
        ({"chips": ["IO-APIC"], "units": ("dmar0",), "ecap": "f00f42"}, "off: dmar0 cannot (ecap f00f42)"),
        ({"chips": ["IO-APIC"], "ecap": "f00f4a", "line": "intremap=off"}, "off: the command line says intremap=off"),
        ({"chips": ["IO-APIC"], "line": "nointremap"}, "off: the command line says nointremap"),
        ({"chips": ["IO-APIC"], "line": "amd_iommu=off"}, "off: the command line says amd_iommu=off"),
    ],
)
def test_remapping(said: dict[str, Any], found: str) -> None:
    assert str(iommu.remapping(made(**said)).value) == found


def test_remapping_is_a_matter_of_x86() -> None:
    with pytest.raises(NotApplicable):
        iommu.remapping(made(chips=["GICv3", "ITS-MSI"]))
    for chips in ([], ["HV-PCI-MSI"]):
        with pytest.raises(CannotLook):
            iommu.remapping(made(chips=chips))
    with pytest.raises(CannotLook):
        iommu.remapping(made(chips=["PCI-MSI"], actions={0: "AMD-Vi"}))
    with pytest.raises(CannotLook, match="no register"):
        iommu.remapping(made(chips=["IO-APIC"], ecap="<not available>"))


# --- the next boot


def boots(line: str, now: str = "quiet", template: str | None = None) -> Snapshot:
    """Constructed: a host with GRUB that was started with `now` and will be with `line`."""
    answers: dict[Source, Answer] = {
        source: {} if isinstance(source, Glob) else Completed(0, b"", b"") if not isinstance(source, File) else Absent()
        for source in kernel_cmdline.CONFIG_SOURCES
    }
    grub = f"set default=0\nmenuentry 'Linux' {{\n\tlinux /vmlinuz root=/dev/vda1 {line}\n}}\n"
    answers |= {File("/boot/grub/grub.cfg"): Content(grub.encode()), kernel_cmdline.RUNNING: Content(now.encode())}
    if template is not None:
        answers[File("/etc/default/grub")] = Content(f'GRUB_CMDLINE_LINUX="{template}"\n'.encode())
    return Snapshot("hv1", TAKEN, answers)


@pytest.mark.parametrize(
    ("line", "now", "found"),
    [
        ("quiet", "quiet", "on"),
        ("intel_iommu=on iommu=pt", "intel_iommu=on", "on"),
        ("intel_iommu=off intel_iommu=on", "quiet", "on"),
        ("iommu=pt", "intel_iommu=on iommu=pt", "off: intel_iommu=on, which it is on by now"),
        ("intel_iommu=off", "intel_iommu=on", "off: the command line says intel_iommu=off"),
        ("amd_iommu=off", "quiet", "off: the command line says amd_iommu=off"),
        ("iommu=pt,off", "quiet", "off: the command line says iommu=pt,off"),
    ],
)
def test_the_next_boot_leaves_it_on(line: str, now: str, found: str) -> None:
    assert str(one(iommu.on_config(boots(line, now))).value) == found


def test_boots_after_the_next_count() -> None:
    found = iommu.on_config(boots("quiet", template="iommu=off"))
    assert [str(reading.value)[:3] for reading in found] == ["on", "off"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("intel_iommu=off", "on"),
        ("intremap=no_x2apic_optout", "on"),
        ("intremap=off", "off: the command line says intremap=off"),
        ("intremap=nopost,off", "off: the command line says intremap=nopost,off"),
        ("iommu=off", "off: the command line says iommu=off"),
    ],
)
def test_the_next_boot_remaps(line: str, found: str) -> None:
    assert str(one(iommu.remapping_config(boots(line))).value) == found


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("iommu=pt", "identity"),
        ("iommu.passthrough=1", "identity"),
        ("iommu=nopt", "DMA"),
        ("iommu.passthrough=0", "DMA"),
        ("iommu=pt iommu=nopt", "DMA"),
        ("quiet", iommu.UNSTATED),
    ],
)
def test_the_next_boots_default_domain(line: str, found: str) -> None:
    assert one(iommu.default_domain_config(boots(line))).value == found


# --- VFIO


@pytest.mark.parametrize(("said", "value"), [(b"Y\n", True), (b"N\n", False)])
def test_unsafe_interrupts(said: bytes, value: bool) -> None:
    assert iommu.unsafe(Snapshot("hv1", TAKEN, {iommu.UNSAFE: Content(said)})).value is value


def test_unsafe_interrupts_need_the_module() -> None:
    with pytest.raises(NotApplicable):
        iommu.unsafe(Snapshot("hv1", TAKEN, {iommu.UNSAFE: Absent()}))
    for answer in (Content(b""), Content(b"1\n"), Unreadable("Permission denied")):
        with pytest.raises(CannotLook):
            iommu.unsafe(Snapshot("hv1", TAKEN, {iommu.UNSAFE: answer}))


@pytest.mark.parametrize(("value", "unsafe"), [("1", True), ("Y", True), ("0", False), ("n", False)])
def test_unsafe_interrupts_of_the_next_load(value: str, unsafe: bool) -> None:
    seen = boots(f"vfio_iommu_type1.allow_unsafe_interrupts={value}")
    nothing: dict[Source, Answer] = {
        source: Completed(0, b"", b"") if isinstance(source, Command) else {} if isinstance(source, Glob) else Absent()
        for source in iommu.UNSAFE_SOURCES
    }
    nothing[modules.init_state("vfio_iommu_type1")] = Content(b"live\n")
    assert iommu.unsafe_config(replace(seen, answers={**nothing, **seen.answers})).value is unsafe
    with pytest.raises(NotApplicable):
        iommu.unsafe_config(replace(seen, answers={**nothing, **boots("quiet").answers}))


@pytest.mark.parametrize(("mode", "may"), [(0o666, True), (0o600, False), (0o660, False)])
def test_vfio_must_be_open_to_qemu(mode: int, may: bool) -> None:
    label = "<secmodel><model>dac</model><baselabel type='kvm'>+64055:+104</baselabel></secmodel>"
    answers: dict[Source, Answer] = {
        iommu.DEVICE: Status(host_validate.CHARACTER_DEVICE, mode, "root", "root", 0, 0, 0),
        Libvirt(): LibvirtAnswer("qemu:///system", "hv1", 9_000_000, 7_002_000, f"<host>{label}</host>", {}),
        host_validate.PASSWD: Content(b"libvirt-qemu:x:64055:104::/:/bin/false\n"),
        host_validate.GROUP: Content(b"kvm:x:104:\n"),
    }
    assert iommu.accessible(Snapshot("hv1", TAKEN, answers)).value is may
    assert iommu.accessible(Snapshot("hv1", TAKEN, {**answers, Stat("/dev/vfio/vfio"): Absent()})).value is False


# --- the profile


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"enabled": False, "passthrough": True}, "enabled: false leaves nothing that could have passthrough"),
        ({"enabled": False, "kind": "intel", "groups": 3}, "kind and groups"),
        ({"kind": "nvidia"}, "intel"),
        ({"groups": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused(written: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Iommu.model_validate(written)
