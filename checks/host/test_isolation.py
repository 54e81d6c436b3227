"""CPUs that are kept for guests are kept from everything else, now and at the next boot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from virtvet.check import Case, Control, Severity, check, where
from virtvet.expect import ranges
from virtvet.probes import isolation
from virtvet.profile.isolation import Isolation
from virtvet.target import HostTarget

PARAMETERS = "https://docs.kernel.org/admin-guide/kernel-parameters.html"
AFFINITY = "https://docs.kernel.org/core-api/irq/irq-affinity.html"


def _parameter(number: int, name: str, title: str, rationale: str, *references: str) -> Control:
    return Control(
        id=f"ISOL-CPU-{number}",
        title=title,
        area="isolation",
        severity=Severity.HIGH,
        requirement="R42",
        rationale=rationale,
        hint=f"vi /etc/default/grub   # {name}={{cpus}} in GRUB_CMDLINE_LINUX, then update-grub and a reboot",
        references=(*references, PARAMETERS),
    )


ISOLCPUS = _parameter(
    1,
    "isolcpus",
    "CPUs are isolated from the scheduler",
    "Whatever the scheduler puts on a guest's CPU takes it away from the guest for milliseconds.",
)
FLAGS = _parameter(
    2,
    "isolcpus",
    "isolcpus= has its flags",
    "Without domain the scheduler uses these CPUs like any other; without managed_irq queues of disks interrupt them.",
)
NOHZ_FULL = _parameter(
    3,
    "nohz_full",
    "CPUs run without a timer's tick",
    "Each tick makes a virtual CPU leave its guest, a hundred to a thousand times a second.",
    "https://docs.kernel.org/timers/no_hz.html",
)
RCU_NOCBS = _parameter(
    4,
    "rcu_nocbs",
    "RCU callbacks of these CPUs run elsewhere",
    "Callbacks run in the midst of a guest's time, as long as it takes.",
    "https://docs.kernel.org/RCU/Design/Data-Structures/Data-Structures.html",
)
INTERRUPTS = Control(
    id="ISOL-IRQ-1",
    title="No interrupt is led to these CPUs",
    area="isolation",
    severity=Severity.HIGH,
    requirement="R42",
    rationale="An interrupt makes a virtual CPU leave its guest, whatever the scheduler was told.",
    hint="echo CPUS > /proc/irq/NUMBER/smp_affinity_list   # wanted: none of {cpus}",
    references=(AFFINITY,),
)
DEFAULT = Control(
    id="ISOL-IRQ-2",
    title="Interrupts that nobody placed go to these CPUs",
    area="isolation",
    severity=Severity.MEDIUM,
    requirement="R42",
    rationale="A device that is plugged, or a driver that is loaded later, interrupts the CPUs that are set here.",
    hint="echo MASK > /proc/irq/default_smp_affinity   # at boot: irqaffinity={expected} on the command line",
    references=(AFFINITY, PARAMETERS),
)
BALANCER = Control(
    id="ISOL-IRQ-3",
    title="irqbalance leads no interrupt to these CPUs",
    area="isolation",
    severity=Severity.MEDIUM,
    requirement="R42",
    rationale="irqbalance moves interrupts every ten seconds, to all CPUs it was not told to spare.",
    hint="vi /etc/default/irqbalance   # IRQBALANCE_BANNED_CPULIST={cpus}, then systemctl restart irqbalance",
    references=("https://github.com/Irqbalance/irqbalance",),
)
SYSTEM = Control(
    id="ISOL-SYSTEM-1",
    title="systemd and what it starts keep to their CPUs",
    area="isolation",
    severity=Severity.MEDIUM,
    requirement="R42",
    rationale="Services run on every CPU that systemd may use.",
    hint="vi /etc/systemd/system.conf   # CPUAffinity={expected}, then systemctl daemon-reexec",
    references=("https://www.freedesktop.org/software/systemd/man/latest/systemd-system.conf.html",),
)
WORKQUEUES = Control(
    id="ISOL-WORK-1",
    title="Workqueues of the kernel keep to their CPUs",
    area="isolation",
    severity=Severity.MEDIUM,
    requirement="R42",
    rationale="Work that is bound to no CPU runs on any of these.",
    hint="echo MASK > /sys/devices/virtual/workqueue/cpumask   # wanted: {expected}",
    references=("https://docs.kernel.org/core-api/workqueue.html",),
)
TUNED = Control(
    id="ISOL-TUNED-1",
    title="tuned keeps its profile",
    area="isolation",
    severity=Severity.MEDIUM,
    requirement="R42",
    rationale="tuned sets much of what isolates CPUs, at every boot anew; another profile undoes it.",
    hint="systemctl enable --now tuned; tuned-adm profile {expected}",
    references=("https://tuned-project.org/docs/manual/",),
)


def _wants(host: HostTarget) -> Iterator[Isolation]:
    if host.wants.isolation:
        yield host.wants.isolation


def isolcpus(host: HostTarget) -> Iterator[Case]:
    """One case, if stated."""
    for wants in _wants(host):
        if unscheduled := wants.unscheduled:
            flags = frozenset[str](unscheduled.flags) if unscheduled.flags else None
            yield Case("isolcpus", unscheduled.cpus, (flags,), words={"cpus": _written(unscheduled.cpus, flags)})


def _written(cpus: frozenset[int], flags: frozenset[str] | None = None) -> str:
    return ",".join([*sorted(flags or ()), ranges(cpus)])


@check(
    ISOLCPUS,
    cases=isolcpus,
    sources=where(isolcpus, isolation.CPU_SOURCES),
    config=isolation.isolcpus_at_boot,
    actual=isolation.isolcpus,
)
def test_cpus_are_isolated(case: Case, observed: object) -> None:
    """A command line is not enough: a kernel ignores isolcpus= that contradicts nohz_full=."""
    assert observed == case.expected


def flags(host: HostTarget) -> Iterator[Case]:
    """One case, if stated."""
    for wants in _wants(host):
        if wants.isolcpus and wants.isolcpus.flags:
            expected = frozenset[str](wants.isolcpus.flags)
            yield Case("isolcpus", expected, words={"cpus": _written(wants.isolcpus.cpus, expected)})


@check(
    FLAGS,
    cases=flags,
    sources=where(flags, isolation.CPU_SOURCES),
    config=isolation.flags_at_boot,
    actual=isolation.flags,
)
def test_isolcpus_has_its_flags(case: Case, observed: object) -> None:
    """Neither more nor fewer."""
    assert observed == case.expected


def _kept(host: HostTarget, name: Literal["nohz_full", "rcu_nocbs"]) -> Iterator[Case]:
    for wants in _wants(host):
        if (cpus := wants.kept(name)) is not None:
            yield Case(name, cpus, words={"cpus": _written(cpus)})


def ticking(host: HostTarget) -> Iterator[Case]:
    """One case, if stated."""
    return _kept(host, "nohz_full")


def offloaded(host: HostTarget) -> Iterator[Case]:
    """One case, if stated."""
    return _kept(host, "rcu_nocbs")


@check(
    NOHZ_FULL,
    cases=ticking,
    sources=where(ticking, isolation.CPU_SOURCES),
    config=isolation.nohz_full_at_boot,
    actual=isolation.nohz_full,
)
def test_cpus_run_without_a_tick(case: Case, observed: object) -> None:
    """Where the kernel was built with it."""
    assert observed == case.expected


@check(
    RCU_NOCBS,
    cases=offloaded,
    sources=where(offloaded, isolation.CPU_SOURCES),
    config=isolation.rcu_nocbs_at_boot,
    actual=isolation.rcu_nocbs,
)
def test_callbacks_run_elsewhere(case: Case, observed: object) -> None:
    """Those of nohz_full run elsewhere in any case."""
    assert observed == case.expected


def interrupts(host: HostTarget) -> Iterator[Case]:
    """One case, if stated."""
    for wants in _wants(host):
        if cpus := wants.uninterrupted:
            others = tuple(wants.interrupts.other_than) if wants.interrupts else ()
            yield Case("interrupts", frozenset(), (cpus, others), words={"cpus": ranges(cpus)})


@check(INTERRUPTS, cases=interrupts, sources=where(interrupts, isolation.IRQ_SOURCES), actual=isolation.led_to)
def test_interrupts_are_led_elsewhere(case: Case, observed: object) -> None:
    """Where the kernel leads them counts, not where they may go."""
    assert observed == case.expected


def default(host: HostTarget) -> Iterator[Case]:
    """One case, if stated."""
    for wants in _wants(host):
        if wants.interrupts and wants.interrupts.default:
            yield Case("default", wants.interrupts.default)


@check(
    DEFAULT,
    cases=default,
    sources=where(default, isolation.DEFAULT_SOURCES),
    config=isolation.default_at_boot,
    actual=isolation.default,
)
def test_new_interrupts_go_to_their_cpus(case: Case, observed: object) -> None:
    """Those of drivers that do not choose for themselves."""
    assert observed == case.expected


def balanced(host: HostTarget) -> Iterator[Case]:
    """One case where interrupts are kept from CPUs."""
    for wants in _wants(host):
        if cpus := wants.uninterrupted:
            yield Case("irqbalance", frozenset(), (cpus,), words={"cpus": ranges(cpus)})


@check(
    BALANCER,
    cases=balanced,
    sources=where(balanced, isolation.BALANCER_SOURCES),
    config=isolation.balanced_at_boot,
    live=isolation.balanced,
)
def test_irqbalance_spares_these_cpus(case: Case, observed: object) -> None:
    """Where it is enabled, and where it runs."""
    assert observed == case.expected


def system(host: HostTarget) -> Iterator[Case]:
    """One case, if stated."""
    for wants in _wants(host):
        if wants.system:
            yield Case("systemd", wants.system)


@check(
    SYSTEM,
    cases=system,
    sources=where(system, isolation.SYSTEM_SOURCES),
    config=isolation.system_at_boot,
    actual=isolation.system,
)
def test_systemd_keeps_to_its_cpus(case: Case, observed: object) -> None:
    """Units with a CPUAffinity= of their own may run elsewhere."""
    assert observed == case.expected


def workqueues(host: HostTarget) -> Iterator[Case]:
    """One case, if stated."""
    for wants in _wants(host):
        if wants.workqueues:
            yield Case("workqueues", wants.workqueues)


@check(WORKQUEUES, cases=workqueues, sources=where(workqueues, (isolation.WORKQUEUES,)), actual=isolation.workqueues)
def test_workqueues_keep_to_their_cpus(case: Case, observed: object) -> None:
    """Those that are bound to a CPU stay there."""
    assert observed == case.expected


def tuned(host: HostTarget) -> Iterator[Case]:
    """One case, if stated."""
    for wants in _wants(host):
        if wants.tuned:
            yield Case("tuned", wants.tuned)


@check(
    TUNED,
    cases=tuned,
    sources=where(tuned, isolation.TUNED_SOURCES),
    config=isolation.tuned_at_boot,
    live=isolation.tuned,
)
def test_tuned_keeps_its_profile(case: Case, observed: object) -> None:
    """One that is not running changes nothing back."""
    assert observed == case.expected
