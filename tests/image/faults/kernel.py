"""Faults of host.kernel on the image hosts."""

from __future__ import annotations

from tests.lab.faults import Fault

FAULTS: tuple[Fault, ...] = ()
