"""The CPU a guest is given: `guests.NAME.cpu.model` (libvirt's `<cpu>`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from virtvet.profile.base import Wants, worded

Mode = Literal["custom", "host-model", "host-passthrough", "maximum"]
Policy = Literal["force", "require", "optional", "disable", "forbid"]
ModelName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=64),
    worded("CPU model: virsh cpu-models x86_64 lists them"),
]
Name = Annotated[
    str,
    StringConstraints(pattern=r"^[!-~]+( [!-~]+)*$", max_length=48),
    worded("CPU name: at most 48 characters of ASCII, single spaces"),
]
"""CPUID has room for 48 characters (leaves 0x80000002 to 0x80000004); runs of spaces count as one."""

DROPPED = frozenset({"cmt", "mbm_total", "mbm_local", "osxsave", "ospke"})
"""Features that libvirt knows and QEMU does not (virQEMUCapsCPUFilterFeatures, src/qemu/qemu_capabilities.c)."""


def given_by_qemu(feature: str) -> str:
    """The feature, if libvirt passes it on to QEMU. Raises ValueError."""
    if feature in DROPPED:
        raise ValueError(f"libvirt never passes {feature} on to QEMU: no guest can be given or denied it")
    return feature


Feature = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=64),
    worded("CPU feature: libvirt writes them in lower case, such as sse4.1, lahf_lm"),
    AfterValidator(given_by_qemu),
]
"""A feature by libvirt's name (/usr/share/libvirt/cpu_map/x86_features.xml): `sse4.1`, `lahf_lm`."""


class Cache(Wants):
    """`<cache>`: the CPU caches that a guest sees."""

    mode: Literal["emulate", "passthrough", "disable"]
    """A made-up level 3 cache; the host's own caches; no level 3 cache."""
    level: Literal[3] | None = None
    """The only one that libvirt knows, and with mode emulate only. It is judged with the mode."""

    @model_validator(mode="after")
    def _only_an_emulated_cache_has_a_level(self) -> Cache:
        if self.level and self.mode != "emulate":
            raise ValueError(f"a cache of mode {self.mode} has no level: libvirt refuses it")
        return self


_CUSTOM_ONLY = {
    "model": "takes no model: libvirt reads one in mode custom only",
    "match": "has no match: libvirt compares a named model only",
    "fallback": "has no fallback: libvirt keeps one with a named model only",
}
"""Keys of a named model, and why another mode goes without."""


class CpuModel(Wants):
    """What the guest's CPU is; what is not stated is not checked."""

    mode: Mode | None = None
    """libvirt turns host-model into custom when the guest starts."""
    model: ModelName | None = None
    """A model of libvirt's CPU map, in mode custom: `Westmere`."""
    match: Literal["exact", "minimum", "strict"] | None = None
    """Whether the guest may have more than the model; with minimum the guest is started with the host's own model."""
    check: Literal["none", "partial", "full"] | None = None
    """How libvirt compares with the host before a start; a running guest always says full."""
    fallback: Literal["allow", "forbid"] | None = None
    """Whether libvirt may take another model when QEMU does not know this one; a running guest always says forbid."""
    vendor: Literal["Intel", "AMD", "Hygon"] | None = None
    name: Name | None = None
    """The `model name` that the guest's /proc/cpuinfo shows."""
    features: dict[Feature, Policy] = Field(default_factory=dict)
    """Features by libvirt's name; the guest may have others."""
    cache: Cache | None = None

    @model_validator(mode="after")
    def _goes_with_its_mode(self) -> CpuModel:
        if found := list(self._contradictions()):
            raise ValueError("; ".join(found))
        return self

    def _contradictions(self) -> Iterator[str]:
        mode = self.mode or ("custom" if self.model else None)
        for key, why in _CUSTOM_ONLY.items():
            if mode not in (None, "custom") and getattr(self, key) is not None:
                yield f"{key}: mode {mode} {why}"
        if self.cache and self.cache.mode == "passthrough" and mode in ("custom", "host-model"):
            yield f"cache: mode passthrough goes with host-passthrough and maximum only, not with {mode}"
