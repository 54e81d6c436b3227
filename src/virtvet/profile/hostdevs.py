"""`guests.NAME.hostdevs."0000:01:00.0"`: PCI devices of the host that a guest is given."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from virtvet.profile.base import Wants
from virtvet.profile.devices import VFIO, Driver, PciAddress
from virtvet.profile.interfaces import Mac


class Hostdev(Wants):
    """A PCI device by its address on the host: libvirt, QEMU and the guest have it, and inside it has a driver."""

    managed: bool | None = None
    """Whether libvirt takes it from its driver at the start, and gives it back at the end (`managed='yes'`)."""
    address: PciAddress | None = None
    """Where the guest has it, by its XML (`<address type='pci' …>`)."""
    boot_order: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """`<boot order=…>`."""
    rom: bool | None = None
    """Whether the guest sees its ROM (`<rom bar=…>`; on without one)."""
    driver: Driver = VFIO
    """The host's driver while the guest runs: vfio-pci, or a variant such as mlx5_vfio_pci."""
    guest_driver: Driver | None = None
    """The driver inside the guest; any where this is not stated, `none` for no driver."""
    mac: Mac | None = None
    """The MAC address of its network device inside the guest."""
    link: Literal["up", "down"] | None = None
    """The link of its network device inside the guest."""

    @field_validator("driver")
    @classmethod
    def _some_driver(cls, driver: str) -> str:
        if driver == "none":
            raise ValueError("QEMU reaches a device by vfio-pci, or by a variant of it")
        return driver

    @model_validator(mode="after")
    def _no_network_without_a_driver(self) -> Hostdev:
        if self.guest_driver in ("none", VFIO) and (self.mac or self.link):
            key = "mac" if self.mac else "link"
            raise ValueError(f"{key}: a device with guest_driver: {self.guest_driver} has no network device inside")
        return self
