"""`host.devices."0000:01:00.0"`: PCI devices of the host."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, field_validator, model_validator

from virtvet.profile.base import Wants, worded
from virtvet.profile.interfaces import Device as NetworkDevice
from virtvet.profile.interfaces import Mac
from virtvet.profile.pci import PciId

PciAddress = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$"),
    worded("PCI address as lspci -D has it, in lower case: use 0000:01:00.0"),
]
"""Domain, bus, slot and function, as lspci -D has them."""
Driver = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$"),
    worded("driver of the PCI bus: use vfio-pci, e1000e …, or none"),
]
"""A driver of the PCI bus (`ls /sys/bus/pci/drivers`); `none`: no driver at all."""
VFIO = "vfio-pci"


def driver_of(written: Driver) -> str | None:
    """What a probe must see: "none" -> None."""
    return None if written == "none" else written


class Sriov(Wants):
    """The virtual functions of a device that has them."""

    total: Annotated[int, Field(ge=0, le=65535)] | None = None
    """How many it can have (`sriov_totalvfs`), at least."""
    vfs: Annotated[int, Field(ge=0, le=65535)] | None = None
    """How many it has now (`sriov_numvfs`)."""

    @model_validator(mode="after")
    def _no_more_than_there_are(self) -> Sriov:
        if self.total is not None and self.vfs is not None and self.vfs > self.total:
            raise ValueError(f"vfs: {self.vfs} is more than total: {self.total}")
        return self


class Device(Wants):
    """One PCI device of the host; what is not stated is not checked, but that it is there."""

    model_config = ConfigDict(serialize_by_alias=True)  # merged as people write it

    id: PciId | None = None
    """Vendor and device: `8086:10d3`."""
    kind: (
        Annotated[
            str,
            StringConstraints(pattern=r"^[0-9a-f]{4}$"),
            worded('class and subclass as lspci -n has them: use "0200" (Ethernet), in quotes'),
        ]
        | None
    ) = Field(default=None, alias="class")
    """Class and subclass, written `class:`: `"0200"` for Ethernet."""
    driver: Driver | None = None
    """The driver it is bound to: `vfio-pci` where guests are to have it, `none` for no driver."""
    driver_override: Driver | None = None
    """The only driver that may take it (`driver_override`); `none` for any."""
    netdev: bool | NetworkDevice | None = None
    """Whether the host has a network device of it, or the name of that."""
    mac: Mac | None = None
    """The MAC address of its network device."""
    group: list[PciAddress] | None = None
    """What else may be in its IOMMU group, bridges aside; `[]` for nothing. None of them may have a host's driver."""
    numa_node: Annotated[int, Field(ge=-1, le=1023)] | None = None
    """The NUMA node it is at; -1 where the firmware does not say."""
    sriov: Sriov | None = None
    """Its virtual functions."""
    physical_function: PciAddress | None = None
    """The device that it is a virtual function of."""

    @field_validator("group")
    @classmethod
    def _each_once(cls, group: list[str] | None) -> list[str] | None:
        if group and (twice := sorted({one for one in group if group.count(one) > 1})):
            raise ValueError(f"{twice[0]} is named twice")
        return group

    @property
    def assignable(self) -> bool:
        """Whether it is there for guests: its group must be free then."""
        return self.driver == VFIO or self.group is not None

    @model_validator(mode="after")
    def _one_driver(self) -> Device:
        bound, only = self.driver, self.driver_override
        if bound and only and "none" not in (bound, only) and bound != only:
            raise ValueError(f"driver: {bound}, but driver_override: {only}: no other driver binds then")
        return self

    @model_validator(mode="after")
    def _vfio_makes_no_netdev(self) -> Device:
        if self.netdev is False and self.mac:
            raise ValueError("mac: is that of its network device, but netdev: false")
        if self.driver in (VFIO, "none") and (self.netdev or self.mac):
            key = "netdev" if self.netdev else "mac"
            without = "vfio-pci" if self.driver == VFIO else "no driver"
            raise ValueError(f"{key}: a device with {without} has no network device on the host")
        return self

    @model_validator(mode="after")
    def _no_function_of_its_own(self) -> Device:
        if self.physical_function and self.sriov and (self.sriov.total or self.sriov.vfs):
            raise ValueError("sriov: a virtual function has no virtual functions")
        return self


def addresses_agree(devices: dict[str, Device]) -> dict[str, Device]:
    """The devices, if none is to be beside itself, or a function of itself. Raises ValueError."""
    for address, device in devices.items():
        if address in (device.group or ()):
            raise ValueError(f"{address}: group: names what is beside it, not itself")
        if address == device.physical_function:
            raise ValueError(f"{address}: physical_function: is itself")
    return devices


Devices = Annotated[dict[PciAddress, Device], AfterValidator(addresses_agree)]
"""By their address."""
