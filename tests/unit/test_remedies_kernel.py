"""What the remedies of sysctls and modules would do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.test_probe_modules import looked as modules_looked
from tests.unit.test_probe_sysctl import looked as sysctl_looked
from virtvet.check import Case
from virtvet.probes.settings import InRange
from virtvet.remedies import modules, sysctl
from virtvet.remedies.change import CHANGE, CannotMend, Change
from virtvet.snapshot.model import Absent, Answer, Content, Snapshot
from virtvet.snapshot.sources import File

NO_TARGET: Any = None
SWAPPINESS = "/proc/sys/vm/swappiness"
OURS = "/etc/sysctl.d/zz-virtvet-vm.swappiness.conf"


def lines(changes: tuple[Change, ...]) -> list[str]:
    """What is done, then what takes it back."""
    assert [CHANGE.validate_json(CHANGE.dump_json(one)) for one in changes] == list(changes)
    return [str(one) for change in changes for one in (*(step.do for step in change.steps), *change.undo)]


def set_sysctl(now: Answer, files: dict[str, str], expected: Any = "10", persistent: bool = True) -> list[str]:
    look = sysctl_looked(files)
    look = Snapshot("hv1", look.taken, {**look.answers, File(SWAPPINESS): now})
    return lines(sysctl.plan(look, Case("vm.swappiness", expected, ("vm.swappiness", persistent)), NO_TARGET))


TEN, SIXTY = Content(b"10\n"), Content(b"60\n")
LIVE = [f"hv1$ tee {SWAPPINESS} <<< '10\n'", f"hv1$ tee {SWAPPINESS} <<< '60\n'   # if {SWAPPINESS} is there"]
WRITTEN = f"--- hv1:{OURS}\n+++ hv1:{OURS}\n@@ -0,0 +1 @@\n+vm.swappiness = 10"
REMOVED = f"--- hv1:{OURS}\n+++ hv1:{OURS}\n@@ -1 +0,0 @@\n-vm.swappiness = 10"


@pytest.mark.parametrize(
    ("now", "files", "expected", "persistent", "plan"),
    [
        (TEN, {"/etc/sysctl.d/a.conf": "vm.swappiness=10"}, "10", True, []),
        (SIXTY, {"/etc/sysctl.d/a.conf": "vm.swappiness=10"}, "10", True, LIVE),
        (TEN, {}, "10", True, [WRITTEN, REMOVED]),
        (TEN, {"/etc/sysctl.d/a.conf": "vm.swappiness=60"}, "10", True, [WRITTEN, REMOVED]),
        (SIXTY, {}, "10", True, [LIVE[0], WRITTEN, REMOVED, LIVE[1]]),
        (SIXTY, {}, "10", False, LIVE),
        (SIXTY, {}, InRange(5, 10), False, LIVE),
    ],
)
def test_sysctl(now: Answer, files: dict[str, str], expected: Any, persistent: bool, plan: list[str]) -> None:
    assert set_sysctl(now, files, expected, persistent) == plan


def test_our_own_file_is_written_over() -> None:
    old = {OURS: "vm.swappiness = 60\n"}
    assert "-vm.swappiness = 60\n+vm.swappiness = 10" in set_sysctl(TEN, old)[0]


def test_no_such_sysctl() -> None:
    with pytest.raises(CannotMend, match="has no /proc/sys/vm/swappiness"):
        set_sysctl(Absent(), {})


def test_modules() -> None:
    case = Case("vfio-pci", "", ("vfio-pci",))
    assert lines(modules.load(modules_looked(), case, NO_TARGET)) == [
        "hv1$ modprobe vfio_pci",
        "hv1$ modprobe -r vfio_pci   # if /sys/module/vfio_pci is there",
    ]
    file = "/etc/modules-load.d/virtvet-vfio_pci.conf"
    assert lines(modules.load_at_boot(modules_looked(), case, NO_TARGET))[0] == (
        f"--- hv1:{file}\n+++ hv1:{file}\n@@ -0,0 +1 @@\n+vfio_pci"
    )


def test_what_is_loaded_is_left_alone() -> None:
    look = modules_looked({"/sys/module/vfio_pci/initstate": "live\n"})
    assert modules.load(look, Case("vfio_pci", "", ("vfio_pci",)), NO_TARGET) == ()


@pytest.mark.parametrize(
    ("module", "why"), [("vfio_pci", "is blocked: /etc/modprobe.d/a.conf:1"), ("nosuch", "is not")]
)
def test_what_is_kept_out_is_not_forced(module: str, why: str) -> None:
    look = modules_looked({"/etc/modprobe.d/a.conf": "blacklist vfio_pci\n"})
    for plan in (modules.load, modules.load_at_boot):
        with pytest.raises(CannotMend, match=why):
            plan(look, Case(module, "", (module,)), NO_TARGET)
