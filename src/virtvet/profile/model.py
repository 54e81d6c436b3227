"""The profile as a whole; each concern's keys stand in the module of its name beside this one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from functools import reduce
from typing import Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, ValidationInfo, field_validator, model_validator

from virtvet.errors import Position
from virtvet.profile import agreement, guest_os, memory_hotplug
from virtvet.profile.base import Wants
from virtvet.profile.blkio import Blkio
from virtvet.profile.confinement import Confinement, HostConfinement
from virtvet.profile.cpu_bandwidth import CpuBandwidth
from virtvet.profile.cpu_model import CpuModel
from virtvet.profile.daemon import Daemon
from virtvet.profile.devices import Devices, PciAddress
from virtvet.profile.disks import Disk
from virtvet.profile.guest_os import GuestOs
from virtvet.profile.host_memory import HostMemory
from virtvet.profile.host_validate import HostValidate
from virtvet.profile.hostdevs import Hostdev
from virtvet.profile.interfaces import Interfaces
from virtvet.profile.iommu import Iommu
from virtvet.profile.isolation import Isolation
from virtvet.profile.kernel import Kernel
from virtvet.profile.listeners import Listeners
from virtvet.profile.memory_backing import MemoryBacking
from virtvet.profile.memory_hotplug import MemoryHotplug
from virtvet.profile.memory_limits import MemoryLimits
from virtvet.profile.memory_size import MemorySize
from virtvet.profile.neighbours import Neighbours
from virtvet.profile.numatune import Numatune
from virtvet.profile.partitions import Partition, PartitionPath
from virtvet.profile.pci import PciDevice, PciId
from virtvet.profile.pins import Pins
from virtvet.profile.schedulers import Schedulers
from virtvet.profile.services import Services
from virtvet.profile.shares import Share
from virtvet.profile.tls import Tls
from virtvet.profile.topology import Topology
from virtvet.profile.vcpus import Vcpus, VcpuWants
from virtvet.validate import validated
from virtvet.yamlfile import Key, Node, located, merged


class HostWants(Wants):
    """What the host itself must be. What is not stated is not checked."""

    validation: HostValidate | None = None
    """What virt-host-validate checks, each with the verdict it must have."""
    tls: Tls | None = None
    """Certificates, keys and the handshake."""
    daemon: Daemon | None = None
    """libvirtd.conf or virtproxyd.conf, its socket, and how it is started."""
    listeners: Listeners | None = None
    """Which ports must listen, and which must not."""
    partitions: dict[PartitionPath, Partition] = Field(default_factory=dict)
    """cgroup partitions by libvirt's path (`/machine`, `/machine/openstack.partition`)."""
    neighbours: Neighbours | None = None
    """What all running guests of the host may do to each other and ask of it together."""
    kernel: Kernel | None = None
    """Version, command line, modules, sysctls and mitigations."""
    memory: HostMemory | None = None
    """Huge pages, KSM, transparent huge pages."""
    isolation: Isolation | None = None
    """CPUs kept for guests."""
    services: Services | None = None
    """Units and packages."""
    iommu: Iommu | None = None
    """VT-d or AMD-Vi, and what device assignment needs."""
    devices: Devices = Field(default_factory=dict)
    """PCI devices of the host by their address (`0000:01:00.0`)."""
    confinement: HostConfinement | None = None
    """What the daemon confines every QEMU with."""

    @field_validator("daemon")
    @classmethod
    def _daemon_agrees(cls, daemon: Daemon | None, info: ValidationInfo) -> Daemon | None:
        agreement.of_daemon(daemon, info.data.get("tls"))
        return daemon

    @field_validator("listeners")
    @classmethod
    def _listeners_agree(cls, listeners: Listeners | None, info: ValidationInfo) -> Listeners | None:
        agreement.of_listeners(listeners, info.data.get("daemon"), info.data.get("tls"))
        return listeners


class CpuWants(Wants):
    """A guest's CPU."""

    model: CpuModel | None = None
    """Mode, model and features."""
    topology: Topology | None = None
    """Sockets, dies, cores and threads."""
    vcpus: Vcpus | None = None
    """How many vCPUs, now and at most."""
    pins: Pins | None = None
    """The host CPUs of each thread."""
    bandwidth: CpuBandwidth | None = None
    """Shares, periods and quotas."""
    schedulers: Schedulers | None = None
    """Policy and priority of each thread."""

    @field_validator("vcpus")
    @classmethod
    def _vcpus_fill_the_topology(cls, vcpus: VcpuWants | None, info: ValidationInfo) -> VcpuWants | None:
        agreement.of_vcpus(vcpus, info.data.get("topology"))
        return vcpus

    @field_validator("pins", "schedulers")
    @classmethod
    def _vcpus_exist(cls, wants: Pins | Schedulers | None, info: ValidationInfo) -> Pins | Schedulers | None:
        maximum = agreement.maximum_of(info.data.get("vcpus"), info.data.get("topology"))
        agreement.of_numbers("vcpu:", wants.vcpu if wants else (), maximum)
        return wants


class MemoryWants(Wants):
    """A guest's memory."""

    size: MemorySize | None = None
    """How much it has, and its balloon."""
    hotplug: MemoryHotplug | None = None
    """Maximum, slots, DIMMs and NUMA cells."""
    backing: MemoryBacking | None = None
    """Huge pages, locking, sharing."""
    numatune: Numatune | None = None
    """The host nodes it comes from."""
    limits: MemoryLimits | None = None
    """Upper limits of host memory."""

    @field_validator("hotplug")
    @classmethod
    def _parts_make_the_whole(cls, hotplug: MemoryHotplug | None, info: ValidationInfo) -> MemoryHotplug | None:
        memory_hotplug.agree(info.data.get("size"), hotplug)
        return hotplug

    @field_validator("limits")
    @classmethod
    def _limits_leave_the_memory(cls, limits: MemoryLimits | None, info: ValidationInfo) -> MemoryLimits | None:
        agreement.of_limits(limits, *map(info.data.get, ("size", "hotplug", "backing")))
        return limits


class GuestWants(Wants):
    """What every guest whose name matches must be."""

    optional: bool = False
    """Whether it is no error when the pattern matches no guest."""
    state: Literal["running", "shut off", "paused", "any"] = "running"
    partition: PartitionPath | None = None
    """The resource partition of its domain XML."""
    os: GuestOs | None = None
    """The operating system that its metadata names."""
    cpu: CpuWants = Field(default_factory=CpuWants)
    memory: MemoryWants = Field(default_factory=MemoryWants)
    disks: dict[str, Disk] = Field(default_factory=dict)
    """Disks by their target (`vda`)."""
    blkio: Blkio | None = None
    """Its share of the host's block devices."""
    interfaces: Interfaces = Field(default_factory=dict)
    """Network interfaces by MAC address or position (`net0`)."""
    pci: dict[PciId, PciDevice] = Field(default_factory=dict)
    """PCI devices inside the guest, by vendor and device (`8086:100e`)."""
    hostdevs: dict[PciAddress, Hostdev] = Field(default_factory=dict)
    """PCI devices of the host that it is given, by their address there (`0000:01:00.0`)."""
    confinement: Confinement | None = None
    """What holds its QEMU."""
    shares: dict[str, Share] = Field(default_factory=dict)
    """Shared folders by their tag (`<target dir=…>`)."""

    @field_validator("memory")
    @classmethod
    def _memory_suits_the_system(cls, memory: MemoryWants, info: ValidationInfo) -> MemoryWants:
        system: GuestOs | None = info.data.get("os")
        guest_os.suits(system, memory.hotplug)
        if system is None or not system.is_windows:
            memory_hotplug.come_online(memory.hotplug)
        return memory

    @field_validator("memory")
    @classmethod
    def _cells_hold_the_vcpus(cls, memory: MemoryWants, info: ValidationInfo) -> MemoryWants:
        if cpu := info.data.get("cpu"):
            agreement.of_cells(memory, cpu)
        return memory


class Profile(Wants):
    """A whole profile, after everything it extends was merged in."""

    virtvet: Literal[1]
    """The version of the profile format."""
    title: str = ""
    description: str = ""
    extends: str | list[str] = Field(default_factory=list)
    """Profiles this one builds on: shipped ones by name, others by path relative to this file; later ones win."""
    host: HostWants = Field(default_factory=HostWants)
    guests: dict[str, GuestWants] = Field(default_factory=dict)
    """Guests by name pattern (`web*`); a guest takes all entries that match, later ones win key by key."""

    _source: Node = PrivateAttr(default_factory=lambda: located({}, Position("profile")))
    _merged: dict[tuple[str, ...], GuestWants] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_what_was_written(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """Entries are merged as written: so defaults are told from what is stated, and mistakes have a place."""
        profile = handler(data)
        profile._source = (info.context or {}).get("written") or located(data, Position("profile"))
        return profile

    def guest(self, name: str) -> GuestWants | None:
        """What a guest of this name must be: all matching entries merged, or None when none matches.

        Raises BadInput when entries that are right by themselves contradict each other.
        """
        patterns = self._matching(name)
        if len(patterns) <= 1:
            return self.guests[patterns[0]] if patterns else None
        if patterns not in self._merged:
            self._merged[patterns] = validated(GuestWants, self._together(patterns))
        return self._merged[patterns]

    def place(self, *path: Key) -> Position:
        """Where a key stands in the files this profile was made of, or the last key above it that does."""
        return self._source.place(*path)

    def place_of(self, guest: str, *path: Key) -> Position:
        """As `place`, below `guests:` and the entry for a guest of this name; of several the last that states it."""
        patterns = self._matching(guest)
        stated = patterns and path and self._together(patterns).child(path[0])
        return self._together(patterns).place(*path) if stated else self.place("guests", *patterns[-1:])

    def _matching(self, name: str) -> tuple[str, ...]:
        return tuple(pattern for pattern in self.guests if fnmatchcase(name, pattern))

    def _together(self, patterns: tuple[str, ...]) -> Node:
        entries = self._source.children("guests")
        return reduce(merged, (entries[pattern] for pattern in patterns))

    def unmatched(self, names: Collection[str]) -> Iterable[tuple[str, GuestWants]]:
        """The entries that no guest's name matches."""
        for pattern, wants in self.guests.items():
            if not any(fnmatchcase(name, pattern) for name in names):
                yield pattern, wants
