"""The CPU a guest is given: mode, model, vendor, features and caches, as written, as started, and as the guest sees it.

libvirt rewrites `<cpu>` when a guest starts (qemuProcessUpdateGuestCPU and qemuProcessUpdateLiveGuestCPU,
src/qemu/qemu_process.c): see `once_started`. What QEMU was told stands in its -cpu argument; what the vCPU really has,
after the accelerator took away what it cannot do, only QEMU's monitor tells (`qom-get` of the first vCPU).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lxml import etree

from virtvet.check import Probe, Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.expect import OneOf
from virtvet.probes import cpuinfo, domain_xml, qemu, qmp
from virtvet.profile.cpu_model import CpuModel
from virtvet.snapshot.model import Snapshot, text_of
from virtvet.snapshot.sources import Glob, HostSource, Source

if TYPE_CHECKING:
    from virtvet.target import GuestTarget, HostTarget

CACHES = Glob("/sys/devices/system/cpu/cpu0/cache/index*/level")
OPTIONAL = "an optional feature may be there or not"
FIRST = "/machine/unattached/device[0]"
"""The first vCPU in QEMU's tree of objects: all are of one kind."""

VENDORS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD", "HygonGenuine": "Hygon"}
"""CPUID's names by libvirt's (/usr/share/libvirt/cpu_map/x86_vendors.xml)."""


def sources(host: HostTarget) -> Iterator[Source]:
    """libvirt's XML, QEMU's arguments, and for each guest with features, vendor or name its QEMU's own answer."""
    yield from (*domain_xml.SOURCES, *qemu.SOURCES)
    for guest in host.guests:
        if guest.matched and (wants := guest.wants.cpu.model):
            names = {in_qemu(one): policy != "optional" for one, policy in wants.features.items()}
            names |= {"vendor": bool(wants.vendor), "model-id": bool(wants.name)}
            yield from (_asked(guest.name, name) for name, needed in names.items() if needed)


def guest_sources(guest: GuestTarget) -> Iterable[HostSource]:
    """What is read inside a guest whose CPU is stated."""
    wants = guest.wants.cpu.model
    if wants and (wants.features or wants.vendor or wants.name):
        yield cpuinfo.CPUINFO
    if wants and wants.cache:
        yield CACHES


# --- the domain XML

_PLACES = {
    "mode": (".", "mode"),
    "match": (".", "match"),
    "check": (".", "check"),
    "model": ("model", None),
    "fallback": ("model", "fallback"),
    "vendor": ("vendor", None),
    "cache": ("cache", "mode"),
}
"""Where each stands below `<cpu>`: the element, and its attribute or None for its text."""


def configured(what: str) -> Probe:
    """A probe: `what` of `<cpu>` as it is stored; None where it is not written.

    `<cpu mode='custom' match='exact'><model fallback='forbid'>Westmere</model></cpu>`: "mode" -> "custom", "model" ->
    "Westmere", "fallback" -> "forbid", "vendor" -> None. Raises NotApplicable for the vendor of a CPU without a model:
    libvirt refuses that.
    """

    def probe(snapshot: Snapshot, guest: str, _stated: CpuModel) -> Reading:
        return _written(domain_xml.config(snapshot, guest), what, f"virsh dumpxml --inactive {guest}")

    return probe


def live(what: str) -> Probe:
    """A probe: the same of the running domain. Raises NotApplicable for the model with match minimum, too."""

    def probe(snapshot: Snapshot, guest: str, stated: CpuModel) -> Reading:
        _must_be_the_stated(what, stated)
        return _written(domain_xml.live(snapshot, guest), what, f"virsh dumpxml {guest}")

    return probe


def _must_be_the_stated(what: str, stated: CpuModel) -> None:
    if what == "model" and stated.match == "minimum":
        raise NotApplicable("with match minimum libvirt starts the guest with the host's own model")


def _written(domain: etree._Element, what: str, source: str) -> Reading:
    path, attribute = _PLACES[what]
    cpu, found = domain.find("cpu"), domain.find(f"cpu/{path}")
    if what == "vendor" and found is None and cpu is not None and cpu.find("model") is None:
        raise NotApplicable(f"a CPU of mode {cpu.get('mode')} names no vendor")
    if found is None:
        return Reading(None, source, f"no <{what}>" if cpu is not None else "no <cpu>")
    value = _text(found) if attribute is None else found.get(attribute)
    return Reading(value, source, _shown(found))


def _text(element: etree._Element) -> str:
    return str(element.text or "").strip()


def _shown(element: etree._Element) -> str:
    """`<model fallback='forbid'>Westmere`: one element without those in it."""
    attributes = "".join(f" {name!s}='{value!s}'" for name, value in element.items())
    return f"<{element.tag}{attributes}>{_text(element)}"[:500]


def configured_feature(snapshot: Snapshot, guest: str, feature: str, _policy: str) -> Reading:
    """The policy of a feature as it is stored: `<feature policy='require' name='rdrand'/>` -> "require"; else None."""
    return _policy_of(domain_xml.config(snapshot, guest), feature, f"virsh dumpxml --inactive {guest}")


def live_feature(snapshot: Snapshot, guest: str, feature: str, _policy: str) -> Reading:
    """As `configured_feature`, of the running domain: there libvirt disables what QEMU could not give."""
    return _policy_of(domain_xml.live(snapshot, guest), feature, f"virsh dumpxml {guest}")


def _policy_of(domain: etree._Element, feature: str, source: str) -> Reading:
    for element in domain.iterfind("cpu/feature"):
        if element.get("name") == feature:
            return Reading(element.get("policy", "require"), source, _shown(element))
    return Reading(None, source, f"no <feature name='{feature}'>")


def once_started(what: str, wanted: str) -> Any:
    """What libvirt makes of a stored value when the guest starts (seen with 9.0 on x86; virCPUx86Update).

    host-model becomes custom, with the host's model; match minimum becomes exact, with the host's model; an optional
    feature becomes require or disable, but stays optional where the mode is host-passthrough or maximum.
    """
    if (what, wanted) == ("feature", "optional"):
        return OneOf(("require", "disable", "optional"))
    return {("mode", "host-model"): "custom", ("match", "minimum"): "exact"}.get((what, wanted), wanted)


# --- QEMU

MODES = {"host": "host-passthrough", "max": "maximum"}
"""Modes by -cpu's model (qemuBuildCpuModelArgStr, src/qemu/qemu_command.c); any other is one of mode custom."""


def started(what: str) -> Probe:
    """A probe: mode, model or cache out of QEMU's -cpu argument, which never changes; None where it was told nothing.

    `Westmere,rdrand=on,l3-cache=off`: "mode" -> "custom", "model" -> "Westmere", "cache" -> "disable". Raises
    NotApplicable for the model with match minimum.
    """

    def probe(snapshot: Snapshot, guest: str, stated: CpuModel) -> Reading:
        _must_be_the_stated(what, stated)
        process = qemu.of_guest(snapshot, guest)
        told = process.option("cpu")
        return Reading(
            _meaning(told)[what] if told else None, process.source, f"-cpu {told}"[:500] if told else "no -cpu"
        )

    return probe


def _meaning(argument: str) -> Mapping[str, str | None]:
    model = argument.partition(",")[0]
    return {"mode": MODES.get(model, "custom"), "model": model, "cache": _cache(qemu.keywords(argument))}


def _cache(told: Mapping[str, str]) -> str | None:
    """The mode of `<cache>` that libvirt says in these words; None without any."""
    if told.get("host-cache-info") == "on":
        return "passthrough"
    return {"on": "emulate", "off": "disable"}.get(told.get("l3-cache", ""))


def in_qemu(feature: str) -> str:
    """QEMU's name of a feature: `lahf_lm` -> "lahf-lm", `pclmuldq` -> "pclmulqdq".

    virQEMUCapsCPUFeatureToQEMU (src/qemu/qemu_capabilities.c); no property of QEMU's x86 CPUs has an underscore
    (x86_cpu_register_feature_bit_props, target/i386/cpu.c).
    """
    return "pclmulqdq" if feature == "pclmuldq" else feature.replace("_", "-")


def given_feature(snapshot: Snapshot, guest: str, feature: str, policy: str) -> Reading:
    """Whether the vCPU has the feature, after QEMU's accelerator took away what it cannot do.

    The answer to qom-get of `/machine/unattached/device[0]` `rdrand`: `true`.
    """
    if policy == "optional":
        raise NotApplicable(OPTIONAL)
    return _property(snapshot, guest, in_qemu(feature), bool)


def given_vendor(snapshot: Snapshot, guest: str, _stated: CpuModel) -> Reading:
    """The vendor that CPUID tells: `"GenuineIntel"` -> "Intel". With KVM it is the host's, whatever the model's."""
    seen = _property(snapshot, guest, "vendor", str)
    return Reading(VENDORS.get(seen.value, seen.value), seen.source, seen.excerpt)


def given_name(snapshot: Snapshot, guest: str, _stated: CpuModel) -> Reading:
    """The model's name that CPUID tells: `"Westmere E56xx/L56xx/X56xx (Nehalem-C)"`."""
    seen = _property(snapshot, guest, "model-id", str)
    return Reading(_single_spaced(seen.value), seen.source, seen.excerpt)


def _asked(guest: str, name: str) -> Source:
    return qmp.asked(guest, "qom-get", path=FIRST, property=name)


def _property(snapshot: Snapshot, guest: str, name: str, kind: type) -> Reading:
    said = qmp.answer(snapshot, guest, "qom-get", path=FIRST, property=name)
    if not isinstance(said, kind):
        raise CannotLook(_asked(guest, name), f"is no {kind.__name__}")
    return Reading(said, str(_asked(guest, name)), str(said)[:500])


def _single_spaced(text: str) -> str:
    """As the kernel trims it (get_model_name, arch/x86/kernel/cpu/common.c)."""
    return " ".join(text.split())


# --- inside the guest


def seen_feature(snapshot: Snapshot, guest: str, feature: str, policy: str) -> list[Reading]:
    """Whether each of the guest's online CPUs shows the feature's flag.

    `flags\t\t: fpu de pse … rdrand hypervisor` of every processor -> [True]. The kernel leaves out what it does not
    know or does not use.
    """
    if policy == "optional":
        raise NotApplicable(OPTIONAL)
    if (name := cpuinfo.flag(feature)) is None:
        raise NotApplicable(f"{cpuinfo.CPUINFO} has no flag for {feature}")
    if feature in cpuinfo.SHARED and policy in ("disable", "forbid"):
        raise NotApplicable(f"the flag {name} may be there for another feature's sake")
    return cpuinfo.readings(snapshot.guest(guest), "flags", lambda text: name in text.split())


def seen_vendor(snapshot: Snapshot, guest: str, _stated: CpuModel) -> list[Reading]:
    """`vendor_id\t: GenuineIntel` -> "Intel"."""
    return cpuinfo.readings(snapshot.guest(guest), "vendor_id", lambda text: VENDORS.get(text, text))


def seen_name(snapshot: Snapshot, guest: str, _stated: CpuModel) -> list[Reading]:
    """`model name\t: Westmere E56xx/L56xx/X56xx (Nehalem-C)`."""
    return cpuinfo.readings(snapshot.guest(guest), "model name", _single_spaced)


def seen_cache(snapshot: Snapshot, guest: str, stated: CpuModel) -> Reading:
    """Whether the first CPU has a level 3 cache: "emulate" or "disable".

    …/cpu0/cache/index3/level: `3` -> "emulate". Raises NotApplicable for passthrough: the host may have one or not.
    """
    if stated.cache and stated.cache.mode == "passthrough":
        raise NotApplicable("the host's own caches may be of any level")
    levels = [text_of(path, found).strip() for path, found in snapshot.guest(guest).read(CACHES).items()]
    if not levels:
        raise NotApplicable("the guest's kernel shows no caches")
    return Reading("emulate" if "3" in levels else "disable", str(CACHES), " ".join(levels)[:500])
