"""PCI devices of the host that a guest is given: in its XML, in QEMU's hands, and inside the guest.

QEMU's monitor is not asked: its arguments name the device, and a descriptor for /dev/vfio/GROUP is how it reaches it.
Inside, a device is found by vendor and device, which assigning does not change.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import devices, domain_xml, interfaces, nodedev, pci, qemu
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import Command, Glob, HostSource, Libvirt, Source

if TYPE_CHECKING:
    from virtvet.target import GuestTarget, HostTarget

HELD = Command(
    (
        "sh",
        "-c",
        "for d in /proc/[0-9]*; do c=; { read -r c <$d/comm; } 2>/dev/null; case $c in qemu-system-*|qemu-kvm) "
        'set -- "$@" $d/fd;; esac; done; [ $# -eq 0 ] || '
        "find \"$@\" -maxdepth 1 -lname '/dev/vfio/*' -printf '%p %l\\n'; true",
    )
)
"""What QEMU processes hold of vfio: `/proc/4711/fd/31 /dev/vfio/9`."""
NODES = Glob("/sys/bus/pci/devices/*/vfio-dev/*/uevent")
"""The devices' own nodes, by iommufd: `…/0000:01:00.0/vfio-dev/vfio0/uevent` is /dev/vfio/devices/vfio0."""

_HELD = re.compile(r"/proc/(\d{1,10})/fd/\d{1,10} (/dev/vfio/[!-~]{1,64})", re.ASCII)
_SHORT = re.compile(r"[0-9a-f]{2}:[01][0-9a-f]\.[0-7]", re.ASCII | re.IGNORECASE)


def sources(host: HostTarget) -> Iterable[Source]:
    """What the layers on the host are read from; nothing when no guest has a device stated."""
    if any(guest.wants.hostdevs for guest in host.guests):
        yield from (Libvirt(), *qemu.SOURCES, pci.UEVENTS, pci.GROUPS, HELD, NODES)


def guest_sources(guest: GuestTarget) -> Iterable[HostSource]:
    """What is read inside a guest with devices stated."""
    if guest.wants.hostdevs:
        yield from (pci.UEVENTS, *pci.NETDEVS, interfaces.ADDRESSES, interfaces.PERMANENT)
        yield from (interfaces.FLAGS, interfaces.CARRIERS)


# --- the XML

XmlPart = Callable[[etree._Element], Any]


def stored(part: XmlPart) -> Callable[..., Reading]:
    """A probe of the stored XML: a part of the device with a host address. Raises NotApplicable without it."""
    return _of_xml(part, domain_xml.config, "virsh dumpxml --inactive")


def running(part: XmlPart) -> Callable[..., Reading]:
    """As `stored`, of the running domain."""
    return _of_xml(part, domain_xml.live, "virsh dumpxml")


def _of_xml(part: XmlPart, find: Callable[[Snapshot, str], etree._Element], command: str) -> Callable[..., Reading]:
    def probe(snapshot: Snapshot, guest: str, address: str) -> Reading:
        if (element := of_address(find(snapshot, guest), address)) is None:
            raise NotApplicable(f"{guest} is not given {address}")
        return Reading(part(element), f"{command} {guest}", domain_xml.shown(element))

    return probe


def of_address(domain: etree._Element, address: str) -> etree._Element | None:
    """`<hostdev type='pci'>` or `<interface type='hostdev'>` by its source; None without."""
    return assigned(domain).get(address)


def assigned(domain: etree._Element) -> Mapping[str, etree._Element]:
    """All PCI devices that a domain is given, by their addresses on the host. Raises CannotLook."""
    places = ("devices/hostdev[@type='pci']", "devices/interface[@type='hostdev']")
    found = [(one, one.find("source/address")) for place in places for one in domain.iterfind(place)]
    return {nodedev.address_of(source, "<hostdev>"): one for one, source in found if source is not None}


def managed_of(element: etree._Element) -> bool:
    """`managed='yes'`; no without (virDomainHostdevDefParseXML, src/conf/domain_conf.c)."""
    return element.get("managed") == "yes"


def place_of(element: etree._Element) -> str | None:
    """`<address type='pci' domain='0x0000' bus='0x00' slot='0x05' function='0x0'/>` -> "0000:00:05.0"."""
    found = element.find("address[@type='pci']")
    return None if found is None else nodedev.address_of(found, "<hostdev>")


def boot_order_of(element: etree._Element) -> int | None:
    """`<boot order='1'/>`."""
    found = element.find("boot")
    return None if found is None else nodedev.number(found, "order", "<hostdev>")


def rom_of(element: etree._Element) -> bool:
    """`<rom bar='off'/>`, `<rom enabled='no'/>`; QEMU shows it without."""
    found = element.find("rom")
    return found is None or (found.get("bar") != "off" and found.get("enabled") != "no")


# --- whether the guest has it


def given_config(snapshot: Snapshot, guest: str, address: str) -> Reading:
    """The address, when the stored XML gives the guest this device; else None."""
    return _given(domain_xml.config(snapshot, guest), address, f"virsh dumpxml --inactive {guest}")


def given_live(snapshot: Snapshot, guest: str, address: str) -> Reading:
    """As `given_config`, of the running domain."""
    return _given(domain_xml.live(snapshot, guest), address, f"virsh dumpxml {guest}")


def _given(domain: etree._Element, address: str, source: str) -> Reading:
    found = assigned(domain)
    shown = domain_xml.shown(found[address]) if address in found else f"is given {', '.join(found) or 'no device'}"
    return Reading(address if address in found else None, source, shown)


def given_actual(snapshot: Snapshot, guest: str, address: str) -> Reading:
    """The address, when QEMU was told of it, by its arguments or libvirt's later word, and holds it; else None.

    `-device {"driver":"vfio-pci","host":"0000:01:00.0"}` and `/proc/4711/fd/31 -> /dev/vfio/9` -> "0000:01:00.0"
    """
    process = qemu.of_guest(snapshot, guest)
    told = {*in_arguments(process), *(() if guest in snapshot.by_hand else assigned(domain_xml.live(snapshot, guest)))}
    holds, nodes = held(snapshot, process.pid), nodes_of(snapshot, address)
    shown = f"told of {', '.join(sorted(told)) or 'no device'}; holds {', '.join(sorted(holds)) or 'none'}"
    value = address if address in told and holds & nodes else None
    return Reading(value, f"{process.source}, /proc/{process.pid}/fd", f"{shown}; it is {', '.join(sorted(nodes))}")


def in_arguments(process: qemu.Process) -> frozenset[str]:
    """The host's devices that a QEMU was started with: `host=0000:01:00.0`, `host=01:00.0`, `sysfsdev=/sys/…`."""
    parts = [part for part in process.parts() if str(part.get("driver")).startswith("vfio-pci")]
    named = [str(part.get("host") or str(part.get("sysfsdev", "")).rpartition("/")[2]) for part in parts]
    return frozenset(f"0000:{name}".lower() if _SHORT.fullmatch(name) else name.lower() for name in named)


def held(snapshot: Snapshot, process: int) -> frozenset[str]:
    """The nodes of /dev/vfio that a process holds. Raises CannotLook when we may not see."""
    done = snapshot.read(HELD)
    complaints = done.stderr.decode("utf-8", "backslashreplace").splitlines()
    if blind := [line for line in complaints if f"/proc/{process}/fd" in line]:
        raise CannotLook(f"/proc/{process}/fd", blind[0][:200])
    return frozenset(node for number, node in holders(snapshot) if number == process)


def holders(snapshot: Snapshot) -> Iterable[tuple[int, str]]:
    """Every QEMU process with the nodes of /dev/vfio that it holds. Raises CannotLook where find(1) does not do."""
    done = snapshot.read(HELD)
    if other := [line for line in done.stderr.decode("utf-8", "backslashreplace").splitlines() if "/proc/" not in line]:
        raise CannotLook("find /proc/*/fd", other[0][:200])
    lines = done.stdout.decode("utf-8", "backslashreplace").splitlines()
    return [(int(match[1]), match[2]) for line in lines if (match := _HELD.fullmatch(line))]


def nodes_of(snapshot: Snapshot, address: str) -> frozenset[str]:
    """What a device is reached by: its group, also without an IOMMU, or by iommufd a node of its own."""
    number = pci.group_of(snapshot, address)
    groups = () if number is None else (f"/dev/vfio/{number}", f"/dev/vfio/noiommu-{number}")
    start = f"/sys/bus/pci/devices/{address}/vfio-dev/"
    own = (path.split("/")[-2] for path in snapshot.read(NODES) if path.startswith(start))
    return frozenset([*groups, *(f"/dev/vfio/devices/{name}" for name in own)])


def given_guest(snapshot: Snapshot, guest: str, address: str) -> Reading:
    """The address, when the guest sees as many devices of the same vendor and device as it is given; else None."""
    wanted = devices.existing(snapshot, address).id
    inside, count = pci.of_id(snapshot.guest(guest), wanted), len(_alike(snapshot, guest, wanted) | {address})
    shown = ", ".join(f"{one.address} {one.id}" for one in inside) or f"no {wanted}"
    return Reading(address if len(inside) >= count else None, str(pci.UEVENTS), f"{shown}; it is given {count}"[:500])


def _alike(snapshot: Snapshot, guest: str, pci_id: str) -> set[str]:
    """The host's devices of one kind that a guest is given."""
    by_hand, known = guest in snapshot.by_hand, pci.devices(snapshot)
    given = in_arguments(qemu.of_guest(snapshot, guest)) if by_hand else assigned(domain_xml.live(snapshot, guest))
    return {address for address in given if address in known and known[address].id == pci_id}


# --- the host while the guest runs


def driver_actual(snapshot: Snapshot, guest: str, address: str) -> Reading:
    """The host's driver, `DRIVER=vfio-pci`. Raises NotApplicable while the guest is shut off."""
    qemu.pid(snapshot, guest)
    return devices.driver_actual(snapshot, address)


# --- inside the guest


def driver_guest(snapshot: Snapshot, guest: str, address: str) -> list[Reading]:
    """The driver of each such device inside; None where none is bound."""
    return [Reading(one.driver, one.path, one.uevent) for one in _inside(snapshot, guest, address)]


def mac_guest(snapshot: Snapshot, guest: str, address: str, wanted: str) -> Reading:
    """The address, when a network device of it has it inside; else another one, or None."""
    found = {mac: name for name, mac in _macs(snapshot, guest, address).items()}
    shown = ", ".join(f"{name} {mac}" for mac, name in found.items()) or "no network device"
    value = wanted if wanted in found else next(iter(found), None)
    return Reading(value, "/sys/bus/pci/devices/*/net", shown[:500])


def link_guest(snapshot: Snapshot, guest: str, address: str, mac: str | None) -> list[Reading]:
    """Whether its network device has a carrier; "down" too where the guest has not brought it up, None without one.

    With several devices of a kind it is the one with the stated MAC address.
    """
    macs = _macs(snapshot, guest, address)
    named = [name for name, one in macs.items() if mac in (None, one)]
    if macs and not named:
        raise NotApplicable(f"no network device of it has the address {mac}")
    return [Reading(_link(snapshot.guest(guest), name), f"/sys/class/net/{name}/carrier") for name in named] or [
        Reading(None, "/sys/bus/pci/devices/*/net", "no network device")
    ]


def _link(inside: Snapshot, name: str) -> str:
    try:
        return interfaces.carrier(inside, name)
    except NotApplicable:
        return "down"


def _macs(snapshot: Snapshot, guest: str, address: str) -> dict[str, str]:
    """The network devices of such devices inside, with their MAC addresses."""
    inside, found = snapshot.guest(guest), _inside(snapshot, guest, address)
    names = [name for one in found for name in pci.netdevs(inside, one.address)]
    return {name: interfaces.own_address(inside, name) for name in names}


def _inside(snapshot: Snapshot, guest: str, address: str) -> list[pci.Device]:
    """The guest's devices with the vendor and device of the host's. Raises NotApplicable without: HOSTDEV-1 judges."""
    wanted = devices.existing(snapshot, address).id
    if not (found := pci.of_id(snapshot.guest(guest), wanted)):
        raise NotApplicable(f"the guest has no PCI device {wanted}")
    return found
