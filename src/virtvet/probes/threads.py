"""The threads of a guest's QEMU process, and what each of them is for libvirt.

Which is which is libvirt's own knowledge: vCPU thread ids stand in the status file it keeps of a running domain
(qemuDomainObjPrivateXMLFormat, src/qemu/qemu_domain.c). Only iothreads are known by their name, which QEMU gives them
because libvirt always starts it with debug-threads=on. Membership of a control group decides nothing: it is judged.
Of a guest that was started by hand, vCPUs are known by their names, too, if it has debug-threads=on.

Some threads work for a guest without being QEMU's: the kernel makes them as processes of their own, puts them into the
groups of the thread that asked for them, and names them after it. Until Linux 6.3 vhost's are (vhost_dev_set_owner in
drivers/vhost/vhost.c), until 6.13 the one that gives KVM its huge pages back (kvm_vm_create_worker_thread in
virt/kvm/kvm_main.c); since then they are threads of QEMU. libvirt knows neither: both are in the emulator's group, and
what binds the group binds them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import domain_xml, qemu
from virtvet.snapshot.model import Content, FileAnswer, Snapshot, Unreadable, text_of
from virtvet.snapshot.sources import Glob, Processes, Source
from virtvet.units import parse_cpuset

VCPUS = Glob(f"{qemu.STATE}/*.xml", containing="<vcpu id=")
"""Nothing else of the status file is taken: it holds secrets."""
QEMU = Processes("qemu-*", files=("comm",), task_files=("cgroup", "comm", "stat", "status"))
"""`qemu-system-x86` (comm has 15 characters), or `qemu-kvm` on Red Hat's systems."""
KERNEL = tuple(Processes(f"{name}-*", QEMU.files, QEMU.task_files) for name in ("vhost", "kvm-nx-lpage-recovery"))
"""`vhost-384`, `kvm-nx-lpage-recovery-384` (before Linux 5.17 cut to 15 characters: then nothing says whose it is)."""
SOURCES: tuple[Source, ...] = (*domain_xml.SOURCES, *qemu.SOURCES, VCPUS, QEMU, *KERNEL)

EMULATOR = "emulator"
_VCPU = re.compile(r"<vcpu id='(\d{1,5})' pid='(\d{1,10})'/>", re.ASCII)
_IOTHREAD = re.compile(r"IO iothread(\d{1,5})", re.ASCII)
_VCPU_NAME = re.compile(r"CPU (\d{1,5})/(?:KVM|TCG)", re.ASCII)
"""mttcg_start_vcpu_thread, kvm_start_vcpu_thread (QEMU's accel/). `ALL CPUs/TCG` is no vCPU's own."""
_MAKERS = (
    (re.compile(r"worker|iou-wrk-.*", re.DOTALL), re.compile(r"/(iothread\d{1,5})$", re.ASCII | re.MULTILINE)),
    (re.compile(r"kvm-nx-lpage-re"), re.compile(r"/(vcpu\d{1,5})$", re.ASCII | re.MULTILINE)),
)
"""Threads by name and the groups of who else than the main thread makes them, which they share: QEMU's workers and
io_uring's (util/thread-pool.c); and, since Linux 6.14, the one KVM makes when a first vCPU runs (mmu.c)."""
_OF_KERNEL = re.compile(r"(?:vhost|kvm-nx-lpage-recovery)-(\d{1,10})", re.ASCII)
_OF_PROCESS = re.compile(r"/proc/(\d{1,10})/comm", re.ASCII)
_KTHREADD = "2"
"""The parent of every kernel thread: whoever else has such a name has given it to himself."""
_NUMBER = re.compile(r"-?\d{1,20}", re.ASCII)
_GONE = ("No such process", "No such file or directory")


@dataclass(frozen=True, slots=True)
class Thread:
    """One thread. `role` is the name of the control group libvirt makes for it: vcpu0, emulator, iothread1.

    kernel: whether it is the kernel's, a process of its own.
    """

    pid: int
    tid: int
    comm: str
    role: str
    kernel: bool = False

    def __str__(self) -> str:
        return f"{self.role} ({'kernel ' if self.kernel else ''}thread {self.tid}, {self.comm})"


def pid(snapshot: Snapshot, guest: str) -> int:
    """The QEMU process. Raises NotApplicable when the guest is shut off, CannotLook when it cannot be told."""
    number = qemu.pid(snapshot, guest)
    if f"/proc/{number}/comm" not in snapshot.read(QEMU):
        raise CannotLook(QEMU, f"shows no QEMU process {number}, which is said to be {guest}'s")
    return number


def threads(snapshot: Snapshot, guest: str) -> tuple[Thread, ...]:
    """Every thread that lived while virtvet looked: QEMU's by id, then the kernel's. Raises as `pid`."""
    if guest in snapshot.by_hand:
        _must_name_its_threads(snapshot, guest)
        return every(snapshot, pid(snapshot, guest))
    return every(snapshot, pid(snapshot, guest), _vcpus(snapshot, guest))


def every(snapshot: Snapshot, process: int, vcpus: Mapping[int, int] | None = None) -> tuple[Thread, ...]:
    """As `threads`, of any QEMU process. vcpus: the number of each vCPU by thread id; None where libvirt does not know
    it: then by the name that QEMU gives it with debug-threads=on, `CPU 0/KVM`. Raises CannotLook."""
    return (*of_process(snapshot, process, vcpus), *of_kernel(snapshot, process))


def of_kernel(snapshot: Snapshot, process: int) -> tuple[Thread, ...]:
    """The kernel's threads for a QEMU process. /proc/393/comm: `vhost-384` is one for thread 384. Raises CannotLook."""
    makers = frozenset(_tids(snapshot.read(QEMU), process))
    named = (one for source in KERNEL for one in _named_after(snapshot.read(source), makers))
    return tuple(one for one in named if stat(snapshot, one)[1] == _KTHREADD)


def _named_after(files: Mapping[str, FileAnswer], makers: Collection[int]) -> Iterator[Thread]:
    for path, found in sorted(files.items()):
        place = _OF_PROCESS.fullmatch(path)
        if place is None or _gone(found):
            continue
        number, comm = int(place[1]), text_of(path, found).strip()
        match = _OF_KERNEL.fullmatch(comm)
        if match and int(match[1]) in makers and number in _tids(files, number):
            yield Thread(number, number, comm, EMULATOR, kernel=True)


def of_process(snapshot: Snapshot, process: int, vcpus: Mapping[int, int] | None = None) -> tuple[Thread, ...]:
    """As `every`, QEMU's own only: they have its account and its limits."""
    own = _tids(snapshot.read(QEMU), process)
    named = {tid: task(snapshot, process, tid, "comm").strip() for tid in own}
    return tuple(
        Thread(process, tid, comm, _role(snapshot, process, tid, comm, vcpus)) for tid, comm in sorted(named.items())
    )


def task(snapshot: Snapshot, pid: int, tid: int, name: str) -> str:
    """A file of /proc/PID/task/TID. Raises CannotLook."""
    path = f"/proc/{pid}/task/{tid}/{name}"
    return _file(next((files for files in map(snapshot.read, (QEMU, *KERNEL)) if path in files), {}), path)


def allowed(snapshot: Snapshot, thread: Thread) -> Reading:
    """The CPUs the scheduler may put the thread on.

    /proc/PID/task/TID/status: `Cpus_allowed_list:\\t0-1` -> {0, 1}
    """
    return _list_of(snapshot, thread, "Cpus_allowed_list")


def nodes(snapshot: Snapshot, thread: Thread) -> Reading:
    """The NUMA nodes the thread may take memory from. /proc/PID/task/TID/status: `Mems_allowed_list:\t0` -> {0}"""
    return _list_of(snapshot, thread, "Mems_allowed_list")


def resident(snapshot: Snapshot, process: int) -> Reading:
    """Bytes of host memory that a process holds now. /proc/PID/task/PID/status: `VmRSS:\t  154336 kB` -> 158040064"""
    path = f"/proc/{process}/task/{process}/status"
    match = re.search(r"^VmRSS:\s+(\d{1,15}) kB$", task(snapshot, process, process, "status"), re.MULTILINE)
    if match is None:
        raise CannotLook(path, "names no VmRSS")
    return Reading(int(match[1]) * 1024, path, match[0])


def _list_of(snapshot: Snapshot, thread: Thread, key: str) -> Reading:
    path = f"/proc/{thread.pid}/task/{thread.tid}/status"
    match = re.search(rf"^{key}:\s*(\S+)$", task(snapshot, thread.pid, thread.tid, "status"), re.MULTILINE)
    try:
        return Reading(parse_cpuset(match[1] if match else ""), f"{path} {key} of {thread}", match[0] if match else "")
    except ValueError as mistake:
        raise CannotLook(path, f"{key}: {mistake}") from None


def running_on(snapshot: Snapshot, thread: Thread) -> Reading | None:
    """The CPU the thread ran on at the moment of the look, as a set; None when it slept.

    A sleeping thread still shows the CPU it last used, perhaps before it was pinned (proc(5), fields 3 and 39).
    `4712 (CPU 0/KVM) R 1 … 17 1 0 …` -> {1}
    """
    fields = stat(snapshot, thread)
    source = f"/proc/{thread.pid}/task/{thread.tid}/stat of {thread}"
    return Reading(frozenset({int(fields[36])}), source, " ".join(fields)) if fields[0] == "R" else None


def stat(snapshot: Snapshot, thread: Thread) -> list[str]:
    """What stands behind the name in /proc/PID/task/TID/stat, from field 3 on: all numbers but the first.

    `4712 (CPU 0/KVM) R 1 4712 …` -> ["R", "1", "4712", …]. Raises CannotLook.
    """
    state, *numbers = task(snapshot, thread.pid, thread.tid, "stat").rpartition(")")[2].split() or [""]
    if len(numbers) < 38 or not all(_NUMBER.fullmatch(one) for one in numbers):
        raise CannotLook(f"/proc/{thread.pid}/task/{thread.tid}/stat", "is not as proc(5) describes it")
    return [state, *numbers]


def is_worker(thread: Thread) -> bool:
    """Whether it is one of those that others than the main thread make, too, when they need it."""
    return any(name.fullmatch(thread.comm) for name, _group in _MAKERS)


def _tids(files: Mapping[str, FileAnswer], process: int) -> Iterator[int]:
    """Threads come and go: one that ended between two of its files is left out, as if it had ended before."""
    directory = f"/proc/{process}/task/"
    for tid in {PurePosixPath(path).parent.name for path in files if path.startswith(directory)}:
        if not any(_gone(files.get(f"{directory}{tid}/{name}")) for name in QEMU.task_files):
            yield int(tid)


def _gone(found: FileAnswer | None) -> bool:
    match found:
        case None | Content(b""):
            return True
        case Unreadable(reason):
            return any(word in reason for word in _GONE)
    return False


def _vcpus(snapshot: Snapshot, guest: str) -> Mapping[int, int]:
    """vCPU numbers by thread id. QEMU's single-threaded TCG has no thread a vCPU: libvirt then writes pid 0."""
    path = f"{qemu.STATE}/{guest}.xml"
    if not (found := _VCPU.findall(_file(snapshot.read(VCPUS), path))):
        raise CannotLook(path, "names no vCPU")
    return {int(tid): int(vcpu) for vcpu, tid in found if int(tid)}


def _must_name_its_threads(snapshot: Snapshot, guest: str) -> None:
    """`-name hand2,debug-threads=on`. Raises NotApplicable, CannotLook."""
    if qemu.keywords(qemu.of_guest(snapshot, guest).option("name") or "").get("debug-threads") != "on":
        raise NotApplicable(
            "the guest was started by hand, without debug-threads=on: nothing says which thread is which vCPU"
        )


def _role(snapshot: Snapshot, process: int, tid: int, comm: str, vcpus: Mapping[int, int] | None) -> str:
    if vcpus is None and (match := _VCPU_NAME.fullmatch(comm)):
        return f"vcpu{match[1]}"
    if vcpus and tid in vcpus:
        return f"vcpu{vcpus[tid]}"
    if match := _IOTHREAD.fullmatch(comm):
        return f"iothread{match[1]}"
    group = next((group for name, group in _MAKERS if name.fullmatch(comm)), None)
    match = group.search(task(snapshot, process, tid, "cgroup")) if group else None
    return match[1] if match else EMULATOR


def _file(files: Mapping[str, FileAnswer], path: str) -> str:
    if path not in files:
        raise CannotLook(path, "does not exist")
    return text_of(path, files[path])
