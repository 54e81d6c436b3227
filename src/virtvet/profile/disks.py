"""A guest's disks: `guests.NAME.disks.<target>` (`vda`), and how fast each may be used (`<iotune>`)."""

from __future__ import annotations

from virtvet.profile.base import Wants


class Disk(Wants):
    """One disk by its target; what is not stated is not checked."""
