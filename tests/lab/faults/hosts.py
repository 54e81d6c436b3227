"""What virt-host-validate looks at, taken away from a host inside its own mount namespace.

The machine under the lab may lack the hardware: `EQUIP` shows the host hardware of our making, with which `EVERYTHING`
holds, and `OF_HARDWARE` takes it away piece by piece.
"""

from __future__ import annotations

from tests.lab.faults import Fault

FAULTS = (
    Fault(
        name="there is no /dev/net/tun",
        on="hv1",
        breaks="mount -t tmpfs tmpfs /dev/net",
        restores="umount /dev/net",
        departs={"HOST-NET-2": "actual"},
    ),
    Fault(
        name="a file stands where /dev/net/tun was",
        on="hv1",
        breaks="mount --bind /etc/hostname /dev/net/tun",
        restores="umount /dev/net/tun",
        departs={"HOST-NET-2": "actual"},
    ),
    Fault(
        name="FUSE is not there",
        on="hv1",
        breaks="mount -t tmpfs tmpfs /sys/fs/fuse",
        restores="umount /sys/fs/fuse",
        departs={"HOST-LXC-3": "actual"},
    ),
    Fault(
        name="no user namespace may be made",
        on="hv1",
        breaks="echo 0 >/run/none; mount --bind /run/none /proc/sys/user/max_user_namespaces",
        restores="umount /proc/sys/user/max_user_namespaces; rm /run/none",
        departs={"HOST-LXC-2 user": "actual"},
    ),
    Fault(
        name="a cgroup controller is not mounted",
        on="hv2",
        breaks="umount -l /sys/fs/cgroup/freezer",
        restores="mount -t cgroup -o freezer cgroup /sys/fs/cgroup/freezer",
        departs={"HOST-CGROUP-1 freezer": "actual", "PART-EXIST-1": "actual"},
    ),
    Fault(
        name="the kernel is Linux 2.6.18",
        on="hv1",
        breaks="printf '#!/bin/sh\\necho Linux 2.6.18\\n' >/run/uname; chmod 755 /run/uname; "
        "mount --bind /run/uname $(command -v uname)",
        restores="umount $(command -v uname); rm /run/uname",
        departs={"HOST-LXC-1": "actual"},
    ),
)

EVERYTHING = (
    *("hardware_virtualization", "kvm", "kvm_accessible", "kvm_hv", "vhost_net"),
    *("iommu", "iommu_enabled", "secure_guest", "sev_es", "sev_snp"),
)
"""Facts of the profile; kvm_hv is asked of POWER only."""

_PARAMETERS = "/sys/module/kvm_amd/parameters"
_TABLES, _GROUPS, _UNITS = "/sys/firmware/acpi/tables", "/sys/kernel/iommu_groups", "/sys/class/iommu"
EQUIP = (
    "mkdir /run/hardware; mount -t tmpfs tmpfs /run/hardware; cd /run/hardware; "
    "sed 's/ vmx\\b//g; s/ svm\\b//g; s/^flags.*/& svm/' /proc/cpuinfo >cpuinfo; sed 's/ svm$//' cpuinfo >without; "
    "mount --bind cpuinfo /proc/cpuinfo; mkdir dev work; mount -t overlay "
    "-o lowerdir=/dev,upperdir=/run/hardware/dev,workdir=/run/hardware/work overlay /dev; "
    "rm -f /dev/kvm /dev/vhost-net /dev/sev; "
    "mknod -m 0600 /dev/kvm c 10 232; mknod /dev/vhost-net c 10 238; mknod /dev/sev c 10 124; "
    f"for folder in {_TABLES} {_GROUPS} {_UNITS} /sys/module; do mount -t tmpfs tmpfs $folder; done; "
    f"touch {_TABLES}/IVRS; mkdir {_GROUPS}/0 {_UNITS}/ivhd0; "
    f"mkdir -p {_PARAMETERS}; for name in sev sev_es sev_snp; do echo Y >{_PARAMETERS}/$name; done"
)
UNEQUIP = f"umount -l {_TABLES} {_GROUPS} {_UNITS} /sys/module /dev /proc/cpuinfo /run/hardware; rmdir /run/hardware"


def _off(name: str, parameter: str, control: str) -> Fault:
    file = f"{_PARAMETERS}/{parameter}"
    return Fault(name, "hv1", f"echo N >{file}", f"echo Y >{file}", {control: "actual"})


OF_HARDWARE = (
    Fault(
        name="the CPUs offer no hardware virtualization",
        on="hv1",
        breaks="mount --bind /run/hardware/without /proc/cpuinfo",
        restores="umount /proc/cpuinfo",
        departs={"HOST-KVM-1": "actual"},
    ),
    Fault(
        name="there is no /dev/kvm",
        on="hv1",
        breaks="rm /dev/kvm",
        restores="mknod -m 0600 /dev/kvm c 10 232",
        departs={"HOST-KVM-2": "actual", "HOST-KVM-3": "actual"},
    ),
    Fault(
        name="/dev/kvm is another account's",
        on="hv1",
        breaks="chown 64055 /dev/kvm",
        restores="chown root /dev/kvm",
        departs={"HOST-KVM-3": "actual"},
    ),
    Fault(
        name="a POWER host without kvm_hv",
        on="hv1",
        breaks="cp $(command -v uname) /run/uname.real; "
        'printf \'#!/bin/sh\\n[ "$1" = -m ] && echo ppc64le || /run/uname.real "$@"\\n\' >/run/uname; '
        "chmod 755 /run/uname; mount --bind /run/uname $(command -v uname)",
        restores="umount $(command -v uname); rm /run/uname /run/uname.real",
        departs={"HOST-KVM-4": "actual"},
    ),
    Fault(
        name="there is no /dev/vhost-net",
        on="hv1",
        breaks="rm /dev/vhost-net",
        restores="mknod /dev/vhost-net c 10 238",
        departs={"HOST-NET-1": "actual"},
    ),
    Fault(
        name="neither firmware nor kernel knows of an IOMMU",
        on="hv1",
        breaks=f"rm {_TABLES}/IVRS; rmdir {_GROUPS}/0 {_UNITS}/ivhd0",
        restores=f"touch {_TABLES}/IVRS; mkdir {_GROUPS}/0 {_UNITS}/ivhd0",
        departs={"HOST-IOMMU-1": "actual", "HOST-IOMMU-2": "actual"},
    ),
    Fault(
        name="the kernel leaves the IOMMU off",
        on="hv1",
        breaks=f"rmdir {_GROUPS}/0",
        restores=f"mkdir {_GROUPS}/0",
        departs={"HOST-IOMMU-2": "actual"},
    ),
    _off("KVM encrypts no guests", "sev", "HOST-SECURE-1"),
    _off("KVM leaves SEV-ES off", "sev_es", "HOST-SECURE-2"),
    _off("KVM leaves SEV-SNP off", "sev_snp", "HOST-SECURE-3"),
)
