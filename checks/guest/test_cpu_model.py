"""The CPU a guest is given: mode, model and how strictly, vendor, name, features and caches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from virtvet.check import Case, Control, PerLayer, Severity, check
from virtvet.probes import cpu_model
from virtvet.profile.cpu_model import CpuModel
from virtvet.target import GuestTarget, HostTarget

FORMAT = "https://libvirt.org/formatdomain.html#cpu-model-and-topology"
QEMU = "https://www.qemu.org/docs/master/system/i386/cpu.html"
FLAGS = "https://docs.kernel.org/arch/x86/cpuinfo.html"

MODE = Control(
    id="CPU-MODEL-1",
    title="A guest's CPU has its mode",
    area="cpu",
    severity=Severity.HIGH,
    requirement="R11",
    rationale=(
        "A guest with the host's own CPU (host-passthrough, maximum) runs on the same hardware only after a migration; "
        "one with a named model lacks what newer hosts have."
    ),
    hint="virsh -c qemu:///system edit {guest}   # <cpu mode='{expected}'>; from the next start",
    references=(FORMAT, QEMU),
)
MODEL = Control(
    id="CPU-MODEL-2",
    title="A guest's CPU is of its model",
    area="cpu",
    severity=Severity.HIGH,
    requirement="R11",
    rationale="All hosts a guest may move to must know its model; another one has other features and mitigations.",
    hint="virsh -c qemu:///system edit {guest}   # <cpu mode='custom'> <model>{expected}</model>; from the next start",
    references=(FORMAT, QEMU),
)
MATCH = Control(
    id="CPU-MODEL-3",
    title="A guest's CPU matches its model as strictly as stated",
    area="cpu",
    severity=Severity.MEDIUM,
    requirement="R11",
    rationale="With minimum a guest gets the model of whatever host it starts on; strict lets it have nothing more.",
    hint="virsh -c qemu:///system edit {guest}   # <cpu mode='custom' match='{expected}'>; from the next start",
    references=(FORMAT,),
)
CHECK = Control(
    id="CPU-MODEL-4",
    title="libvirt compares a guest's CPU with the host's as stated",
    area="cpu",
    severity=Severity.MEDIUM,
    requirement="R11",
    rationale="Unchecked, a guest starts without features that QEMU could not give it, and nobody is told.",
    hint="virsh -c qemu:///system edit {guest}   # <cpu check='{expected}'>; from the next start",
    references=(FORMAT,),
)
FALLBACK = Control(
    id="CPU-MODEL-5",
    title="A guest's CPU model may be replaced, or not, as stated",
    area="cpu",
    severity=Severity.LOW,
    requirement="R11",
    rationale="Allowed, a guest starts with another model where QEMU does not know the named one.",
    hint="virsh -c qemu:///system edit {guest}   # <model fallback='{expected}'>; from the next start",
    references=(FORMAT,),
)
VENDOR = Control(
    id="CPU-MODEL-6",
    title="A guest's CPU is of its vendor",
    area="cpu",
    severity=Severity.MEDIUM,
    requirement="R11",
    rationale="Guests do not migrate between vendors, and with KVM the vendor is the host's, whatever the model.",
    hint="virsh -c qemu:///system edit {guest}   # within <cpu>, after <model>: <vendor>{expected}</vendor>",
    references=(FORMAT,),
)
NAME = Control(
    id="CPU-MODEL-7",
    title="A guest's CPU has its name",
    area="cpu",
    severity=Severity.LOW,
    requirement="R11",
    rationale="It is what people and licences in the guest know the CPU by; it differs between versions of one model.",
    hint="grep -m 1 'model name' /proc/cpuinfo   # in {guest}; on its host: virsh dumpxml {guest}, <cpu>",
    references=(QEMU, FLAGS),
)
FEATURE = Control(
    id="CPU-MODEL-8",
    title="A guest's CPU has a feature, or lacks it",
    area="cpu",
    severity=Severity.HIGH,
    requirement="R11",
    rationale=(
        "A feature that QEMU could not give is dropped without a word: programs are slow, or mitigations off; "
        "one that should be hidden keeps a guest from migrating."
    ),
    hint="virsh -c qemu:///system edit {guest}   # within <cpu>: <feature policy='{policy}' name='{feature}'/>",
    references=(FORMAT, FLAGS),
)
CACHE = Control(
    id="CPU-MODEL-9",
    title="A guest sees the CPU caches stated",
    area="cpu",
    severity=Severity.LOW,
    requirement="R11",
    rationale="Schedulers and libraries size their work by the level 3 cache they see.",
    hint="virsh -c qemu:///system edit {guest}   # within <cpu>: <cache mode='{expected}'{level}/>",
    references=(FORMAT,),
)


def _stated(host: HostTarget) -> Iterator[tuple[GuestTarget, CpuModel]]:
    for guest in host.guests:
        if guest.matched and guest.wants.cpu.model:
            yield guest, guest.wants.cpu.model


def _cases(what: str) -> Callable[[HostTarget], Iterable[Case]]:
    """One case for each guest that states `what`."""

    def cases(host: HostTarget) -> Iterable[Case]:
        for guest, stated in _stated(host):
            if (wanted := getattr(stated, what)) is not None:
                running = cpu_model.once_started(what, wanted)
                expected = wanted if running == wanted else PerLayer(config=wanted, live=running, actual=running)
                yield Case(guest.name, expected, (guest.name, stated), guest.name)

    return cases


def _caches(host: HostTarget) -> Iterable[Case]:
    for guest, stated in _stated(host):
        if stated.cache:
            words = {"level": " level='3'" if stated.cache.mode == "emulate" else ""}
            yield Case(guest.name, stated.cache.mode, (guest.name, stated), guest.name, words)


def _features(host: HostTarget) -> Iterable[Case]:
    for guest, stated in _stated(host):
        for feature, policy in stated.features.items():
            there = policy in ("force", "require")
            running = cpu_model.once_started("feature", policy)
            expected = PerLayer(config=policy, live=running, actual=there, guest=there)
            words = {"feature": feature, "policy": policy}
            yield Case(f"{guest.name}/{feature}", expected, (guest.name, feature, policy), guest.name, words)


@check(
    MODE,
    cases=_cases("mode"),
    sources=cpu_model.sources,
    config=cpu_model.configured("mode"),
    live=cpu_model.live("mode"),
    actual=cpu_model.started("mode"),
)
def test_cpu_has_its_mode(case: Case, observed: object) -> None:
    """A running guest of mode host-model says custom."""
    assert observed == case.expected


@check(
    MODEL,
    cases=_cases("model"),
    sources=cpu_model.sources,
    config=cpu_model.configured("model"),
    live=cpu_model.live("model"),
    actual=cpu_model.started("model"),
)
def test_cpu_is_of_its_model(case: Case, observed: object) -> None:
    """Actual: the first word of QEMU's -cpu."""
    assert observed == case.expected


@check(
    MATCH,
    cases=_cases("match"),
    sources=cpu_model.sources,
    config=cpu_model.configured("match"),
    live=cpu_model.live("match"),
)
def test_cpu_matches_as_strictly(case: Case, observed: object) -> None:
    """A running guest of match minimum says exact."""
    assert observed == case.expected


@check(CHECK, cases=_cases("check"), sources=cpu_model.sources, config=cpu_model.configured("check"))
def test_cpu_is_compared_with_the_host(case: Case, observed: object) -> None:
    """A running guest says full, whatever was asked for."""
    assert observed == case.expected


@check(FALLBACK, cases=_cases("fallback"), sources=cpu_model.sources, config=cpu_model.configured("fallback"))
def test_cpu_model_may_be_replaced(case: Case, observed: object) -> None:
    """A running guest says forbid, whatever was asked for."""
    assert observed == case.expected


@check(
    VENDOR,
    cases=_cases("vendor"),
    sources=cpu_model.sources,
    guest_sources=cpu_model.guest_sources,
    config=cpu_model.configured("vendor"),
    live=cpu_model.live("vendor"),
    actual=cpu_model.given_vendor,
    guest=cpu_model.seen_vendor,
)
def test_cpu_is_of_its_vendor(case: Case, observed: object) -> None:
    """Actual and guest: what CPUID tells."""
    assert observed == case.expected


@check(
    NAME,
    cases=_cases("name"),
    sources=cpu_model.sources,
    guest_sources=cpu_model.guest_sources,
    actual=cpu_model.given_name,
    guest=cpu_model.seen_name,
)
def test_cpu_has_its_name(case: Case, observed: object) -> None:
    """libvirt's XML has no word for it."""
    assert observed == case.expected


@check(
    FEATURE,
    cases=_features,
    sources=cpu_model.sources,
    guest_sources=cpu_model.guest_sources,
    config=cpu_model.configured_feature,
    live=cpu_model.live_feature,
    actual=cpu_model.given_feature,
    guest=cpu_model.seen_feature,
)
def test_cpu_has_its_feature(case: Case, observed: object) -> None:
    """The policy in the XML; there or not on the vCPU and in the guest, which may have others."""
    assert observed == case.expected


@check(
    CACHE,
    cases=_caches,
    sources=cpu_model.sources,
    guest_sources=cpu_model.guest_sources,
    config=cpu_model.configured("cache"),
    live=cpu_model.live("cache"),
    actual=cpu_model.started("cache"),
    guest=cpu_model.seen_cache,
)
def test_guest_sees_its_caches(case: Case, observed: object) -> None:
    """The level is always that of the mode."""
    assert observed == case.expected
