"""`host.isolation`: CPUs that nothing but guests may use."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from virtvet.expect import ranges
from virtvet.profile.base import Wants, worded
from virtvet.units import CpuSet, parse_cpuset

Flag = Literal["nohz", "domain", "managed_irq"]
"""What isolcpus= keeps from its CPUs: the timer's tick, the scheduler, interrupts that the kernel spreads by itself."""


def _cpus_or_none(written: object) -> object:
    """`none`, and the empty set it means."""
    return frozenset() if written in ("none", frozenset()) else parse_cpuset(written)


Isolated = Annotated[frozenset[int], BeforeValidator(_cpus_or_none, json_schema_input_type=CpuSet | Literal["none"])]
"""CPU numbers, or `none`."""


class IsolcpusWants(Wants):
    """isolcpus= of the kernel's command line."""

    cpus: Isolated
    flags: Annotated[list[Flag], Field(min_length=1)] | None = None
    """Exactly these; where none are stated `domain` must be in effect, as it is where isolcpus= names none."""


def _as_cpus(written: object) -> object:
    return written if isinstance(written, dict | IsolcpusWants) else {"cpus": written}


Isolcpus = Annotated[
    IsolcpusWants, BeforeValidator(_as_cpus, json_schema_input_type=CpuSet | Literal["none"] | IsolcpusWants)
]
"""IsolcpusWants, or its CPUs."""

InterruptName = Annotated[
    str,
    StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,100}$"),
    worded("name of an interrupt: use one of /proc/interrupts, or a pattern such as eth0-*"),
]


class InterruptWants(Wants):
    """Where interrupts go; what is not stated is not checked."""

    off: CpuSet | None = None
    """No interrupt is led to these CPUs."""
    other_than: list[InterruptName] = Field(default_factory=list)
    """But those of these names, or patterns (`eth0-*`)."""
    default: CpuSet | None = None
    """Interrupts that nobody placed go to these CPUs: irqaffinity= of the command line."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if both := (self.off or frozenset()) & (self.default or frozenset()):
            raise ValueError(f"CPU {ranges(both)} stands in off: and in default:")
        return self


def _as_off(written: object) -> object:
    return written if isinstance(written, dict | InterruptWants) else {"off": written}


Interrupts = Annotated[InterruptWants, BeforeValidator(_as_off, json_schema_input_type=CpuSet | InterruptWants)]
"""InterruptWants, or the CPUs that no interrupt is led to."""


def _profile_name(written: str) -> str:
    return " ".join(written.split())


class Isolation(Wants):
    """CPUs kept for guests; what is not stated is not checked."""

    cpus: CpuSet | None = None
    """Short for isolcpus, nohz_full, rcu_nocbs and interrupts together, as far as they are not stated themselves."""
    isolcpus: Isolcpus | None = None
    """CPUs that the scheduler gives nobody who is not pinned to them."""
    nohz_full: Isolated | None = None
    """CPUs without a timer's tick while one thread alone runs there."""
    rcu_nocbs: Isolated | None = None
    """CPUs whose RCU callbacks others run; those of nohz_full are among them by themselves."""
    interrupts: Interrupts | None = None
    system: CpuSet | None = None
    """The CPUs of systemd and of all it starts: CPUAffinity= of its system.conf."""
    workqueues: CpuSet | None = None
    """The CPUs of the kernel's own work that is bound to none."""
    tuned: Annotated[str, AfterValidator(_profile_name), Field(pattern=r"^[A-Za-z0-9 _.-]{1,200}$")] | None = None
    """tuned's profile: `cpu-partitioning`."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """The kernel takes one set of CPUs for both (housekeeping_setup in kernel/sched/isolation.c)."""
        isolated = self.isolcpus.cpus if self.isolcpus else self.cpus
        ticking = self.cpus if self.nohz_full is None else self.nohz_full
        if isolated and ticking and isolated != ticking:
            raise ValueError(
                f"nohz_full: {ranges(ticking)} and isolcpus: {ranges(isolated)} differ: the kernel takes the first "
                "of the two on its command line and ignores the other"
            )
        if both := (self.system or frozenset()) & (self.cpus or frozenset()):
            raise ValueError(f"CPU {ranges(both)} stands in system: and in cpus:, which are kept from all but guests")
        return self

    @property
    def unscheduled(self) -> IsolcpusWants | None:
        """isolcpus, stated or by `cpus`."""
        return self.isolcpus or (IsolcpusWants(cpus=self.cpus) if self.cpus else None)

    def kept(self, name: Literal["nohz_full", "rcu_nocbs"]) -> frozenset[int] | None:
        """nohz_full or rcu_nocbs, stated or by `cpus`."""
        stated: frozenset[int] | None = getattr(self, name)
        return self.cpus if stated is None else stated

    @property
    def uninterrupted(self) -> frozenset[int] | None:
        """CPUs that no interrupt is led to, stated or by `cpus`."""
        return self.interrupts.off if self.interrupts and self.interrupts.off else self.cpus
