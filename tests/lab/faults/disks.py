"""Disks, their limits in QEMU, and the guest's share of the host's block devices. cgroup v1 by hand.

What QEMU was told at its start only another start changes: one fault has as much of that as one start can show.
"""

from __future__ import annotations

import json

from tests.lab.faults import Fault
from tests.lab.faults.definitions import SETTLED, STARTED_BACK, STORED_BACK, started, stored

GROUP = "$(ls -d /sys/fs/cgroup/blkio/machine/*-app1.libvirt-qemu)"
QDEV = "/machine/peripheral/virtio-disk0/virtio-backend"
DISK = "/srv/lab-disk"
NUMBER = f"$(printf '%d:%d' $(stat -L -c '0x%t 0x%T' {DISK}))"
"""Shell: the major and minor number of the disk that app1 is throttled on."""


def _qmp(execute: str, **arguments: object) -> str:
    """A command to app1's QEMU, behind libvirt's back; `$N` in it is the number libvirt gave its disk's image."""
    image = "N=$(virsh dumpxml app1 | sed -n \"s/.*app1.img' index='\\([0-9]*\\)'.*/\\1/p\"); "
    command = json.dumps({"execute": execute, "arguments": arguments}).replace('"', '\\"')
    return f'{image}virsh -q qemu-monitor-command app1 "{command}"'


# --- limits of one disk

RIGHT = {"bps_rd": 20971520, "bps_wr": 10485760, "iops": 500, "iops_max": 800, "iops_max_length": 2, "iops_size": 4096}
NONE = {"bps": 0, "iops_rd": 0, "iops_wr": 0}
LIMITS = {
    "read-bytes-sec": 20971520,
    "write-bytes-sec": 10485760,
    "total-iops-sec": 500,
    "total-iops-sec-max": 800,
    "total-iops-sec-max-length": 2,
    "size-iops-sec": 4096,
    "group-name": "app1",
}


def _throttled(**wrong: object) -> str:
    return _qmp("block_set_io_throttle", **{"id": QDEV, "group": "app1", **NONE, **RIGHT, **wrong})


def _behind(name: str, wrong: dict[str, object], *cases: str) -> Fault:
    return Fault(name, "hv1", _throttled(**wrong), _throttled(), dict.fromkeys(cases, "actual"))


def _tuned(layer: str, **wrong: object) -> str:
    limits = LIMITS | {name.replace("_", "-"): value for name, value in wrong.items()}
    options = " ".join(f"--{name} {value}" for name, value in limits.items())
    return f"virsh blkdeviotune app1 vda --{layer} {options}"


def _both(what: str, wrong: dict[str, object], *cases: str) -> tuple[Fault, Fault]:
    """What virsh sets, changed in the file and changed live."""
    stored, running = dict.fromkeys(cases, "config"), dict.fromkeys(cases, "live actual")
    return (
        Fault(f"{what} in the file, by virsh", "hv1", _tuned("config", **wrong), _tuned("config"), stored),
        Fault(f"{what} live, by virsh", "hv1", _tuned("live", **wrong), _tuned("live"), running),
    )


READS, BURST, LENGTH = (
    f"IOTUNE-{control} app1/vda/{key}"
    for control, key in ((1, "read_bytes"), (2, "total_iops_max"), (2, "total_iops_max_length"))
)
SIZE, SHARED = "IOTUNE-3 app1/vda/size_iops", "IOTUNE-4 app1/vda/group"
THROTTLES = (
    _behind("a disk's limit of reads is raised behind libvirt's back", {"bps_rd": 41943040}, READS),
    _behind("a disk's limits are lifted behind libvirt's back", {"bps_wr": 0}, "IOTUNE-1 app1/vda/write_bytes"),
    _behind("a disk may burst longer behind libvirt's back", {"iops_max": 900, "iops_max_length": 9}, BURST, LENGTH),
    _behind("a disk's requests are counted otherwise behind libvirt's back", {"iops_size": 65536}, SIZE),
    _behind("a disk leaves its group behind libvirt's back", {"group": "other"}, SHARED),
    *_both("a disk's limit of reads is raised", {"read_bytes_sec": 41943040}, READS),
    *_both("a disk may burst further", {"total_iops_sec_max": 900, "total_iops_sec_max_length": 1}, BURST, LENGTH),
    *_both("a disk's requests are counted otherwise", {"size_iops_sec": 8192}, SIZE),
    *_both("a disk is in another group", {"group_name": "other"}, SHARED),
    Fault(
        "a disk's limit of reads is raised live, and QEMU's put back",
        "hv1",
        f"{_tuned('live', read_bytes_sec=41943040)}; {_throttled()}",
        _tuned("live"),
        {READS: "live"},
    ),
)

# --- the guest's share of the host's devices


def _virsh(name: str, option: str, right: object, wrong: object, case: str) -> tuple[Fault, Fault]:
    command = f"virsh blkiotune app1 --{option}"
    return (
        Fault(
            f"{name} in the file", "hv1", f"{command}{wrong} --config", f"{command}{right} --config", {case: "config"}
        ),
        Fault(f"{name} live", "hv1", f"{command}{wrong} --live", f"{command}{right} --live", {case: "live actual"}),
    )


def _file(name: str, file: str, right: str, wrong: str, case: str) -> Fault:
    """A file of app1's group rewritten behind libvirt's back."""
    breaks, restores = (f'echo "{value}" >{GROUP}/{file}' for value in (wrong, right))
    return Fault(name, "hv1", breaks, restores, {case: "actual"})


WEIGHT, REQUESTS, BYTES = "BLKIO-1 app1", *(f"BLKIO-2 app1{DISK}/{key}" for key in ("write_iops", "read_bytes"))
SHARES = (
    *_virsh("a guest has another weight of I/O", "weight ", 300, 400, WEIGHT),
    *_virsh("a guest may write more of a device", f"device-write-iops-sec {DISK},", 50000, 60000, REQUESTS),
    _file("the weight of I/O is changed in the group only", "blkio.bfq.weight", "300", "500", WEIGHT),
    _file(
        "a device's limit is lifted in the group only",
        "blkio.throttle.read_bps_device",
        f"{NUMBER} 1073741824",
        f"{NUMBER} 0",
        BYTES,
    ),
    _file(
        "a device gets a limit that nobody asked for",
        "blkio.throttle.write_bps_device",
        f"{NUMBER} 0",
        f"{NUMBER} 1048576",
        f"BLKIO-2 app1{DISK}/write_bytes",
    ),
    Fault(
        "a guest is in another group of I/O than the one whose files are right",
        "hv1",
        "cat /run/libvirt/qemu/app1.pid >/sys/fs/cgroup/blkio/machine/cgroup.procs",
        f"cat /run/libvirt/qemu/app1.pid >{GROUP}/cgroup.procs",
        {WEIGHT: "actual", REQUESTS: "actual", BYTES: "actual", "PLACE-2 app1": "actual"},
    ),
)

# --- what a disk is


def _reopened(direct: bool) -> str:
    cache = {"direct": direct, "no-flush": False}
    common = {"cache": cache, "discard": "unmap"}
    storage = {"driver": "file", "filename": "/var/lib/libvirt/images/app1.img", "aio": "threads"}
    nodes = (
        {"node-name": "libvirt-$N-storage", "auto-read-only": True, **storage, **common},
        {"node-name": "libvirt-$N-format", "driver": "raw", "file": "libvirt-$N-storage", "read-only": False, **common},
    )
    return _qmp("blockdev-reopen", options=nodes)


VDA = (
    "<driver name='qemu' type='raw' cache='directsync' io='native' discard='ignore' queues='1'/>"
    "<source file='/var/lib/libvirt/images/other.img'/><target dev='vda' bus='virtio'/>"
    "<readonly/><shareable/><boot order='2'/>"
)
HDC = (
    "<disk type='network' device='disk'><driver name='qemu' type='qcow2'/>"
    "<source protocol='nbd' name='other'><host name='127.0.0.1' port='10809'/></source>"
    "<target dev='hdc' bus='virtio'/></disk>"
)
OTHER_DISKS = (
    "/<disk .*cdrom/,/<.disk>/d",
    f"s,<devices>,&{HDC},",
    "/<driver name='qemu' type='raw' cache/d",
    "/images.app1.img/d",
    "/<boot order/d",
    f"s,<target dev='vda' bus='virtio'/>,{VDA},",
)
IMAGES = (
    "cd /var/lib/libvirt/images; truncate -s 64M other.img; qemu-img create -q -f qcow2 other.qcow2 64M; "
    "qemu-nbd --fork --pid-file=/run/nbd.pid -t -x other -f raw -b 127.0.0.1 other.qcow2"
)
NO_IMAGES = "kill $(cat /run/nbd.pid) || true; rm /var/lib/libvirt/images/other.*"
OTHERWISE = (
    *("DISK-1 app1/hdc", "DISK-2 app1/hdc/bus", "DISK-3 app1/vda/boot_order", "DISK-4 app1/hdc/readonly"),
    *("DISK-4 app1/vda/readonly", "DISK-5 app1/vda/shareable"),
    *("DISK-SOURCE-1 app1/hdc/type", "DISK-SOURCE-2 app1/hdc/path", "DISK-SOURCE-2 app1/vda/path"),
    *("DISK-DRIVER-1 app1/hdc/type", "DISK-DRIVER-2 app1/vda/cache", "DISK-DRIVER-3 app1/vda/io"),
    *("DISK-DRIVER-4 app1/vda/discard", "DISK-DRIVER-5 app1/vda/iothread", "DISK-DRIVER-6 app1/vda/queues"),
)
DISKS = (
    Fault(
        "the file describes other disks",
        "hv1",
        stored(*OTHER_DISKS),
        STORED_BACK,
        dict.fromkeys(OTHERWISE, "config"),
    ),
    Fault(
        "a guest was started with other disks than the file describes",
        "hv1",
        f"{IMAGES}; {started(*OTHER_DISKS)}; {SETTLED}",
        f"{STARTED_BACK}; {NO_IMAGES}",
        dict.fromkeys(OTHERWISE, "live actual"),
    ),
    Fault(
        "a disk is gone from the file",
        "hv1",
        stored("/<disk .*cdrom/,/<.disk>/d"),
        STORED_BACK,
        {"DISK-1 app1/hdc": "config"},
    ),
    Fault(
        "a medium is ejected live",
        "hv1",
        "virsh change-media app1 hdc --eject --live",
        "virsh change-media app1 hdc --insert /var/lib/libvirt/boot/vmlinux --live",
        {"DISK-SOURCE-2 app1/hdc/path": "live actual"},
    ),
    Fault(
        "a disk's cache is turned on behind libvirt's back",
        "hv1",
        _reopened(direct=False),
        _reopened(direct=True),
        {"DISK-DRIVER-2 app1/vda/cache": "actual"},
    ),
)

FAULTS = (*THROTTLES, *SHARES, *DISKS)
