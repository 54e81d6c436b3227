"""How the host's kernel schedules a guest's threads: `guests.NAME.cpu.schedulers` (`<vcpusched>` and its like)."""

from __future__ import annotations

from virtvet.profile.base import Wants


class Schedulers(Wants):
    """Policy and priority of threads by what they are; what is not stated is not checked."""
