"""How a guest's vCPUs are arranged: `guests.NAME.cpu.topology` (libvirt's `<topology>`)."""

from __future__ import annotations

from virtvet.profile.base import Wants


class Topology(Wants):
    """Sockets, dies, cores and threads; what is not stated is not checked."""
