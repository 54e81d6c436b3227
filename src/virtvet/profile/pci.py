"""PCI devices that a guest must see: `guests.NAME.pci."1af4:1041"`, by vendor and device."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from virtvet.profile.base import Wants, worded

PciId = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{4}:[0-9a-f]{4}$"),
    worded("vendor and device as lspci -n has them, in lower case: use 8086:100e"),
]
"""Vendor and device in lower case, as lspci -n has them."""


class PciDevice(Wants):
    """Devices of one kind inside the guest."""

    count: Annotated[int, Field(ge=0, le=256)] | None = None
    """How many; at least one where this is not stated, none with 0."""
    driver: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,64}$")] | None = None
    """The driver of the PCI bus that each is bound to: `virtio-pci`, `e1000`, `vfio-pci` …"""

    @model_validator(mode="after")
    def _none_has_no_driver(self) -> PciDevice:
        if self.count == 0 and self.driver:
            raise ValueError("count is 0: then no device has a driver")
        return self
