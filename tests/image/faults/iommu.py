"""Faults of host.iommu on the image hosts.

What a kernel does not let go of is hidden by a mount, or breaks at a boot (boots.py).
"""

from __future__ import annotations

from tests.lab.faults import Fault

GRUB = "/boot/grub/grub.cfg"
GROUPS = "/sys/kernel/iommu_groups"
SETTINGS = "/etc/default/grub"
OPTIONS = "/etc/modprobe.d/unsafe.conf"
RNG = "0000:00:06.0"
"""A device that nothing needs, alone in its group."""
UNUSED = f"group=$(readlink -f /sys/bus/pci/devices/{RNG}/iommu_group); driver=/sys/bus/pci/drivers/virtio-pci"


def _next_boot(name: str, file: str, edit: str, departs: dict[str, str]) -> Fault:
    return Fault(
        name=name,
        on="hv3",
        breaks=f"cp -a {file} /run/was; sed -i '{edit}' {file}",
        restores=f"cp -a /run/was {file}; rm /run/was",
        departs=departs,
    )


def _of_type(kind: str) -> str:
    """The kernel changes a group's type while its device has no driver."""
    return f"{UNUSED}; echo {RNG} >$driver/unbind; echo {kind} >$group/type; echo {RNG} >$driver/bind"


FAULTS: tuple[Fault, ...] = (
    Fault(
        name="all IOMMU groups are VFIO's own, for devices without an IOMMU (forged)",
        on="hv3",
        breaks=f"cp -a {GROUPS} /run/groups; for group in /run/groups/*; do echo vfio-noiommu >$group/name; done; "
        f"mount --bind /run/groups {GROUPS}",
        restores=f"umount {GROUPS}; rm -r /run/groups",
        departs={"HOST-IOMMU-2": "actual", "HOST-IOMMU-3": "actual", "HOST-IOMMU-7": "actual"},
    ),
    Fault(
        name="the IOMMU is another than stated (forged)",
        on="hv3",
        breaks="mount -t tmpfs tmpfs /sys/class/iommu; mkdir /sys/class/iommu/ivhd0",
        restores="umount /sys/class/iommu",
        departs={"HOST-IOMMU-4": "actual"},
    ),
    Fault(
        name="a device of the host is translated",
        on="hv3",
        breaks=_of_type("DMA"),
        restores=_of_type("identity"),
        departs={"HOST-IOMMU-6": "actual"},
    ),
    _next_boot(
        "the IOMMU is off after the next boot", GRUB, "s/intel_iommu=on/intel_iommu=off/", {"HOST-IOMMU-3": "config"}
    ),
    _next_boot(
        "the next boot leaves interrupts as they are",
        GRUB,
        "s/ quiet$/ quiet intremap=off/",
        {"HOST-IOMMU-5": "config"},
    ),
    _next_boot(
        "after the next update of the boot loader devices are translated",
        SETTINGS,
        "s/iommu=pt/iommu=nopt/",
        {"HOST-IOMMU-6": "config"},
    ),
    Fault(
        name="VFIO takes devices whose interrupts nothing remaps",
        on="hv3",
        breaks="echo Y >/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
        restores="echo N >/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
        departs={"HOST-VFIO-1": "actual"},
    ),
    Fault(
        name="VFIO will take such devices when it is loaded anew",
        on="hv3",
        breaks=f"echo options vfio_iommu_type1 allow_unsafe_interrupts=1 >{OPTIONS}",
        restores=f"rm {OPTIONS}",
        departs={"HOST-VFIO-1": "config"},
    ),
    Fault(
        name="/dev/vfio/vfio is root's alone",
        on="hv3",
        breaks="chmod 0600 /dev/vfio/vfio",
        restores="chmod 0666 /dev/vfio/vfio",
        departs={"HOST-VFIO-2": "actual"},
    ),
)
