"""What a guest's QEMU answers to a monitor command: the truth about what can change while it runs.

Sent by libvirt's qemuMonitorCommand, which marks the domain as tainted until it stops (custom-monitor, a line in
libvirt's log and in its status file); only commands that change nothing are sent (see snapshot.libvirt_look).
Source: QEMU QMP Reference Manual, https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html
"""

from __future__ import annotations

import json
from typing import Any

from virtvet.errors import CannotLook, NotApplicable
from virtvet.snapshot.model import Absent, Failed, Snapshot
from virtvet.snapshot.sources import FORBIDDEN, Qmp


def asked(guest: str, execute: str, **arguments: str) -> Qmp:
    """The source: `asked("web1", "qom-get", path="/machine", property="type")`."""
    return Qmp(guest, execute, tuple(arguments.items()))


def answer(snapshot: Snapshot, guest: str, execute: str, **arguments: str) -> Any:
    """What the command returned, parsed. Raises NotApplicable for a guest that is shut off or was started by hand,
    and where the inventory forbids to ask; CannotLook when QEMU or libvirt refused."""
    source = asked(guest, execute, **arguments)
    snapshot.domain(guest)
    match snapshot.answer(source):
        case Absent():
            raise NotApplicable("guest is shut off")
        case Failed(reason) if reason == FORBIDDEN:
            raise NotApplicable(f"QEMU's monitor was not asked: {reason}")
    text = snapshot.read(source)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as mistake:
        raise CannotLook(source, f"is not JSON: {mistake}") from None


def rows(snapshot: Snapshot, guest: str, execute: str, **arguments: str) -> list[dict[str, Any]]:
    """As `answer`, of a command that returns a list of objects. Raises CannotLook for anything else."""
    found = answer(snapshot, guest, execute, **arguments)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise CannotLook(asked(guest, execute, **arguments), "is no list of objects")
    return found
