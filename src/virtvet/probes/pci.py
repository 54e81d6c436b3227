"""The PCI devices that a guest sees, and the driver that each is bound to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from virtvet.check import Reading
from virtvet.errors import NotApplicable
from virtvet.snapshot.model import Snapshot, text_of
from virtvet.snapshot.sources import Glob, HostSource

if TYPE_CHECKING:
    from virtvet.target import GuestTarget

UEVENTS = Glob("/sys/bus/pci/devices/*/uevent")
"""`DRIVER=e1000` (not while no driver is bound), `PCI_CLASS=20000`, `PCI_ID=8086:100E`, `PCI_SLOT_NAME=0000:00:03.0`
(pci_uevent, drivers/pci/pci-driver.c)."""


def guest_sources(guest: GuestTarget) -> Iterable[HostSource]:
    """What is read inside a guest with PCI devices stated."""
    if guest.wants.pci:
        yield UEVENTS


def count(snapshot: Snapshot, guest: str, pci_id: str) -> Reading:
    """How many devices have this vendor and device: `PCI_ID=8086:100E` is "8086:100e"."""
    found = [path for path, _uevent in _devices(snapshot, guest, pci_id)]
    return Reading(len(found), str(UEVENTS), ", ".join(path.split("/")[5] for path in found)[:500])


def driver(snapshot: Snapshot, guest: str, pci_id: str) -> list[Reading]:
    """The driver of each such device; None where none is bound. Raises NotApplicable without a device: GUEST-PCI-1
    judges that."""
    found = [Reading(_word("DRIVER", uevent), path, uevent[:500]) for path, uevent in _devices(snapshot, guest, pci_id)]
    if not found:
        raise NotApplicable(f"the guest has no PCI device {pci_id}")
    return found


def _devices(snapshot: Snapshot, guest: str, pci_id: str) -> Iterator[tuple[str, str]]:
    for path, content in snapshot.guest(guest).read(UEVENTS).items():
        uevent = text_of(path, content)
        if (_word("PCI_ID", uevent) or "").lower() == pci_id:
            yield path, uevent


def _word(key: str, uevent: str) -> str | None:
    found = re.search(rf"^{key}=(.{{1,64}})$", uevent, re.MULTILINE)
    return found[1] if found else None
