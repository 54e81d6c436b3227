"""Looks at a host as the lab has none: four cores of two threads, two NUMA nodes, any guests. Made up, in the form of
what the lab's hosts answer (cgroup v1 by hand; tests/probes/cgroup/hv1.txt)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from virtvet.probes import cgroup, demands, neighbours, partitions, pins, qemu, threads
from virtvet.snapshot.model import Absent, Answer, Completed, Content, Domain, FileAnswer, LibvirtAnswer, Snapshot
from virtvet.snapshot.sources import Libvirt, Source

MIB = 1 << 20
CPUSET, MEMORY = "/sys/fs/cgroup/cpuset", "/sys/fs/cgroup/memory"
MOUNTS = "".join(
    f"3{number} 30 0:3{number} / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n"
    for number, name in enumerate(("cpuset", "memory"))
)
FILES = {
    f"{CPUSET}/machine/notify_on_release": "0\n",
    f"{CPUSET}/machine/cpuset.cpus": "0-7\n",
    f"{CPUSET}/machine/a.partition/notify_on_release": "0\n",
    f"{CPUSET}/machine/a.partition/cpuset.cpus": "0-1\n",
    f"{MEMORY}/machine/notify_on_release": "0\n",
    f"{MEMORY}/machine/memory.limit_in_bytes": "9223372036854771712\n",
    f"{MEMORY}/machine/a.partition/notify_on_release": "0\n",
    f"{MEMORY}/machine/a.partition/memory.limit_in_bytes": f"{1024 * MIB}\n",
}
CORES = {0: "0,4", 1: "1,5", 2: "2,6", 3: "3,7", 4: "0,4", 5: "1,5", 6: "2,6", 7: "3,7"}
NODES = {0: "0-1,4-5", 1: "2-3,6-7"}


@dataclass(frozen=True)
class Guest:
    """told: the pin of each role in the live XML, "" for none; kept: the affinity of each thread, as told if not given.

    xml: more of the domain. arguments: of its QEMU. by_hand: libvirt does not know it.
    """

    name: str
    pid: int
    told: Mapping[str, str]
    kept: Mapping[str, str] = field(default_factory=dict)
    mems: str = "0-1"
    xml: str = ""
    vcpu: str = ""
    partition: str = ""
    resident: int = 100
    arguments: tuple[str, ...] = ("-m", "192", "-smp", "1")
    by_hand: bool = False

    @property
    def roles(self) -> list[str]:
        """emulator first: it is the main thread."""
        return ["emulator", *(role for role in self.told if role != "emulator")]

    def live(self) -> str:
        """Its domain XML."""
        count = sum(role.startswith("vcpu") for role in self.told)
        vcpu = self.vcpu or f"<vcpu>{count}</vcpu>"
        pinned = "".join(_pin(role, cpus) for role, cpus in self.told.items() if cpus)
        partition = f"<resource><partition>{self.partition}</partition></resource>" if self.partition else ""
        memory = "<memory unit='KiB'>196608</memory>"
        return f"<domain>{memory}{vcpu}<cputune>{pinned}</cputune>{partition}{self.xml}</domain>"

    def files(self) -> Iterator[tuple[str, str]]:
        """Of /proc/PID."""
        yield f"/proc/{self.pid}/comm", "qemu-system-x86\n"
        for tid, role in enumerate(self.roles, self.pid):
            task = f"/proc/{self.pid}/task/{tid}"
            cpus = self.kept.get(role) or self.told.get(role) or "0-7"
            yield f"{task}/comm", f"CPU {role[4:]}/KVM\n" if role.startswith("vcpu") else "qemu-system-x86\n"
            yield f"{task}/stat", f"{tid} (x) S" + " 0" * 40
            memory = f"VmRSS:\t  {self.resident * 1024} kB\n"
            yield f"{task}/status", f"{memory}Cpus_allowed_list:\t{cpus}\nMems_allowed_list:\t{self.mems}\n"
            yield f"{task}/cgroup", f"1:cpuset:{self.group}/{role}\n2:memory:{self.group}\n"

    @property
    def group(self) -> str:
        """Below each controller."""
        return f"{partitions.directories(self.partition or '/machine')[0]}/qemu-1-{self.name}.libvirt-qemu"

    def vcpus(self) -> str:
        """Of libvirt's status file."""
        numbered = [(tid, role[4:]) for tid, role in enumerate(self.roles, self.pid) if role.startswith("vcpu")]
        return "".join(f"<vcpu id='{number}' pid='{tid}'/>\n" for tid, number in numbered)


def _pin(role: str, cpus: str) -> str:
    if role == "emulator":
        return f"<emulatorpin cpuset='{cpus}'/>"
    return f"<vcpupin vcpu='{role[4:]}' cpuset='{cpus}'/>"


def look(guests: Iterable[Guest], more: Mapping[Source, Answer] | None = None) -> Snapshot:
    """A snapshot of a host with these guests. more: answers that replace others."""
    guests = tuple(guests)
    known = [one for one in guests if not one.by_hand]
    domains = {one.name: Domain(one.name, "", "running", False, one.live(), None) for one in known}
    answers: dict[Source, Answer] = {
        Libvirt(): LibvirtAnswer("qemu:///system", "hv", 9000000, 7002000, "", domains),
        qemu.PIDS: _files({f"{qemu.STATE}/{one.name}.pid": str(one.pid) for one in known}),
        qemu.ARGUMENTS: Completed(0, "".join(map(_arguments, guests)).encode(), b""),
        threads.VCPUS: _files({f"{qemu.STATE}/{one.name}.xml": one.vcpus() for one in known}),
        threads.QEMU: _files(dict(pair for one in guests for pair in one.files())),
        **dict.fromkeys(threads.KERNEL, _files({})),
        pins.ONLINE: Content(b"0-7\n"),
        demands.PRESENT: Content(b"0-7\n"),
        demands.NODES: Content(b"0-1\n"),
        neighbours.CORES: _files({_core(cpu): f"{cpus}\n" for cpu, cpus in CORES.items()}),
        neighbours.NODE_CPUS: _files({_node(node): f"{cpus}\n" for node, cpus in NODES.items()}),
        neighbours.NODES_WITH_MEMORY: Content(b"0-1\n"),
        cgroup.MOUNTS: Content(MOUNTS.encode()),
        cgroup.FILES: _files(FILES),
        cgroup.MEMORY_INFO: Content(b"MemTotal:        2097152 kB\n"),
        **dict.fromkeys(cgroup.UNIFIED, Absent()),
    }
    hands = {one.name: one.pid for one in guests if one.by_hand and one.name}
    return Snapshot("hv", datetime(2026, 11, 23, tzinfo=UTC), answers | dict(more or {}), by_hand=hands)


def _core(cpu: int) -> str:
    return f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"


def _node(node: int) -> str:
    return f"/sys/devices/system/node/node{node}/cpulist"


def _files(texts: Mapping[str, str]) -> Mapping[str, FileAnswer]:
    return {path: Content(text.encode()) for path, text in texts.items()}


def _arguments(guest: Guest) -> str:
    named = ("-name", f"guest={guest.name},debug-threads=on") if guest.name else ()
    return "".join(f"/proc/{guest.pid}/cmdline:{word}\0" for word in (*named, *guest.arguments))
