"""Faults of host.memory on the image hosts."""

from __future__ import annotations

from tests.lab.faults import Fault

_POOL = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
_SYSCTL = "/etc/sysctl.d/lab-memory.conf"
_TMPFILES = "/etc/tmpfiles.d/lab-memory.conf"
_THP = "/sys/kernel/mm/transparent_hugepage"
_GRUB = "/boot/grub/grub.cfg"
_ZRAM = "/etc/systemd/zram-generator.conf"

FAULTS: tuple[Fault, ...] = (
    Fault(
        name="huge pages are given back to the system",
        on="hv3",
        breaks=f"echo 12 > {_POOL}",
        restores=f"echo 16 > {_POOL}",
        departs={"HOST-MEM-1 2 MiB": "actual", "HOST-MEM-2 2 MiB node 0": "actual"},
    ),
    Fault(
        name="the next boot keeps fewer huge pages",
        on="hv3",
        breaks=f"sed -i s/16/12/ {_SYSCTL}",
        restores=f"sed -i s/12/16/ {_SYSCTL}",
        departs={"HOST-MEM-1 2 MiB": "config"},
    ),
    Fault(
        name="somebody has taken the huge pages",
        on="hv4",
        breaks="free=$(cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages); "
        "fallocate -l $((2 * free - 2))M /dev/hugepages/taken",
        restores="rm /dev/hugepages/taken",
        departs={"HOST-MEM-3 2 MiB": "actual"},
    ),
    Fault(
        name="libvirt looks for huge pages where there are none",
        on="hv4",
        breaks="cp -p /etc/libvirt/qemu.conf /run/qemu.conf.kept; "
        "echo 'hugetlbfs_mount = \"/mnt/huge\"' >> /etc/libvirt/qemu.conf",
        restores="cp -p /run/qemu.conf.kept /etc/libvirt/qemu.conf",
        departs={"HOST-MEM-4 2 MiB": "actual"},
    ),
    Fault(
        name="the next boot's huge pages have another size, and sysctl.d counts those",
        on="hv3",
        breaks=f"sed -i.kept 's/ iommu=pt/ iommu=pt default_hugepagesz=1G/' {_GRUB}",
        restores=f"mv {_GRUB}.kept {_GRUB}",
        departs={"HOST-MEM-5": "config", "HOST-MEM-1 2 MiB": "config"},
    ),
    Fault(
        name="the kernel's huge pages have another size (forged)",
        on="hv4",
        breaks="sed 's/^Hugepagesize:.*/Hugepagesize:    1048576 kB/' /proc/meminfo > /run/meminfo; "
        "mount --bind /run/meminfo /proc/meminfo",
        restores="umount /proc/meminfo; rm /run/meminfo",
        departs={"HOST-MEM-5": "actual"},
    ),
    Fault(
        name="KSM merges pages",
        on="hv3",
        breaks="echo 1 > /sys/kernel/mm/ksm/run",
        restores="echo 2 > /sys/kernel/mm/ksm/run; echo 0 > /sys/kernel/mm/ksm/run",
        departs={"HOST-MEM-6": "actual"},
    ),
    Fault(
        name="the next boot starts KSM, and has no transparent huge pages",
        on="hv4",
        breaks=f"sed -i.kept 's/madvise/never/; /ksm/s/0$/1/' {_TMPFILES}",
        restores=f"mv {_TMPFILES}.kept {_TMPFILES}",
        departs={"HOST-MEM-6": "config", "HOST-MEM-7 enabled": "config"},
    ),
    Fault(
        name="transparent huge pages are for everybody, and everybody waits for them",
        on="hv3",
        breaks=f"echo always > {_THP}/enabled; echo always > {_THP}/defrag",
        restores=f"echo madvise > {_THP}/enabled; echo madvise > {_THP}/defrag",
        departs={"HOST-MEM-7 enabled": "actual", "HOST-MEM-7 defrag": "actual"},
    ),
    Fault(
        name="the host swaps, until the next boot",
        on="hv4",
        breaks="dd if=/dev/zero of=/swapped bs=1M count=4 2>/dev/null; chmod 600 /swapped; mkswap -q /swapped; "
        "swapon /swapped",
        restores="swapoff /swapped; rm /swapped",
        departs={"HOST-MEM-8": "actual"},
    ),
    Fault(
        name="the host swaps from the next boot on",
        on="hv4",
        breaks="echo '/dev/vdz none swap sw 0 0' >>/etc/fstab",
        restores="sed -i /vdz/d /etc/fstab",
        departs={"HOST-MEM-8": "config"},
    ),
    Fault(
        name="the next boot swaps into compressed memory",
        on="hv4",
        breaks=f"echo '[zram0]' >{_ZRAM}",
        restores=f"rm {_ZRAM}",
        departs={"HOST-MEM-8": "config"},
    ),
)
