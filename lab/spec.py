"""What the lab consists of, as data. Everything else in this package reads it from here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Interface

ROOT_INTERFACE = "virtvet-lab"
ROOT_ADDRESS = IPv4Interface("10.77.0.254/24")
NETWORK = "lab"
TLS_PORT = 16514
MIB = 1024 * 1024


@dataclass(frozen=True)
class Share:
    """A host directory offered over 9p and mounted by the guest's fstab."""

    source: str
    tag: str
    mountpoint: str
    accessmode: str = "passthrough"
    options: str = "trans=virtio,version=9p2000.L,posixacl,cache=loose"

    @property
    def fstab(self) -> str:
        """The line that mounts it in the guest."""
        return f"{self.tag} {self.mountpoint} 9p {self.options} 0 0\n"


@dataclass(frozen=True)
class GuestSpec:
    """One domain. ``bandwidth`` and ``memtune`` are set after the start, live and in the config."""

    name: str
    uuid: str
    mac: str = ""
    address: str = ""
    """Without one the guest has no network interface, and is reached by its agent."""
    kind: str = "qemu"
    """The domain's type: "kvm" where the host has it."""
    by_hand: bool = False
    """QEMU is started without libvirt."""
    vcpus: int = 1
    cpuset: str | None = None
    shares: int | None = None
    vcpupins: Mapping[int, str] = field(default_factory=dict)
    emulatorpin: str | None = None
    iothreadpins: Mapping[int, str] = field(default_factory=dict)
    partition: str | None = None
    memory_mib: int = 192
    soft_limit_kib: int | None = None
    bandwidth: Mapping[str, int] = field(default_factory=dict)  # `virsh schedinfo` names, microseconds
    memtune: Mapping[str, int] = field(default_factory=dict)  # `virsh memtune` options, KiB
    share: Share | None = None
    disk_mib: int | None = None
    """A disk to boot from."""
    empty_mib: int | None = None
    """An empty disk."""
    cmdline: str = ""
    """More words for the guest's kernel."""
    more: str = ""
    """More of its domain XML: merged by `domain.merge`, element by element."""


@dataclass(frozen=True)
class HostSpec:
    """One hypervisor and its guests."""

    name: str
    uuid: str
    address: IPv4Interface
    gateway: IPv4Interface  # the host's own address on the guests' network
    guests: tuple[GuestSpec, ...]
    partitions: Mapping[str, int] = field(default_factory=dict)  # path -> memory.limit_in_bytes

    @property
    def ip(self) -> str:
        """``10.77.0.1``."""
        return str(self.address.ip)

    @property
    def names(self) -> list[str]:
        """What the host's certificate is for."""
        return [self.name, self.ip]


DISK = "/srv/lab-disk"
"""A node of each host for the machine's first disk, so that its path is the same on every machine."""
SHARE = Share(source="/srv/share", tag="hostshare", mountpoint="/mnt/share")
OPENSTACK = "/machine/openstack.partition"

WEB1 = GuestSpec(
    name="web1",
    uuid="7f3c0000-0000-4000-8000-000000000101",
    mac="52:54:00:77:01:11",
    address="10.78.1.11",
    vcpus=2,
    shares=2048,
    vcpupins={0: "0", 1: "0-1"},
    emulatorpin="0-1",
    iothreadpins={1: "1"},
    partition=OPENSTACK,
    soft_limit_kib=256 * 1024,
    bandwidth={
        "global_period": 100000,
        "global_quota": 150000,
        "vcpu_period": 100000,
        "vcpu_quota": 50000,
        "emulator_period": 100000,
        "emulator_quota": 80000,
        "iothread_period": 100000,
        "iothread_quota": 60000,
    },
    memtune={"hard-limit": 512 * 1024, "swap-hard-limit": 768 * 1024},
    share=SHARE,
)
DB1 = GuestSpec(
    name="db1",
    uuid="7f3c0000-0000-4000-8000-000000000102",
    mac="52:54:00:77:01:12",
    address="10.78.1.12",
    cpuset="0",
    share=SHARE,
    disk_mib=64,
)
PLAIN1 = GuestSpec(
    name="plain1",
    uuid="7f3c0000-0000-4000-8000-000000000103",
    mac="52:54:00:77:01:13",
    address="10.78.1.13",
)
APP1 = GuestSpec(
    name="app1",
    uuid="7f3c0000-0000-4000-8000-000000000104",
    mac="52:54:00:77:01:14",
    address="10.78.1.14",
    empty_mib=64,
    cmdline="memhp_default_state=online_movable",  # so that it can go offline again
    more="""
    <domain>
      <metadata>
        <libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0">
          <libosinfo:os id="http://debian.org/debian/12"/>
        </libosinfo:libosinfo>
      </metadata>
      <maxMemory slots="4" unit="MiB">1024</maxMemory>
      <memory unit="MiB">384</memory>
      <currentMemory unit="MiB">352</currentMemory>
      <memoryBacking><nosharepages/><source type="memfd"/><access mode="shared"/></memoryBacking>
      <vcpu placement="static" cpuset="0-1" current="3">4</vcpu>
      <vcpus>
        <vcpu id="0" enabled="yes" hotpluggable="no" order="1"/>
        <vcpu id="1" enabled="yes" hotpluggable="no" order="2"/>
        <vcpu id="2" enabled="yes" hotpluggable="yes" order="3"/>
        <vcpu id="3" enabled="no" hotpluggable="yes"/>
      </vcpus>
      <iothreads>1</iothreads>
      <blkiotune>
        <weight>300</weight>
        <device>
          <path>/srv/lab-disk</path>
          <read_bytes_sec>1073741824</read_bytes_sec>
          <write_iops_sec>50000</write_iops_sec>
        </device>
      </blkiotune>
      <cputune>
        <vcpusched vcpus="0-1" scheduler="batch"/>
        <iothreadsched iothreads="1" scheduler="idle"/>
        <emulatorsched scheduler="batch"/>
      </cputune>
      <numatune><memory mode="strict" nodeset="0"/></numatune>
      <cpu mode="custom" match="exact" check="none">
        <model fallback="forbid">Westmere</model>
        <vendor>Intel</vendor>
        <topology sockets="1" dies="1" cores="2" threads="2"/>
        <cache mode="emulate" level="3"/>
        <feature policy="require" name="rdrand"/>
        <feature policy="require" name="pclmuldq"/>
        <feature policy="force" name="sse4.2"/>
        <feature policy="optional" name="avx512f"/>
        <feature policy="disable" name="aes"/>
        <feature policy="forbid" name="vmx"/>
        <numa><cell id="0" cpus="0-3" memory="256" unit="MiB" memAccess="shared"/></numa>
      </cpu>
      <devices>
        <disk type="file" device="disk">
          <driver name="qemu" type="raw" cache="none" io="threads" discard="unmap" iothread="1" queues="2"/>
          <source file="/var/lib/libvirt/images/app1.img"/>
          <target dev="vda" bus="virtio"/>
          <boot order="1"/>
          <iotune>
            <read_bytes_sec>20971520</read_bytes_sec>
            <write_bytes_sec>10485760</write_bytes_sec>
            <total_iops_sec>500</total_iops_sec>
            <total_iops_sec_max>800</total_iops_sec_max>
            <total_iops_sec_max_length>2</total_iops_sec_max_length>
            <size_iops_sec>4096</size_iops_sec>
            <group_name>app1</group_name>
          </iotune>
        </disk>
        <disk type="file" device="cdrom">
          <driver name="qemu" type="raw"/>
          <source file="/var/lib/libvirt/boot/vmlinux"/>
          <target dev="hdc" bus="ide"/>
          <readonly/>
        </disk>
        <interface type="bridge">
          <mac address="52:54:00:77:01:24"/>
          <source bridge="virbr0"/>
          <target dev="app1lan"/>
          <model type="e1000"/>
        </interface>
        <memballoon model="virtio"><stats period="5"/></memballoon>
        <memory model="dimm"><target><size unit="MiB">128</size><node>0</node></target></memory>
      </devices>
    </domain>""",
)
"""Memory and vCPUs that can be plugged, schedulers, a CPU of its own, throttled storage, a second interface."""
WEB2 = GuestSpec(
    name="web2",
    uuid="7f3c0000-0000-4000-8000-000000000201",
    mac="52:54:00:77:02:11",
    address="10.78.2.11",
    vcpupins={0: "1"},
    emulatorpin="0",
    memtune={"hard-limit": 512 * 1024},
)
MUTE2 = GuestSpec(name="mute2", uuid="7f3c0000-0000-4000-8000-000000000202", share=SHARE)
HAND2 = GuestSpec(
    name="hand2",
    uuid="7f3c0000-0000-4000-8000-000000000203",
    mac="52:54:00:77:02:13",
    address="10.78.2.13",
    by_hand=True,
    share=SHARE,
)

HOSTS = (
    HostSpec(
        name="hv1",
        uuid="7f3c0000-0000-4000-8000-000000000001",
        address=IPv4Interface("10.77.0.1/24"),
        gateway=IPv4Interface("10.78.1.1/24"),
        guests=(WEB1, DB1, PLAIN1, APP1),
        partitions={OPENSTACK: 2048 * MIB},
    ),
    HostSpec(
        name="hv2",
        uuid="7f3c0000-0000-4000-8000-000000000002",
        address=IPv4Interface("10.77.0.2/24"),
        gateway=IPv4Interface("10.78.2.1/24"),
        guests=(WEB2, MUTE2, HAND2),
        partitions={OPENSTACK: 2048 * MIB},
    ),
)
