"""How the host's kernel schedules a guest's threads: `guests.NAME.cpu.schedulers` (`<vcpusched>` and its like)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from virtvet.profile.base import Wants
from virtvet.profile.pins import IothreadId, VcpuId


class RealTime(Wants):
    """A policy with a priority: such threads run before all others."""

    policy: Literal["fifo", "rr"]
    priority: Annotated[int, Field(ge=1, le=99)]
    """As `<vcpusched priority=…>`; 99 is the highest."""

    @model_validator(mode="before")
    @classmethod
    def _in_full(cls, written: Any) -> Any:
        if written in ("fifo", "rr"):
            raise ValueError(f"{written} needs a priority: write {{policy: {written}, priority: 1}}")
        return written

    def __str__(self) -> str:
        return f"{self.policy} {self.priority}"


Scheduler = Literal["other", "batch", "idle"] | RealTime
"""`other` is the kernel's own: libvirt has no word for it and sets nothing."""


class Schedulers(Wants):
    """Policy and priority of threads by what they are; what is not stated is not checked."""

    vcpu: dict[VcpuId, Scheduler] = Field(default_factory=dict)
    """Each vCPU by its number: `<vcpusched>`."""
    emulator: Scheduler | None = None
    """QEMU's main thread, and no other: `<emulatorsched>`."""
    iothread: dict[IothreadId, Scheduler] = Field(default_factory=dict)
    """Each iothread by its number (from 1): `<iothreadsched>`."""
    default: Scheduler | None = None
    """Every thread not named above, whatever it is. vCPUs and iothreads plugged in later inherit the emulator's
    scheduler unless they have one of their own: `default: other` tells."""

    def by_role(self) -> Mapping[str, str]:
        """What is stated, in words: {"vcpu0": "fifo 1", "emulator": "batch", "iothread1": "idle"}."""
        stated = {f"vcpu{number}": str(one) for number, one in self.vcpu.items()}
        stated |= {f"iothread{number}": str(one) for number, one in self.iothread.items()}
        return stated | ({"emulator": str(self.emulator)} if self.emulator else {})
