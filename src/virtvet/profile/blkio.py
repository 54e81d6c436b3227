"""A guest's share of the host's block devices: `guests.NAME.blkio` (libvirt's `<blkiotune>`)."""

from __future__ import annotations

from virtvet.profile.base import Wants


class Blkio(Wants):
    """Weight, and limits for each device of the host; what is not stated is not checked."""
