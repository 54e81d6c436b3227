"""How many vCPUs a guest has: `guests.NAME.cpu.vcpus` (libvirt's `<vcpu>` and `<vcpus>`)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from virtvet.profile.base import Wants
from virtvet.profile.pins import VcpuId
from virtvet.units import CpuSet

VcpuCount = Annotated[int, Field(ge=1, le=16384)]


class Vcpu(Wants):
    """One `<vcpu>` of `<vcpus>`."""

    enabled: bool | None = None
    """Whether the guest has it now."""
    hotpluggable: bool | None = None
    """Whether it can be unplugged, or plugged in later."""
    order: VcpuCount | None = None
    """Its place among those that are enabled, in the order they are plugged in (from 1)."""

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        """virDomainVcpuDefs, and https://libvirt.org/formatdomain.html#cpu-allocation."""
        if self.enabled is False and self.order is not None:
            raise ValueError("a vCPU that is not enabled has no order")
        if self.enabled is False and self.hotpluggable is False:
            raise ValueError("a vCPU that is not enabled must be hotpluggable: libvirt refuses it")
        return self


class VcpuWants(Wants):
    """Maximum, current and hot-plug of vCPUs; what is not stated is not checked."""

    maximum: VcpuCount | None = None
    """As many as it may have while it runs: `<vcpu>4</vcpu>`."""
    current: VcpuCount | None = None
    """As many as it has now: `<vcpu current='3'>`; inside the guest, those online."""
    placement: Literal["static", "auto"] | None = None
    """`auto`: numad chooses the host's CPUs at every start."""
    cpuset: CpuSet | None = None
    """The host's CPUs for every thread without a pin of its own: `<vcpu cpuset='0-1'>`."""
    list: dict[VcpuId, Vcpu] = Field(default_factory=dict)
    """vCPUs one by one: `<vcpus>`."""
    online: Literal["automatic"] | None = None
    """Whether vCPUs that are plugged in come online in the guest by themselves: a rule of udev or mdev."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.placement == "auto" and self.cpuset:
            raise ValueError("placement: auto leaves the host's CPUs to numad, so cpuset: says nothing")
        if (first := self.list.get(0)) and (first.enabled is False or first.order not in (None, 1)):
            raise ValueError("vCPU 0 must be enabled first: libvirt refuses any other order")
        self._numbers_agree()
        self._orders_agree()
        return self

    def _numbers_agree(self) -> None:
        enabled = [number for number, one in self.list.items() if one.enabled]
        if self.maximum and self.current and self.current > self.maximum:
            raise ValueError(f"current: {self.current} is more than maximum: {self.maximum}")
        if self.maximum and max(self.list, default=0) >= self.maximum:
            raise ValueError(
                f"list: names vCPU {max(self.list)}, but maximum: {self.maximum} ends at {self.maximum - 1}"
            )
        if self.current and len(enabled) > self.current:
            raise ValueError(f"list: enables {len(enabled)} vCPUs, but current: is {self.current}")

    def _orders_agree(self) -> None:
        orders = [one.order for one in self.list.values() if one.order]
        if twice := {order for order in orders if orders.count(order) > 1}:
            raise ValueError(f"list: gives two vCPUs the order {min(twice)}")


def _as_both(written: object) -> object:
    """`vcpus: 2` is maximum and current."""
    whole = isinstance(written, int) and not isinstance(written, bool)
    return {"maximum": written, "current": written} if whole else written


Vcpus = Annotated[VcpuWants, BeforeValidator(_as_both, json_schema_input_type=VcpuCount | VcpuWants)]
"""VcpuWants, or one number for maximum and current."""
