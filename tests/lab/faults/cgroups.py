"""Control groups: partitions, where threads are, their CPUs, CPU bandwidth and memory limits. cgroup v1 by hand.

One fault may depart in two controls where one fact follows from the other; such faults name both.
"""

from __future__ import annotations

from tests.lab.faults import Fault

ROOT = "/sys/fs/cgroup"
PARTITION = "machine/openstack.partition"
MIB = 1 << 20
FIND = (
    "pid=$(cat /run/libvirt/qemu/web1.pid); "
    f"web1={PARTITION}/$(ls {ROOT}/cpu/{PARTITION} | grep -- -web1[.]libvirt-qemu); "
    "vcpu() { sed -n \"s/.*<vcpu id='$1' pid='\\([0-9]*\\)'.*/\\1/p\" /run/libvirt/qemu/web1.xml; }; "
)
"""Shell: web1's process, the path of its group below each controller, the thread of a vCPU."""


def _write(value: object, file: str) -> str:
    return f"{FIND} echo {value} >{ROOT}/{file}"


def _file(name: str, file: str, right: object, wrong: object, control: str) -> Fault:
    """A file of web1's groups (`$web1`) or of the host's rewritten behind libvirt's back."""
    return Fault(name, "hv1", _write(wrong, file), _write(right, file), {control: "actual"})


def _virsh(name: str, command: str, right: object, wrong: object, departs: dict[str, str]) -> Fault:
    """A virsh command; `{}` is the value."""
    return Fault(name, "hv1", f"virsh {command.format(wrong)}", f"virsh {command.format(right)}", departs)


def _stored(edit: str) -> str:
    dump = "virsh dumpxml --inactive web1 >/run/was.xml"
    return f"{dump}; sed '{edit}' /run/was.xml >/run/new.xml; virsh define /run/new.xml"


def _both(what: str, command: str, right: object, wrong: object, control: str) -> tuple[Fault, Fault]:
    """What virsh sets, changed in the file and changed live; `{}` is the value, and where comes last."""
    stored, running = f"{command} --config", f"{command} --live"
    return (
        _virsh(f"{what} is changed in the file, by virsh", stored, right, wrong, {control: "config"}),
        _virsh(f"{what} is changed live, by virsh", running, right, wrong, {control: "live actual"}),
    )


CPUS = (
    Fault(
        "taskset moves a vCPU thread",
        "hv1",
        f"{FIND} taskset -pc 0 $(vcpu 1)",
        f"{FIND} taskset -pc 0-1 $(vcpu 1)",
        {"CPU-PIN-1 web1/vcpu1": "actual"},
    ),
    _file("a vCPU's cpuset is changed under libvirt", "cpuset/$web1/vcpu0/cpuset.cpus", 0, 1, "CPU-PIN-1 web1/vcpu0"),
    _virsh(
        "a vCPU is pinned elsewhere in the file",
        "vcpupin web1 1 {} --config",
        "0-1",
        1,
        {"CPU-PIN-1 web1/vcpu1": "config"},
    ),
    _virsh(
        "a vCPU is pinned elsewhere live", "vcpupin web1 1 {} --live", "0-1", 1, {"CPU-PIN-1 web1/vcpu1": "live actual"}
    ),
    Fault(
        "a vCPU is pinned elsewhere live, and its thread put back",
        "hv1",
        f"virsh vcpupin web1 1 0 --live; {_write('0-1', 'cpuset/$web1/vcpu1/cpuset.cpus')}; taskset -pc 0-1 $(vcpu 1)",
        "virsh vcpupin web1 1 0-1 --live",
        {"CPU-PIN-1 web1/vcpu1": "live"},
    ),
    Fault(
        "taskset moves QEMU's main thread",
        "hv1",
        f"{FIND} taskset -pc 1 $pid",
        f"{FIND} taskset -pc 0-1 $pid",
        {"CPU-PIN-2 web1/emulator": "actual"},
    ),
    _file(
        "the emulator's cpuset is changed under libvirt",
        "cpuset/$web1/emulator/cpuset.cpus",
        "0-1",
        0,
        "CPU-PIN-2 web1/emulator",
    ),
    _virsh(
        "the emulator is pinned elsewhere in the file",
        "emulatorpin web1 {} --config",
        "0-1",
        0,
        {"CPU-PIN-2 web1/emulator": "config"},
    ),
    _file(
        "an iothread's cpuset is changed under libvirt",
        "cpuset/$web1/iothread1/cpuset.cpus",
        1,
        0,
        "CPU-PIN-3 web1/iothread1",
    ),
    _virsh(
        "an iothread is pinned elsewhere live",
        "iothreadpin web1 1 {} --live",
        1,
        0,
        {"CPU-PIN-3 web1/iothread1": "live actual"},
    ),
    _virsh(
        "the emulator is pinned elsewhere live",
        "emulatorpin web1 {} --live",
        "0-1",
        0,
        {"CPU-PIN-2 web1/emulator": "live actual"},
    ),
    _virsh(
        "an iothread is pinned elsewhere in the file",
        "iothreadpin web1 1 {} --config",
        1,
        0,
        {"CPU-PIN-3 web1/iothread1": "config"},
    ),
    _virsh(
        "a vCPU gets a pin of its own, off the default, in the file",
        "vcpupin db1 0 {} --config",
        0,
        1,
        {"CPU-PIN-4 db1/others": "config"},
    ),
    _virsh(
        "a vCPU gets a pin of its own, off the default, live",
        "vcpupin db1 0 {} --live",
        0,
        1,
        {"CPU-PIN-4 db1/others": "live actual"},
    ),
    Fault(
        "a thread without a pin of its own gets another CPU",
        "hv1",
        f"echo 0-1 >$(ls -d {ROOT}/cpuset/machine/*-db1.libvirt-qemu/vcpu0)/cpuset.cpus",
        f"echo 0 >$(ls -d {ROOT}/cpuset/machine/*-db1.libvirt-qemu/vcpu0)/cpuset.cpus",
        {"CPU-PIN-4 db1/others": "actual"},
    ),
)

SET = "schedinfo web1 --set"
BANDWIDTH = (
    _file(
        "one vCPU's quota is lifted in its group only",
        "cpu/$web1/vcpu1/cpu.cfs_quota_us",
        50000,
        -1,
        "CPU-BW-2 web1/vcpu/quota",
    ),
    Fault(
        "the quota is changed live, and the groups put back",
        "hv1",
        f"virsh schedinfo web1 --live --set vcpu_quota=60000; {FIND} "
        f"for v in 0 1; do echo 50000 >{ROOT}/cpu/$web1/vcpu$v/cpu.cfs_quota_us; done",
        "virsh schedinfo web1 --live --set vcpu_quota=50000",
        {"CPU-BW-2 web1/vcpu/quota": "live"},
    ),
    _virsh(
        "the quota is changed in the file only",
        "schedinfo web1 --config --set vcpu_quota={}",
        50000,
        60000,
        {"CPU-BW-2 web1/vcpu/quota": "config"},
    ),
    _virsh(
        "the quota is changed live",
        "schedinfo web1 --live --set vcpu_quota={}",
        50000,
        60000,
        {"CPU-BW-2 web1/vcpu/quota": "live actual"},
    ),
    _file("the shares are changed in the group only", "cpu/$web1/cpu.shares", 2048, 1024, "CPU-BW-1 web1/guest/shares"),
    _virsh(
        "the shares are changed in the file only",
        "schedinfo web1 --config --set cpu_shares={}",
        2048,
        512,
        {"CPU-BW-1 web1/guest/shares": "config"},
    ),
    _file(
        "the emulator's quota is changed in its group only",
        "cpu/$web1/emulator/cpu.cfs_quota_us",
        80000,
        40000,
        "CPU-BW-3 web1/emulator/quota",
    ),
    _file(
        "an iothread's period is changed in its group only",
        "cpu/$web1/iothread1/cpu.cfs_period_us",
        100000,
        50000,
        "CPU-BW-4 web1/iothread/period",
    ),
    _file(
        "the whole guest's quota is lifted in its group only",
        "cpu/$web1/cpu.cfs_quota_us",
        150000,
        -1,
        "CPU-BW-5 web1/guest/quota",
    ),
    _virsh(
        "the shares are changed live",
        "schedinfo web1 --live --set cpu_shares={}",
        2048,
        512,
        {"CPU-BW-1 web1/guest/shares": "live actual"},
    ),
    Fault(
        "the group above a guest without a quota has one",
        "hv1",
        f"echo 160000 >{ROOT}/cpu/machine/cpu.cfs_quota_us",
        f"echo -1 >{ROOT}/cpu/machine/cpu.cfs_quota_us",
        {"CPU-BW-6 app1": "actual"},
    ),
    *_both("the emulator's quota", f"{SET} emulator_quota={{}}", 80000, 40000, "CPU-BW-3 web1/emulator/quota"),
    *_both("an iothread's quota", f"{SET} iothread_quota={{}}", 60000, 50000, "CPU-BW-4 web1/iothread/quota"),
    *_both("the whole guest's quota", f"{SET} global_quota={{}}", 150000, 160000, "CPU-BW-5 web1/guest/quota"),
)

MEMORY = (
    _file(
        "the hard limit is raised behind libvirt's back",
        "memory/$web1/memory.limit_in_bytes",
        512 * MIB,
        600 * MIB,
        "MEM-LIMIT-1 web1/hard",
    ),
    _virsh(
        "the hard limit is raised in the file only",
        "memtune web1 --hard-limit {} --config",
        524288,
        600000,
        {"MEM-LIMIT-1 web1/hard": "config"},
    ),
    _virsh(
        "the hard limit is raised live",
        "memtune web1 --hard-limit {} --live",
        524288,
        600001,
        {"MEM-LIMIT-1 web1/hard": "live actual"},
    ),
    _file(
        "the soft limit is lifted behind libvirt's back",
        "memory/$web1/memory.soft_limit_in_bytes",
        256 * MIB,
        -1,
        "MEM-LIMIT-2 web1/soft",
    ),
    _file(
        "the limit of swap is lifted behind libvirt's back",
        "memory/$web1/memory.memsw.limit_in_bytes",
        768 * MIB,
        -1,
        "MEM-LIMIT-3 web1/swap_hard",
    ),
    *_both("the soft limit", "memtune web1 --soft-limit {}", 262144, 300000, "MEM-LIMIT-2 web1/soft"),
    *_both("the limit of swap", "memtune web1 --swap-hard-limit {}", 786432, 800000, "MEM-LIMIT-3 web1/swap_hard"),
)

LIMIT = f"memory/{PARTITION}/memory.limit_in_bytes"
PARTITIONS = (
    Fault(
        "a partition is missing in one controller",
        "hv2",
        f"rmdir {ROOT}/freezer/{PARTITION}",
        f"mkdir {ROOT}/freezer/{PARTITION}",
        {f"PART-EXIST-1 /{PARTITION}": "actual"},
    ),
    Fault(
        "a partition has no CPUs",
        "hv2",
        f"cp {ROOT}/cpuset/{PARTITION}/cpuset.cpus /run/was.cpus; echo >{ROOT}/cpuset/{PARTITION}/cpuset.cpus",
        f"cat /run/was.cpus >{ROOT}/cpuset/{PARTITION}/cpuset.cpus; rm /run/was.cpus",
        {f"PART-CPUSET-1 /{PARTITION} cpus": "actual"},
    ),
    _file("a partition's memory limit is lowered", LIMIT, 2048 * MIB, 1024 * MIB, f"PART-LIMIT-1 /{PARTITION} memory"),
    Fault(
        "a partition has less memory than its guests' limits together",
        "hv1",
        _write(500 * MIB, LIMIT),
        _write(2048 * MIB, LIMIT),
        {f"PART-LIMIT-1 /{PARTITION} memory": "actual", f"PART-ROOM-1 /{PARTITION}": "actual"},
    ),
    Fault(
        "the group above a guest and a partition is tighter",
        "hv2",
        f"echo {500 * MIB} >{ROOT}/memory/machine/memory.limit_in_bytes",
        f"echo -1 >{ROOT}/memory/machine/memory.limit_in_bytes",
        {
            "MEM-LIMIT-4 web2": "actual",
            f"PART-LIMIT-1 /{PARTITION} memory": "actual",
            "NEIGHBOUR-5 /machine": "actual",  # all guests together have more than is left
        },
    ),
    _file(
        "the group above a partition is tighter",
        "memory/machine/memory.limit_in_bytes",
        -1,
        2000 * MIB,
        f"PART-LIMIT-1 /{PARTITION} memory",
    ),
)

PLACES = (
    Fault(
        "a vCPU thread is moved out of its partition",
        "hv1",
        f"{FIND} echo $(vcpu 1) >{ROOT}/cpu/tasks",
        f"{FIND} echo $(vcpu 1) >{ROOT}/cpu/$web1/vcpu1/tasks",
        {"PLACE-1 web1": "actual"},
    ),
    Fault(
        "a vCPU thread is moved out of its partition's cpuset",
        "hv1",
        f"{FIND} echo $(vcpu 0) >{ROOT}/cpuset/tasks",
        f"{FIND} echo $(vcpu 0) >{ROOT}/cpuset/$web1/vcpu0/tasks",
        {"PLACE-1 web1": "actual"},
    ),
    Fault(
        "the whole process is moved out of its partition's memory",
        "hv1",
        f"{FIND} echo $pid >{ROOT}/memory/cgroup.procs",
        f"{FIND} echo $pid >{ROOT}/memory/$web1/cgroup.procs",
        {"PLACE-1 web1": "actual"},
    ),
    Fault(
        "a vCPU thread is in the emulator's group",
        "hv1",
        f"{FIND} echo $(vcpu 1) >{ROOT}/cpu/$web1/emulator/tasks",
        f"{FIND} echo $(vcpu 1) >{ROOT}/cpu/$web1/vcpu1/tasks",
        {"PLACE-2 web1": "actual"},
    ),
    Fault(
        "the iothread is in another guest's group",
        "hv1",
        f"{FIND} mkdir {ROOT}/cpu/{PARTITION}/other; "
        f"echo $(grep -l '^IO iothread1$' /proc/$pid/task/*/comm | cut -d/ -f5) >{ROOT}/cpu/{PARTITION}/other/tasks",
        f"{FIND} cat {ROOT}/cpu/{PARTITION}/other/tasks >{ROOT}/cpu/$web1/iothread1/tasks; "
        f"rmdir {ROOT}/cpu/{PARTITION}/other",
        {"PLACE-2 web1": "actual"},
    ),
    Fault(
        "a vCPU thread is in the guest's own group, as when its CPU went off and on",
        "hv1",
        f"{FIND} echo $(vcpu 1) >{ROOT}/cpuset/$web1/tasks",
        f"{FIND} echo $(vcpu 1) >{ROOT}/cpuset/$web1/vcpu1/tasks",
        {"PLACE-2 web1": "actual"},
    ),
    Fault(
        "the file names another partition",
        "hv1",
        _stored("s,/machine/openstack.partition,/machine,"),
        "virsh define /run/was.xml; rm /run/was.xml /run/new.xml",
        {"PLACE-1 web1": "config"},
    ),
)

FAULTS = (*CPUS, *BANDWIDTH, *MEMORY, *PARTITIONS, *PLACES)
