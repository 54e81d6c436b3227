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
NFV = {
    "HOST-IOMMU-6 passthrough",
    *(f"ISOL-CPU-{number} {name}" for number, name in ((1, "isolcpus"), (2, "isolcpus"), (3, "nohz_full"))),
    *("ISOL-CPU-4 rcu_nocbs", "ISOL-IRQ-1 interrupts", "ISOL-IRQ-2 default", "ISOL-IRQ-3 irqbalance"),
    *("ISOL-SYSTEM-1 systemd", "ISOL-WORK-1 workqueues"),
    *(f"HOST-MEM-{number} 1 GiB" for number in (1, 4)),
    *(f"HOST-MEM-2 1 GiB node {node}" for node in (0, 1)),
    *("HOST-MEM-5 default", "HOST-MEM-6 ksm", "HOST-MEM-7 enabled", "HOST-MEM-8 swap"),
    *("HOST-CPU-1 all others", "HOST-CMDLINE-1 nmi_watchdog=0", "HOST-MOD-5 nested"),
    *(f"HOST-CMDLINE-2 {word}" for word in ("mitigations=off", "idle=poll")),
    *(f"HOST-MOD-{number} {module}" for number in (1, 2) for module in ("vfio-pci", "vhost_net")),
    *(f"HOST-SYSCTL-1 {name}" for name in ("kernel.numa_balancing", "vm.swappiness")),
    *("NEIGHBOUR-2 cores", "NEIGHBOUR-3 nodes", "SERVICE-FAILED-1 units"),
    *(
        f"SERVICE-UNIT-{number} {unit}"
        for number in (1, 2)
        for unit in ("libvirtd.socket", "ksmtuned.service", "irqbalance.service")
    ),
    *(f"HOST-QEMU-3 {key}" for key in ("max_core", "namespaces", "seccomp_sandbox")),
    *(f"QEMU-{one} nf-1" for one in ("CAP-1", "LIMIT-1", "SANDBOX-1", "SANDBOX-2", "SANDBOX-3")),
    *(f"MEM-BACK-{number} nf-1" for number in (1, 2, 3)),
    "GUEST-STATE-1 nf-1",
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
        ("nfv-host", BASELINE | IOMMU | NFV),
        ("shared-folders", SHARED),
        ("hypervisor-image", BASELINE | IMAGE),
    ],
)
def test_what_a_profile_asks(profile: str, asked: set[str]) -> None:
    (access,) = from_hostspecs(["local://"]).hosts.values()
    target = HostTarget.unseen(access, load_profile(profile)).seen(["nf-1" if profile == "nfv-host" else "web1"])
    cases = {f"{check.control.id} {case.subject}" for check in catalogue.shipped() for case in check.cases(target)}
    assert cases == asked
