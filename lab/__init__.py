"""Real libvirt hosts on one machine: namespaces, cgroups, TLS, SSH and small guests under TCG."""

from lab.core import Lab
from lab.errors import LabError
from lab.machine import Guest, Host

__all__ = ["Guest", "Host", "Lab", "LabError"]
