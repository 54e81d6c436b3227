"""As test_needs_what_it_reads, of devices: on what an image host answered, since the lab of namespaces has none."""

from __future__ import annotations

from tests import looks
from tests.unit.test_needs_what_it_reads import blinded, watched, waved_through
from virtvet import catalogue
from virtvet.inventory import from_hostspecs
from virtvet.judge import Outcome, judge
from virtvet.profile.load import load_profile
from virtvet.snapshot.sources import Source
from virtvet.target import HostTarget

CHECKS = [check for check in catalogue.shipped() if check.control.id.startswith(("HOST-PCI-", "HOSTDEV-"))]


def test_nothing_unread_passes() -> None:
    seen = looks.look("devices/hv3")
    access = from_hostspecs(["ssh://root@hv3"]).hosts["hv3"]
    target = HostTarget.unseen(access, load_profile("lab-image")).seen(["nic"])
    waved = []
    for check, case in [(one, case) for one in CHECKS for case in one.cases(target)]:
        notes: list[tuple[str, Source]] = []
        assert judge(check, case, watched(seen, notes)).outcome is Outcome.PASSED
        waved += [
            f"{check.control.id} {case.subject}: {machine} {source} {how}"
            for machine, source in set(notes)
            for how, blind in blinded(seen, machine, source)
            if waved_through(judge(check, case, blind), how)
        ]
    assert waved == []
