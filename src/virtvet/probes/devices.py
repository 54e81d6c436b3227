"""PCI devices of the host: in sysfs, and in libvirt's list of node devices."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import interfaces, nodedev, pci
from virtvet.snapshot.model import Snapshot, text_of
from virtvet.snapshot.sources import Glob, Libvirt, Source

if TYPE_CHECKING:
    from virtvet.target import HostTarget

OVERRIDES = Glob("/sys/bus/pci/devices/*/driver_override")
"""`(null)`, or the one driver that may bind (Documentation/ABI/testing/sysfs-bus-pci)."""
NUMA_NODES = Glob("/sys/bus/pci/devices/*/numa_node")
"""`-1`: the firmware does not say."""
TOTAL_VFS = Glob("/sys/bus/pci/devices/*/sriov_totalvfs")
VFS = Glob("/sys/bus/pci/devices/*/sriov_numvfs")
PHYSICAL = Glob("/sys/bus/pci/devices/*/physfn/uevent")
"""Through a virtual function's link to its physical function: `PCI_SLOT_NAME=0000:03:00.0`."""

HOST_BRIDGE = "0600"
BRIDGES = ("0604", "0607")
"""PCI and CardBus bridges: what has their type of header is no obstacle for vfio (drivers/vfio/vfio_main.c)."""
_FREE = re.compile(r"pci-stub|([a-z0-9_-]{1,58}[-_])?vfio[-_]pci", re.ASCII)


def sources(host: HostTarget) -> Iterable[Source]:
    """What is read of a host with devices stated."""
    if host.wants.devices:
        yield from (Libvirt(), pci.UEVENTS, *pci.NETDEVS, interfaces.ADDRESSES, interfaces.PERMANENT, pci.GROUPS)
        yield from (OVERRIDES, NUMA_NODES, TOTAL_VFS, VFS, PHYSICAL)
        yield from map(nodedev.asked, host.wants.devices)


def free(driver: str | None) -> bool:
    """Whether a driver leaves the device to guests: vfio-pci, mlx5_vfio_pci …, pci-stub, or none at all."""
    return driver is None or _FREE.fullmatch(driver) is not None


def existing(snapshot: Snapshot, address: str) -> pci.Device:
    """Raises NotApplicable when the host has no such device: HOST-PCI-1 judges that."""
    if (found := pci.devices(snapshot).get(address)) is None:
        raise NotApplicable(f"the host has no PCI device {address}")
    return found


def known(snapshot: Snapshot, address: str) -> etree._Element:
    """libvirt's `<device>`. Raises NotApplicable when it knows none."""
    if (found := nodedev.device(snapshot, address)) is None:
        raise NotApplicable(f"libvirt knows no PCI device {address}")
    return found


# --- what it is


def identity_actual(snapshot: Snapshot, address: str) -> Reading:
    """Vendor and device, `PCI_ID=8086:10D3` -> "8086:10d3"; None when there is no such device."""
    found = pci.devices(snapshot).get(address)
    if found is None:
        return Reading(None, str(pci.UEVENTS), f"no device {address}")
    return Reading(found.id, found.path, found.uevent)


def identity_live(snapshot: Snapshot, address: str) -> Reading:
    """`<vendor id='0x8086'>`, `<product id='0x10d3'>` -> "8086:10d3"; None when libvirt knows no such device."""
    if (element := nodedev.device(snapshot, address)) is None:
        return nodedev.reading(None, address, None)
    found, source = nodedev.capability(element, address), nodedev.asked(address)
    vendor, product = (nodedev.number(found.find(tag), "id", source) for tag in ("vendor", "product"))
    return nodedev.reading(f"{vendor:04x}:{product:04x}", address, element)


def kind_actual(snapshot: Snapshot, address: str) -> Reading:
    """Class and subclass, `PCI_CLASS=20000` -> "0200"."""
    found = existing(snapshot, address)
    return Reading(found.kind, found.path, found.uevent)


def kind_live(snapshot: Snapshot, address: str) -> Reading:
    """`<class>0x020000</class>` -> "0200"."""
    element = known(snapshot, address)
    written = nodedev.capability(element, address).findtext("class") or ""
    if not re.fullmatch(r"0x[0-9a-f]{6}", written, re.ASCII):
        raise CannotLook(nodedev.asked(address), f"names no class: {written[:40]!r}")
    return nodedev.reading(written[2:6], address, element)


# --- its driver


def driver_actual(snapshot: Snapshot, address: str) -> Reading:
    """The driver bound to it, `DRIVER=vfio-pci`; None without."""
    found = existing(snapshot, address)
    return Reading(found.driver, found.path, found.uevent)


def driver_live(snapshot: Snapshot, address: str) -> Reading:
    """`<driver><name>vfio-pci</name></driver>`; None without."""
    element = known(snapshot, address)
    return nodedev.reading(element.findtext("driver/name"), address, element)


def override(snapshot: Snapshot, address: str) -> Reading:
    """The only driver that may bind; None for any: `(null)`, or nothing."""
    existing(snapshot, address)
    path, said = _said(snapshot, OVERRIDES, address)
    if said is None:
        raise CannotLook(path, "does not exist")
    return Reading(None if said.strip() in ("", "(null)") else said.strip()[:64], path, said[:80])


# --- its network device


def netdev(snapshot: Snapshot, address: str, wanted: bool | str) -> Reading:
    """Whether the host has a network device of it; where a name is wanted, that name if it has it, else another."""
    existing(snapshot, address)
    names = pci.netdevs(snapshot, address)
    shown = Reading(bool(names), f"/sys/bus/pci/devices/{address}/net", ", ".join(names) or "no network device")
    if isinstance(wanted, bool):
        return shown
    return Reading(wanted if wanted in names else next(iter(names), None), shown.source, shown.excerpt)


def mac(snapshot: Snapshot, address: str) -> list[Reading]:
    """The MAC address of each network device of it; None without any."""
    existing(snapshot, address)
    if not (names := pci.netdevs(snapshot, address)):
        return [Reading(None, f"/sys/bus/pci/devices/{address}/net", "no network device")]
    return [Reading(interfaces.own_address(snapshot, name), f"/sys/class/net/{name}/address") for name in names]


# --- its IOMMU group


def beside_actual(snapshot: Snapshot, address: str) -> Reading:
    """What else is in its group, bridges aside; None when it is in none.

    `/sys/kernel/iommu_groups/9/devices/0000:03:02.0/uevent` beside 0000:03:01.0 -> {"0000:03:02.0"}
    """
    existing(snapshot, address)
    if (number := pci.group_of(snapshot, address)) is None:
        return Reading(None, str(pci.GROUPS), f"{address} is in no IOMMU group: is the IOMMU on?")
    others = [one for one in pci.members(snapshot, number) if one.address != address]
    found = frozenset(one.address for one in others if one.kind not in (HOST_BRIDGE, *BRIDGES))
    return Reading(found, f"/sys/kernel/iommu_groups/{number}/devices", _shown(others))


def beside_live(snapshot: Snapshot, address: str) -> Reading:
    """As `beside_actual`, of `<iommuGroup number='9'><address …/></iommuGroup>`."""
    element = known(snapshot, address)
    group = nodedev.capability(element, address).find("iommuGroup")
    if group is None:
        return nodedev.reading(None, address, element)
    kinds = {one.address: one.kind for one in pci.devices(snapshot).values()}
    members = set(nodedev.addresses(group, nodedev.asked(address))) - {address}
    found = frozenset(one for one in members if kinds.get(one) not in (HOST_BRIDGE, *BRIDGES))
    return nodedev.reading(found, address, element)


def taken(snapshot: Snapshot, address: str) -> Reading:
    """What else in its group a driver of the host has: QEMU is then refused the whole group."""
    existing(snapshot, address)
    if (number := pci.group_of(snapshot, address)) is None:
        raise NotApplicable(f"{address} is in no IOMMU group")
    others = [one for one in pci.members(snapshot, number) if one.address != address]
    found = frozenset(one.address for one in others if one.kind not in BRIDGES and not free(one.driver))
    return Reading(found, f"/sys/kernel/iommu_groups/{number}/devices", _shown(others))


def _shown(found: Iterable[pci.Device]) -> str:
    words = (f"{one.address} {one.id} class {one.kind}, driver {one.driver or 'none'}" for one in found)
    return "\n".join(words)[:1000] or "nothing else"


# --- where it is, and its virtual functions


def numa_node(snapshot: Snapshot, address: str) -> Reading:
    """`-1` without a node. A kernel without NUMA has no such file."""
    existing(snapshot, address)
    path, said = _said(snapshot, NUMA_NODES, address)
    if said is None:
        raise NotApplicable("this kernel knows no NUMA nodes")
    return Reading(_number(path, said, r"-1|[0-9]{1,4}"), path, said)


def total_vfs(snapshot: Snapshot, address: str) -> Reading:
    """How many virtual functions it can have; 0 where it cannot: `sriov_totalvfs` is not there then."""
    return _count(snapshot, TOTAL_VFS, address)


def vfs(snapshot: Snapshot, address: str) -> Reading:
    """How many virtual functions it has: `sriov_numvfs`."""
    return _count(snapshot, VFS, address)


def vfs_live(snapshot: Snapshot, address: str) -> Reading:
    """Those of `<capability type='virt_functions' maxCount='7'><address …/></capability>`; 0 without it."""
    found = _functions(snapshot, address)
    return nodedev.reading(0 if found is None else len(found.findall("address")), address, known(snapshot, address))


def total_vfs_live(snapshot: Snapshot, address: str) -> Reading:
    """`maxCount` of the same."""
    found, source = _functions(snapshot, address), nodedev.asked(address)
    total = 0 if found is None else nodedev.number(found, "maxCount", source)
    return nodedev.reading(total, address, known(snapshot, address))


def _functions(snapshot: Snapshot, address: str) -> etree._Element | None:
    element = nodedev.capability(known(snapshot, address), address)
    return element.find("capability[@type='virt_functions']")


def physical(snapshot: Snapshot, address: str) -> Reading:
    """The device that it is a virtual function of; None for another."""
    existing(snapshot, address)
    path, said = _said(snapshot, PHYSICAL, address)
    found = re.search(r"^PCI_SLOT_NAME=([0-9a-f:.]{12,16})$", said or "", re.MULTILINE)
    return Reading(found[1] if found else None, path, said[:500] if said else "is no virtual function")


def physical_live(snapshot: Snapshot, address: str) -> Reading:
    """`<capability type='phys_function'><address …/></capability>`."""
    element = known(snapshot, address)
    found = nodedev.capability(element, address).find("capability[@type='phys_function']/address")
    return nodedev.reading(
        None if found is None else nodedev.address_of(found, nodedev.asked(address)), address, element
    )


def _count(snapshot: Snapshot, source: Glob, address: str) -> Reading:
    existing(snapshot, address)
    path, said = _said(snapshot, source, address)
    return Reading(0 if said is None else _number(path, said, r"[0-9]{1,5}"), path, said or "does not exist")


def _said(snapshot: Snapshot, source: Glob, address: str) -> tuple[str, str | None]:
    """The file of one device: its path, and what it says, None where there is none. Raises CannotLook."""
    path = source.pattern.replace("*", address, 1)
    files = snapshot.read(source)
    return path, text_of(path, files[path]) if path in files else None


def _number(path: str, said: str, pattern: str) -> int:
    if not re.fullmatch(pattern, said.strip(), re.ASCII):
        raise CannotLook(path, f"holds no number: {said[:40]!r}")
    return int(said.strip())
