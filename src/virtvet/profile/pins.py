"""Which host CPUs a guest's threads may run on: `guests.NAME.cpu.pins`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from virtvet.profile.base import Wants
from virtvet.units import CpuSet

VcpuId = Annotated[int, Field(ge=0, le=16383)]
IothreadId = Annotated[int, Field(ge=1, le=65535)]


class Pins(Wants):
    """Threads by what they are; CPU lists as `1-4,^2`. What is not named is not checked."""

    vcpu: dict[VcpuId, CpuSet] = Field(default_factory=dict)
    """CPUs of each vCPU by its number: `<vcpupin>`, or `<vcpu cpuset>` where the domain has no pin of its own."""
    emulator: CpuSet | None = None
    """CPUs of all threads that are neither vCPU nor iothread: `<emulatorpin>`, or `<vcpu cpuset>`."""
    iothread: dict[IothreadId, CpuSet] = Field(default_factory=dict)
    """CPUs of each iothread by its number (from 1): `<iothreadpin>`, or `<vcpu cpuset>`."""
    default: CpuSet | None = None
    """CPUs of every thread not named above, whatever it is."""
    exclusive: bool = False
    """Whether the CPUs of its vCPUs (`vcpu`, or `default` without any) are this guest's alone."""
    sampled: bool = False
    """Whether threads that run while virtvet looks must be seen on their CPUs; skipped when none runs just then."""

    @property
    def alone(self) -> frozenset[int]:
        """The CPUs that no other guest may run on; none when they are not exclusive."""
        own = frozenset[int]().union(*self.vcpu.values()) or self.default or frozenset()
        return own if self.exclusive else frozenset()
