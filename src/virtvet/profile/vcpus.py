"""How many vCPUs a guest has: `guests.NAME.cpu.vcpus` (libvirt's `<vcpu>` and `<vcpus>`)."""

from __future__ import annotations

from virtvet.profile.base import Wants


class Vcpus(Wants):
    """Maximum, current and hot-plug of vCPUs; what is not stated is not checked."""
