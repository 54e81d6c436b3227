"""`host.kernel`: version, command line, modules and their parameters, sysctls, mitigations."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from virtvet.profile.base import Wants, worded

_BOUND = r"(>=|<=|=|>|<|)\s*[0-9]{1,4}(\.[0-9]{1,9}){0,2}(-[0-9]{1,9}(\.[0-9]{1,9}){0,5})?"
Releases = Annotated[
    str,
    StringConstraints(pattern=rf"^\s*{_BOUND}(\s*,\s*{_BOUND})*\s*$"),
    worded('range of kernel releases: use ">= 6.1", ">= 6.1.0-28, < 7" or "6.1.0-30", without the flavour'),
]
"""Compared number by number: 6.1.0-9 is older than 6.1.0-28."""
Word = Annotated[
    str,
    StringConstraints(pattern=r'^[A-Za-z0-9_][A-Za-z0-9_./:@-]{0,99}(=[^"\x00-\x1f\x7f]{0,400})?$'),
    worded("word of the kernel's command line: use iommu=pt, or nosmt for a parameter with any value"),
]
"""A parameter with its value, or the parameter alone: then any value, and none, will do."""
ModuleName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"),
    worded("name of a kernel module: use vfio_pci"),
]
ParameterName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\.[A-Za-z0-9_-]{1,64}$"),
    worded("parameter of a kernel module: use kvm_amd.nested"),
]
SysctlName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9_-]{1,40}([./][A-Za-z0-9_:-]{1,60}){1,8}$"),
    worded("sysctl: use vm.swappiness or net/ipv4/conf/eth0.100/forwarding"),
]
"""Both spellings of sysctl.d(5)."""
VulnerabilityName = Annotated[
    str,
    StringConstraints(pattern=r"^(\*|[a-z0-9_]{1,60})$"),
    worded('vulnerability as in /sys/devices/system/cpu/vulnerabilities: use spectre_v2, or "*" for all others'),
]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{0,400}$")]
Value = bool | int | Text
"""yes and no are `1` and `0`, or `Y` and `N`."""


class Setting(Wants):
    """A value that is more than one plain value."""

    value: Value | None = None
    at_least: int | None = None
    at_most: int | None = None
    persistent: bool = True
    """Whether it must stand in a file that sets it at the next boot; `false`: where none sets it, that is well."""

    @model_validator(mode="after")
    def _says_one_thing(self) -> Setting:
        limits = [one for one in (self.at_least, self.at_most) if one is not None]
        if (self.value is None) == (not limits):
            raise ValueError("state either value or at_least and at_most")
        if len(limits) > 1 and limits[0] > limits[1]:
            raise ValueError(f"at_least: {limits[0]} is more than at_most: {limits[1]}")
        return self


AnySetting = Value | Setting


class Cmdline(Wants):
    """Words of the kernel's command line, now and at the next boot."""

    present: list[Word] = Field(default_factory=list)
    """What must be in effect: of a parameter that stands there twice the last counts."""
    absent: list[Word] = Field(default_factory=list)
    """What must not."""

    @model_validator(mode="after")
    def _do_not_contradict(self) -> Cmdline:
        wanted = {_plain(word) for word in self.present}
        names = {word.partition("=")[0] for word in wanted}
        for word in self.absent:
            if _plain(word) in wanted | names:
                raise ValueError(f"{word} cannot be both present and absent")
        return self


def _plain(word: str) -> str:
    name, equals, value = word.partition("=")
    return name.replace("-", "_") + equals + value


class Modules(Wants):
    """Kernel modules by name; those built in count as loaded."""

    loaded: list[ModuleName] = Field(default_factory=list)
    """Must be loaded, and nothing may keep them from being loaded."""
    at_boot: list[ModuleName] = Field(default_factory=list)
    """Must be loaded, and be loaded at boot by modules-load.d or /etc/modules."""
    blocked: list[ModuleName] = Field(default_factory=list)
    """Must not be loaded, and modprobe.d must keep them from being loaded."""
    parameters: dict[ParameterName, AnySetting] = Field(default_factory=dict)
    """`kvm.halt_poll_ns: 0`."""

    @model_validator(mode="after")
    def _do_not_contradict(self) -> Modules:
        wanted = {_plain(name) for name in (*self.loaded, *self.at_boot)}
        for name in self.blocked:
            if _plain(name) in wanted:
                raise ValueError(f"the module {name} cannot be both loaded and blocked")
        _unique(self.parameters, (_plain(name) for name in self.parameters))
        return self


def _unique(written: Collection[str], meant: Iterable[str]) -> None:
    """Raises ValueError where two names mean one thing."""
    seen: dict[str, str] = {}
    for name, one in zip(written, meant, strict=True):
        if (other := seen.setdefault(one, name)) != name:
            raise ValueError(f"{other} and {name} are one")


def sysctl_path(name: str) -> str:
    """Below /proc/sys: `net.ipv4.conf.eth0/100.rp_filter` and `net/ipv4/conf/eth0.100/rp_filter` are one.

    A name whose first separator is a dot has dots and slashes exchanged (sysctl.d(5)).
    """
    first = next((one for one in name if one in "./"), "/")
    return name if first == "/" else name.translate(str.maketrans("./", "/."))


Verdict = Literal["not affected", "mitigated", "partly mitigated", "any"]
"""Each is at least this good: `not affected` satisfies `mitigated`."""


class Kernel(Wants):
    """The kernel that runs, and how it was started and set up; what is not stated is not checked."""

    version: Releases | None = None
    """Of the kernel that runs, and of the one that starts next."""
    newest: bool = False
    """Whether it must be the newest one installed: where it is not, a reboot is due."""
    cmdline: Cmdline | None = None
    modules: Modules | None = None
    nested: bool | None = None
    """Whether guests can run guests: kvm_intel's or kvm_amd's parameter, whichever is loaded."""
    sysctl: dict[SysctlName, AnySetting] = Field(default_factory=dict)
    """`vm.swappiness: 10`."""
    vulnerabilities: Verdict | dict[VulnerabilityName, Verdict] = Field(default_factory=dict)
    """What the CPUs' vulnerabilities must be, all alike or by name, `"*"` being all others."""
    smt: Literal["on", "off"] | None = None
    """Whether CPUs run several threads each. `off` is also what cannot."""

    @model_validator(mode="after")
    def _sysctls_are_different(self) -> Kernel:
        _unique(self.sysctl, map(sysctl_path, self.sysctl))
        if any(part in (".", "..") for name in self.sysctl for part in sysctl_path(name).split("/")):
            raise ValueError("a sysctl's name has no part that is . or ..")
        return self
