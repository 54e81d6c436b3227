"""Put an interface's end on the host back: into its bridge, and up. What libvirt itself says otherwise is left to it.

Only while the QEMU process that was looked at still runs: another start connects the end anew, and names of taps are
used again.
"""

from __future__ import annotations

from virtvet.check import Case
from virtvet.errors import NotApplicable
from virtvet.expect import matches
from virtvet.probes import interfaces, qemu
from virtvet.remedies.change import CannotMend, Change, Remedy, Step
from virtvet.remedies.modes import Risk
from virtvet.remedies.operations import Given, Run
from virtvet.snapshot.model import Snapshot
from virtvet.target import HostTarget


def plug(snapshot: Snapshot, case: Case, _target: HostTarget) -> tuple[Change, ...]:
    """Make the end a port of its bridge. Raises CannotMend where libvirt has connected the interface otherwise."""
    guest, key, to = case.args
    try:
        seen = interfaces.connected_actual(snapshot, guest, key, to)
    except NotApplicable:
        return ()
    if matches(case.expected, seen.value):
        return ()
    name, bridge = interfaces.end(snapshot, guest, key), _bridge(snapshot, case)
    was = interfaces.connected_actual(snapshot, guest, key, "bridge").value
    back = ("master", was) if was else ("nomaster",)
    step = Step(_set(snapshot, guest, name, "master", bridge), (_set(snapshot, guest, name, *back),))
    return (Change(f"make {name} of {guest} a port of {bridge}", Risk.LIVE, (step,)),)


def _bridge(snapshot: Snapshot, case: Case) -> str:
    """The bridge that libvirt says the interface is on, when that is the right one and there is such a device."""
    guest, key, to = case.args
    if to == "dev":
        raise CannotMend("what a macvtap is above cannot be changed while the guest runs")
    if guest in snapshot.by_hand:
        bridge = case.expected
    elif interfaces.connected_live(snapshot, guest, key, to).value != case.expected:
        raise CannotMend("libvirt itself has connected the interface otherwise: see virsh update-device")
    else:
        bridge = interfaces.connected_live(snapshot, guest, key, "bridge").value
    if bridge is None or not interfaces.exists(snapshot, bridge):
        raise CannotMend(f"the host has no bridge {bridge}")
    return str(bridge)


def bring_up(snapshot: Snapshot, case: Case, _target: HostTarget) -> tuple[Change, ...]:
    """Bring the end up. Raises CannotMend where it is up, and the bridge does not forward."""
    guest, key, wanted = case.args
    try:
        seen = interfaces.link_actual(snapshot, guest, key, wanted)
    except NotApplicable:
        return ()
    if seen.value == "up":
        return ()
    name = interfaces.end(snapshot, guest, key)
    if seen.value != "down":
        raise CannotMend(f"{name} is up, and its bridge has it {seen.value}: that is for the bridge's spanning tree")
    step = Step(_set(snapshot, guest, name, "up"), (_set(snapshot, guest, name, "down"),))
    return (Change(f"bring {name} of {guest} up", Risk.LIVE, (step,)),)


PLUG = Remedy("make the interface's end a port of its bridge", Risk.LIVE, plug)
BRING_UP = Remedy("bring the interface's end up", Risk.LIVE, bring_up)


def _set(snapshot: Snapshot, guest: str, name: str, *words: str) -> Run:
    still = Given(f"/proc/{qemu.pid(snapshot, guest)}/cmdline", guest)
    return Run(snapshot.machine, ("ip", "link", "set", "dev", name, *words), given=still)
