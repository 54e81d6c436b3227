"""The image hosts as a whole: up, down, attach."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import TracebackType


class ImageHost:
    """A clone of the warm image, reached by SSH."""

    def sh(self, script: str, *, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a shell script in the host as root."""
        raise NotImplementedError


class NestedGuest:
    """A guest inside an image host, reached by SSH through it."""

    def sh(self, script: str, *, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a shell script in the guest as root."""
        raise NotImplementedError


class ImageLab:
    """Image hosts by name: ``with ImageLab("hv3", "hv4") as lab: lab.hosts["hv3"].sh("virsh list")``."""

    inventory: Path
    """For virtvet: every host and guest, and how each is reached."""

    def machine(self, where: str) -> ImageHost | NestedGuest:
        """By ``hv3`` or ``hv3/tuned``."""
        raise NotImplementedError

    def __enter__(self) -> ImageLab:
        raise NotImplementedError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
