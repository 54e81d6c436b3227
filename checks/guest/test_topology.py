"""How a guest's vCPUs are arranged in sockets, dies, cores and threads."""

from __future__ import annotations

from collections.abc import Iterable

from virtvet.check import Case, Control, Severity, check
from virtvet.probes import topology
from virtvet.target import HostTarget

TOPOLOGY = Control(
    id="CPU-TOPO-1",
    title="A guest's vCPUs are arranged as stated",
    area="cpu",
    severity=Severity.MEDIUM,
    requirement="R12",
    rationale=(
        "The guest's scheduler shares caches and threads by it, and licences count sockets or cores; a wrong one costs "
        "speed or money, and some systems refuse more than two sockets."
    ),
    hint="virsh -c qemu:///system edit {guest}   # within <cpu>: <topology {part}='{number}' …/>; from the next start",
    references=(
        "https://libvirt.org/formatdomain.html#cpu-model-and-topology",
        "https://docs.kernel.org/admin-guide/cputopology.html",
    ),
)


def _cases(host: HostTarget) -> Iterable[Case]:
    for guest in host.guests:
        stated = guest.wants.cpu.topology if guest.matched else None
        for part in topology.PARTS if stated else ():
            if (number := getattr(stated, part)) is not None:
                words = {"part": part, "number": number}
                yield Case(f"{guest.name}/{part}", number, (guest.name, part, number), guest.name, words)


@check(
    TOPOLOGY,
    cases=_cases,
    sources=topology.SOURCES,
    guest_sources=topology.guest_sources,
    config=topology.config,
    live=topology.live,
    actual=topology.started,
    guest=topology.seen,
)
def test_vcpus_are_arranged(case: Case, observed: object) -> None:
    """Actual: QEMU's -smp. Guest: of the CPUs that are online."""
    assert observed == case.expected
