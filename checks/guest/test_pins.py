"""Each thread of a guest runs only on the host CPUs its profile names."""

from __future__ import annotations

from collections.abc import Iterable

from virtvet.check import Case, Control, Severity, check
from virtvet.probes import pins
from virtvet.profile.pins import Pins
from virtvet.remedies.pins import REPIN
from virtvet.target import GuestTarget, HostTarget

DOMAIN = "https://libvirt.org/formatdomain.html#cpu-tuning"
AFFINITY = "https://man7.org/linux/man-pages/man2/sched_setaffinity.2.html"
CPUSETS = "https://docs.kernel.org/admin-guide/cgroup-v1/cpusets.html"

VCPU = Control(
    id="CPU-PIN-1",
    title="Each vCPU runs only on its CPUs",
    area="cpu",
    severity=Severity.HIGH,
    requirement="R15",
    rationale="A vCPU that strays loses its cache and its memory's NUMA node, and disturbs the guest that owns the "
    "CPU. virsh vcpupin shows what was asked for: taskset or a changed cpuset do not appear there.",
    hint="virsh -c qemu:///system vcpupin {guest} {number} {cpus} --live --config",
    references=(DOMAIN, AFFINITY, CPUSETS),
)
EMULATOR = Control(
    id="CPU-PIN-2",
    title="The emulator's threads run only on their CPUs",
    area="cpu",
    severity=Severity.MEDIUM,
    requirement="R15",
    rationale="The main loop, the display, the workers and vhost's threads, which move the guest's packets, take time "
    "from the vCPUs when they share their CPUs.",
    hint="virsh -c qemu:///system emulatorpin {guest} {cpus} --live --config",
    references=(DOMAIN, AFFINITY, CPUSETS),
)
IOTHREAD = Control(
    id="CPU-PIN-3",
    title="Each iothread runs only on its CPUs",
    area="cpu",
    severity=Severity.MEDIUM,
    requirement="R15",
    rationale="An iothread away from its CPUs adds latency to every request of its disks.",
    hint="virsh -c qemu:///system iothreadpin {guest} {number} {cpus} --live --config",
    references=(DOMAIN, AFFINITY, CPUSETS),
)
OTHERS = Control(
    id="CPU-PIN-4",
    title="Threads without a pin of their own run only on the default CPUs",
    area="cpu",
    severity=Severity.MEDIUM,
    requirement="R15",
    rationale="What has no pin of its own runs on <vcpu cpuset=…>, or, without one, on every CPU of the host.",
    hint="virsh -c qemu:///system edit {guest}   # <vcpu cpuset='{cpus}'>; virsh vcpupin/emulatorpin/iothreadpin "
    "for the running guest",
    references=("https://libvirt.org/formatdomain.html#cpu-allocation", AFFINITY, CPUSETS),
)
SAMPLED = Control(
    id="CPU-PIN-5",
    title="Threads that were running were on their CPUs",
    area="cpu",
    severity=Severity.MEDIUM,
    requirement="R15",
    rationale="What a thread may do and what it does are two facts; this looks at the second, as ps -o psr shows it.",
    hint="ps -L -o tid,psr,comm -p $(cat /run/libvirt/qemu/{guest}.pid)",
    references=("https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html",),
)


def _pinned(host: HostTarget) -> Iterable[tuple[GuestTarget, Pins]]:
    for guest in host.guests:
        if guest.matched and guest.wants.cpu.pins:
            yield guest, guest.wants.cpu.pins


def _case(guest: GuestTarget, role: str, cpus: frozenset[int], number: int = 0) -> Case:
    words = {"cpus": ",".join(map(str, sorted(cpus))), "number": number}
    return Case(f"{guest.name}/{role}", cpus, (guest.name, role, cpus), guest.name, words)


def vcpus(host: HostTarget) -> Iterable[Case]:
    """Every vCPU with a pin."""
    for guest, wants in _pinned(host):
        yield from (_case(guest, f"vcpu{number}", cpus, number) for number, cpus in wants.vcpu.items())


@check(
    VCPU,
    cases=vcpus,
    config=pins.config,
    live=pins.live,
    actual=pins.actual,
    sources=pins.SOURCES,
    remedy=REPIN,
)
def test_vcpu_runs_only_on_its_cpus(case: Case, observed: object) -> None:
    """Affinity and cpuset group, each by itself."""
    assert observed == case.expected


def emulators(host: HostTarget) -> Iterable[Case]:
    """Every emulator with a pin."""
    for guest, wants in _pinned(host):
        if wants.emulator:
            yield _case(guest, "emulator", wants.emulator)


@check(
    EMULATOR,
    cases=emulators,
    config=pins.config,
    live=pins.live,
    actual=pins.actual,
    sources=pins.SOURCES,
    remedy=REPIN,
)
def test_emulator_runs_only_on_its_cpus(case: Case, observed: object) -> None:
    """The main thread, every thread that is neither vCPU nor iothread, and the kernel's for this guest."""
    assert observed == case.expected


def iothreads(host: HostTarget) -> Iterable[Case]:
    """Every iothread with a pin."""
    for guest, wants in _pinned(host):
        yield from (_case(guest, f"iothread{number}", cpus, number) for number, cpus in wants.iothread.items())


@check(
    IOTHREAD,
    cases=iothreads,
    config=pins.config,
    live=pins.live,
    actual=pins.actual,
    sources=pins.SOURCES,
    remedy=REPIN,
)
def test_iothread_runs_only_on_its_cpus(case: Case, observed: object) -> None:
    """Affinity and cpuset group, each by itself."""
    assert observed == case.expected


def others(host: HostTarget) -> Iterable[Case]:
    """Every guest with a default, for all its threads that are not named."""
    for guest, wants in _pinned(host):
        if wants.default:
            words = {"cpus": ",".join(map(str, sorted(wants.default)))}
            args = (guest.name, tuple(_by_role(wants)), wants.default)
            yield Case(f"{guest.name}/others", wants.default, args, guest.name, words)


@check(
    OTHERS,
    cases=others,
    config=pins.config_others,
    live=pins.live_others,
    actual=pins.actual_others,
    sources=pins.SOURCES,
)
def test_other_threads_run_only_on_the_default_cpus(case: Case, observed: object) -> None:
    """Whatever they are."""
    assert observed == case.expected


def sampled(host: HostTarget) -> Iterable[Case]:
    """Every guest whose profile asks for it."""
    for guest, wants in _pinned(host):
        if wants.sampled:
            yield Case(guest.name, frozenset(), (guest.name, _by_role(wants), wants.default), guest.name)


def _by_role(wants: Pins) -> dict[str, frozenset[int]]:
    emulator = {"emulator": wants.emulator} if wants.emulator else {}
    vcpus = {f"vcpu{number}": cpus for number, cpus in wants.vcpu.items()}
    return vcpus | emulator | {f"iothread{number}": cpus for number, cpus in wants.iothread.items()}


@check(SAMPLED, cases=sampled, actual=pins.elsewhere, sources=pins.SOURCES)
def test_running_threads_were_on_their_cpus(case: Case, observed: object) -> None:
    """Threads that slept while virtvet looked say nothing."""
    assert observed == case.expected
