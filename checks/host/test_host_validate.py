"""What virt-host-validate checks, one control for each of its lines, and each with the answer that the profile names.

A false in the profile makes the same control demand that the fact does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from virtvet.check import Case, Control, Severity, check
from virtvet.probes import host_validate, iommu, kernel
from virtvet.profile.host_validate import Controllers, Namespaces
from virtvet.target import HostTarget

TOOL = "https://libvirt.org/manpages/virt-host-validate.html"

HARDWARE = Control(
    id="HOST-KVM-1",
    title="The CPUs offer hardware virtualization",
    area="validation",
    severity=Severity.CRITICAL,
    requirement="R33",
    rationale="Without it guests run on emulated CPUs: many times slower, and outside KVM's isolation.",
    hint="grep -Ec '^flags.*(vmx|svm)' /proc/cpuinfo   # 0: turn on VT-x or AMD-V (SVM) in the firmware of {host}",
    references=(
        TOOL,
        "https://docs.kernel.org/virt/kvm/index.html",
    ),
)
KVM = Control(
    id="HOST-KVM-2",
    title="/dev/kvm is there",
    area="validation",
    severity=Severity.CRITICAL,
    requirement="R33",
    rationale="QEMU reaches KVM through this device; without it guests are emulated.",
    hint="modprobe kvm_intel || modprobe kvm_amd; ls -l /dev/kvm",
    references=(
        TOOL,
        "https://docs.kernel.org/virt/kvm/api.html",
    ),
)
KVM_ACCESS = Control(
    id="HOST-KVM-3",
    title="The account that QEMU runs as may open /dev/kvm",
    area="validation",
    severity=Severity.CRITICAL,
    requirement="R33",
    rationale="virt-host-validate asks for its own caller, mostly root; what counts is the account of QEMU.",
    hint="ls -l /dev/kvm; chgrp kvm /dev/kvm; chmod 0660 /dev/kvm   # and QEMU's user (qemu.conf: user, "
    "group) in group kvm",
    references=(
        TOOL,
        "https://libvirt.org/drvqemu.html#posix-users-groups",
    ),
)
KVM_HV = Control(
    id="HOST-KVM-4",
    title="The module kvm_hv is loaded (POWER)",
    area="validation",
    severity=Severity.MEDIUM,
    requirement="R33",
    rationale="On ppc64 kvm_hv uses the hardware; kvm_pr emulates privileged instructions.",
    hint="modprobe kvm_hv",
    references=(TOOL,),
)
VHOST_NET = Control(
    id="HOST-NET-1",
    title="/dev/vhost-net is there",
    area="validation",
    severity=Severity.MEDIUM,
    requirement="R33",
    rationale="Without vhost-net every packet of a guest passes through QEMU.",
    hint="modprobe vhost_net; ls -l /dev/vhost-net",
    references=(
        TOOL,
        "https://libvirt.org/formatdomain.html#setting-nic-driver-specific-options",
    ),
)
TUN = Control(
    id="HOST-NET-2",
    title="/dev/net/tun is there",
    area="validation",
    severity=Severity.HIGH,
    requirement="R33",
    rationale="Without it no guest can be given a tap device, so no network.",
    hint="modprobe tun; ls -l /dev/net/tun",
    references=(
        TOOL,
        "https://docs.kernel.org/networking/tuntap.html",
    ),
)
CONTROLLER = Control(
    id="HOST-CGROUP-1",
    title="libvirt finds the cgroup controller",
    area="validation",
    severity=Severity.MEDIUM,
    requirement="R33",
    rationale="A limit whose controller is missing cannot be set: libvirt refuses the guest, or leaves the limit out.",
    hint="cat /proc/self/cgroup /sys/fs/cgroup/cgroup.controllers; mount -t cgroup -o {controller} cgroup"
    " /sys/fs/cgroup/{controller}   # cgroup v1",
    references=(
        TOOL,
        "https://libvirt.org/cgroups.html",
        "https://docs.kernel.org/admin-guide/cgroup-v2.html",
    ),
)
IOMMU = Control(
    id="HOST-IOMMU-1",
    title="The host has an IOMMU",
    area="validation",
    severity=Severity.MEDIUM,
    requirement="R33",
    rationale="Without one no PCI device can be given to a guest safely.",
    hint="ls /sys/firmware/acpi/tables /sys/class/iommu   # neither DMAR nor IVRS: turn on VT-d or AMD-Vi (and, of a "
    "virtual machine, its IOMMU) in the firmware setup of {host}",
    references=(
        TOOL,
        "https://docs.kernel.org/driver-api/vfio.html",
    ),
)
IOMMU_ON = Control(
    id="HOST-IOMMU-2",
    title="The kernel uses the IOMMU",
    area="validation",
    severity=Severity.MEDIUM,
    requirement="R33",
    rationale="An IOMMU that is off protects nothing, and vfio refuses to bind devices.",
    hint=iommu.ON_HINT,
    references=(
        TOOL,
        "https://docs.kernel.org/admin-guide/kernel-parameters.html",
    ),
)
SECURE = Control(
    id="HOST-SECURE-1",
    title="KVM can run encrypted guests",
    area="validation",
    severity=Severity.LOW,
    requirement="R33",
    rationale="AMD SEV, Intel TDX and IBM Secure Execution keep a guest's memory from its host.",
    hint="cat /proc/cmdline   # turn on SEV or TDX in the firmware of {host}, and add kvm_amd.sev=1 or "
    "kvm_intel.tdx=1 (s390x: prot_virt=1)",
    references=(
        TOOL,
        "https://libvirt.org/kbase/launch_security_sev.html",
        "https://libvirt.org/kbase/s390_protected_virt.html",
    ),
)
SEV_ES = Control(
    id="HOST-SECURE-2",
    title="AMD SEV-ES is on",
    area="validation",
    severity=Severity.LOW,
    requirement="R33",
    rationale="SEV-ES encrypts a guest's registers, too.",
    hint="modprobe -r kvm_amd; modprobe kvm_amd sev=1 sev_es=1   # with SEV-ES on in the firmware of {host}",
    references=(
        TOOL,
        "https://docs.kernel.org/virt/kvm/x86/amd-memory-encryption.html",
    ),
)
SEV_SNP = Control(
    id="HOST-SECURE-3",
    title="AMD SEV-SNP is on",
    area="validation",
    severity=Severity.LOW,
    requirement="R33",
    rationale="SEV-SNP keeps the host from remapping and replaying a guest's memory.",
    hint="modprobe -r kvm_amd; modprobe kvm_amd sev=1 sev_snp=1   # with SEV-SNP on in the firmware of {host}",
    references=(
        TOOL,
        "https://docs.kernel.org/virt/kvm/x86/amd-memory-encryption.html",
    ),
)
LINUX = Control(
    id="HOST-LXC-1",
    title="The kernel is Linux 2.6.26 or newer",
    area="validation",
    severity=Severity.HIGH,
    requirement="R33",
    rationale="Older kernels have not the namespaces that containers need.",
    hint="uname -sr   # install a newer kernel",
    references=(TOOL,),
)
NAMESPACE = Control(
    id="HOST-LXC-2",
    title="The kernel has the namespace, and lets it be made",
    area="validation",
    severity=Severity.HIGH,
    requirement="R33",
    rationale="A container is made of namespaces.",
    hint="ls -l /proc/self/ns; sysctl user.max_{namespace}_namespaces",
    references=(
        TOOL,
        "https://man7.org/linux/man-pages/man7/namespaces.7.html",
    ),
)
FUSE = Control(
    id="HOST-LXC-3",
    title="FUSE is there",
    area="validation",
    severity=Severity.HIGH,
    requirement="R33",
    rationale="libvirt shows a container its own /proc/meminfo through FUSE.",
    hint="modprobe fuse; ls -d /sys/fs/fuse/connections",
    references=(TOOL,),
)


def _fact(fact: str) -> Callable[[HostTarget], Iterable[Case]]:
    """One case, when the profile asks for this fact."""

    def cases(host: HostTarget) -> Iterable[Case]:
        validation = host.wants.validation
        if validation and (want := validation.want(fact)) is not None:
            yield Case(fact, want)

    return cases


def _iommu_enabled(host: HostTarget) -> Iterable[Case]:
    return (replace(case, expected=iommu.Is(case.expected)) for case in _fact("iommu_enabled")(host))


def _controllers(host: HostTarget) -> Iterable[Case]:
    return _family(host, "controllers", "controller", Controllers.model_fields)


def _namespaces(host: HostTarget) -> Iterable[Case]:
    return _family(host, "namespaces", "namespace", Namespaces.model_fields)


def _family(host: HostTarget, group: str, word: str, names: Iterable[str]) -> Iterable[Case]:
    """One case for each member of a group of facts that the profile asks for."""
    validation = host.wants.validation
    for name in names:
        if validation and (want := validation.want(f"{group}.{name}")) is not None:
            yield Case(name, want, (name,), words={word: name})


@check(
    HARDWARE,
    cases=_fact("hardware_virtualization"),
    sources=host_validate.CPU_SOURCES,
    actual=host_validate.hardware_virtualization,
)
def test_cpus_offer_hardware_virtualization(case: Case, observed: object) -> None:
    """The flag also vanishes when the host is itself a guest without nesting."""
    assert observed == case.expected


@check(KVM, cases=_fact("kvm"), sources=(host_validate.KVM,), actual=host_validate.kvm)
def test_kvm_device_exists(case: Case, observed: object) -> None:
    """A regular file of that name does not count."""
    assert observed == case.expected


@check(
    KVM_ACCESS,
    cases=_fact("kvm_accessible"),
    sources=host_validate.KVM_ACCESS_SOURCES,
    actual=host_validate.kvm_accessible,
)
def test_qemu_may_open_kvm(case: Case, observed: object) -> None:
    """Judged by the permission bits; an ACL can give more."""
    assert observed == case.expected


@check(KVM_HV, cases=_fact("kvm_hv"), sources=host_validate.KVM_HV_SOURCES, actual=host_validate.kvm_hv)
def test_kvm_hv_is_loaded(case: Case, observed: object) -> None:
    """Skipped on other architectures."""
    assert observed == case.expected


@check(VHOST_NET, cases=_fact("vhost_net"), sources=(host_validate.VHOST_NET,), actual=host_validate.vhost_net)
def test_vhost_net_device_exists(case: Case, observed: object) -> None:
    """A regular file of that name does not count."""
    assert observed == case.expected


@check(TUN, cases=_fact("tun"), sources=(host_validate.TUN,), actual=host_validate.tun)
def test_tun_device_exists(case: Case, observed: object) -> None:
    """A regular file of that name does not count."""
    assert observed == case.expected


@check(CONTROLLER, cases=_controllers, sources=host_validate.CONTROLLER_SOURCES, actual=host_validate.controller)
def test_libvirt_finds_the_controller(case: Case, observed: object) -> None:
    """One case a controller; containers need freezer besides, which cgroup v2 does not offer libvirt."""
    assert observed == case.expected


@check(IOMMU, cases=_fact("iommu"), sources=iommu.FOUND_SOURCES, actual=iommu.found)
def test_host_has_an_iommu(case: Case, observed: object) -> None:
    """virt-host-validate looks for the one table of the CPU's vendor; ours for any, and for what the kernel drives."""
    assert observed == case.expected


@check(IOMMU_ON, cases=_iommu_enabled, sources=iommu.ON_SOURCES, actual=iommu.on)
def test_kernel_uses_the_iommu(case: Case, observed: object) -> None:
    """Groups tell the truth: kernels turn the IOMMU on without a word on the command line."""
    assert observed == case.expected


@check(SECURE, cases=_fact("secure_guest"), sources=host_validate.SECURE_SOURCES, actual=host_validate.secure_guest)
def test_kvm_can_run_encrypted_guests(case: Case, observed: object) -> None:
    """Any of the three."""
    assert observed == case.expected


@check(SEV_ES, cases=_fact("sev_es"), sources=(host_validate.SEV_ES,), actual=host_validate.sev_es)
def test_sev_es_is_on(case: Case, observed: object) -> None:
    """Newer versions of virt-host-validate ask CPUID; ours what KVM made of it."""
    assert observed == case.expected


@check(SEV_SNP, cases=_fact("sev_snp"), sources=(host_validate.SEV_SNP,), actual=host_validate.sev_snp)
def test_sev_snp_is_on(case: Case, observed: object) -> None:
    """Newer versions of virt-host-validate ask CPUID; ours what KVM made of it."""
    assert observed == case.expected


@check(LINUX, cases=_fact("kernel"), sources=(kernel.UNAME,), actual=host_validate.linux)
def test_kernel_is_new_enough(case: Case, observed: object) -> None:
    """As virt-host-validate lxc."""
    assert observed == case.expected


@check(NAMESPACE, cases=_namespaces, sources=host_validate.NAMESPACE_SOURCES, actual=host_validate.namespace)
def test_namespace_can_be_made(case: Case, observed: object) -> None:
    """virt-host-validate does not see that a limit of 0 forbids them."""
    assert observed == case.expected


@check(FUSE, cases=_fact("fuse"), sources=(host_validate.FUSE,), actual=host_validate.fuse)
def test_fuse_is_there(case: Case, observed: object) -> None:
    """As virt-host-validate lxc."""
    assert observed == case.expected
