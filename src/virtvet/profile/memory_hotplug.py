"""Memory that can be plugged while a guest runs: `guests.NAME.memory.hotplug`, its DIMMs and its NUMA cells."""

from __future__ import annotations

from virtvet.profile.base import Wants


class MemoryHotplug(Wants):
    """Maximum, slots, DIMMs, NUMA cells, and that memory comes online; what is not stated is not checked."""
