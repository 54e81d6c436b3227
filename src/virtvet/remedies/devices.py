"""Give a PCI device of the host to vfio-pci, or back to the host's driver, through libvirt; write an assignment down.

Only what nobody uses is moved: of a card whose network devices are up, of a disk controller, of a device that a QEMU
holds, the remedy keeps its hands off. A running guest is not made to take a device, or to let go of one: that needs the
guest's help, so nobody can promise to take it back.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy

from lxml import etree

from virtvet.check import Case
from virtvet.errors import NotApplicable
from virtvet.probes import devices, domain_xml, hostdevs, interfaces, nodedev, pci
from virtvet.profile.devices import VFIO
from virtvet.remedies.change import CannotMend, Change, Remedy, Step
from virtvet.remedies.modes import Risk
from virtvet.remedies.operations import Assign, Given, Operation, Run
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import Source
from virtvet.target import HostTarget

NETWORK = "02"
"""The class of devices of which can be told whether they are in use: by the flags of their network devices."""
SYSFS = "/sys/bus/pci"


# --- drivers


def rebind(snapshot: Snapshot, case: Case, _target: HostTarget) -> tuple[Change, ...]:
    """Detach the device to vfio-pci, or reattach it. Raises CannotMend where it is in use, or for other drivers."""
    (address,) = case.args
    found = devices.existing(snapshot, address)
    if found.driver == case.expected:
        return ()
    if case.expected == VFIO:
        _unused(snapshot, found)
        step = Step(_nodedev(snapshot, found, "detach", found.driver), (*_back(snapshot, found),))
        return (Change(f"give {address} to vfio-pci", Risk.LIVE, (step,)),)
    if case.expected is not None and found.driver == VFIO:
        _let_go(snapshot, found)
        step = Step(_nodedev(snapshot, found, "reattach", VFIO), (_nodedev(snapshot, found, "detach", case.expected),))
        return (Change(f"give {address} back to {case.expected}", Risk.LIVE, (step,)),)
    raise CannotMend(f"libvirt takes no device from {found.driver or 'no driver'} to {case.expected or 'none'}")


def _unused(snapshot: Snapshot, found: pci.Device) -> None:
    if found.driver is not None and not found.kind.startswith(NETWORK):
        raise CannotMend(f"{found.address} is of class {found.kind}: whether {found.driver} is in use cannot be told")
    for name in pci.netdevs(snapshot, found.address):
        if interfaces.is_up(snapshot, name):
            raise CannotMend(f"its network device {name} is up: ip link set dev {name} down, if nothing needs it")


def _let_go(snapshot: Snapshot, found: pci.Device) -> None:
    nodes = hostdevs.nodes_of(snapshot, found.address)
    if holders := sorted({process for process, node in hostdevs.holders(snapshot) if node in nodes}):
        raise CannotMend(f"QEMU (process {holders[0]}) holds it")


def _back(snapshot: Snapshot, found: pci.Device) -> Iterable[Operation]:
    """To its old driver, or to none; and what driver_override said. libvirt leaves `(null)` there."""
    if found.driver is not None:
        yield _nodedev(snapshot, found, "reattach", VFIO)
    else:
        unbind = ("tee", f"{SYSFS}/drivers/{VFIO}/unbind")
        yield Run(snapshot.machine, unbind, found.address, _bound(found, VFIO))
    was = devices.override(snapshot, found.address).value
    if was is not None or found.driver is None:
        path = f"{SYSFS}/devices/{found.address}/driver_override"
        yield Run(snapshot.machine, ("tee", path), f"{was or ''}\n", Given(path))


def _nodedev(snapshot: Snapshot, found: pci.Device, verb: str, bound: str | None) -> Run:
    virsh = ("virsh", "-q", "-c", "qemu:///system", f"nodedev-{verb}", nodedev.asked(found.address).name)
    return Run(snapshot.machine, virsh, given=_bound(found, bound))


def _bound(found: pci.Device, driver: str | None) -> Given:
    """Only while it is still bound as it was when it was looked at."""
    return Given(f"{SYSFS}/devices/{found.address}/uevent", f"DRIVER={driver}" if driver else "")


# --- assignments


def assign(snapshot: Snapshot, case: Case, target: HostTarget) -> tuple[Change, ...]:
    """Write down what the running guest has. Raises CannotMend when it is the running guest that lacks the device."""
    guest, address = case.args
    try:
        stored = domain_xml.config(snapshot, guest)
        running = hostdevs.of_address(domain_xml.live(snapshot, guest), address)
    except NotApplicable as reason:
        raise CannotMend(str(reason)) from None
    if running is None or hostdevs.given_actual(snapshot, guest, address).value is None:
        raise CannotMend("a running guest has to help when a device comes or goes: restart it, or virsh attach-device")
    if hostdevs.of_address(stored, address) is not None:
        return ()
    if running.find("boot") is not None and stored.find("os/boot") is not None:
        raise CannotMend("libvirt takes no <boot order> of a device beside the <boot dev> that is stored for all")
    words = (snapshot.machine, guest, stored.findtext("uuid") or "", address, as_stored(running))
    step = Step(Assign(*words, there=True), (Assign(*words, there=False),))
    return (Change(f"give {guest} {address} at its next start, too", Risk.LIVE, (step,)),)


def as_stored(running: etree._Element) -> str:
    """A running domain's `<hostdev>` without what libvirt adds for the time it runs: `<alias>`, `<driver>`."""
    element = deepcopy(running)
    for tag in ("alias", "driver"):
        for one in element.findall(tag):
            element.remove(one)
    return etree.tostring(element, encoding="unicode", with_tail=False)


# --- the remedies


def sources(host: HostTarget) -> Iterable[Source]:
    """Whether a device is in use."""
    if host.wants.devices:
        yield from (interfaces.FLAGS, hostdevs.HELD, hostdevs.NODES)


REBIND = Remedy("give the device to vfio-pci, or back to its driver, through libvirt", Risk.LIVE, rebind, sources)
ASSIGN = Remedy("write the running guest's device into its configuration", Risk.LIVE, assign)
