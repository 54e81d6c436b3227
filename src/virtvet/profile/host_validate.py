"""`host.validation`: what virt-host-validate asks of a host, each fact with the answer it must have.

`qemu: true` and `lxc: true` ask for everything that `virt-host-validate qemu` and `lxc` look at, what they would only
warn of included. Beside that every fact can be stated by itself: true (must be there), false (must not be there), any
(not asked, whatever `qemu` and `lxc` say). What is not stated is not checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from virtvet.profile.base import Wants

Want = bool | Literal["any"]
"""true: must be there; false: must not be there; any: not asked."""


class Controllers(Wants):
    """cgroup controllers that libvirt can use, by their cgroup v1 names (`io` of cgroup v2 is `blkio`)."""

    cpu: Want | None = None
    cpuacct: Want | None = None
    cpuset: Want | None = None
    memory: Want | None = None
    devices: Want | None = None
    blkio: Want | None = None
    freezer: Want | None = None


class Namespaces(Wants):
    """Kinds of Linux namespaces that containers can be given."""

    ipc: Want | None = None
    mnt: Want | None = None
    pid: Want | None = None
    uts: Want | None = None
    net: Want | None = None
    user: Want | None = None


class HostValidate(Wants):
    """What virt-host-validate checks, each with the answer it must have."""

    qemu: bool = False
    """Everything `virt-host-validate qemu` looks at."""
    lxc: bool = False
    """Everything `virt-host-validate lxc` looks at."""

    hardware_virtualization: Want | None = None
    """The CPUs offer vmx, svm or (s390x) sie."""
    kvm: Want | None = None
    """/dev/kvm is there."""
    kvm_accessible: Want | None = None
    """The account that QEMU runs as may open /dev/kvm."""
    kvm_hv: Want | None = None
    """The module kvm_hv is loaded (ppc64 only)."""
    vhost_net: Want | None = None
    """/dev/vhost-net is there."""
    tun: Want | None = None
    """/dev/net/tun is there."""
    iommu: Want | None = None
    """The firmware describes an IOMMU, or the kernel drives one."""
    iommu_enabled: Want | None = None
    """The kernel uses the IOMMU: there are IOMMU groups."""
    secure_guest: Want | None = None
    """Guests can be encrypted: AMD SEV, Intel TDX or IBM Secure Execution."""
    sev_es: Want | None = None
    """AMD SEV-ES is on. Not part of `qemu: true`."""
    sev_snp: Want | None = None
    """AMD SEV-SNP is on. Not part of `qemu: true`."""
    kernel: Want | None = None
    """Linux 2.6.26 or newer."""
    fuse: Want | None = None
    """/sys/fs/fuse/connections is there."""
    controllers: Controllers = Field(default_factory=Controllers)
    namespaces: Namespaces = Field(default_factory=Namespaces)

    def want(self, fact: str) -> bool | None:
        """Whether a fact must hold; None when it is not asked. `fact`: "kvm", "controllers.cpu", "namespaces.user"."""
        group, _, name = fact.rpartition(".")
        stated = getattr(getattr(self, group) if group else self, name)
        if stated is None:
            return True if fact in self._everything() else None
        return None if stated == "any" else stated

    def _everything(self) -> Iterable[str]:
        return (*(QEMU if self.qemu else ()), *(LXC if self.lxc else ()))


_BOTH = tuple(f"controllers.{name}" for name in ("cpu", "cpuacct", "cpuset", "memory", "devices", "blkio"))

QEMU = (
    "hardware_virtualization",
    "kvm",
    "kvm_accessible",
    "kvm_hv",
    "vhost_net",
    "tun",
    *_BOTH,
    "iommu",
    "iommu_enabled",
    "secure_guest",
)
"""The facts of tools/virt-host-validate-qemu.c."""
LXC = ("kernel", *(f"namespaces.{name}" for name in Namespaces.model_fields), *_BOTH, "controllers.freezer", "fuse")
"""The facts of tools/virt-host-validate-lxc.c."""
