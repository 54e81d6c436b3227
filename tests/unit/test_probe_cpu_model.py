"""A guest's CPU on every layer: recorded in the lab from hv1/app1, whose three vCPUs are a Westmere of QEMU's TCG.

config.xml and live.xml: `virsh dumpxml [--inactive] app1`, `<cpu>` only; host_model.xml: as it ran after a start with
mode host-model; qom: the answers to `qom-get` of /machine/unattached/device[0]; cpuinfo: the guest's /proc/cpuinfo.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from virtvet.check import Probe
from virtvet.errors import CannotLook, NotApplicable
from virtvet.expect import matches
from virtvet.probes import cpu_model, cpuinfo, domain_xml, qemu, qmp
from virtvet.profile.cpu_model import CpuModel
from virtvet.profile.model import Profile
from virtvet.profile.topology import Topology
from virtvet.snapshot.model import Absent, Answer, Completed, Content, Domain, Failed, LibvirtAnswer, Snapshot
from virtvet.snapshot.sources import FORBIDDEN, Libvirt, Source
from virtvet.target import GuestTarget, HostTarget

DATA = Path(__file__).parents[1] / "probes" / "cpu_model"
TAKEN = datetime(2026, 11, 23, tzinfo=UTC)
CONFIG, LIVE, HOST_MODEL = ((DATA / f"{name}.xml").read_text() for name in ("config", "live", "host_model"))
CPUINFO = (DATA / "cpuinfo").read_bytes()
QOM = dict(line.split(" ", 1) for line in (DATA / "qom").read_text().splitlines())
CPU = "Westmere,rdrand=on,pclmulqdq=on,sse4.2=on,avx512f=off,aes=off,vmx=off,l3-cache=on"
NAME = "Westmere E56xx/L56xx/X56xx (Nehalem-C)"
ANY = CpuModel()


def host(
    config: str = CONFIG,
    live: str | None = LIVE,
    cpu: str | None = CPU,
    qom: Mapping[str, str] = QOM,
    inside: Mapping[Source, Answer] | None = None,
    by_hand: bool = False,
) -> Snapshot:
    domain = Domain("app1", "7f3c", "running" if live else "shut off", True, live, config)
    words = ["-name", "guest=app1,debug-threads=on", *(["-cpu", cpu] if cpu else [])]
    answers: dict[Source, Answer] = {
        Libvirt(): LibvirtAnswer("qemu:///system", "hv1", 9_000_000, 7_002_000, "", {"app1": domain}),
        qemu.ARGUMENTS: Completed(0, "".join(f"/proc/258/cmdline:{word}\0" for word in words).encode(), b""),
        qemu.PIDS: {f"{qemu.STATE}/app1.pid": Content(b"258")},
    }
    asked = {qmp.asked("app1", "qom-get", path=cpu_model.FIRST, property=name): said for name, said in qom.items()}
    answers |= {source: Content(said.encode()) if live else Absent() for source, said in asked.items()}
    within = {cpuinfo.CPUINFO: Content(CPUINFO), cpu_model.CACHES: levels("1", "1", "2", "3"), **(inside or {})}
    hands = {"app1": 258} if by_hand else {}
    return Snapshot("hv1", TAKEN, answers, {"app1": Snapshot("hv1/app1", TAKEN, within)}, by_hand=hands)


def levels(*found: str) -> dict[str, Content]:
    root = "/sys/devices/system/cpu/cpu0/cache"
    return {f"{root}/index{i}/level": Content(f"{level}\n".encode()) for i, level in enumerate(found)}


def value(probe: Probe, snapshot: Snapshot, *args: Any) -> Any:
    found = probe(snapshot, "app1", *args)
    return {one.value for one in found} if isinstance(found, list) else found.value


# --- what is written and started


@pytest.mark.parametrize(
    ("what", "config", "live"),
    [
        ("mode", "custom", "custom"),
        ("model", "Westmere", "Westmere"),
        ("match", "exact", "exact"),
        ("check", "none", "full"),
        ("fallback", "forbid", "forbid"),
        ("vendor", "Intel", "Intel"),
        ("cache", "emulate", "emulate"),
    ],
)
def test_xml(what: str, config: str, live: str) -> None:
    assert value(cpu_model.configured(what), host(), ANY) == config
    assert value(cpu_model.live(what), host(), ANY) == live


@pytest.mark.parametrize("what", ["mode", "model", "match", "check", "fallback", "vendor", "cache"])
@pytest.mark.parametrize("cpu", ["", "<cpu><model>x</model></cpu>"])
def test_what_is_not_written_is_not_set(what: str, cpu: str) -> None:
    found = value(cpu_model.configured(what), host(config=f"<domain>{cpu}</domain>"), ANY)
    assert found == ("x" if what == "model" and cpu else None)


@pytest.mark.parametrize("mode", ["host-model", "host-passthrough", "maximum"])
def test_a_cpu_without_a_model_names_no_vendor(mode: str) -> None:
    looked = host(config=f"<domain><cpu mode='{mode}'/></domain>")
    with pytest.raises(NotApplicable, match=f"mode {mode} names no vendor"):
        cpu_model.configured("vendor")(looked, "app1", ANY)


def test_host_model_runs_as_custom() -> None:
    looked = host(live=HOST_MODEL)
    seen = {what: value(cpu_model.live(what), looked, ANY) for what in ("mode", "model", "match", "check", "vendor")}
    assert seen == {"mode": "custom", "model": "EPYC", "match": "exact", "check": "full", "vendor": "AMD"}
    assert value(cpu_model.live_feature, looked, "aes", "disable") == "disable"


@pytest.mark.parametrize(
    ("cpu", "mode", "model", "cache"),
    [
        (CPU, "custom", "Westmere", "emulate"),
        ("host,migratable=on,l3-cache=on,host-cache-info=off", "host-passthrough", "host", "emulate"),
        ("max,aes=off,host-cache-info=on,l3-cache=off", "maximum", "max", "passthrough"),
        ("Skylake-Client-IBRS,vmx=off,l3-cache=off", "custom", "Skylake-Client-IBRS", "disable"),
        ("qemu64", "custom", "qemu64", None),
        (None, None, None, None),
    ],
)
def test_what_qemu_was_told(cpu: str | None, mode: str | None, model: str | None, cache: str | None) -> None:
    found = [value(cpu_model.started(what), host(cpu=cpu), ANY) for what in ("mode", "model", "cache")]
    assert found == [mode, model, cache]


@pytest.mark.parametrize("probe", [cpu_model.live("model"), cpu_model.started("model")])
def test_with_match_minimum_the_model_is_the_hosts(probe: Probe) -> None:
    with pytest.raises(NotApplicable, match="host's own model"):
        probe(host(), "app1", CpuModel(model="Westmere", match="minimum"))


# --- features


@pytest.mark.parametrize(
    ("feature", "config", "live", "there"),
    [
        ("rdrand", "require", "require", True),
        ("pclmuldq", "require", "require", True),
        ("sse4.2", "force", "force", True),
        ("aes", "disable", "disable", False),
        ("vmx", "forbid", "forbid", False),
    ],
)
def test_features(feature: str, config: str, live: str, there: bool) -> None:
    looked = host()
    assert value(cpu_model.configured_feature, looked, feature, config) == config
    assert value(cpu_model.live_feature, looked, feature, config) == live
    assert value(cpu_model.given_feature, looked, feature, config) is there
    assert value(cpu_model.seen_feature, looked, feature, config) == {there}


def test_an_optional_feature_is_either() -> None:
    seen = value(cpu_model.live_feature, host(), "avx512f", "optional")
    assert seen == "disable"
    assert matches(cpu_model.once_started("feature", "optional"), seen)
    assert not matches(cpu_model.once_started("feature", "optional"), None)
    for probe in (cpu_model.given_feature, cpu_model.seen_feature):
        with pytest.raises(NotApplicable, match="may be there or not"):
            probe(host(), "app1", "avx512f", "optional")


def test_a_feature_that_is_not_written_is_not_set() -> None:
    assert value(cpu_model.configured_feature, host(), "avx2", "require") is None


@pytest.mark.parametrize(
    ("what", "wanted", "running"),
    [
        ("mode", "host-model", "custom"),
        ("mode", "host-passthrough", "host-passthrough"),
        ("match", "minimum", "exact"),
        ("match", "strict", "strict"),
        ("feature", "require", "require"),
        ("model", "minimum", "minimum"),
    ],
)
def test_what_libvirt_makes_of_it(what: str, wanted: str, running: str) -> None:
    assert cpu_model.once_started(what, wanted) == running


@pytest.mark.parametrize(
    ("feature", "in_qemu", "flag"),
    [
        ("lahf_lm", "lahf-lm", "lahf_lm"),
        ("sse4.1", "sse4.1", "sse4_1"),
        ("pclmuldq", "pclmulqdq", "pclmulqdq"),
        ("tsc-deadline", "tsc-deadline", "tsc_deadline_timer"),
        ("avx512-vpopcntdq", "avx512-vpopcntdq", "avx512_vpopcntdq"),
        ("avx512vnni", "avx512vnni", "avx512_vnni"),
        ("invtsc", "invtsc", "nonstop_tsc"),
        ("ds", "ds", "dts"),
        ("spec-ctrl", "spec-ctrl", "ibrs"),
        ("rdctl-no", "rdctl-no", None),
        ("svme-addr-chk", "svme-addr-chk", None),
    ],
)
def test_names_of_a_feature(feature: str, in_qemu: str, flag: str | None) -> None:
    assert (cpu_model.in_qemu(feature), cpuinfo.flag(feature)) == (in_qemu, flag)


def test_a_flag_of_one_vcpu_alone_is_seen() -> None:
    start, _, end = CPUINFO.rpartition(b" rdrand")
    found = cpu_model.seen_feature(host(inside={cpuinfo.CPUINFO: Content(start + end)}), "app1", "rdrand", "require")
    assert [(one.value, one.source) for one in found] == [
        (True, "/proc/cpuinfo of CPU 0-1"),
        (False, "/proc/cpuinfo of CPU 2"),
    ]


@pytest.mark.parametrize(
    ("feature", "policy", "reason"),
    [("rdctl-no", "require", "no flag for rdctl-no"), ("amd-ssbd", "disable", "for another feature's sake")],
)
def test_what_the_guest_does_not_show(feature: str, policy: str, reason: str) -> None:
    with pytest.raises(NotApplicable, match=reason):
        cpu_model.seen_feature(host(), "app1", feature, policy)


def test_a_shared_flag_must_be_there_for_what_is_required() -> None:
    assert value(cpu_model.seen_feature, host(), "spec-ctrl", "require") == {False}


# --- vendor, name, caches


def test_vendor_and_name_of_the_vcpus() -> None:
    looked = host()
    assert (value(cpu_model.given_vendor, looked, ANY), value(cpu_model.seen_vendor, looked, ANY)) == (
        "Intel",
        {"Intel"},
    )
    assert (value(cpu_model.given_name, looked, ANY), value(cpu_model.seen_name, looked, ANY)) == (NAME, {NAME})


def test_an_unknown_vendor_is_shown_as_it_is() -> None:
    looked = host(qom={"vendor": '"TCGTCGTCGTCG"'})
    assert value(cpu_model.given_vendor, looked, ANY) == "TCGTCGTCGTCG"


def test_spaces_of_a_name_do_not_count() -> None:
    looked = host(qom={"model-id": '"Intel(R)  Xeon(R) CPU   @ 2.00GHz "'})
    assert value(cpu_model.given_name, looked, ANY) == "Intel(R) Xeon(R) CPU @ 2.00GHz"


@pytest.mark.parametrize(("found", "mode"), [(("1", "1", "2", "3"), "emulate"), (("1", "1", "2"), "disable")])
def test_caches_of_the_guest(found: tuple[str, ...], mode: str) -> None:
    looked = host(inside={cpu_model.CACHES: levels(*found)})
    assert value(cpu_model.seen_cache, looked, ANY) == mode


def test_caches_that_are_not_judged() -> None:
    with pytest.raises(NotApplicable, match="no caches"):
        cpu_model.seen_cache(host(inside={cpu_model.CACHES: {}}), "app1", ANY)
    with pytest.raises(NotApplicable, match="any level"):
        cpu_model.seen_cache(host(), "app1", CpuModel.model_validate({"cache": {"mode": "passthrough"}}))


# --- what cannot be looked at

EVERY = {
    "live": lambda looked: cpu_model.live("mode")(looked, "app1", ANY),
    "live feature": lambda looked: cpu_model.live_feature(looked, "app1", "aes", "disable"),
    "started": lambda looked: cpu_model.started("mode")(looked, "app1", ANY),
    "given": lambda looked: cpu_model.given_feature(looked, "app1", "aes", "disable"),
    "seen": lambda looked: cpu_model.seen_feature(looked, "app1", "aes", "disable"),
}


@pytest.mark.parametrize("layer", EVERY)
def test_a_guest_that_is_off_has_a_configuration_only(layer: str) -> None:
    with pytest.raises(NotApplicable, match="shut off"):
        EVERY[layer](host(live=None))


def test_a_guest_started_by_hand_is_known_to_qemu_only() -> None:
    looked = host(cpu="host,migratable=off", by_hand=True)
    assert value(cpu_model.started("mode"), looked, ANY) == "host-passthrough"
    assert value(cpu_model.seen_feature, looked, "aes", "disable") == {False}
    for layer in ("live", "live feature", "given"):
        with pytest.raises(NotApplicable, match="by hand"):
            EVERY[layer](looked)


def test_a_monitor_that_must_not_be_asked() -> None:
    source = qmp.asked("app1", "qom-get", path=cpu_model.FIRST, property="aes")
    looked = host()
    closed = Snapshot("hv1", TAKEN, {**looked.answers, source: Failed(FORBIDDEN)})
    with pytest.raises(NotApplicable, match="not asked"):
        EVERY["given"](closed)


@pytest.mark.parametrize("said", ["", "0", '"off"', "null", "[]"])
def test_an_answer_of_another_kind_is_none(said: str) -> None:
    with pytest.raises(CannotLook):
        EVERY["given"](host(qom={"aes": said}))


def test_a_feature_that_qemu_does_not_know_is_an_error() -> None:
    with pytest.raises(CannotLook):
        cpu_model.given_feature(host(), "app1", "nosuch", "disable")


@pytest.mark.parametrize(
    "said",
    [b"", b"flags\t\t: aes\n", b"processor\t: 0\nFeatures\t: aes\n", CPUINFO.replace(b"flags", b"flogs", 1)],
)
def test_cpuinfo_that_shows_no_flags_is_an_error(said: bytes) -> None:
    with pytest.raises(CannotLook):
        EVERY["seen"](host(inside={cpuinfo.CPUINFO: Content(said)}))


# --- what is asked for

STATED = {"model": "Westmere", "vendor": "Intel", "features": {"lahf_lm": "require", "avx2": "optional"}}


@pytest.mark.parametrize(
    ("stated", "properties", "inside"),
    [
        (STATED, {"lahf-lm", "vendor"}, {cpuinfo.CPUINFO}),
        ({"name": NAME}, {"model-id"}, {cpuinfo.CPUINFO}),
        ({"mode": "maximum", "cache": {"mode": "disable"}}, set(), {cpu_model.CACHES}),
    ],
)
def test_only_what_is_needed_is_asked(stated: dict[str, Any], properties: set[str], inside: set[Source]) -> None:
    profile = Profile.model_validate({"virtvet": 1, "guests": {"app1": {"cpu": {"model": stated}}}})
    guest = GuestTarget("app1", profile.guests["app1"], "hv1")
    asked = set(cpu_model.sources(HostTarget("hv1", profile, None, (guest,))))  # type: ignore[arg-type]
    plain = {*domain_xml.SOURCES, *qemu.SOURCES}
    assert asked - plain == {qmp.asked("app1", "qom-get", path=cpu_model.FIRST, property=one) for one in properties}
    assert set(cpu_model.guest_sources(guest)) == inside


# --- the profile


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"mode": "host-passthrough", "model": "Westmere"}, "host-passthrough takes no model"),
        ({"mode": "host-model", "model": "Westmere"}, "host-model takes no model"),
        ({"mode": "maximum", "match": "exact"}, "maximum has no match"),
        ({"mode": "host-model", "fallback": "allow"}, "host-model has no fallback"),
        ({"model": "Westmere", "cache": {"mode": "passthrough"}}, "not with custom"),
        ({"mode": "host-model", "cache": {"mode": "passthrough"}}, "not with host-model"),
        ({"cache": {"mode": "disable", "level": 3}}, "mode disable has no level"),
        ({"cache": {"mode": "emulate", "level": 2}}, "Input should be 3"),
        ({"features": {"osxsave": "require"}}, "never passes osxsave on"),
        ({"features": {"AES": "require"}}, "is no CPU feature"),
        ({"features": {"aes": "on"}}, "Input should be 'force'"),
        ({"model": "West mere"}, "is no CPU model"),
        ({"vendor": "GenuineIntel"}, "Input should be 'Intel'"),
        ({"name": "two  spaces"}, "is no CPU name"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(written: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        CpuModel.model_validate(written)


@pytest.mark.parametrize("number", [0, -1, 16385, "2", 1.5])
def test_a_topology_is_made_of_positive_numbers(number: object) -> None:
    with pytest.raises(ValidationError):
        Topology.model_validate({"cores": number})


def test_entries_of_several_patterns_merge() -> None:
    general = {"cpu": {"model": {"fallback": "forbid", "features": {"aes": "require", "vmx": "forbid"}}}}
    special = {"cpu": {"model": {"model": "Westmere", "features": {"aes": "disable"}}, "topology": {"threads": 2}}}
    merged = Profile.model_validate({"virtvet": 1, "guests": {"*": general, "app1": special}}).guest("app1")
    assert merged.cpu.model == CpuModel.model_validate(
        {"model": "Westmere", "fallback": "forbid", "features": {"aes": "disable", "vmx": "forbid"}}
    )
