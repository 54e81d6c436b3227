"""Looks at recorded hosts: tests/probes/CONCERN/NAME.txt, written by `python -m tests.record` (tests/recorded_text.py).

An edit replaces one answer, or takes it away (None): `look(V1, {"/run/libvirt/qemu/web1.pid": "x\\n"})`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests import recorded_text
from tests.recorded_text import Said
from virtvet.probes import (
    blkio,
    blockdev,
    cgroup,
    confinement,
    devices,
    domain_xml,
    host_memory,
    hostdevs,
    hotplug_rules,
    interfaces,
    iommu,
    isolation,
    kernel,
    kernel_cmdline,
    kernel_release,
    memory_backing,
    memory_hotplug,
    memory_size,
    modules,
    nic_bandwidth,
    nodedev,
    packages,
    partitions,
    pci,
    pins,
    qemu,
    qmp,
    ram,
    sysctl,
    systemd,
    threads,
    tmpfiles,
    vcpus,
    vulnerabilities,
)
from virtvet.probes.systemd import Units
from virtvet.snapshot.model import Absent, Answer, Snapshot
from virtvet.snapshot.sources import HostSource, Source

PROBES = Path(__file__).parent / "probes"
Edits = Mapping[str, str | Answer | None]


@dataclass(frozen=True, slots=True)
class Recording:
    """What is recorded: of one host, of these of its guests, what its sources and those inside the guests answer.

    elements: what is kept of the guests' XML, by the names of elements of the domain and of its devices; all if empty.
    without: a pattern of paths that are left out.
    in_lab: whether `python -m tests.record` records it; else the text says where it is from.
    """

    host: str
    guests: tuple[str, ...]
    sources: tuple[Source, ...]
    inside: tuple[HostSource, ...] = ()
    elements: tuple[str, ...] = ()
    without: str = ""
    in_lab: bool = True


GROUPS = (*cgroup.SOURCES, cgroup.MEMORY_INFO, pins.ONLINE, *threads.SOURCES)
V1, V2, V2_TUNED = "cgroup/hv1", "cgroup/v2_systemd", "cgroup/hv3"
V1_SYSTEMD, HYBRID = "cgroup/v1_systemd", "cgroup/hybrid"
KEPT = tuple(
    dict.fromkeys(one for one in partitions.kept(["/machine", "/machine/prod"]) if one not in tmpfiles.SOURCES)
)
DISK = "/srv/lab-disk"
BLKIO = (*cgroup.SOURCES, *threads.SOURCES, *blockdev.asked("app1"), blkio.node(DISK))
LINKS = (interfaces.TAPS, interfaces.MASTERS, interfaces.LOWERS, interfaces.STATES, interfaces.FLAGS, interfaces.MTUS)
LINKS_INSIDE = (
    *(interfaces.ADDRESSES, interfaces.PERMANENT, interfaces.DRIVERS, interfaces.CARRIERS),
    *(interfaces.FLAGS, interfaces.MTUS, pci.UEVENTS),
)
CARDS = ("0000:00:08.0", "0000:01:00.0", "0000:03:01.0", "0000:03:02.0")
DEVICES = (
    *(pci.UEVENTS, *pci.NETDEVS, pci.GROUPS, interfaces.ADDRESSES, interfaces.PERMANENT, interfaces.FLAGS),
    *(devices.OVERRIDES, devices.NUMA_NODES, devices.TOTAL_VFS, devices.VFS, devices.PHYSICAL),
    *(hostdevs.HELD, hostdevs.NODES, *map(nodedev.asked, CARDS)),
)
DEVICES_INSIDE = (
    *(pci.UEVENTS, *pci.NETDEVS, interfaces.ADDRESSES, interfaces.PERMANENT),
    *(interfaces.FLAGS, interfaces.CARRIERS),
)
BALLOON_SOURCES = (
    *(qmp.asked("app1", name) for name in (memory_size.BALLOON, memory_size.DEVICES)),
    qmp.asked("app1", "qom-get", **memory_size.POLLING),
)
MEMORY_INSIDE = (
    *(cgroup.MEMORY_INFO, memory_hotplug.BLOCK_SIZE, memory_hotplug.AUTO_ONLINE, memory_hotplug.ONLINE_CPUS),
    *(memory_size.VIRTIO, memory_size.STATUS, memory_hotplug.BLOCKS, memory_hotplug.NODE_BLOCKS),
    *(memory_hotplug.NODE_CPUS, memory_hotplug.NODE_MEMORY, *hotplug_rules.SOURCES),
)
BACKED = ("app1", "plain1")
MEMORY_XML = ("memory", "maxMemory", "currentMemory", "memoryBacking", "vcpu", "numatune", "cpu")
CONFINED = dict.fromkeys(
    (
        *(*confinement.ACCOUNT_SOURCES, *confinement.LABEL_SOURCES, *confinement.LIMIT_SOURCES),
        *confinement.DAEMON_SOURCES,
    )
)
KERNEL = (
    *(kernel.OSRELEASE, kernel_release.INSTALLED, *kernel_cmdline.SOURCES, *modules.CONFIG_SOURCES),
    *(one for name in ("kvm_amd", "loop", "vfio_pci", "vhost_net", "dummy", "kvm") for one in modules.sources(name)),
    *(modules.parameter_file("kvm", "halt_poll_ns"), modules.parameter_file("kvm_amd", "npt"), *modules.NESTED_SOURCES),
    *map(sysctl.file, ("vm.swappiness", "fs.aio-max-nr", "net.ipv4.conf.mgmt0.rp_filter", "kernel.randomize_va_space")),
    *(*sysctl.CONFIG_SOURCES, vulnerabilities.ALL, vulnerabilities.SMT),
)
UNITS = Units.of(("fstrim.timer", "ksmtuned.service", "libvirtd.service", "serial-getty@ttyS0.service", "ssh.service"))
PACKAGES = ("libvirt-daemon-system", "qemu-system-x86", "telnetd")
TUNING = tuple(
    dict.fromkeys(
        (
            *(*host_memory.POOL_SOURCES, *host_memory.MOUNT_SOURCES, *host_memory.DEFAULT_SOURCES),
            *(*host_memory.KSM_SOURCES, *host_memory.THP_SOURCES, *host_memory.SWAP_SOURCES),
            *(*isolation.CPU_SOURCES, *isolation.IRQ_SOURCES, *isolation.DEFAULT_SOURCES),
            *(*isolation.BALANCER_SOURCES, *isolation.SYSTEM_SOURCES, isolation.WORKQUEUES),
            *(*UNITS.sources, systemd.FAILED, *packages.sources(PACKAGES)),
        )
    )
)
"""What profiles/lab-image.yaml asks of host.memory, host.isolation and host.services."""
RECORDINGS: Mapping[str, Recording] = {
    V1: Recording(
        "hv1", ("web1", "db1"), GROUPS, elements=("memory", "memtune", "vcpu", "iothreads", "cputune", "resource")
    ),
    V2_TUNED: Recording(
        *("hv3", ("tuned", "nic"), (*GROUPS, blkio.node("/dev/vda"), interfaces.TAPS, nic_bandwidth.TC, *KEPT)),
        elements=("memory", "memtune", "vcpu", "iothreads", "cputune", "resource", "blkiotune", "interface"),
    ),
    **dict.fromkeys(
        (V1_SYSTEMD, HYBRID), Recording("hv3", ("tuned",), (*GROUPS, blkio.node("/dev/vda"), *KEPT), in_lab=False)
    ),
    V2: Recording("systemd", ("anchor",), (*GROUPS, blkio.node(DISK)), in_lab=False),
    "disks/app1": Recording(
        "hv1", ("app1",), BLKIO, elements=("os", "iothreads", "blkiotune", "disk"), without="/sys/fs/cgroup/(?!blkio/)"
    ),
    "interfaces/app1": Recording(
        "hv1", ("app1",), (*domain_xml.SOURCES, *qemu.SOURCES, *LINKS, nic_bandwidth.TC), LINKS_INSIDE, ("interface",)
    ),
    "memory/app1": Recording(
        *("hv1", ("app1",), (*domain_xml.SOURCES, *qemu.SOURCES, *BALLOON_SOURCES), MEMORY_INSIDE),
        elements=(*MEMORY_XML, "memballoon"),
    ),
    "memory_backing/hv1": Recording(
        "hv1",
        BACKED,
        (
            *memory_backing.SOURCES,
            *(ram.mapped(guest) for guest in BACKED),
            *(qmp.asked(guest, "query-memdev") for guest in BACKED),
        ),
        elements=(*MEMORY_XML, "metadata"),
    ),
    "vcpus/app1": Recording(
        "hv1", ("app1",), (*GROUPS, vcpus.asked("app1")), (vcpus.ONLINE, vcpus.PRESENT, vcpus.POSSIBLE), in_lab=False
    ),
    "confinement/hv3": Recording(
        "hv3",
        ("tuned", "nic"),
        (*CONFINED, confinement.NAMESPACES),
        elements=("memory", "memtune", "hostdev", "seclabel"),
        in_lab=False,
    ),
    "iommu/hv3": Recording(
        "hv3",
        (),
        (*iommu.FOUND_SOURCES, *iommu.REMAPPING_SOURCES[1:], iommu.NAMES, iommu.TYPES, iommu.UNSAFE, iommu.DEVICE),
        in_lab=False,
    ),
    "kernel/hv3": Recording("hv3", (), tuple(dict.fromkeys(KERNEL)), in_lab=False),
    "devices/hv3": Recording(
        *("hv3", ("nic",), (*domain_xml.SOURCES, *qemu.SOURCES, *DEVICES), DEVICES_INSIDE),
        elements=("hostdev",),
        in_lab=False,
    ),
    "tuning/hv3": Recording("hv3", (), TUNING, without=r"^/lib/|^/usr/lib/tmpfiles\.d/(?!debian|x11|systemd-nologin)"),
    "qemu/hv1": Recording("hv1", ("web1", "db1", "plain1", "app1"), qemu.SOURCES),
    "qemu/hv2": Recording("hv2", ("web2", "mute2", "hand2"), qemu.SOURCES),
}


@cache
def _parts(name: str) -> Mapping[str, Said]:
    return recorded_text.read((PROBES / f"{name}.txt").read_text())


def recorded(name: str) -> Mapping[str, str]:
    """The text of every answer, by what was asked."""
    return {what: said.text for what, said in _parts(name).items()}


def look(name: str, edits: Edits | None = None) -> Snapshot:
    """The recorded snapshot with these edits."""
    recording = RECORDINGS[name]
    answers: dict[str, Answer] = {what: said.answer() for what, said in _parts(name).items()}
    answers |= {what: _edited(name, what, edit) for what, edit in (edits or {}).items()}
    inside = dict.fromkeys(recording.guests, recording.inside) if recording.inside else {}
    return recorded_text.snapshot(recording.host, answers, recording.sources, inside)


def _edited(name: str, what: str, edit: str | Answer | None) -> Answer:
    if edit is None:
        return Absent()
    if not isinstance(edit, str):
        return edit
    mark = _parts(name).get(what, Said()).mark
    return Said(edit, mark if mark == recorded_text.ZEROS else "").answer()


def changed(name: str, what: str, old: str, new: str) -> dict[str, str]:
    """The edit that replaces `old` in one answer."""
    return {what: replaced(recorded(name)[what], old, new)}


def replaced(said: str, old: str, new: str) -> str:
    """As str.replace, of what is there."""
    assert old in said, f"{old!r} is not there"
    return said.replace(old, new)


# --- what differs from one recording to the next


def pid(name: str, guest: str) -> int:
    """Of its QEMU."""
    return int(recorded(name)[f"{qemu.STATE}/{guest}.pid"])


def comms(name: str, guest: str) -> dict[int, str]:
    """The name of each thread of a guest's QEMU, by its id."""
    tasks = re.compile(rf"/proc/{pid(name, guest)}/task/(\d+)/comm")
    found = {tasks.fullmatch(path): said for path, said in recorded(name).items()}
    return {int(match[1]): said.rstrip("\n") for match, said in found.items() if match}


def thread(name: str, guest: str, comm: str) -> int:
    """The first thread with this name that is not the main thread."""
    return min(tid for tid, said in comms(name, guest).items() if said == comm and tid != pid(name, guest))


def group(name: str, guest: str) -> str:
    """Where its control groups are, below each controller: `/machine/qemu-2-web1.libvirt-qemu`."""
    paths = (path for path in recorded(name) if path.endswith(f"-{guest}.libvirt-qemu/notify_on_release"))
    return "/" + next(paths).split("/", 5)[5].rpartition("/")[0]


def by_hand(name: str, guest: str) -> dict[str, None]:
    """The edits that make a guest one that libvirt does not know."""
    known = (f"{qemu.STATE}/{guest}.pid", f"virsh dumpxml {guest}", f"virsh dumpxml --inactive {guest}")
    return dict.fromkeys(known)


WEB1 = group(V1, "web1")
ANCHOR = "/sys/fs/cgroup/machine.slice/machine-prod.slice/machine-qemu\\x2d1\\x2danchor.scope"
"""Of V2's guest, below which everything is."""


def arguments(process: int, *words: str) -> str:
    """What qemu.ARGUMENTS would answer of a process with these."""
    return "".join(f"/proc/{process}/cmdline:{word}\n" for word in words)
