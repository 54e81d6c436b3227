"""Bring memory online inside a guest, and have what is plugged later come online by itself."""

from __future__ import annotations

from collections.abc import Iterable

from virtvet.check import Case
from virtvet.probes import hotplug_rules, memory_hotplug
from virtvet.probes.memory_hotplug import AUTO_ONLINE, Block
from virtvet.remedies.change import CannotMend, Change, Remedy, Step
from virtvet.remedies.modes import Risk
from virtvet.remedies.operations import EditLine, Given, Run, WriteFile
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import File, HostSource, Stat
from virtvet.target import GuestTarget, HostTarget

FOLDER = Stat("/etc/udev/rules.d")
RULE_FILE = File("/etc/udev/rules.d/99-hotplug-memory.rules")
RULE = 'SUBSYSTEM=="memory", ACTION=="add", TEST=="state", ATTR{state}=="offline", ATTR{state}="online"'
MOVABLE = "online_movable"
"""How blocks are brought online: what cannot be moved does not land there, so that they can go offline again."""


def wake(snapshot: Snapshot, case: Case, _target: HostTarget) -> tuple[Change, ...]:
    """One change: every block that is offline is brought online."""
    (guest,) = case.args
    inside = snapshot.guest(guest)
    asleep = [block for block in memory_hotplug.blocks(snapshot, guest) if block.state == "offline"]
    if not asleep:
        return ()
    title = f"bring memory online in {guest}"
    return (Change(title, Risk.LIVE, tuple(_awake(inside.machine, block) for block in asleep)),)


def _awake(machine: str, block: Block) -> Step:
    """`echo offline > state` fails on a block that is offline already: so each way has its condition."""

    def written(state: str, given: str) -> Run:
        return Run(machine, ("tee", block.path), f"{state}\n", Given(block.path, given))

    return Step(written(MOVABLE, "offline"), (written("offline", "online"),))


def automate(snapshot: Snapshot, case: Case, _target: HostTarget) -> tuple[Change, ...]:
    """A udev rule where udevd runs; elsewhere the kernel's own policy, which holds until the guest's next boot."""
    (guest,) = case.args
    inside = snapshot.guest(guest)
    if not hotplug_rules.udev_runs(inside):
        return (Change(f"have the kernel of {guest} bring plugged memory online", Risk.LIVE, (_policy(inside),)),)
    return (Change(f"have udev bring plugged memory online in {guest}", Risk.LIVE, (_rule(inside),)),)


def _policy(inside: Snapshot) -> Step:
    path, was = AUTO_ONLINE.path, inside.read(AUTO_ONLINE).decode("ascii", "replace").strip()
    back = Run(inside.machine, ("tee", path), f"{was}\n", Given(path, MOVABLE))
    return Step(Run(inside.machine, ("tee", path), f"{MOVABLE}\n"), (back,))


def _rule(inside: Snapshot) -> Step:
    """udevd sees by itself that a file of rules is new (udev_rules_should_reload, src/udev/udev-rules.c)."""
    if inside.maybe_stat(FOLDER) is None:
        raise CannotMend(f"{FOLDER.path} does not exist")
    if inside.maybe(RULE_FILE) is None:
        new = WriteFile(inside.machine, RULE_FILE.path, None, f"{RULE}\n")
        return Step(new, (new.back(),))
    added = EditLine(inside.machine, RULE_FILE.path, None, RULE)
    return Step(added, (added.back(),))


def folder(guest: GuestTarget) -> Iterable[HostSource]:
    """Where the rule is to stand."""
    if guest.wants.memory.hotplug and guest.wants.memory.hotplug.online:
        yield from (FOLDER, RULE_FILE)


WAKE = Remedy("bring the guest's memory online", Risk.LIVE, wake)
AUTOMATE = Remedy("have plugged memory come online by itself", Risk.LIVE, automate, guest_sources=folder)
