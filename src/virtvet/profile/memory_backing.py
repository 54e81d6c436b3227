"""What a guest's memory is made of: `guests.NAME.memory.backing` (libvirt's `<memoryBacking>`)."""

from __future__ import annotations

from virtvet.profile.base import Wants


class MemoryBacking(Wants):
    """Huge pages, locking, sharing, source and access; what is not stated is not checked."""
