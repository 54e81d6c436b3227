"""How many vCPUs a guest has, now and at most, where they may run, what each of them can; and that they come online."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from virtvet.check import Case, Control, PerLayer, Severity, check
from virtvet.expect import AtLeast
from virtvet.probes import hotplug_rules, vcpus
from virtvet.profile.vcpus import Vcpu, VcpuWants
from virtvet.remedies.vcpus import ONLINE, RULE
from virtvet.snapshot.sources import HostSource, Source
from virtvet.target import GuestTarget, HostTarget

ALLOCATION = "https://libvirt.org/formatdomain.html#cpu-allocation"
HOTPLUG = "https://docs.kernel.org/core-api/cpu_hotplug.html"
UDEV = "https://www.freedesktop.org/software/systemd/man/latest/udev.html"


def _control(number: int, title: str, severity: Severity, rationale: str, hint: str, *more: str) -> Control:
    return Control(
        id=f"CPU-VCPU-{number}",
        title=title,
        area="cpu",
        severity=severity,
        requirement="R14" if number == 6 else "R13",
        rationale=rationale,
        hint=hint,
        references=(ALLOCATION, *more),
    )


MAXIMUM = _control(
    1,
    "A guest may have as many vCPUs as stated",
    Severity.MEDIUM,
    "It is fixed while the guest runs: beyond it nothing can be plugged in without a restart.",
    "virsh -c qemu:///system setvcpus {guest} {expected} --maximum --config   # takes effect at the next start",
)
CURRENT = _control(
    2,
    "A guest has as many vCPUs as stated, and uses them",
    Severity.HIGH,
    "Four numbers that differ: what the file says, what libvirt believes, what QEMU has, what the guest's kernel has "
    "brought online. A vCPU that is plugged in but offline is paid for and does nothing.",
    "virsh -c qemu:///system setvcpus {guest} {expected} --live --config   # in the guest: "
    "echo 1 > /sys/devices/system/cpu/cpuN/online",
    HOTPLUG,
)
PLACEMENT = _control(
    3,
    "A guest's vCPUs are placed as stated",
    Severity.LOW,
    "With placement='auto' numad chooses the CPUs anew at every start, whatever <vcpu cpuset> says.",
    "virsh -c qemu:///system edit {guest}   # <vcpu placement='{expected}'>",
)
CPUSET = _control(
    4,
    "A guest's threads without a pin run on the CPUs of its domain",
    Severity.MEDIUM,
    "<vcpu cpuset> holds for every vCPU, the emulator and every iothread that has no pin of its own.",
    "virsh -c qemu:///system edit {guest}   # <vcpu cpuset='{cpus}'>; the running guest: virsh vcpupin, emulatorpin",
)
LIST = _control(
    5,
    "Each vCPU is enabled, hotpluggable and ordered as stated",
    Severity.LOW,
    "A vCPU that is not hotpluggable can never be unplugged, and virsh setvcpus --config makes those it adds so.",
    "virsh -c qemu:///system edit {guest}   # <vcpus>; or virsh setvcpu {guest} {number} --enable --live",
)
AUTOMATIC = _control(
    6,
    "vCPUs that are plugged in come online by themselves",
    Severity.MEDIUM,
    "virsh setvcpus succeeds when QEMU has the vCPU; on x86 and arm64 the guest's kernel leaves it offline until a "
    "rule of its device manager, or somebody, writes 1 to its file. Many rules are for other hypervisors only.",
    "grep -s online /etc/udev/rules.d/* /lib/udev/rules.d/* /etc/mdev.conf   # in the guest; there must be a rule for "
    "SUBSYSTEM cpu and ACTION add that sets the attribute online to 1",
    HOTPLUG,
    UDEV,
)


def _counted(host: HostTarget) -> Iterable[tuple[GuestTarget, VcpuWants]]:
    for guest in host.guests:
        if guest.matched and guest.wants.cpu.vcpus:
            yield guest, guest.wants.cpu.vcpus


def _cases(
    what: str, expected: Callable[[int], object] = lambda wanted: wanted
) -> Callable[[HostTarget], Iterable[Case]]:
    def cases(host: HostTarget) -> Iterable[Case]:
        for guest, wants in _counted(host):
            if (wanted := getattr(wants, what)) is not None:
                yield Case(f"{guest.name}/{what}", expected(wanted), (guest.name, what), guest.name)

    return cases


def asked(host: HostTarget) -> Iterable[Source]:
    """QEMU only of guests whose vCPUs are counted or listed."""
    yield from vcpus.SOURCES
    for guest, wants in _counted(host):
        if wants.current or wants.list:
            yield vcpus.asked(guest.name)


def inside(guest: GuestTarget) -> Iterable[HostSource]:
    """Only of guests whose vCPUs are counted."""
    wants = guest.wants.cpu.vcpus
    return vcpus.GUEST_SOURCES if wants and (wants.maximum or wants.current) else ()


@check(
    MAXIMUM,
    cases=_cases("maximum", lambda most: PerLayer(config=most, live=most, actual=most, guest=AtLeast(most, "CPUs"))),
    config=vcpus.config,
    live=vcpus.live,
    actual=vcpus.actual_maximum,
    guest=vcpus.possible,
    sources=vcpus.SOURCES,
    guest_sources=inside,
)
def test_guest_may_have_its_vcpus(case: Case, observed: object) -> None:
    """In the guest: CPUs its kernel has room for."""
    assert observed == case.expected


@check(
    CURRENT,
    cases=_cases("current"),
    config=vcpus.config,
    live=vcpus.live,
    actual=vcpus.actual_current,
    guest=vcpus.online,
    sources=asked,
    guest_sources=inside,
    remedy=ONLINE,
)
def test_guest_has_its_vcpus(case: Case, observed: object) -> None:
    """In the guest: CPUs that are online."""
    assert observed == case.expected


@check(PLACEMENT, cases=_cases("placement"), config=vcpus.config, live=vcpus.live, sources=vcpus.SOURCES)
def test_vcpus_are_placed_as_stated(case: Case, observed: object) -> None:
    """static or auto."""
    assert observed == case.expected


def bound(host: HostTarget) -> Iterable[Case]:
    """Every guest with a cpuset."""
    for guest, wants in _counted(host):
        if wants.cpuset:
            words = {"cpus": ",".join(map(str, sorted(wants.cpuset)))}
            yield Case(f"{guest.name}/cpuset", wants.cpuset, (guest.name, wants.cpuset), guest.name, words)


@check(
    CPUSET,
    cases=bound,
    config=vcpus.config_cpuset,
    live=vcpus.live_cpuset,
    actual=vcpus.actual_cpuset,
    sources=vcpus.SOURCES,
)
def test_threads_run_on_the_domains_cpus(case: Case, observed: object) -> None:
    """Those without a pin of their own."""
    assert observed == case.expected


def listed(host: HostTarget) -> Iterable[Case]:
    """Every stated attribute of every stated vCPU."""
    for guest, wants in _counted(host):
        for number, one in wants.list.items():
            yield from _attributes(guest, number, one)


def _attributes(guest: GuestTarget, number: int, one: Vcpu) -> Iterable[Case]:
    for what, wanted in one.model_dump(exclude_none=True).items():
        subject = f"{guest.name}/vcpu{number}/{what}"
        yield Case(subject, wanted, (guest.name, number, what), guest.name, {"number": number})


@check(
    LIST,
    cases=listed,
    config=vcpus.config_one,
    live=vcpus.live_one,
    actual=vcpus.actual_one,
    sources=asked,
)
def test_each_vcpu_is_as_stated(case: Case, observed: object) -> None:
    """One attribute of one vCPU."""
    assert observed == case.expected


def automatic(host: HostTarget) -> Iterable[Case]:
    """Every guest that must bring plugged vCPUs online by itself."""
    for guest, wants in _counted(host):
        if wants.online:
            yield Case(guest.name, wants.online, (guest.name,), guest.name)


def rules(guest: GuestTarget) -> Iterable[HostSource]:
    """Only of guests that must."""
    wants = guest.wants.cpu.vcpus
    return hotplug_rules.SOURCES if wants and wants.online else ()


@check(AUTOMATIC, cases=automatic, guest=vcpus.comes_online, guest_sources=rules, remedy=RULE)
def test_plugged_vcpus_come_online(case: Case, observed: object) -> None:
    """By a rule of udev or mdev."""
    assert observed == case.expected
