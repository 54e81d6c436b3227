"""Each thread of a guest runs by the scheduler the profile states, also the threads that no setting names."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from virtvet.check import Case, Control, Severity, check
from virtvet.probes import schedulers
from virtvet.profile.schedulers import Schedulers
from virtvet.remedies.schedulers import RESCHEDULE
from virtvet.target import GuestTarget, HostTarget

REFERENCES = (
    "https://libvirt.org/formatdomain.html#cpu-tuning",
    "https://man7.org/linux/man-pages/man7/sched.7.html",
)


def _control(number: int, title: str, severity: Severity, requirement: str, rationale: str) -> Control:
    return Control(
        id=f"CPU-SCHED-{number}",
        title=title,
        area="cpu",
        severity=severity,
        requirement=requirement,
        rationale=rationale,
        hint="for t in /proc/$(cat /run/libvirt/qemu/{guest}.pid)/task/*; do chrt -p ${{t##*/}}; done   # then chrt "
        "{chrt} -p {priority} TID; what starts next: virsh edit {guest}, <cputune>",
        references=REFERENCES,
    )


VCPUS = _control(
    1,
    "Each vCPU runs by its scheduler",
    Severity.HIGH,
    "R17",
    "A vCPU that ought to run in real time and does not misses its deadlines; one that does unasked starves the host. "
    "libvirt shows what it was told once: chrt does not appear there.",
)
EMULATOR = _control(
    2,
    "The emulator runs by its scheduler",
    Severity.MEDIUM,
    "R17",
    "QEMU's main thread hands its scheduler down to whatever it makes later.",
)
IOTHREADS = _control(
    3,
    "Each iothread runs by its scheduler",
    Severity.MEDIUM,
    "R17",
    "An idle iothread lets its disks wait for every other thread of the host; a real-time one lets them wait for it.",
)
OTHERS = _control(
    4,
    "Threads without a scheduler of their own have inherited none",
    Severity.HIGH,
    "R44",
    "What is plugged in later, a vCPU or an iothread, inherits the scheduler of QEMU's main thread: with "
    "<emulatorsched scheduler='fifo'> in real time, with idle hardly at all. The XML shows nothing of it.",
)
CHRT = {"other": "--other", "batch": "--batch", "idle": "--idle", "fifo": "--fifo", "rr": "--rr"}


def _scheduled(host: HostTarget) -> Iterable[tuple[GuestTarget, Schedulers]]:
    for guest in host.guests:
        if guest.matched and guest.wants.cpu.schedulers:
            yield guest, guest.wants.cpu.schedulers


def _case(guest: GuestTarget, subject: str, expected: str, role: object) -> Case:
    policy, _, priority = expected.partition(" ")
    words = {"chrt": CHRT[policy], "priority": priority or 0}
    return Case(f"{guest.name}/{subject}", expected, (guest.name, role), guest.name, words)


def _of(kind: str) -> Callable[[HostTarget], Iterable[Case]]:
    def cases(host: HostTarget) -> Iterable[Case]:
        for guest, wants in _scheduled(host):
            for role, expected in wants.by_role().items():
                if role.startswith(kind):
                    yield _case(guest, role, expected, role)

    return cases


@check(
    VCPUS,
    cases=_of("vcpu"),
    config=schedulers.config,
    live=schedulers.live,
    actual=schedulers.actual,
    sources=schedulers.SOURCES,
    remedy=RESCHEDULE,
)
def test_vcpu_runs_by_its_scheduler(case: Case, observed: object) -> None:
    """Policy and, of real-time ones, priority."""
    assert observed == case.expected


@check(
    EMULATOR,
    cases=_of("emulator"),
    config=schedulers.config,
    live=schedulers.live,
    actual=schedulers.actual,
    sources=schedulers.SOURCES,
    remedy=RESCHEDULE,
)
def test_emulator_runs_by_its_scheduler(case: Case, observed: object) -> None:
    """QEMU's main thread."""
    assert observed == case.expected


@check(
    IOTHREADS,
    cases=_of("iothread"),
    config=schedulers.config,
    live=schedulers.live,
    actual=schedulers.actual,
    sources=schedulers.SOURCES,
    remedy=RESCHEDULE,
)
def test_iothread_runs_by_its_scheduler(case: Case, observed: object) -> None:
    """Not its workers, which inherit."""
    assert observed == case.expected


def others(host: HostTarget) -> Iterable[Case]:
    """Every guest with a default, for all its threads that are not named."""
    for guest, wants in _scheduled(host):
        if wants.default:
            yield _case(guest, "others", str(wants.default), tuple(wants.by_role()))


@check(
    OTHERS,
    cases=others,
    config=schedulers.config_others,
    live=schedulers.live_others,
    actual=schedulers.actual_others,
    sources=schedulers.SOURCES,
    remedy=RESCHEDULE,
)
def test_other_threads_have_inherited_no_scheduler(case: Case, observed: object) -> None:
    """Whatever they are."""
    assert observed == case.expected
