"""Image hosts: clones of a Debian 12 hypervisor under QEMU, with systemd, cgroup v2 and an emulated VT-d."""

from lab.image.core import ImageLab, boot, fresh
from lab.image.machine import ImageHost, NestedGuest

__all__ = ["ImageHost", "ImageLab", "NestedGuest", "boot", "fresh"]
