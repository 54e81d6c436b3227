"""A guest without network: what is wrong inside, its agent tells."""

from __future__ import annotations

from tests.lab.faults import Fault
from tests.lab.faults.shares import MEND

GUEST = "hv2/mute2"
BALLOON = "$(cat /run/balloon)"
DRIVER = "/sys/bus/pci/drivers/virtio-pci"

FAULTS = (
    Fault(
        "the share is not mounted in a guest without network",
        GUEST,
        "umount /mnt/share",
        MEND,
        {"SHARE-MOUNT-1 mute2/hostshare": "guest"},
    ),
    Fault(
        "a guest without network leaves its balloon without a driver",
        GUEST,
        "for d in /sys/bus/pci/devices/*; do [ $(cat $d/device) != 0x1002 ] || echo ${d##*/} >/run/balloon; done; "
        f"echo {BALLOON} >{DRIVER}/unbind",
        f"echo {BALLOON} >{DRIVER}/bind; rm /run/balloon",
        {"GUEST-PCI-2 mute2/1af4:1002": "guest", "MEM-BALLOON-1 mute2": "guest"},
    ),
    Fault(
        "a vCPU plugged into a guest without network would stay offline",
        GUEST,
        "mv /etc/mdev.conf /run/mdev.conf; touch /etc/mdev.conf",
        "mv /run/mdev.conf /etc/mdev.conf",
        {"CPU-VCPU-6 mute2": "guest"},
    ),
)
