"""Running guests leave each other's CPUs alone, stay near their memory, and ask together for no more than there is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virtvet.check import Case, Control, Severity, check
from virtvet.expect import AtMost, ranges
from virtvet.probes import commitments, neighbours
from virtvet.profile.neighbours import MemorySums, Neighbours, VcpuSums
from virtvet.target import HostTarget

DOMAIN = "https://libvirt.org/formatdomain.html"
NONE: frozenset[str] = frozenset()

EXCLUSIVE = Control(
    id="NEIGHBOUR-1",
    title="No other guest runs on the CPUs that are one guest's alone",
    area="neighbours",
    severity=Severity.HIGH,
    requirement="R45",
    rationale="A pin binds the guest that has it, and keeps nobody else away: one guest without pins, or started by "
    "hand, and the CPUs are shared. Every QEMU process of the host is looked at.",
    hint="virsh -c qemu:///system vcpupin OTHER 0 ELSEWHERE --live --config   "
    "# emulatorpin, iothreadpin, too; exclusive are: {owners}",
    references=(f"{DOMAIN}#cpu-tuning", "https://man7.org/linux/man-pages/man2/sched_setaffinity.2.html"),
)
CORES = Control(
    id="NEIGHBOUR-2",
    title="No two guests run at once on the sibling threads of a core",
    area="neighbours",
    severity=Severity.MEDIUM,
    requirement="R45",
    rationale="Threads of one core share its caches and units: a neighbour there halves the speed, and can read along "
    "(L1TF, MDS).",
    hint="cat /sys/devices/system/cpu/cpu*/topology/thread_siblings_list   # virsh vcpupin: whole cores to each guest",
    references=(
        "https://docs.kernel.org/admin-guide/hw-vuln/l1tf.html",
        "https://docs.kernel.org/admin-guide/cputopology.html",
    ),
)
NODES = Control(
    id="NEIGHBOUR-3",
    title="Each guest's vCPUs run on the NUMA nodes its memory comes from",
    area="neighbours",
    severity=Severity.MEDIUM,
    requirement="R45",
    rationale="Memory of another node is slower, and takes from the guests of that node what is theirs.",
    hint="virsh -c qemu:///system numatune GUEST   # and vcpupin; virsh capabilities lists each node's CPUs",
    references=(f"{DOMAIN}#numa-node-tuning", "https://docs.kernel.org/admin-guide/mm/numaperf.html"),
)
VCPUS = Control(
    id="NEIGHBOUR-4",
    title="All running guests together have no more vCPUs for each CPU than stated",
    area="neighbours",
    severity=Severity.MEDIUM,
    requirement="R45",
    rationale="Each guest by itself may be as it should be, and all together wait for CPUs (steal time).",
    hint="virsh -c qemu:///system domstats --vcpu --list-running   # vCPUs of each guest; CPUs of {subject}",
    references=(f"{DOMAIN}#cpu-allocation",),
)
MEMORY = Control(
    id="NEIGHBOUR-5",
    title="All running guests together take no more memory than stated",
    area="neighbours",
    severity=Severity.HIGH,
    requirement="R45",
    rationale="When guests take what they were given and it is not there, the kernel swaps, then kills one of them.",
    hint="virsh -c qemu:///system domstats --balloon --list-running   # memory of each guest; room in {subject}",
    references=(f"{DOMAIN}#memory-allocation", "https://docs.kernel.org/admin-guide/mm/concepts.html"),
)


def exclusive(host: HostTarget) -> Iterator[Case]:
    """All guests of the host whose CPUs are theirs alone."""
    pins = {guest.name: guest.wants.cpu.pins for guest in host.guests if guest.matched}
    if owners := {name: cpus for name, wants in pins.items() if wants and (cpus := wants.alone)}:
        words = {"owners": "; ".join(f"{name} {ranges(cpus)}" for name, cpus in owners.items())}
        yield Case("exclusive CPUs", NONE, (owners,), words=words)


@check(
    EXCLUSIVE,
    cases=exclusive,
    live=neighbours.told_intruders,
    actual=neighbours.kept_intruders,
    sources=neighbours.SOURCES,
)
def test_nobody_else_runs_on_exclusive_cpus(case: Case, observed: object) -> None:
    """Guests that the profile does not name count, too."""
    assert observed == case.expected


def _wants(host: HostTarget) -> Neighbours:
    return host.wants.neighbours or Neighbours()


def cores(host: HostTarget) -> Iterable[Case]:
    """The host, where cores must not be shared."""
    return [Case("cores", NONE)] if _wants(host).smt == "same-guest" else []


@check(
    CORES,
    cases=cores,
    live=neighbours.told_sharing,
    actual=neighbours.kept_sharing,
    sources=neighbours.SMT_SOURCES,
)
def test_no_core_is_shared_by_guests(case: Case, observed: object) -> None:
    """vCPUs only: emulator threads are left out."""
    assert observed == case.expected


def nodes(host: HostTarget) -> Iterable[Case]:
    """The host, where memory must be near."""
    return [Case("nodes", NONE)] if _wants(host).numa == "local" else []


@check(
    NODES,
    cases=nodes,
    live=neighbours.told_remote,
    actual=neighbours.kept_remote,
    sources=neighbours.NUMA_SOURCES,
)
def test_vcpus_run_where_their_memory_is(case: Case, observed: object) -> None:
    """Where both may be, not where each page is."""
    assert observed == case.expected


def _sums(host: HostTarget, stated: VcpuSums | MemorySums | None, unit: str) -> Iterator[Case]:
    if stated and stated.host is not None:
        yield Case("host", AtMost(stated.host, unit), ("",))
    if stated and stated.partitions is not None:
        yield from (Case(path, AtMost(stated.partitions, unit), (path,)) for path in host.wants.partitions)


def vcpus(host: HostTarget) -> Iterator[Case]:
    """The host and its stated partitions."""
    yield from _sums(host, _wants(host).vcpus, "vCPUs for each CPU")


@check(
    VCPUS,
    cases=vcpus,
    live=commitments.told_vcpus,
    actual=commitments.kept_vcpus,
    sources=commitments.SOURCES,
)
def test_vcpus_are_not_too_many(case: Case, observed: object) -> None:
    """Of all guests that run."""
    assert observed == case.expected


def memory(host: HostTarget) -> Iterator[Case]:
    """The host and its stated partitions."""
    yield from _sums(host, _wants(host).memory, "% of the memory there is")


@check(
    MEMORY,
    cases=memory,
    live=commitments.told_memory,
    actual=commitments.kept_memory,
    sources=commitments.SOURCES,
)
def test_memory_is_not_too_much(case: Case, observed: object) -> None:
    """Of all guests that run: given at the start, and held now."""
    assert observed == case.expected
