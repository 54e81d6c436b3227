"""`host.services`: units and packages."""

from __future__ import annotations

from virtvet.profile.base import Wants


class Services(Wants):
    """What is installed, enabled and active."""
