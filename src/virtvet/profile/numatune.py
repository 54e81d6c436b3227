"""Which host NUMA nodes a guest's memory comes from: `guests.NAME.memory.numatune` (libvirt's `<numatune>`)."""

from __future__ import annotations

from virtvet.profile.base import Wants


class Numatune(Wants):
    """Mode and nodes; what is not stated is not checked."""
