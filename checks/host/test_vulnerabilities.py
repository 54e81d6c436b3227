"""The CPUs' vulnerabilities are mitigated, and their threads are on or off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from virtvet.check import Case, Control, Severity, check
from virtvet.expect import OneOf
from virtvet.probes import vulnerabilities
from virtvet.probes.vulnerabilities import REST
from virtvet.profile.kernel import Verdict
from virtvet.snapshot.sources import Source
from virtvet.target import HostTarget

VULNERABILITIES = Control(
    id="HOST-CPU-1",
    title="The CPUs' vulnerabilities are mitigated",
    area="kernel",
    severity=Severity.HIGH,
    requirement="R42",
    rationale="A guest on a vulnerable CPU may read other guests' memory and the host's. Mitigations need a kernel, "
    "microcode and a command line that does not turn them off.",
    hint="grep . /sys/devices/system/cpu/vulnerabilities/*; grep -o 'mitigations=[^ ]*' /proc/cmdline; "
    "dmesg | grep -i microcode",
    references=("https://docs.kernel.org/admin-guide/hw-vuln/index.html",),
)
SMT = Control(
    id="HOST-CPU-2",
    title="CPUs run several threads each, or do not",
    area="kernel",
    severity=Severity.MEDIUM,
    requirement="R42",
    rationale="Two guests on the threads of one core share its caches; several mitigations hold only without SMT.",
    hint="echo {wanted} > /sys/devices/system/cpu/smt/control   # for good: nosmt on the kernel's command line",
    references=("https://docs.kernel.org/admin-guide/hw-vuln/core-scheduling.html",),
)

_GOOD_ENOUGH: Mapping[Verdict, object] = {
    "not affected": "not affected",
    "mitigated": OneOf(("not affected", "mitigated")),
    "partly mitigated": OneOf(("not affected", "mitigated", "partly mitigated")),
}


def _wants(host: HostTarget) -> Mapping[str, Verdict]:
    stated = host.wants.kernel.vulnerabilities if host.wants.kernel else {}
    return {REST: stated} if isinstance(stated, str) else stated


def each(host: HostTarget) -> Iterable[Case]:
    """Each that is named, and all others in one; not those of which any state will do."""
    wants = _wants(host)
    named = frozenset(wants) - {REST}
    for name, verdict in wants.items():
        if verdict != "any":
            yield Case("all others" if name == REST else name, _GOOD_ENOUGH[verdict], (name, named))


def _sources(host: HostTarget) -> Iterable[Source]:
    return (vulnerabilities.ALL for _case in each(host))


@check(VULNERABILITIES, cases=each, sources=_sources, actual=vulnerabilities.actual)
def test_vulnerability_is_mitigated(case: Case, observed: object) -> None:
    """As the kernel judges itself."""
    assert observed == case.expected


def threads(host: HostTarget) -> Iterable[Case]:
    """The host, where stated."""
    if host.wants.kernel and host.wants.kernel.smt:
        yield Case("smt", host.wants.kernel.smt, words={"wanted": host.wants.kernel.smt})


def _thread_sources(host: HostTarget) -> Iterable[Source]:
    return (vulnerabilities.SMT for _case in threads(host))


@check(SMT, cases=threads, sources=_thread_sources, actual=vulnerabilities.smt)
def test_threads_are_on_or_off(case: Case, observed: object) -> None:
    """What cannot run several threads is off."""
    assert observed == case.expected
