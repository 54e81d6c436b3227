"""Which operating system a guest runs: `guests.NAME.os` (libosinfo's id in the domain's metadata)."""

from __future__ import annotations

from virtvet.profile.base import Wants


class GuestOs(Wants):
    """What the domain says its system is; what is not stated is not checked."""
