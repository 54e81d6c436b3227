"""The shipped profiles for any host ask what they say, and nothing else."""

from __future__ import annotations

import pytest

from virtvet import catalogue
from virtvet.inventory import from_hostspecs
from virtvet.profile.load import load_profile
from virtvet.target import HostTarget

HOST = {"HOST-REACH-1 ssh", "HOST-REACH-2 libvirt"}
BASELINE = HOST | {
    "HOST-KVM-1 hardware_virtualization",
    "HOST-KVM-2 kvm",
    "HOST-KVM-3 kvm_accessible",
    "HOST-KVM-4 kvm_hv",
    "HOST-NET-2 tun",
    *(f"HOST-CGROUP-1 {name}" for name in ("cpu", "cpuacct", "cpuset", "memory", "devices", "blkio")),
    "LISTEN-TCP-1 port 16509",
}
IOMMU = {
    "HOST-IOMMU-1 iommu",
    "HOST-IOMMU-2 iommu_enabled",
    "HOST-IOMMU-3 enabled",
    "HOST-IOMMU-5 interrupt_remapping",
    "HOST-VFIO-1 unsafe_interrupts",
    "HOST-VFIO-2 vfio_accessible",
}
IMAGE = {
    *(f"HOST-IOMMU-{one}" for one in ("3 enabled", "5 interrupt_remapping")),
    *(f"HOST-VFIO-{one}" for one in ("1 unsafe_interrupts", "2 vfio_accessible")),
    *("HOST-MOD-1 vfio_pci", "HOST-MOD-2 vfio_pci", "SERVICE-UNIT-1 libvirtd.service"),
    *("LISTEN-TLS-1 port 16514", "LISTEN-OWNER-1 port 16514", "TLS-CHAIN-1 server certificate"),
    *(f"TLS-DIR-1 /etc{folder}" for folder in ("", "/pki", "/pki/CA", "/pki/libvirt", "/pki/libvirt/private")),
    *(f"TLS-{one}-1 {role} certificate" for one in ("FILE", "USAGE", "VALID", "WEAK") for role in ("ca", "server")),
    *("TLS-KEY-1 server key", "TLS-KEY-2 server key", "TLS-NAME-1 server certificate/vm"),
    "DAEMON-START-2 libvirtd-tls.socket",
}
OPTIONS = ("trans", "version", "cache", "posixacl")
SHARED = HOST | {
    "GUEST-STATE-1 web1",
    *(f"SHARE-DIR-{one} web1/test_mount" for one in (1, 3)),
    *(f"SHARE-DIR-2 web1/test_mount/{one}" for one in ("owner", "group")),
    *(f"SHARE-DEV-{one} web1/test_mount" for one in range(1, 7)),
    *(f"SHARE-MOUNT-{one} web1/test_mount" for one in (1, 2, 4)),
    *(f"SHARE-MOUNT-3 web1/test_mount/{one}" for one in OPTIONS),
    "SHARE-BOOT-1 web1/test_mount",
    *(f"SHARE-BOOT-2 web1/test_mount/{one}" for one in (*OPTIONS, "readonly")),
}


@pytest.mark.parametrize(
    ("profile", "asked"),
    [
        ("kvm-baseline", BASELINE),
        ("passthrough", BASELINE | IOMMU),
        ("shared-folders", SHARED),
        ("hypervisor-image", BASELINE | IMAGE),
    ],
)
def test_what_a_profile_asks(profile: str, asked: set[str]) -> None:
    (access,) = from_hostspecs(["local://"]).hosts.values()
    target = HostTarget.unseen(access, load_profile(profile)).seen(["web1"])
    cases = {f"{check.control.id} {case.subject}" for check in catalogue.shipped() for case in check.cases(target)}
    assert cases == asked
