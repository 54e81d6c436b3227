"""Control groups of version 2 under systemd, and bandwidth by tc, on the image hosts."""

from __future__ import annotations

from tests.lab.faults import Fault

FAULTS: tuple[Fault, ...] = ()
