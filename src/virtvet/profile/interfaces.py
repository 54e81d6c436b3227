"""A guest's network interfaces: `guests.NAME.interfaces.<MAC or position>`, and their bandwidth."""

from __future__ import annotations

from virtvet.profile.base import Wants


class Interface(Wants):
    """One interface; what is not stated is not checked."""
