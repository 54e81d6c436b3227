"""The CPU a guest is given: `guests.NAME.cpu.model` (libvirt's `<cpu>`)."""

from __future__ import annotations

from virtvet.profile.base import Wants


class CpuModel(Wants):
    """Mode, model, vendor and features of the guest's CPU; what is not stated is not checked."""
