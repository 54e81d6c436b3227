"""`host.memory`: huge pages for each node and size, KSM, transparent huge pages."""

from __future__ import annotations

from virtvet.profile.base import Wants


class HostMemory(Wants):
    """How the kernel manages the memory that guests are given."""
