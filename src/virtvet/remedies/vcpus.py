"""Inside a guest: bring plugged vCPUs online, and give udev the rule that does it from then on.

How many vCPUs a guest has is not mended here: a vCPU plugged in can be unplugged only if the guest agrees, and
virsh setvcpus --config makes every vCPU's entry anew, so neither could be taken back for sure.
"""

from __future__ import annotations

from virtvet.check import Case
from virtvet.probes import hotplug_rules, vcpus
from virtvet.remedies.change import CannotMend, Change, Remedy, Step
from virtvet.remedies.modes import Risk
from virtvet.remedies.operations import Given, Run, WriteFile
from virtvet.snapshot.model import Snapshot
from virtvet.target import HostTarget

FILE = "/etc/udev/rules.d/40-virtvet-cpu.rules"
TEXT = 'SUBSYSTEM=="cpu", ACTION=="add", TEST=="online", ATTR{online}!="1", ATTR{online}="1"\n'


def plan_online(snapshot: Snapshot, case: Case, _target: HostTarget) -> tuple[Change, ...]:
    """One change: every CPU that is there and offline, if the guest then uses as many as it must."""
    guest = case.args[0]
    inside = snapshot.guest(guest)
    there, used = (vcpus.cpus_in(inside, file) for file in (vcpus.PRESENT, vcpus.ONLINE))
    if len(there) != case.expected:
        raise CannotMend(f"the guest has {len(there)} CPUs, not {case.expected}: virsh setvcpus plugs them in")
    steps = tuple(_brought_online(inside.machine, cpu) for cpu in sorted(there - used))
    return (Change(f"bring vCPUs online in {guest}", Risk.LIVE, steps),) if steps else ()


ONLINE = Remedy("bring plugged vCPUs online in the guest", Risk.LIVE, plan_online)


def _brought_online(machine: str, cpu: int) -> Step:
    path = f"{vcpus.SYSTEM}/cpu{cpu}/online"
    return Step(_tee(machine, path, "1"), (_tee(machine, path, "0"),))


def _tee(machine: str, path: str, text: str) -> Run:
    return Run(machine, ("tee", path), f"{text}\n", Given(path))


def plan_rule(snapshot: Snapshot, case: Case, _target: HostTarget) -> tuple[Change, ...]:
    """One change: a rules file of our own. Raises CannotMend in a guest without udev."""
    guest = case.args[0]
    inside = snapshot.guest(guest)
    if not hotplug_rules.udev_runs(inside):
        raise CannotMend("udev does not run in the guest: nobody would read a rule")
    new = WriteFile(inside.machine, FILE, None, TEXT)
    return (Change(f"have udev bring new vCPUs online in {guest}", Risk.LIVE, (Step(new, (new.back(),)),)),)


RULE = Remedy("give udev in the guest a rule for new vCPUs", Risk.LIVE, plan_rule)
