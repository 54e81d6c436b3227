"""cgroup partitions of the host: `host.partitions`, and the path a guest names with `partition:`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from virtvet.profile.base import Wants, worded
from virtvet.profile.cpu_bandwidth import CpuPeriod, CpuQuota, CpuShares
from virtvet.profile.memory_limits import HostLimit, Unlimited
from virtvet.profile.throttle import DeviceNode, Throttles
from virtvet.units import CpuSet

PartitionPath = Annotated[
    str,
    StringConstraints(pattern=r"^(/[A-Za-z0-9_-][A-Za-z0-9_.@:-]*)+$", max_length=1024),
    worded("partition: use /machine or /machine/openstack.partition"),
]
"""A partition as libvirt's `<partition>` writes it: `/machine/openstack.partition`."""

Controller = Literal[
    "blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "net_cls", "net_prio", "perf_event",
    "pids",
]  # fmt: skip
"""A cgroup controller by its v1 name; blkio stands for v2's io, too."""

USUAL: tuple[Controller, ...] = ("blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory")
"""The controllers libvirt places guests in (vircgroup.h), as far as they limit anything."""


class Partition(Wants):
    """A partition must exist; what else is not stated is not checked. A limit must also be the strictest on the path
    to the root: a tighter group above is a departure."""

    controllers: list[Controller] = Field(default_factory=lambda: list(USUAL), min_length=1)
    """The controllers it must exist in."""
    memory: HostLimit | None = None
    """All its guests' memory together."""
    memory_soft: HostLimit | None = None
    """memory.soft_limit_in_bytes (cgroup v1), or memory.high (v2)."""
    swap: HostLimit | None = None
    """Memory and swap together (cgroup v1: memory.memsw.limit_in_bytes), or swap alone (v2: memory.swap.max)."""
    cpu_shares: CpuShares | None = None
    """cpu.shares (cgroup v1) or cpu.weight (v2)."""
    cpu_quota: CpuQuota | None = None
    """CPU time of all its guests together in each period, or `unlimited`."""
    cpu_period: CpuPeriod | None = None
    """1ms to 1s; the kernel's default is 100ms."""
    cpuset: CpuSet | None = None
    """Its host CPUs."""
    memory_nodes: CpuSet | None = None
    """Its NUMA nodes, written as a CPU list."""
    pids: Annotated[int, Field(ge=0)] | Unlimited | None = None
    """How many threads all its guests together may have."""
    io_weight: Annotated[int, Field(ge=1, le=10000)] | None = None
    """blkio.bfq.weight or blkio.weight (cgroup v1), io.bfq.weight or io.weight (v2)."""
    io_devices: dict[DeviceNode, Throttles] = Field(default_factory=dict)
    """How much of each device all its guests together may use: blkio.throttle.* (cgroup v1), io.max (v2)."""
