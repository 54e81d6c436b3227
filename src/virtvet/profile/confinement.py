"""`host.confinement` and `guests.NAME.confinement`: what holds QEMU and the daemon."""

from __future__ import annotations

from virtvet.profile.base import Wants


class HostConfinement(Wants):
    """What the daemon confines every QEMU with."""


class Confinement(Wants):
    """What holds one guest's QEMU."""
