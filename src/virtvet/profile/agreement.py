"""What several concerns say of the same thing must be the same: else no host, or no guest, could ever match."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from virtvet.expect import ranges
from virtvet.profile.daemon import Daemon
from virtvet.profile.listeners import Listeners
from virtvet.profile.memory_backing import MemoryBacking
from virtvet.profile.memory_hotplug import Cell, MemoryHotplug
from virtvet.profile.memory_limits import MemoryLimits
from virtvet.profile.memory_size import MemorySize
from virtvet.profile.tls import Tls
from virtvet.profile.topology import Topology
from virtvet.profile.vcpus import VcpuWants

if TYPE_CHECKING:
    from virtvet.profile.model import CpuWants, MemoryWants


def of_daemon(daemon: Daemon | None, tls: Tls | None) -> None:
    """Raises ValueError where the daemon's configuration contradicts the certificates asked for."""
    if daemon and tls:
        _refuse(_daemon(daemon, tls))


def of_listeners(listeners: Listeners | None, daemon: Daemon | None, tls: Tls | None) -> None:
    """Raises ValueError where a port must be open and closed, or two ports, at once."""
    if listeners and daemon and daemon.start != "socket-activation":
        _refuse(_listeners(listeners, daemon))
    if listeners and listeners.tls is False and tls and (tls.handshake or tls.hostname):
        raise ValueError("tls: false, but tls: handshake: and hostname: want an answer on that port")


def of_vcpus(vcpus: VcpuWants | None, topology: Topology | None) -> None:
    """Raises ValueError where the topology has room for more or less vCPUs than there may be.

    libvirt starts no such guest (qemuValidateDomainVCpuTopology, src/qemu/qemu_validate.c).
    """
    maximum, places = vcpus and vcpus.maximum, _factors(topology)
    if maximum and places and _is_whole(topology) and math.prod(places.values()) != maximum:
        product = " × ".join(f"{count} {name}" for name, count in places.items())
        raise ValueError(f"maximum: {maximum} vCPUs, but topology: has {product} = {math.prod(places.values())}")
    if maximum and places and maximum % math.prod(places.values()):
        product = " × ".join(f"{count} {name}" for name, count in places.items())
        raise ValueError(f"maximum: {maximum} vCPUs are no multiple of topology: {product}")
    if vcpus and not maximum and _is_whole(topology):
        _refuse(_places(vcpus, math.prod(places.values())))


def _places(vcpus: VcpuWants, places: int) -> Iterator[str]:
    if vcpus.current and vcpus.current > places:
        yield f"current: {vcpus.current} vCPUs, but topology: has places for {places}"
    if max(vcpus.list, default=0) >= places:
        yield f"list: names vCPU {max(vcpus.list)}, but topology: has places for {places}: 0 to {places - 1}"


def maximum_of(vcpus: VcpuWants | None, topology: Topology | None) -> int | None:
    """How many vCPUs a guest may have, by either; None when neither says."""
    if vcpus and vcpus.maximum:
        return vcpus.maximum
    return math.prod(_factors(topology).values()) if _is_whole(topology) else None


def of_numbers(what: str, numbers: Iterable[int], maximum: int | None) -> None:
    """Raises ValueError where a vCPU is named that the guest never has."""
    if maximum and (lost := sorted(number for number in numbers if number >= maximum)):
        raise ValueError(f"{what} names vCPU {lost[0]}, but the guest has at most {maximum}: 0 to {maximum - 1}")


def of_limits(
    limits: MemoryLimits | None,
    size: MemorySize | None,
    hotplug: MemoryHotplug | None,
    backing: MemoryBacking | None,
) -> None:
    """Raises ValueError where a guest may not use the memory it has. Huge pages are not counted by these limits."""
    if not limits or not isinstance(limits.hard, int) or (backing and backing.hugepages):
        return
    for key, least in _memory(size, hotplug).items():
        if limits.hard < least:
            sizes = f"hard: {limits.hard >> 20} MiB is less than {key} {least >> 20} MiB"
            raise ValueError(f"{sizes}: the kernel would kill the guest when it uses its memory")


def _memory(size: MemorySize | None, hotplug: MemoryHotplug | None) -> dict[str, int]:
    """What the guest has by each of the keys that are stated; bytes."""
    stated = {"size: memory:": size and size.memory, "size: current:": size and size.current}
    parts = (hotplug.base or 0) + (hotplug.plugged or 0) if hotplug else None
    return {key: least for key, least in {**stated, "hotplug: cells and DIMMs of": parts}.items() if least}


def of_cells(memory: MemoryWants, cpu: CpuWants) -> None:
    """Raises ValueError where the guest's NUMA cells are not made of its vCPUs, or others name a cell there is not."""
    cells = memory.hotplug.cells if memory.hotplug else {}
    if cells:
        _refuse(_cells(cells, maximum_of(cpu.vcpus, cpu.topology)))
        _refuse(_other_cells(cells, memory))
        _refuse(_torn(cells, cpu.topology))


def _cells(cells: Mapping[int, Cell], maximum: int | None) -> Iterator[str]:
    seats, every = frozenset[int]().union(*(cell.cpus or () for cell in cells.values())), frozenset(range(maximum or 0))
    if maximum and (lost := seats - every):
        yield f"hotplug: cells: name vCPU {ranges(lost)}, but the guest has at most {maximum}: 0 to {maximum - 1}"
    elif maximum and all(cell.cpus for cell in cells.values()) and (lost := every - seats):
        yield f"hotplug: cells: leave out vCPU {ranges(lost)} of {maximum}: libvirt would put them into the first cell"


def _torn(cells: Mapping[int, Cell], topology: Topology | None) -> Iterator[str]:
    """vCPUs are numbered thread by thread (x86_topo_ids_from_idx, include/hw/i386/topology.h)."""
    threads = (topology and topology.threads) or 1
    cell_of = {cpu: number for number, cell in cells.items() for cpu in cell.cpus or ()}
    for first in range(0, max(cell_of, default=0), threads):
        core = range(first, first + threads)
        if len(found := {cell_of[cpu] for cpu in core if cpu in cell_of}) > 1:
            yield f"hotplug: cells: {ranges(found)} share a core, that of vCPU {ranges(core)} (topology: threads:)"


def _other_cells(cells: Mapping[int, Cell], memory: MemoryWants) -> Iterator[str]:
    named = {"numatune: cells:": frozenset(memory.numatune.cells if memory.numatune else ())}
    pages = memory.backing.hugepages if memory.backing else None
    named["backing: hugepages: nodes:"] = (None if isinstance(pages, bool) or not pages else pages.nodes) or frozenset()
    for key, numbers in named.items():
        if lost := numbers - {*cells}:
            yield f"{key} names cell {ranges(lost)}, which is not among hotplug: cells: ({ranges(cells)})"


def _factors(topology: Topology | None) -> dict[str, int]:
    stated = {name: getattr(topology, name, None) for name in ("sockets", "dies", "cores", "threads")}
    return {name: count for name, count in stated.items() if count}


def _is_whole(topology: Topology | None) -> bool:
    """Without `dies` libvirt takes one; the others must be in its XML."""
    return {"sockets", "cores", "threads"} <= {*_factors(topology)}


def _refuse(contradictions: Iterator[str]) -> None:
    if found := list(contradictions):
        raise ValueError("; ".join(found))


def _daemon(daemon: Daemon, tls: Tls) -> Iterator[str]:
    config = daemon.config
    files = {
        "ca_file": (config.ca_file, tls.ca.file),
        "cert_file": (config.cert_file, tls.server.certificate),
        "key_file": (config.key_file, tls.server.key),
        "crl_file": (config.crl_file, tls.crl and tls.crl.file),
    }
    for key, (configured, judged) in files.items():
        if configured and judged and configured != judged:
            yield f"config: {key}: is {configured}, but tls: names {judged}"
    if config.tls_no_verify_certificate and tls.handshake and tls.handshake.refuse:
        yield "config: tls_no_verify_certificate: true lets in the clients that tls: handshake: refuse: turns away"


def _listeners(listeners: Listeners, daemon: Daemon) -> Iterator[str]:
    config = daemon.config
    ports = {
        "tls": (listeners.tls, config.listen_tls, listeners.tls_port, config.tls_port),
        "tcp": (listeners.tcp, config.listen_tcp, listeners.tcp_port, config.tcp_port),
    }
    for name, (listens, configured, port, configured_port) in ports.items():
        if configured is not None and configured != (listens is not False):
            stated = f"daemon: config: says listen_{name}: {str(configured).lower()}"
            yield f"{name} must {'not ' * configured}listen, but {stated}"
        if listens is not False and isinstance(configured_port, int) and configured_port != port:
            yield f"{name} listens on port {port}, but daemon: config: says {name}_port: {configured_port}"
