"""Take some memory from a running guest by its balloon, see it gone everywhere, and give it back."""

from __future__ import annotations

from dataclasses import replace

from virtvet.check import Case, PerLayer
from virtvet.errors import NotApplicable
from virtvet.expect import Between
from virtvet.probes import domain_xml, memory_size
from virtvet.profile.memory_size import MIB
from virtvet.remedies.change import Change, Exercise, Step
from virtvet.remedies.modes import Risk
from virtvet.remedies.operations import Balloon
from virtvet.snapshot.model import Snapshot
from virtvet.target import HostTarget

SHARE, LEAST = 8, 16 * MIB
"""An eighth of what the guest has, 16 MiB at least: enough to be seen, and too little to hurt."""


def plan(snapshot: Snapshot, case: Case, _target: HostTarget) -> tuple[tuple[Change, ...], Case]:
    """The balloon moved and moved back, and the guest with as much less.

    MemTotal shrinks by what the balloon took (adjust_managed_page_count, drivers/virtio/virtio_balloon.c), but not
    where the balloon gives way (autodeflate).
    """
    guest, _element = case.args
    domain = domain_xml.live(snapshot, guest)
    if domain.find("devices/memballoon[@autodeflate='on']") is not None:
        raise NotApplicable("the guest's MemTotal does not show a balloon with autodeflate='on'")
    size, inside = (int(one(snapshot, guest).value) for one in (memory_size.current, memory_size.mem_total))
    taken = max(size // SHARE, LEAST) // MIB * MIB
    name, uuid, run = domain.findtext("name") or "", domain.findtext("uuid") or "", int(domain.get("id", ""))

    def leave(left: int) -> Balloon:
        return Balloon(snapshot.machine, name, uuid, left // 1024, run)

    change = Change(f"take {taken // MIB} MiB from {guest}", Risk.LIVE, (Step(leave(size - taken), (leave(size),)),))
    rest = inside - taken
    expected = PerLayer(live=size - taken, actual=size - taken, guest=Between(rest - taken // 8, rest + taken // 8))
    return (change,), replace(case, expected=expected)


SHRINK = Exercise("take an eighth of the guest's memory by its balloon, and give it back", plan)
