"""A guest's network interfaces: in its XML, in QEMU, at their ends on the host, and inside the guest.

QEMU's monitor is not asked: its arguments name device, MAC address and file descriptor, and /proc/PID/fdinfo tells to
which tap the descriptor belongs. An interface that was plugged in later stands in no argument; its tap does, among
those that QEMU holds. What a guest does to its MAC address shows inside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import domain_xml, qemu
from virtvet.profile.interfaces import position
from virtvet.snapshot.model import Snapshot, text_of
from virtvet.snapshot.sources import Command, Glob, HostSource, Libvirt, Source

if TYPE_CHECKING:
    from virtvet.target import GuestTarget, HostTarget

TAPS = Command(
    (
        "sh",
        "-c",
        "for d in /proc/[0-9]*; do c=; { read -r c <$d/comm; } 2>/dev/null; case $c in qemu-system-*|qemu-kvm) "
        'set -- "$@" $d/fdinfo;; esac; done; [ $# -eq 0 ] || grep -rsH \'^iff:\' "$@"; true',
    )
)
"""Which tap each descriptor of a QEMU process belongs to: `/proc/4711/fdinfo/46:iff:	vnet2`; no name once the tap is
deleted (tun_chr_show_fdinfo, drivers/net/tun.c). A macvtap's descriptor says nothing."""
MASTERS = Glob("/sys/class/net/*/master/uevent")
"""`DEVTYPE=bridge`, `INTERFACE=virbr0`, `IFINDEX=3`: the bridge (or bond, or Open vSwitch) a device is a port of."""
LOWERS = Glob("/sys/class/net/*/lower_*/uevent")
"""Of a macvtap, the device below it: `/sys/class/net/macvtap0/lower_eth0/uevent`."""
STATES = Glob("/sys/class/net/*/brport/state")
"""`3`: what the bridge does with a port (BR_STATE_*, include/uapi/linux/if_bridge.h)."""
FLAGS = Glob("/sys/class/net/*/flags")
"""`0x1303`: IFF_* (include/uapi/linux/if.h)."""
MTUS = Glob("/sys/class/net/*/mtu")
ADDRESSES = Glob("/sys/class/net/*/address")
PERMANENT = Glob("/sys/class/net/*/bonding_slave/perm_hwaddr")
"""The address of its own that a port of a bond had: `address` is then the bond's."""
DRIVERS = Glob("/sys/class/net/*/device/uevent")
"""`DRIVER=virtio_net`."""
CARRIERS = Glob("/sys/class/net/*/carrier")

WITHOUT_TAP = ("hostdev", "user", "vhostuser", "vdpa", "null", "vds", "udp", "server", "client", "mcast")
"""Types of `<interface>` without an end on the host; one of a network may be hostdev while the guest runs."""
UP = 0x1
PORT_STATES = ("disabled", "listening", "learning", "forwarding", "blocking")
_TAP = re.compile(r"/proc/(\d{1,10})/fdinfo/(\d{1,10}):iff:\s*(\S{0,15})", re.ASCII)


def sources(host: HostTarget) -> Iterable[Source]:
    """What the layers on the host are read from; nothing when no guest has an interface stated."""
    if any(guest.wants.interfaces for guest in host.guests):
        yield from (Libvirt(), *qemu.SOURCES, TAPS, MASTERS, LOWERS, STATES, FLAGS, MTUS)


def guest_sources(guest: GuestTarget) -> Iterable[HostSource]:
    """What is read inside a guest with interfaces stated."""
    if guest.wants.interfaces:
        yield from (ADDRESSES, PERMANENT, DRIVERS, CARRIERS, FLAGS, MTUS)


# --- the XML

Find = Callable[[Snapshot, str], etree._Element]
XmlPart = Callable[[etree._Element], Any]


def stored(part: XmlPart) -> Callable[..., Reading]:
    """A probe of the stored XML: a part of the interface with a key. Raises NotApplicable when there is none."""
    return _of_xml(part, domain_xml.config, "virsh dumpxml --inactive")


def running(part: XmlPart) -> Callable[..., Reading]:
    """As `stored`, of the running domain."""
    return _of_xml(part, domain_xml.live, "virsh dumpxml")


def _of_xml(part: XmlPart, find: Find, command: str) -> Callable[..., Reading]:
    def probe(snapshot: Snapshot, guest: str, key: str, *_rest: Any) -> Reading:
        element = _present(find(snapshot, guest), guest, key)
        return Reading(part(element), f"{command} {guest}", _shown(element))

    return probe


def _present(domain: etree._Element, guest: str, key: str) -> etree._Element:
    if (element := of_key(domain, key)) is None:
        raise NotApplicable(f"{guest} has no interface {key}")
    return element


def of_key(domain: etree._Element, key: str) -> etree._Element | None:
    """`<interface>` by its MAC address, or by its position in the XML."""
    found, place = domain.findall("devices/interface"), position(key)
    if place is not None:
        return found[place] if place < len(found) else None
    return next((one for one in found if attribute(one, "mac", "address") == key), None)


def attribute(element: etree._Element, child: str, name: str) -> str | None:
    """An attribute of a child; None without."""
    found = element.find(child)
    return None if found is None else found.get(name)


def _shown(element: etree._Element) -> str:
    return re.sub(r">\s+<", "><", etree.tostring(element, encoding="unicode", with_tail=False))[:500]


def mac_of(element: etree._Element) -> str | None:
    """`<mac address='52:54:00:77:01:24'/>`."""
    return attribute(element, "mac", "address")


def type_of(element: etree._Element) -> str | None:
    """As it was configured: one on a network shows as what the network made of it (bridge, direct) while it runs.

    virDomainNetDefFormat (src/conf/domain_conf.c): `<interface type='bridge'><source network='lab' bridge='br0'/>`.
    """
    return "network" if attribute(element, "source", "network") is not None else element.get("type")


def model_of(element: etree._Element) -> str | None:
    """`<model type='e1000'/>`."""
    return attribute(element, "model", "type")


def target_of(element: etree._Element) -> str | None:
    """`<target dev='app1lan'/>`; a name that libvirt makes up (`vnet2`) is in the running XML only."""
    return attribute(element, "target", "dev")


def mtu_of(element: etree._Element) -> int | None:
    """`<mtu size='9000'/>`; None: as the bridge has it."""
    size = attribute(element, "mtu", "size")
    return None if size is None else int(size)


def link_of(element: etree._Element) -> str:
    """`<link state='down'/>`; up without one."""
    return attribute(element, "link", "state") or "up"


def vlan_of(element: etree._Element) -> tuple[int, ...]:
    """`<vlan><tag id='42'/></vlan>` -> (42,)."""
    return tuple(int(tag.get("id", "")) for tag in element.iterfind("vlan/tag"))


# --- the MAC address: whether the interface is there at all


def mac_config(snapshot: Snapshot, guest: str, key: str) -> Reading:
    """The address of the stored XML's interface; None when it has no such interface."""
    return _mac(domain_xml.config(snapshot, guest), key, f"virsh dumpxml --inactive {guest}")


def mac_live(snapshot: Snapshot, guest: str, key: str) -> Reading:
    """As `mac_config`, of the running domain."""
    return _mac(domain_xml.live(snapshot, guest), key, f"virsh dumpxml {guest}")


def _mac(domain: etree._Element, key: str, source: str) -> Reading:
    if (element := of_key(domain, key)) is None:
        return Reading(None, source, f"no interface {key}")
    return Reading(mac_of(element), source, _shown(element))


def mac_actual(snapshot: Snapshot, guest: str, key: str) -> Reading:
    """The address of QEMU's device; None when it has none, or let go of its tap.

    `-device {"driver":"e1000","netdev":"hostnet1","id":"net1","mac":"52:54:00:77:01:24"}` -> "52:54:00:77:01:24"
    """
    process, mac = qemu.of_guest(snapshot, guest), _address(snapshot, guest, key)
    device = _device(process, mac)
    if device is not None and _netdev(process, device)["type"] != "tap":
        return Reading(mac, process.source, json.dumps(device)[:500])
    end = _end(snapshot, guest, key)
    return Reading(mac if end else None, process.source, f"tap {end}: {json.dumps(device)}"[:500])


def mac_guest(snapshot: Snapshot, guest: str, key: str) -> Reading:
    """The address, when a network device of the guest has it; else None."""
    mac, inside = _address(snapshot, guest, key), snapshot.guest(guest)
    known = {name: own_address(inside, name) for name in _names(inside, ADDRESSES)}
    shown = ", ".join(f"{name} {address}" for name, address in sorted(known.items()))
    return Reading(mac if mac in known.values() else None, str(ADDRESSES), shown[:500])


def _address(snapshot: Snapshot, guest: str, key: str) -> str:
    """The MAC address of a key: by position, that of the running XML, or of the arguments of a QEMU started by hand."""
    if (place := position(key)) is None:
        return key
    if guest not in snapshot.by_hand:
        mac = mac_of(_present(domain_xml.live(snapshot, guest), guest, key))
    else:
        given = [part.get("mac") for part in qemu.of_guest(snapshot, guest).parts() if "netdev" in part]
        mac = given[place] if place < len(given) else None
    if mac is None:
        raise NotApplicable(f"{guest} was given no MAC address for {key}")
    return mac


# --- the device in QEMU

DRIVER_OF_MODEL = {
    "virtio": "virtio-net-pci",
    "virtio-transitional": "virtio-net-pci-transitional",
    "virtio-non-transitional": "virtio-net-pci-non-transitional",
}
"""libvirt's model to QEMU's driver, where they differ (qemuBuildNicDevProps, src/qemu/qemu_command.c)."""
_MODELS = {driver: model for model, driver in DRIVER_OF_MODEL.items()} | {
    "virtio-net-ccw": "virtio",
    "virtio-net-device": "virtio",
}


def _device(process: qemu.Process, mac: str) -> dict[str, Any] | None:
    found = (part for part in process.parts() if str(part.get("mac")).lower() == mac)
    return next(found, None)


def _netdev(process: qemu.Process, device: dict[str, Any]) -> dict[str, Any]:
    """`{"type":"tap","fd":"41","id":"hostnet1"}`, or `tap,id=hostnet1,ifname=tap0`, whose type is the leading word."""
    for part in process.parts():
        kind = part.get("type", part.get("driver"))
        if part.get("id") == device.get("netdev") and kind in ("tap", "bridge", "user"):
            return {**part, "type": kind}
    return {"type": "other"}


def model_actual(snapshot: Snapshot, guest: str, key: str) -> Reading:
    """The model by QEMU's driver: `"driver":"virtio-net-pci"` -> "virtio". Raises NotApplicable for an interface that
    was plugged in later."""
    process = qemu.of_guest(snapshot, guest)
    if (device := _device(process, _address(snapshot, guest, key))) is None:
        raise NotApplicable(f"QEMU's arguments name no such device: plugged in later, or not there ({key})")
    driver = str(device.get("driver"))
    return Reading(_MODELS.get(driver, driver), process.source, json.dumps(device)[:500])


# --- its end on the host


def target_actual(snapshot: Snapshot, guest: str, key: str) -> Reading:
    """The tap that QEMU holds for the interface; None when it holds none."""
    return Reading(_end(snapshot, guest, key), f"{qemu.of_guest(snapshot, guest).source}, fdinfo")


def end(snapshot: Snapshot, guest: str, key: str) -> str:
    """The name of an interface's end on the host. Raises NotApplicable when it has none: NIC-DEV-1 judges that."""
    if (name := _end(snapshot, guest, key)) is None:
        raise NotApplicable(f"{key} has no end on the host")
    return name


def _end(snapshot: Snapshot, guest: str, key: str) -> str | None:
    """A macvtap by the running XML's word, a tap by the descriptor that QEMU was given or, if it was plugged in later,
    by the XML's word when QEMU does hold that tap."""
    element = None if guest in snapshot.by_hand else of_key(domain_xml.live(snapshot, guest), key)
    told = None if element is None else target_of(element)
    if element is not None and element.get("type") == "direct":
        return told if told and exists(snapshot, told) else None
    if element is not None and element.get("type") in WITHOUT_TAP:
        raise NotApplicable(f"an interface of type {element.get('type')} has no tap")
    process = qemu.of_guest(snapshot, guest)
    device = _device(process, _address(snapshot, guest, key))
    netdev = None if device is None else _netdev(process, device)
    if netdev and netdev["type"] != "tap":
        raise NotApplicable(f"QEMU was given no tap for {key}, but a backend of type {netdev['type']}")
    if device is None and told is None:
        return None
    held = _held(snapshot, process.pid)
    given = None if netdev is None else tap_of(netdev, held)
    if given is None and told in held.values():
        return told
    return given or None


def tap_of(netdev: dict[str, Any], held: dict[str, str]) -> str | None:
    """The tap of a -netdev: `{"type":"tap","fd":"41"}`, `{"type":"tap","fds":"41:42"}`, `tap,id=n0,ifname=tap0`."""
    if name := netdev.get("ifname"):
        return name if name in held.values() else None
    descriptor = str(netdev.get("fd") or netdev.get("fds") or "").partition(":")[0]
    return held.get(descriptor)


def _held(snapshot: Snapshot, pid: int) -> dict[str, str]:
    """The taps of a process by descriptor. Raises CannotLook when none is seen: perhaps we may not read them."""
    said = snapshot.read(TAPS).stdout.decode("utf-8", "backslashreplace").splitlines()
    found = {match[2]: match[3] for line in said if (match := _TAP.fullmatch(line)) and int(match[1]) == pid}
    if not found:
        raise CannotLook(f"/proc/{pid}/fdinfo", "names no tap that we may read")
    return found


def connected_config(snapshot: Snapshot, guest: str, key: str, to: str) -> Reading:
    """The "bridge", "network" or "dev" of the stored XML's source. A network chooses bridge or device at the start."""
    element = _present(domain_xml.config(snapshot, guest), guest, key)
    if to != "network" and type_of(element) == "network":
        raise NotApplicable(f"the network chooses the {to} when the guest starts")
    return Reading(attribute(element, "source", to), f"virsh dumpxml --inactive {guest}", _shown(element))


def connected_live(snapshot: Snapshot, guest: str, key: str, to: str) -> Reading:
    """As `connected_config`, of the running domain: `<source network='lab' portid='…' bridge='virbr0'/>`."""
    element = _present(domain_xml.live(snapshot, guest), guest, key)
    return Reading(attribute(element, "source", to), f"virsh dumpxml {guest}", _shown(element))


def connected_actual(snapshot: Snapshot, guest: str, key: str, to: str) -> Reading:
    """What the interface's end is really a port of (or, a macvtap, is above); None when it stands alone.

    For a network that is its name, as long as that is the bridge or device that the network gave the interface.
    """
    name = end(snapshot, guest, key)
    element = None if guest in snapshot.by_hand else of_key(domain_xml.live(snapshot, guest), key)
    if element is not None and open_vswitch(element):
        raise NotApplicable("Open vSwitch switches this interface: no bridge of the kernel has it as a port")
    if to == "network":
        return _network(snapshot, guest, key, name)
    return _below(snapshot, name) if to == "dev" else _master(snapshot, name)


def open_vswitch(element: etree._Element) -> bool:
    """`<virtualport type='openvswitch'>`."""
    return attribute(element, "virtualport", "type") == "openvswitch"


def _master(snapshot: Snapshot, name: str) -> Reading:
    said = _file(snapshot, MASTERS, name)
    return Reading(_interface(said) if said else None, _path(MASTERS, name), said or f"{name} is a port of nothing")


def _below(snapshot: Snapshot, name: str) -> Reading:
    start = f"/sys/class/net/{name}/lower_"
    for path, found in snapshot.read(LOWERS).items():
        if path.startswith(start):
            return Reading(_interface(text_of(path, found)), path)
    return Reading(None, start + "*", f"{name} is above nothing")


def _interface(uevent: str) -> str | None:
    """`INTERFACE=virbr0`."""
    found = re.search(r"^INTERFACE=(\S{1,15})$", uevent, re.MULTILINE)
    return found[1] if found else None


def _network(snapshot: Snapshot, guest: str, key: str, name: str) -> Reading:
    element = _present(domain_xml.live(snapshot, guest), guest, key)
    bridge, dev = (attribute(element, "source", to) for to in ("bridge", "dev"))
    if bridge is None and dev is None:
        raise NotApplicable("the network gave the interface neither bridge nor device")
    seen = _below(snapshot, name) if bridge is None else _master(snapshot, name)
    value = attribute(element, "source", "network") if seen.value == (bridge or dev) else seen.value
    return Reading(value, seen.source, f"{seen.excerpt.strip()}; the network gave it {bridge or dev}")


def mtu_actual(snapshot: Snapshot, guest: str, key: str) -> Reading:
    """`/sys/class/net/vnet2/mtu`: `1500`."""
    name = end(snapshot, guest, key)
    return Reading(_number(snapshot, MTUS, name), f"/sys/class/net/{name}/mtu")


def link_actual(snapshot: Snapshot, guest: str, key: str, wanted: str) -> Reading:
    """ "up" when the interface's end is up and the bridge forwards what it says; else what is the matter.

    `/sys/class/net/vnet2/flags`: `0x1303`, `/sys/class/net/vnet2/brport/state`: `3` -> "up".
    """
    if wanted == "down":
        raise NotApplicable("the end of a link that is down may be up")
    name = end(snapshot, guest, key)
    flags = _number(snapshot, FLAGS, name)
    state = _port_state(snapshot, name)
    seen = f"flags {flags:#x}, port {state}"
    if not flags & UP:
        return Reading("down", f"/sys/class/net/{name}/flags", seen)
    return Reading("up" if state == "forwarding" else state, _path(STATES, name), seen)


def _port_state(snapshot: Snapshot, name: str) -> str:
    """What is no port of a bridge waits for none. Raises CannotLook for a state that the kernel does not have."""
    if name not in _names(snapshot, STATES):
        return "forwarding"
    number = _number(snapshot, STATES, name)
    if number >= len(PORT_STATES):
        raise CannotLook(_path(STATES, name), f"holds no state of a port: {number}")
    return PORT_STATES[number]


def is_up(snapshot: Snapshot, name: str) -> bool:
    """Whether somebody has brought a network device up."""
    return bool(_number(snapshot, FLAGS, name) & UP)


def exists(snapshot: Snapshot, name: str) -> bool:
    """Whether the host has a network device of this name."""
    return name in _names(snapshot, FLAGS)


# --- inside the guest

GUEST_DRIVERS = {"rtl8139": ("8139cp", "8139too"), "ne2k_pci": ("ne2k-pci",), "pcnet": ("pcnet32",)}


def drivers(model: str) -> tuple[str, ...]:
    """The drivers a Linux guest may have for a model: "virtio" -> ("virtio_net",), "e1000" -> ("e1000",)."""
    return ("virtio_net",) if model.startswith("virtio") else GUEST_DRIVERS.get(model, (model,))


def driver_guest(snapshot: Snapshot, guest: str, key: str) -> list[Reading]:
    """The driver of the guest's device with the address: `DRIVER=e1000` -> "e1000"."""
    return list(_inside(snapshot, guest, key, _driver))


def mtu_guest(snapshot: Snapshot, guest: str, key: str) -> list[Reading]:
    """The MTU that the guest's device has."""
    return list(_inside(snapshot, guest, key, lambda inside, name: _number(inside, MTUS, name)))


def link_guest(snapshot: Snapshot, guest: str, key: str, _wanted: str) -> list[Reading]:
    """Whether the guest's device has a carrier; raises NotApplicable when the guest itself has not brought it up."""
    return list(_inside(snapshot, guest, key, carrier))


def _inside(snapshot: Snapshot, guest: str, key: str, part: Callable[[Snapshot, str], Any]) -> Iterator[Reading]:
    """One reading for each hardware device of the guest with the address: bonds, bridges and VLANs may share it."""
    mac, inside = _address(snapshot, guest, key), snapshot.guest(guest)
    names = [name for name in _names(inside, DRIVERS) if own_address(inside, name) == mac]
    if not names:
        raise NotApplicable(f"no network device of the guest has the address {mac}")
    for name in names:
        yield Reading(part(inside, name), f"/sys/class/net/{name}")


def own_address(inside: Snapshot, name: str) -> str:
    """The MAC address of a network device; of a port of a bond, its own."""
    return (_file(inside, PERMANENT, name) or _file(inside, ADDRESSES, name) or "").strip()


def _driver(inside: Snapshot, name: str) -> str | None:
    found = re.search(r"^DRIVER=(\S{1,64})$", _file(inside, DRIVERS, name) or "", re.MULTILINE)
    return found[1] if found else None


def carrier(inside: Snapshot, name: str) -> str:
    """ "up" or "down". Raises NotApplicable while the device itself is down."""
    if not is_up(inside, name):
        raise NotApplicable(f"the guest has not brought {name} up")
    return "up" if _number(inside, CARRIERS, name) else "down"


# --- files of /sys/class/net


def _file(snapshot: Snapshot, source: Glob, name: str) -> str | None:
    """The file of one device out of a glob; None when it has none. Raises CannotLook when it cannot be read."""
    path = _path(source, name)
    files = snapshot.read(source)
    return text_of(path, files[path]) if path in files else None


def _path(source: Glob, name: str) -> str:
    return source.pattern.replace("*", name, 1)


def _names(snapshot: Snapshot, source: Glob) -> list[str]:
    """The devices that have such a file."""
    return [path.split("/")[4] for path in snapshot.read(source)]


def _number(snapshot: Snapshot, source: Glob, name: str) -> int:
    text, path = _file(snapshot, source, name), _path(source, name)
    if text is None:
        raise CannotLook(path, "does not exist")
    if not re.fullmatch(r"0x[0-9a-f]{1,8}|\d{1,10}", text.strip(), re.ASCII):
        raise CannotLook(path, f"holds no number: {text[:40]!r}")
    return int(text.strip(), 0)
