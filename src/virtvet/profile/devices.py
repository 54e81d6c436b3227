"""`host.devices."0000:01:00.0"`: PCI devices of the host."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from virtvet.profile.base import Wants, worded

PciAddress = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$"),
    worded("PCI address as lspci -D has it, in lower case: use 0000:01:00.0"),
]
"""Domain, bus, slot and function, as lspci -D has them."""


class Device(Wants):
    """One PCI device of the host."""
