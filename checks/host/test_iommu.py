"""The IOMMU is on, does what it must, and VFIO can give devices away safely."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from virtvet.check import Case, Control, PerLayer, Severity, check
from virtvet.expect import Anything, AtLeast, OneOf
from virtvet.probes import host_validate, iommu, kernel_cmdline
from virtvet.target import HostTarget

PARAMETERS = "https://docs.kernel.org/admin-guide/kernel-parameters.html"
VFIO = "https://docs.kernel.org/driver-api/vfio.html"
GROUPS = "https://docs.kernel.org/admin-guide/abi-testing.html#abi-file-testing-sysfs-kernel-iommu-groups"


def _control(id: str, title: str, severity: Severity, rationale: str, hint: str, *references: str) -> Control:
    return Control(id, title, "iommu", severity, "R32", rationale, hint, references)


ON = _control(
    "HOST-IOMMU-3",
    "The IOMMU is on, or off",
    Severity.HIGH,
    "Without it a guest's device reaches all of the host's memory, and vfio refuses to give it away.",
    iommu.ON_HINT,
    *(VFIO, PARAMETERS),
)
KIND = _control(
    "HOST-IOMMU-4",
    "The IOMMU is of the stated kind",
    Severity.MEDIUM,
    "Which kind it is decides what the command line must say, and whether guests can move between hosts with devices.",
    "ls -l /sys/class/iommu   # dmar: Intel VT-d, ivhd: AMD-Vi, smmu: ARM",
    "https://docs.kernel.org/arch/x86/iommu.html",
)
REMAPPING = _control(
    "HOST-IOMMU-5",
    "Interrupts of devices are remapped, or not",
    Severity.HIGH,
    "A device that a guest programs can otherwise send any interrupt to any CPU of the host: an attack from inside.",
    "cat /sys/kernel/irq/*/chip_name | sort | uniq -c; dmesg | grep -i remapping   # IR-PCI-MSI: remapped. Else take "
    "intremap=off off {host}'s command line, or turn on interrupt remapping (x2APIC) in its firmware setup",
    *(VFIO, PARAMETERS),
)
PASSTHROUGH = _control(
    "HOST-IOMMU-6",
    "Devices of the host pass through the IOMMU, or are translated",
    Severity.MEDIUM,
    "Passed through, the host's own devices lose nothing; translated, a broken one cannot reach all memory.",
    "cat /sys/kernel/iommu_groups/*/type   # iommu=pt or iommu=nopt on {host}'s command line, then reboot",
    *(PARAMETERS, GROUPS),
)
COUNT = _control(
    "HOST-IOMMU-7",
    "There are enough IOMMU groups",
    Severity.MEDIUM,
    "A group goes to one guest as a whole: few groups are devices that cannot be given away one by one.",
    "ls -d /sys/kernel/iommu_groups/*/devices/*   # ACS in {host}'s firmware setup; another slot",
    *(VFIO, GROUPS),
)
UNSAFE = _control(
    "HOST-VFIO-1",
    "VFIO gives no device away whose interrupts nothing remaps",
    Severity.CRITICAL,
    "allow_unsafe_interrupts=1 lets guests attack the host with interrupts; it is for tests on old hardware.",
    "echo N >/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts   # and in /etc/modprobe.d",
    VFIO,
)
ACCESS = _control(
    "HOST-VFIO-2",
    "The account that QEMU runs as may open /dev/vfio/vfio",
    Severity.HIGH,
    "libvirt gives QEMU the group's device, not this one: it must be open to all, as udev makes it.",
    "ls -l /dev/vfio/vfio; chmod 0666 /dev/vfio/vfio   # and see why udev did not",
    *(VFIO, "https://libvirt.org/drvqemu.html#posix-users-groups"),
)


def _stated(
    key: str, expected: Callable[..., object] = lambda wanted: wanted
) -> Callable[[HostTarget], Iterable[Case]]:
    """One case if the profile states `key`."""

    def cases(host: HostTarget) -> Iterable[Case]:
        wants = host.wants.iommu
        if wants and (wanted := getattr(wants, key)) is not None:
            yield Case(key, expected(wanted))

    return cases


def _is(on: bool) -> object:
    """Off it is without a word on the command line, too."""
    return iommu.Is(True) if on else PerLayer(config=Anything(), actual=iommu.Is(False))


def _domain(passthrough: bool) -> object:
    return "identity" if passthrough else OneOf(("DMA", "DMA-FQ", iommu.UNSTATED))


@check(
    ON,
    cases=_stated("enabled", _is),
    sources=(*iommu.ON_SOURCES, *kernel_cmdline.SOURCES),
    config=iommu.on_config,
    actual=iommu.on,
)
def test_iommu_is_on(case: Case, observed: object) -> None:
    """By its groups; what is missing is told link by link."""
    assert observed == case.expected


@check(KIND, cases=_stated("kind"), sources=(iommu.LISTING,), actual=iommu.kind)
def test_iommu_is_of_its_kind(case: Case, observed: object) -> None:
    """By the names that drivers give their units."""
    assert observed == case.expected


@check(
    REMAPPING,
    cases=_stated("interrupt_remapping", _is),
    sources=(*iommu.REMAPPING_SOURCES, *kernel_cmdline.SOURCES),
    config=iommu.remapping_config,
    actual=iommu.remapping,
)
def test_interrupts_are_remapped(case: Case, observed: object) -> None:
    """By the chip of every interrupt."""
    assert observed == case.expected


@check(
    PASSTHROUGH,
    cases=_stated("passthrough", _domain),
    sources=(*iommu.GROUP_SOURCES, *kernel_cmdline.CONFIG_SOURCES),
    config=iommu.default_domain_config,
    actual=iommu.default_domain,
)
def test_devices_pass_through(case: Case, observed: object) -> None:
    """By the type of every group."""
    assert observed == case.expected


@check(COUNT, cases=_stated("groups", AtLeast), sources=iommu.GROUP_SOURCES, actual=iommu.groups)
def test_groups_are_enough(case: Case, observed: object) -> None:
    """Those of devices behind an IOMMU."""
    assert observed == case.expected


@check(
    UNSAFE,
    cases=_stated("unsafe_interrupts"),
    sources=iommu.UNSAFE_SOURCES,
    config=iommu.unsafe_config,
    actual=iommu.unsafe,
)
def test_interrupts_are_safe(case: Case, observed: object) -> None:
    """The parameter of the module that runs, and of the one that is loaded next."""
    assert observed == case.expected


@check(
    ACCESS,
    cases=_stated("vfio_accessible"),
    sources=(iommu.DEVICE, *host_validate.ACCOUNT_SOURCES),
    actual=iommu.accessible,
)
def test_qemu_may_open_vfio(case: Case, observed: object) -> None:
    """As /dev/kvm."""
    assert observed == case.expected
