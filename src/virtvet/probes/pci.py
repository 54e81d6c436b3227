"""PCI devices of a host, or inside a guest: what they are, their drivers, network devices and IOMMU groups."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.snapshot.model import Snapshot, text_of
from virtvet.snapshot.sources import Glob, HostSource

if TYPE_CHECKING:
    from virtvet.target import GuestTarget

UEVENTS = Glob("/sys/bus/pci/devices/*/uevent")
"""`DRIVER=e1000` (not while no driver is bound), `PCI_CLASS=20000`, `PCI_ID=8086:100E`, `PCI_SLOT_NAME=0000:00:03.0`
(pci_uevent, drivers/pci/pci-driver.c)."""
NETDEVS = (Glob("/sys/bus/pci/devices/*/net/*/uevent"), Glob("/sys/bus/pci/devices/*/virtio*/net/*/uevent"))
"""By their paths, the network devices that a PCI device has: itself, or as the virtio device on it."""
GROUPS = Glob("/sys/kernel/iommu_groups/*/devices/*/uevent")
"""By their paths, the IOMMU group of each device; none where the kernel has no IOMMU
(Documentation/ABI/testing/sysfs-kernel-iommu_groups)."""

_WORDS = {"PCI_CLASS": "[0-9A-F]{4,6}", "PCI_ID": "[0-9A-F]{4}:[0-9A-F]{4}", "DRIVER": "[!-~]{1,64}"}
_GROUP = re.compile(r"/sys/kernel/iommu_groups/(\d{1,9})/devices/([^/]{1,64})/uevent", re.ASCII)


@dataclass(frozen=True, slots=True)
class Device:
    """A PCI device: address "0000:00:03.0", id "8086:100e", kind (class and subclass) "0200", driver or None."""

    address: str
    id: str
    kind: str
    driver: str | None
    path: str
    uevent: str


def guest_sources(guest: GuestTarget) -> Iterable[HostSource]:
    """What is read inside a guest with PCI devices stated."""
    if guest.wants.pci:
        yield UEVENTS


def devices(snapshot: Snapshot) -> Mapping[str, Device]:
    """Every PCI device of a machine, by its address. Raises CannotLook."""
    found = snapshot.read(UEVENTS).items()
    return {(one := _device(path, text_of(path, content))).address: one for path, content in found}


def _device(path: str, uevent: str) -> Device:
    """`PCI_CLASS=20000` is class 02, subclass 00, programming interface 00."""
    known = {key: _word(key, uevent) for key in _WORDS}
    kind, pci_id = known["PCI_CLASS"], known["PCI_ID"]
    if kind is None or pci_id is None:
        raise CannotLook(path, f"names no PCI device: {uevent[:80]!r}")
    return Device(path.split("/")[-2], pci_id.lower(), kind.zfill(6)[:4].lower(), known["DRIVER"], path, uevent[:500])


def _word(key: str, uevent: str) -> str | None:
    found = re.search(rf"^{key}=({_WORDS[key]})$", uevent, re.MULTILINE)
    return found[1] if found else None


def netdevs(snapshot: Snapshot, address: str) -> Mapping[str, str]:
    """The network devices of a PCI device: {"enp1s0": path}."""
    paths = (path for source in NETDEVS for path in snapshot.read(source))
    return {path.split("/")[-2]: path for path in paths if path.split("/")[5] == address}


def group_of(snapshot: Snapshot, address: str) -> int | None:
    """The number of a device's IOMMU group; None without one."""
    found = (number for number, member in _membership(snapshot) if member == address)
    return next(found, None)


def members(snapshot: Snapshot, number: int) -> tuple[Device, ...]:
    """The devices of an IOMMU group. Raises CannotLook where one is no PCI device that we know."""
    known, found = devices(snapshot), [member for one, member in _membership(snapshot) if one == number]
    if strange := [member for member in found if member not in known]:
        raise CannotLook(f"/sys/kernel/iommu_groups/{number}", f"holds {strange[0][:64]}, which is no PCI device")
    return tuple(known[member] for member in found)


def _membership(snapshot: Snapshot) -> Iterable[tuple[int, str]]:
    for path, content in snapshot.read(GROUPS).items():
        if match := _GROUP.fullmatch(path):
            text_of(path, content)
            yield int(match[1]), match[2]


# --- devices inside a guest, by vendor and device


def count(snapshot: Snapshot, guest: str, pci_id: str) -> Reading:
    """How many devices have this vendor and device: `PCI_ID=8086:100E` is "8086:100e"."""
    found = of_id(snapshot.guest(guest), pci_id)
    return Reading(len(found), str(UEVENTS), ", ".join(one.address for one in found)[:500])


def driver(snapshot: Snapshot, guest: str, pci_id: str) -> list[Reading]:
    """The driver of each such device; None where none is bound. Raises NotApplicable without a device: GUEST-PCI-1
    judges that."""
    found = [Reading(one.driver, one.path, one.uevent) for one in of_id(snapshot.guest(guest), pci_id)]
    if not found:
        raise NotApplicable(f"the guest has no PCI device {pci_id}")
    return found


def of_id(machine: Snapshot, pci_id: str) -> list[Device]:
    """The devices of a machine with this vendor and device."""
    return [one for one in devices(machine).values() if one.id == pci_id]
