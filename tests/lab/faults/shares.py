"""Shared folders: the directory on the host, the device, the mount in the guest, the guest's next boot."""

from __future__ import annotations

from tests.lab.faults import Fault
from tests.lab.faults.definitions import started, started_back

GOOD = "trans=virtio,version=9p2000.L,posixacl,cache=loose"
LINE = f"hostshare /mnt/share 9p {GOOD} 0 0"
MEND = f"umount /mnt/share 2>/dev/null || true; mount -t 9p -o {GOOD} hostshare /mnt/share"
FSTAB = f"echo '{LINE}' >/etc/fstab; sync"


def _mounted_with(options: str) -> str:
    return f"umount /mnt/share; mount -t 9p -o {options} hostshare /mnt/share"


def _stored(edit: str) -> str:
    """Change the stored domain XML of web1 alone, by sed."""
    kept = "virsh dumpxml --inactive web1 >/run/share.was; cp /run/share.was /run/share.xml"
    return f"{kept}; {edit}; virsh define /run/share.xml"


STORED_BACK = "virsh define /run/share.was; rm /run/share.xml /run/share.was"
VIRTIOFS = (
    "s|<memory |<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>&|",
    "s|<source dir='/srv/share'/>|<driver type='virtiofs'/>&|",
)
OTHER = "s|<interface |<filesystem type='mount'><source dir='/srv'/><target dir='othershare'/></filesystem>&|"
STARTED_BACK = started_back("db1")

FAULTS = (
    Fault(
        name="the share is not mounted",
        on="hv1/web1",
        breaks="umount /mnt/share",
        restores=MEND,
        departs={"SHARE-MOUNT-1 web1/hostshare": "guest"},
    ),
    Fault(
        name="another file system hides the share",
        on="hv1/web1",
        breaks="mount -t tmpfs tmpfs /mnt/share",
        restores="umount /mnt/share",
        departs={"SHARE-MOUNT-1 web1/hostshare": "guest"},
    ),
    Fault(
        name="the share is mounted with another cache mode",
        on="hv1/web1",
        breaks=_mounted_with("trans=virtio,version=9p2000.L,posixacl,cache=mmap"),
        restores=MEND,
        departs={"SHARE-MOUNT-3 web1/hostshare/cache": "guest"},
    ),
    Fault(
        name="the share is mounted without ACLs",
        on="hv1/web1",
        breaks=_mounted_with("trans=virtio,version=9p2000.L,cache=loose"),
        restores=MEND,
        departs={"SHARE-MOUNT-3 web1/hostshare/posixacl": "guest"},
    ),
    Fault(
        name="the kernel drops the ACLs of a mount with access=any",
        on="hv1/web1",
        breaks=_mounted_with(f"{GOOD},access=any"),
        restores=MEND,
        departs={"SHARE-MOUNT-3 web1/hostshare/posixacl": "guest"},
    ),
    Fault(
        name="the share is mounted with an older protocol",
        on="hv1/web1",
        breaks=_mounted_with("trans=virtio,version=9p2000.u,cache=loose"),
        restores=MEND,
        departs={
            "SHARE-MOUNT-3 web1/hostshare/version": "guest",
            "SHARE-MOUNT-3 web1/hostshare/posixacl": "guest",
        },
    ),
    Fault(
        name="the share is mounted read-only",
        on="hv1/web1",
        breaks="mount -o remount,ro /mnt/share",
        restores="mount -o remount,rw /mnt/share",
        departs={"SHARE-MOUNT-4 web1/hostshare": "guest"},
    ),
    Fault(
        name="nothing mounts the share at the next boot",
        on="hv1/db1",
        breaks="echo >/etc/fstab",
        restores=FSTAB,
        departs={"SHARE-BOOT-1 db1/hostshare": "guest"},
    ),
    Fault(
        name="the next boot leaves the share to be mounted by hand",
        on="hv1/db1",
        breaks=f"echo '{LINE}' | sed s/cache/noauto,cache/ >/etc/fstab",
        restores=FSTAB,
        departs={"SHARE-BOOT-1 db1/hostshare": "guest"},
    ),
    Fault(
        name="the next boot mounts another tag",
        on="hv1/db1",
        breaks=f"echo '{LINE}' | sed s/hostshare/othershare/ >/etc/fstab",
        restores=FSTAB,
        departs={"SHARE-BOOT-1 db1/hostshare": "guest"},
    ),
    Fault(
        name="the next boot mounts the share with another cache mode, read-only",
        on="hv1/db1",
        breaks=f"echo '{LINE}' | sed s/cache=loose/cache=none,ro/ >/etc/fstab",
        restores=FSTAB,
        departs={"SHARE-BOOT-2 db1/hostshare/cache": "guest", "SHARE-BOOT-2 db1/hostshare/readonly": "guest"},
    ),
    Fault(
        name="a mount unit counts for nothing where systemd does not run",
        on="hv1/db1",
        breaks="echo >/etc/fstab; mkdir -p /etc/systemd/system/multi-user.target.wants; "
        "printf '[Mount]\\nWhat=hostshare\\nWhere=/mnt/share\\nType=9p\\nOptions=%s\\n' "
        f"{GOOD} >/etc/systemd/system/multi-user.target.wants/mnt-share.mount",
        restores=f"rm -r /etc/systemd; {FSTAB}",
        departs={"SHARE-BOOT-1 db1/hostshare": "guest"},
    ),
    Fault(
        name="the shared directory has another mode",
        on="hv1",
        breaks="chmod 1777 /srv/share",
        restores="chmod 0755 /srv/share",
        departs={"SHARE-DIR-3": "actual"},
    ),
    Fault(
        name="the shared directory has another owner",
        on="hv1",
        breaks="chown 65534 /srv/share",
        restores="chown root /srv/share",
        departs={"SHARE-DIR-2 web1/hostshare/owner": "actual", "SHARE-DIR-2 db1/hostshare/owner": "actual"},
    ),
    Fault(
        name="the shared directory has another group",
        on="hv1",
        breaks="chgrp 65534 /srv/share",
        restores="chgrp root /srv/share",
        departs={"SHARE-DIR-2 web1/hostshare/group": "actual", "SHARE-DIR-2 db1/hostshare/group": "actual"},
    ),
    Fault(
        name="the shared directory was moved away",
        on="hv1",
        breaks="mv /srv/share /srv/share.away",
        restores="mv /srv/share.away /srv/share",
        departs={"SHARE-DIR-1": "actual"},
    ),
    Fault(
        name="a file stands where the shared directory was",
        on="hv1",
        breaks="mv /srv/share /srv/share.away; touch /srv/share; chmod 755 /srv/share",
        restores="rm /srv/share; mv /srv/share.away /srv/share",
        departs={"SHARE-DIR-1": "actual"},
    ),
    Fault(
        name="the next start shares another directory",
        on="hv1",
        breaks=_stored("sed -i \"s|<source dir='/srv/share'/>|<source dir='/srv'/>|\" /run/share.xml"),
        restores=STORED_BACK,
        departs={"SHARE-DEV-1 web1/hostshare": "config"},
    ),
    Fault(
        name="the next start has no share",
        on="hv1",
        breaks=_stored("sed -i '/<filesystem/,/<.filesystem/d' /run/share.xml"),
        restores=STORED_BACK,
        departs={"SHARE-DEV-1 web1/hostshare": "config"},
    ),
    Fault(
        name="the next start offers the share by another tag",
        on="hv1",
        breaks=_stored("sed -i \"s|<target dir='hostshare'/>|<target dir='othershare'/>|\" /run/share.xml"),
        restores=STORED_BACK,
        departs={"SHARE-DEV-1 web1/hostshare": "config"},
    ),
    Fault(
        name="the next start has another accessmode",
        on="hv1",
        breaks=_stored("sed -i \"s|accessmode='passthrough'|accessmode='mapped'|\" /run/share.xml"),
        restores=STORED_BACK,
        departs={"SHARE-DEV-3 web1/hostshare": "config"},
    ),
    Fault(
        name="the next start shares read-only",
        on="hv1",
        breaks=_stored("sed -i \"s|<target dir='hostshare'/>|&<readonly/>|\" /run/share.xml"),
        restores=STORED_BACK,
        departs={"SHARE-DEV-4 web1/hostshare": "config"},
    ),
    Fault(
        name="the next start shares by virtiofs",
        on="hv1",
        breaks=_stored(f'sed -i "{VIRTIOFS[0]};{VIRTIOFS[1]}" /run/share.xml'),
        restores=STORED_BACK,
        departs={"SHARE-DEV-2 web1/hostshare": "config"},
    ),
    Fault(
        name="the guest was started with another share, in another partition",
        on="hv1",
        breaks=started(
            "s|<source dir='/srv/share'/>|<source dir='/srv'/>|",
            "s|accessmode='passthrough'|accessmode='mapped'|",
            "s|<target dir='hostshare'/>|&<readonly/>|",
            "s|</vcpu>|&<resource><partition>/machine/openstack.partition</partition></resource>|",
            guest="db1",
        ),
        restores=STARTED_BACK,
        departs={
            "SHARE-DEV-1 db1/hostshare": "live actual",
            "SHARE-DEV-3 db1/hostshare": "live actual",
            "SHARE-DEV-4 db1/hostshare": "live actual",
            "PLACE-1 db1": "live",
        },
    ),
    Fault(
        name="the guest was started with virtiofs, and with 9p for another tag",
        on="hv1",
        breaks=started(*VIRTIOFS, OTHER, guest="db1"),
        restores=STARTED_BACK,
        departs={
            "SHARE-DEV-2 db1/hostshare": "live actual",
            "SHARE-DEV-6 db1/hostshare": "guest",
            "SHARE-MOUNT-1 db1/hostshare": "guest",
        },
    ),
)
