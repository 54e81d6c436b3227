"""The programs of QEMU that the gate runs."""

from __future__ import annotations

import shutil

from virtvet.errors import BadInput

PACKAGE = {"qemu-img": "qemu-utils", "qemu-system-x86_64": "qemu-system-x86"}
"""Debian's packages."""


def path_of(program: str) -> str:
    """Where it is. Raises BadInput."""
    if found := shutil.which(program):
        return found
    raise BadInput.one(f"{program} is not installed here", f"apt-get install {PACKAGE[program]}")
