"""Every check on a look at the lab: take away any one thing that a passing case read, and it no longer passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from virtvet.check import Case, Check
from virtvet.judge import Observed, Outcome, judge
from virtvet.refresh import RECORDED, sample_session
from virtvet.session import Session
from virtvet.snapshot.model import Absent, Answer, Failed, Snapshot, TooLarge, Unreadable
from virtvet.snapshot.sources import Described, Handshake, Libvirt, Qmp, Source, TlsLibvirt

MAY_BE_ABSENT = {
    "/etc/libvirt/libvirtd.conf": "libvirt's defaults hold",
    "/etc/os-release": "an older system",
    "/proc/net/tcp6": "no IPv6",
    "/proc/sys/user/max_": "no limit",
    "stat /run/systemd/system": "another init",
    "stat /run/udev/control": "another device manager",
    "/sys/devices/system/node/online": "no NUMA: node 0",
}


class Watched(Snapshot):
    """Notes what is read of it; where it has the name of a guest, so do its guests."""

    read_from: list[tuple[str, Source]]

    def answer(self, source: Source) -> Answer:
        self.read_from.append((self.machine, source))
        return super().answer(source)


def watched(snapshot: Snapshot, notes: list[tuple[str, Source]]) -> Snapshot:
    guests = {name: watched(one, notes) for name, one in snapshot.guests.items()}
    made = Watched(
        snapshot.machine, snapshot.taken, snapshot.answers, guests, snapshot.unreachable, by_hand=snapshot.by_hand
    )
    object.__setattr__(made, "read_from", notes)
    return made


def without(snapshot: Snapshot, machine: str, source: Source, answer: Answer | None) -> Snapshot:
    if machine != snapshot.machine:
        name = machine.removeprefix(f"{snapshot.machine}/")
        guest = without(snapshot.guests[name], machine, source, answer)
        return replace(snapshot, guests={**snapshot.guests, name: guest})
    rest = {one: said for one, said in snapshot.answers.items() if one != source}
    return replace(snapshot, answers=rest if answer is None else {**rest, source: answer})


def blinded(snapshot: Snapshot, machine: str, source: Source) -> Iterator[tuple[str, Snapshot]]:
    outside = isinstance(source, Libvirt | Handshake | Qmp | Described | TlsLibvirt)
    answers = {"unreadable": Failed("x") if outside else Unreadable("x"), "undeclared": None}
    answers |= {} if outside else {"too large": TooLarge(1), "absent": Absent()}
    for how, answer in answers.items():
        if how != "absent" or not any(str(source).startswith(one) for one in MAY_BE_ABSENT):
            yield how, without(snapshot, machine, source, answer)


def waved_through(seen: Observed, how: str) -> bool:
    """What is absent may make a case not applicable; what cannot be read may not."""
    if seen.outcome is Outcome.SKIPPED:
        return how != "absent" and not any(layer.blocked for layer in seen.layers)
    return seen.outcome is Outcome.PASSED


def passing(session: Session) -> Iterator[tuple[Check, Case, Snapshot, frozenset[tuple[str, Source]]]]:
    for host, snapshot in session.snapshots.items():
        for check in session.checks:
            for case in session.cases(check, host):
                notes: list[tuple[str, Source]] = []
                if judge(check, case, watched(snapshot, notes)).outcome is Outcome.PASSED:
                    yield check, case, snapshot, frozenset(notes)


@pytest.mark.skipif(not RECORDED.exists(), reason="no look at the lab is recorded")
def test_nothing_unread_passes() -> None:
    waved = [
        f"{check.control.id} {case.subject}: {machine} {source} {how}"
        for check, case, snapshot, notes in passing(sample_session())
        for machine, source in notes
        for how, blind in blinded(snapshot, machine, source)
        if waved_through(judge(check, case, blind), how)
    ]
    assert waved == []
