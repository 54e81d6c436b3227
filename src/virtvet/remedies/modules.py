"""Load a kernel module, and have it loaded at boot."""

from __future__ import annotations

from virtvet.check import Case
from virtvet.probes import dropins, kernel_cmdline, modules
from virtvet.remedies.change import CannotMend, Change, Remedy, Step
from virtvet.remedies.modes import Risk
from virtvet.remedies.operations import Given, Run, WriteFile
from virtvet.snapshot.model import Snapshot
from virtvet.target import HostTarget


def load(snapshot: Snapshot, case: Case, _target: HostTarget) -> tuple[Change, ...]:
    """One change: modprobe. Taken back, it is unloaded again, if nothing uses it by then."""
    module = _loadable(snapshot, case)
    if modules.actual(snapshot, module).value != modules.NOT_LOADED:
        return ()
    back = Run(snapshot.machine, ("modprobe", "-r", module), given=Given(modules.directory(module).path))
    return (Change(f"load {module}", Risk.LIVE, (Step(Run(snapshot.machine, ("modprobe", module)), (back,)),)),)


def load_at_boot(snapshot: Snapshot, case: Case, _target: HostTarget) -> tuple[Change, ...]:
    """One change: a file of our own in modules-load.d."""
    module = _loadable(snapshot, case)
    path = f"/etc/modules-load.d/virtvet-{module}.conf"
    before = dict(dropins.texts(snapshot, "modules-load.d")).get(path)
    write = WriteFile(snapshot.machine, path, before, f"{module}\n")
    return (Change(f"load {module} at boot", Risk.LIVE, (Step(write, (write.back(),)),)),)


def _loadable(snapshot: Snapshot, case: Case) -> str:
    (module,) = case.args
    held = modules.blocking(snapshot, module)
    if held.value != modules.FREE:
        raise CannotMend(f"{module} is {held.value}: {held.source} {held.excerpt}".rstrip())
    return kernel_cmdline.plain(module)


LOAD = Remedy("load the module", Risk.LIVE, load)
LOAD_AT_BOOT = Remedy("have the module loaded at boot", Risk.LIVE, load_at_boot)
