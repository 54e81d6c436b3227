"""How much memory a guest has: `guests.NAME.memory.size`, and its balloon."""

from __future__ import annotations

from virtvet.profile.base import Wants


class MemorySize(Wants):
    """Memory, current memory and the balloon; what is not stated is not checked."""
