"""PCI devices of the host: what they are, their drivers, network devices, IOMMU groups and virtual functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from virtvet.check import Case, Control, Probe, Reading, Severity, check
from virtvet.expect import Anything, AtLeast, Within
from virtvet.probes import devices, nodedev
from virtvet.profile.devices import Device, driver_of
from virtvet.remedies.devices import REBIND
from virtvet.snapshot.model import Snapshot
from virtvet.target import HostTarget

SYSFS = "https://docs.kernel.org/PCI/sysfs-pci.html"
ABI = "https://www.kernel.org/doc/Documentation/ABI/testing/sysfs-bus-pci"
VFIO = "https://docs.kernel.org/driver-api/vfio.html"
NODES = "https://libvirt.org/formatnode.html"
SRIOV = "https://docs.kernel.org/PCI/pci-iov-howto.html"


def _control(number: int, title: str, severity: Severity, rationale: str, hint: str, *references: str) -> Control:
    return Control(
        id=f"HOST-PCI-{number}",
        title=title,
        area="devices",
        severity=severity,
        requirement="R34",
        rationale=rationale,
        hint=hint,
        references=references,
    )


PRESENT = _control(
    1,
    "The host has the PCI device, and libvirt lists it",
    Severity.HIGH,
    "Addresses move with every card that is added: what a guest is given by its address may be another device.",
    "virsh -c qemu:///system nodedev-dumpxml {node}; lspci -Dnn -s {address}; echo 1 > /sys/bus/pci/rescan",
    SYSFS,
    NODES,
)
DRIVER = _control(
    2,
    "The PCI device is bound to its driver",
    Severity.HIGH,
    "A device that guests are to have belongs to vfio-pci. Bound to a driver of the host it is used there, and a guest "
    "that is not managed by libvirt does not start.",
    "virsh -c qemu:///system nodedev-detach {node}   # to vfio-pci; nodedev-reattach gives it back",
    VFIO,
)
OVERRIDE = _control(
    3,
    "Only the right driver may take the PCI device",
    Severity.MEDIUM,
    "Whichever driver is probed first takes the device, but for driver_override; one that was left behind keeps its "
    "own driver away.",
    "echo {written} > /sys/bus/pci/devices/{address}/driver_override   # an empty line takes it back",
    ABI,
)
NETDEV = _control(
    4,
    "The PCI device has its network device on the host, or none",
    Severity.HIGH,
    "A card given to guests that shows up on the host again is a second way into their network; one that is gone cuts "
    "the host off.",
    "ls /sys/bus/pci/devices/{address}/net; readlink /sys/bus/pci/devices/{address}/driver",
    SYSFS,
)
GROUP = _control(
    5,
    "The IOMMU group holds nothing but what may be assigned with the device",
    Severity.CRITICAL,
    "Within a group devices reach each other's memory past the IOMMU: who is given one is given all.",
    "ls /sys/bus/pci/devices/{address}/iommu_group/devices   # another slot, or ACS on the bridge above, parts them",
    VFIO,
)
FREE = _control(
    6,
    "No driver of the host has a device of the same IOMMU group",
    Severity.HIGH,
    "QEMU is refused a group of which the host uses a device: group is not viable.",
    "for d in /sys/bus/pci/devices/{address}/iommu_group/devices/*; do lspci -Dnnk -s ${{d##*/}}; done",
    VFIO,
)
VIRTUAL = _control(
    7,
    "The PCI device has its virtual functions",
    Severity.HIGH,
    "They are made at boot, in the number somebody wrote; guests that were to have the others do not start.",
    "cat /sys/bus/pci/devices/{address}/sriov_totalvfs; echo {expected} > /sys/bus/pci/devices/{address}/sriov_numvfs",
    SRIOV,
)
NUMA = _control(
    8,
    "The PCI device is at its NUMA node",
    Severity.MEDIUM,
    "A guest on another node than its card reaches it, and its interrupts, across the machine.",
    "cat /sys/bus/pci/devices/{address}/numa_node   # another slot",
    ABI,
)


def _case(address: str, expected: Any, *rest: Any, part: str = "", written: str = "") -> Case:
    words = {"address": address, "node": nodedev.asked(address).name, "written": written}
    return Case("/".join(filter(None, (address, part))), expected, (address, *rest), words=words)


def _cases(name: str, expected: Callable[[Any], Any] = lambda wanted: wanted) -> Callable[[HostTarget], Iterable[Case]]:
    """One case for each device that states this key."""

    def cases(host: HostTarget) -> Iterable[Case]:
        for address, wants in host.wants.devices.items():
            if (wanted := getattr(wants, name)) is not None:
                yield _case(address, expected(wanted), written="''" if wanted == "none" else str(wanted))

    return cases


def identities(host: HostTarget) -> Iterable[Case]:
    """Every device of the profile, of whatever kind if none is stated."""
    for address, wants in host.wants.devices.items():
        yield _case(address, wants.id or Anything(), "identity")
        if wants.kind is not None:
            yield _case(address, wants.kind, "kind", part="class")


def network_devices(host: HostTarget) -> Iterable[Case]:
    """Whether there is one, and its MAC address."""
    for address, wants in host.wants.devices.items():
        if wants.netdev is not None:
            yield _case(address, wants.netdev, "netdev", wants.netdev)
        if wants.mac is not None:
            yield _case(address, wants.mac, "mac", part="mac")


def free_groups(host: HostTarget) -> Iterable[Case]:
    """Every device that is there for guests."""
    for address, wants in host.wants.devices.items():
        if wants.assignable:
            yield _case(address, frozenset())


def functions(host: HostTarget) -> Iterable[Case]:
    """What it can have, what it has, and what it is one of."""
    for address, wants in host.wants.devices.items():
        for part, expected in _functions(wants).items():
            yield _case(address, expected, part, part=part)


def _functions(wants: Device) -> dict[str, Any]:
    stated = {
        "total": wants.sriov and wants.sriov.total,
        "vfs": wants.sriov and wants.sriov.vfs,
        "physical_function": wants.physical_function,
    }
    found = {part: wanted for part, wanted in stated.items() if wanted is not None}
    return found | ({"total": AtLeast(found["total"])} if "total" in found else {})


def _by_part(**probes: Probe) -> Probe:
    """The probe of a case's part."""

    def probe(snapshot: Snapshot, address: str, part: str, *rest: Any) -> Reading | Iterable[Reading]:
        return probes[part](snapshot, address, *rest)

    return probe


@check(
    PRESENT,
    cases=identities,
    sources=devices.sources,
    live=_by_part(identity=devices.identity_live, kind=devices.kind_live),
    actual=_by_part(identity=devices.identity_actual, kind=devices.kind_actual),
)
def test_host_has_the_device(case: Case, observed: object) -> None:
    """Live: in libvirt's list of node devices."""
    assert observed == case.expected


@check(
    DRIVER,
    cases=_cases("driver", driver_of),
    sources=devices.sources,
    live=devices.driver_live,
    actual=devices.driver_actual,
    remedy=REBIND,
)
def test_device_is_bound_to_its_driver(case: Case, observed: object) -> None:
    """Really, and as libvirt has it."""
    assert observed == case.expected


@check(OVERRIDE, cases=_cases("driver_override", driver_of), sources=devices.sources, actual=devices.override)
def test_only_the_right_driver_may_take_it(case: Case, observed: object) -> None:
    """Whether it has taken it or not."""
    assert observed == case.expected


@check(
    NETDEV,
    cases=network_devices,
    sources=devices.sources,
    actual=_by_part(netdev=devices.netdev, mac=devices.mac),
)
def test_network_device_is_there_or_gone(case: Case, observed: object) -> None:
    """And has its address."""
    assert observed == case.expected


@check(
    GROUP,
    cases=_cases("group", lambda group: Within(frozenset(group))),
    sources=devices.sources,
    live=devices.beside_live,
    actual=devices.beside_actual,
)
def test_group_holds_nothing_else(case: Case, observed: object) -> None:
    """Bridges aside."""
    assert observed == case.expected


@check(FREE, cases=free_groups, sources=devices.sources, actual=devices.taken)
def test_group_is_free(case: Case, observed: object) -> None:
    """Of what is beside the device; its own driver is HOST-PCI-2's."""
    assert observed == case.expected


@check(
    VIRTUAL,
    cases=functions,
    sources=devices.sources,
    live=_by_part(total=devices.total_vfs_live, vfs=devices.vfs_live, physical_function=devices.physical_live),
    actual=_by_part(total=devices.total_vfs, vfs=devices.vfs, physical_function=devices.physical),
)
def test_virtual_functions(case: Case, observed: object) -> None:
    """As many as stated, of the right device."""
    assert observed == case.expected


@check(NUMA, cases=_cases("numa_node"), sources=devices.sources, actual=devices.numa_node)
def test_device_is_at_its_node(case: Case, observed: object) -> None:
    """As the firmware says."""
    assert observed == case.expected
