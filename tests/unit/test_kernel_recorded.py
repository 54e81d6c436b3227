"""host.kernel on what an image host answered: all is well, nothing unread is, and each edit departs alone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests import looks
from tests.unit.test_needs_what_it_reads import blinded, watched, waved_through
from virtvet import catalogue
from virtvet.check import Case, Check
from virtvet.inventory import from_hostspecs
from virtvet.judge import Outcome, judge
from virtvet.profile.load import load_profile
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import Source
from virtvet.target import HostTarget

HV3 = "kernel/hv3"
TARGET = HostTarget.unseen(from_hostspecs(["ssh://root@hv3"]).hosts["hv3"], load_profile("lab-image"))
CASES: list[tuple[Check, Case]] = [
    (check, case) for check in catalogue.shipped() if check.control.area == "kernel" for case in check.cases(TARGET)
]
GRUB, SETTINGS, HYPERVISOR = "/boot/grub/grub.cfg", "/etc/default/grub", "/etc/modprobe.d/hypervisor.conf"
SYSCTL, VHOST = "/etc/sysctl.d/50-hypervisor.conf", "/etc/modules-load.d/vhost.conf"
SWAPPINESS, HALT_POLL = "/proc/sys/vm/swappiness", "/sys/module/kvm/parameters/halt_poll_ns"
MDS = "/sys/devices/system/cpu/vulnerabilities/mds"


def departing(snapshot: Snapshot) -> dict[str, str]:
    seen = {f"{check.control.id} {case.subject}": judge(check, case, snapshot) for check, case in CASES}
    return {name: " ".join(one.layer for one in found.departing) for name, found in seen.items() if found.departing}


def test_all_is_well_there() -> None:
    look = looks.look(HV3)
    assert [case.subject for check, case in CASES if judge(check, case, look).outcome is not Outcome.PASSED] == []
    assert len(CASES) > 15


@pytest.mark.parametrize(
    ("what", "old", "new", "departs"),
    [
        ("/proc/cmdline", "tsc=reliable", "tsc=reliable tsc=watchdog", {"HOST-CMDLINE-1 tsc=reliable": "actual"}),
        (GRUB, "tsc=reliable", "nosmt", {"HOST-CMDLINE-1 tsc=reliable": "config", "HOST-CMDLINE-2 nosmt": "config"}),
        (SETTINGS, " tsc=reliable", "", {"HOST-CMDLINE-1 tsc=reliable": "config"}),
        (
            "/proc/sys/kernel/osrelease",
            "-56-",
            "-6-",
            {"HOST-KERNEL-1 kernel": "actual", "HOST-KERNEL-2 kernel": "actual"},
        ),
        (GRUB, "vmlinuz-6.1.0-56", "vmlinuz-6.1.0-55", {"HOST-KERNEL-2 kernel": "config"}),
        (HYPERVISOR, "blacklist dummy", "blacklist loop", {"HOST-MOD-1 loop": "config", "HOST-MOD-3 dummy": "config"}),
        (VHOST, "vhost_net", "vhost", {"HOST-MOD-2 vhost_net": "config"}),
        (HYPERVISOR, "=100000", "=0", {"HOST-MOD-4 kvm.halt_poll_ns": "config"}),
        (HALT_POLL, "100000", "200000", {"HOST-MOD-4 kvm.halt_poll_ns": "actual"}),
        (HYPERVISOR, "nested=1", "nested=0", {"HOST-MOD-5 nested": "config"}),
        (SYSCTL, "= 10\n", "= 60\n", {"HOST-SYSCTL-1 vm.swappiness": "config"}),
        (SWAPPINESS, "10", "60", {"HOST-SYSCTL-1 vm.swappiness": "actual"}),
        (MDS, "Not affected", "Vulnerable", {"HOST-CPU-1 all others": "actual"}),
    ],
)
def test_each_edit_departs_alone(what: str, old: str, new: str, departs: Mapping[str, str]) -> None:
    assert departing(looks.look(HV3, looks.changed(HV3, what, old, new))) == departs


MAY_BE_ABSENT = ("/boot/grub", "/etc/default/grub", "/sys/firmware/efi", "/sys/module/", "stat /sys/module/")
"""Another boot loader, or none; a module that is built in, or a parameter that the kernel does not show."""


def test_nothing_unread_is_well() -> None:
    look, waved = looks.look(HV3), []
    for check, case in CASES:
        notes: list[tuple[str, Source]] = []
        judge(check, case, watched(look, notes))
        for machine, source in dict.fromkeys(notes):
            for how, blind in blinded(look, machine, source):
                if waved_through(judge(check, case, blind), how) and not _known(source, how):
                    waved.append(f"{check.control.id} {case.subject}: {source} {how}")
    assert waved == []


def _known(source: Source, how: str) -> bool:
    return how == "absent" and str(source).startswith(MAY_BE_ABSENT)
