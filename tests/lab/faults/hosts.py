"""What virt-host-validate looks at, taken away from a host inside its own mount namespace."""

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
)
