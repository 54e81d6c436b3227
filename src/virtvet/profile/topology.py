"""How a guest's vCPUs are arranged: `guests.NAME.cpu.topology` (libvirt's `<topology>`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from virtvet.profile.base import Wants
from virtvet.units import MAX_CPUS

Count = Annotated[int, Field(ge=1, le=MAX_CPUS)]


class Topology(Wants):
    """Sockets, dies, cores and threads; what is not stated is not checked."""

    sockets: Count | None = None
    dies: Count | None = None
    """In each socket."""
    cores: Count | None = None
    """In each die."""
    threads: Count | None = None
    """In each core."""
