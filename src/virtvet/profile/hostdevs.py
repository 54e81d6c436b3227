"""`guests.NAME.hostdevs."0000:01:00.0"`: PCI devices of the host that a guest is given."""

from __future__ import annotations

from virtvet.profile.base import Wants


class Hostdev(Wants):
    """One assigned PCI device, by its address on the host."""
