"""What an image host answered satisfies its profile; take away any one thing that was read, and it no longer does."""

from __future__ import annotations

from collections.abc import Iterator

from tests.looks import look
from tests.unit.test_needs_what_it_reads import blinded, watched, waved_through
from virtvet import catalogue
from virtvet.check import Case, Check
from virtvet.inventory import from_hostspecs
from virtvet.judge import Outcome, judge
from virtvet.probes.host_memory import KSM_UNITS, SWAP_SERVICES, ZRAM
from virtvet.profile.load import load_profile
from virtvet.snapshot.sources import Source
from virtvet.target import HostTarget

AREAS = ("services", "host-memory", "isolation")
CHECKS = [check for check in catalogue.shipped() if check.control.area in AREAS]
SEEN = look("tuning/hv3")
NOT_THERE = {
    "ISOL-IRQ-3": "the image has no irqbalance",
}
MAY_BE_ABSENT = {
    "/boot/grub": "another boot loader, or none",
    "/etc/default/grub": "then nobody makes the entries anew",
    "/etc/fstab": "nothing is mounted, or swapped to",
    "/etc/libvirt/qemu.conf": "libvirt's defaults hold",
    "/etc/systemd/system.conf": "its drop-ins hold",
    "/sys/devices/system/cpu/nohz_full": "a kernel that cannot",
    "stat /run/systemd/system": "another init",
    **dict.fromkeys(map(str, KSM_UNITS.sources), "another init, of which nobody knows what it starts"),
    **dict.fromkeys(map(str, (*ZRAM, *SWAP_SERVICES.sources)), "nothing makes swap space in memory"),
}


def cases() -> Iterator[tuple[Check, Case]]:
    (access,) = from_hostspecs(["local://"]).hosts.values()
    target = HostTarget.unseen(access, load_profile("lab-image"))
    return ((check, case) for check in CHECKS for case in check.cases(target))


def test_all_is_well() -> None:
    outcomes = {f"{check.control.id} {case.subject}": judge(check, case, SEEN).outcome for check, case in cases()}
    assert len(outcomes) > 25
    odd = {key: one for key, one in outcomes.items() if one is not Outcome.PASSED and key.split()[0] not in NOT_THERE}
    assert odd == {}


def test_nothing_unread_passes() -> None:
    waved = []
    for check, case in cases():
        notes: list[tuple[str, Source]] = []
        if judge(check, case, watched(SEEN, notes)).outcome is not Outcome.PASSED:
            continue
        for machine, source in dict.fromkeys(notes):
            for how, blind in blinded(SEEN, machine, source):
                absent = how == "absent" and any(str(source).startswith(one) for one in MAY_BE_ABSENT)
                if not absent and waved_through(judge(check, case, blind), how):
                    waved.append(f"{check.control.id} {case.subject}: {source} {how}")
    assert "\n".join(waved) == ""
