"""CPUs' vulnerabilities and threads, in the words of arch/x86/kernel/cpu/bugs.c and kernel/cpu.c."""

from __future__ import annotations

import pytest

from tests.unit.certificate_maker import TAKEN
from virtvet.errors import CannotLook
from virtvet.probes import vulnerabilities
from virtvet.snapshot.model import Absent, Answer, Content, Snapshot, Unreadable


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("Not affected\n", "not affected"),
        ("Mitigation: PTI\n", "mitigated"),
        ("Mitigation: usercopy/swapgs barriers and __user pointer sanitization\n", "mitigated"),
        ("KVM: Mitigation: Split huge pages\n", "mitigated"),
        ("Mitigation: Clear CPU buffers; SMT vulnerable\n", "partly mitigated"),
        ("Mitigation: Clear CPU buffers; SMT Host state unknown\n", "partly mitigated"),
        ("Mitigation: Enhanced IBRS; IBPB: conditional; BHI: Vulnerable\n", "partly mitigated"),
        ("Vulnerable\n", "vulnerable"),
        ("Vulnerable: __user pointer sanitization and usercopy barriers only; no swapgs barriers\n", "vulnerable"),
        ("Vulnerable; STIBP: disabled; PBRSB-eIBRS: Not affected; BHI: Not affected\n", "vulnerable"),
        ("KVM: Vulnerable\n", "vulnerable"),
        ("Processor vulnerable\n", "vulnerable"),
        ("Unknown: Dependent on hypervisor status\n", "unknown"),
    ],
)
def test_states(said: str, state: str) -> None:
    assert vulnerabilities.state(said, "mds") == state


FOUND = {
    f"{vulnerabilities.FOLDER}/mds": Content(b"Mitigation: Clear CPU buffers; SMT vulnerable\n"),
    f"{vulnerabilities.FOLDER}/meltdown": Content(b"Not affected\n"),
    f"{vulnerabilities.FOLDER}/l1tf": Content(b"Vulnerable\n"),
}
LOOK = Snapshot("hv1", TAKEN, {vulnerabilities.ALL: FOUND})


def test_one_and_the_others() -> None:
    assert [one.value for one in vulnerabilities.actual(LOOK, "mds", frozenset({"mds"}))] == ["partly mitigated"]
    others = list(vulnerabilities.actual(LOOK, "*", frozenset({"mds"})))
    assert [(one.source.rpartition("/")[2], one.value) for one in others] == [
        ("l1tf", "vulnerable"),
        ("meltdown", "not affected"),
    ]


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (FOUND, "srbds"),
        ({}, "*"),
        (Unreadable("denied"), "*"),
        ({f"{vulnerabilities.FOLDER}/mds": Content(b"")}, "*"),
        ({f"{vulnerabilities.FOLDER}/mds": Unreadable("denied")}, "mds"),
    ],
)
def test_beyond_understanding(files: Answer, name: str) -> None:
    with pytest.raises(CannotLook):
        list(vulnerabilities.actual(Snapshot("hv1", TAKEN, {vulnerabilities.ALL: files}), name, frozenset()))


@pytest.mark.parametrize(
    ("word", "value"), [("on", "on"), ("off", "off"), ("forceoff", "off"), ("notsupported", "off")]
)
def test_threads(word: str, value: str) -> None:
    look = Snapshot("hv1", TAKEN, {vulnerabilities.SMT: Content(f"{word}\n".encode())})
    assert vulnerabilities.smt(look).value == value


@pytest.mark.parametrize("answer", [Content(b"maybe\n"), Content(b""), Absent()])
def test_threads_beyond_understanding(answer: Answer) -> None:
    with pytest.raises(CannotLook):
        vulnerabilities.smt(Snapshot("hv1", TAKEN, {vulnerabilities.SMT: answer}))
