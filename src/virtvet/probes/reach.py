"""Whether machines answered at all: what the prerequisite controls read."""

from __future__ import annotations

from virtvet.check import Reading
from virtvet.errors import CannotLook
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import File, Libvirt

UPTIME = File("/proc/uptime")
"""Anything a Linux machine surely has: `0.86 0.97`."""


def host_answers(snapshot: Snapshot) -> Reading:
    """Whether the host's shell answered the look."""
    return Reading(True, "the collector on the host", snapshot.read(UPTIME).decode("ascii", "replace").strip())


def libvirt_answers(snapshot: Snapshot) -> Reading:
    """Whether libvirt answered, and on which connection."""
    answer = snapshot.read(Libvirt())
    return Reading(True, answer.uri, f"host {answer.hostname}, libvirt {answer.libvirt_version}")


def guest_state(snapshot: Snapshot, guest: str, matched: bool) -> Reading:
    """virDomainGetState in virsh's words: running (idle, too), paused, in shutdown, shut off, crashed, pmsuspended."""
    if not matched:
        known = ", ".join(sorted({*snapshot.read(Libvirt()).domains, *snapshot.by_hand})) or "no guests at all"
        raise CannotLook(guest, f"no guest on {snapshot.machine} matches this name; there are: {known}")
    if guest in snapshot.by_hand:
        return Reading("running", f"/proc/{snapshot.by_hand[guest]}", "started by hand, without libvirt")
    return Reading(snapshot.domain(guest).state, f"virsh domstate {guest}")


def guest_answers(snapshot: Snapshot, guest: str) -> Reading:
    """Whether a shell inside the guest answered."""
    inside = snapshot.guest(guest)
    return Reading(True, "the collector in the guest", inside.read(UPTIME).decode("ascii", "replace").strip())
