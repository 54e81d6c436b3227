"""Guests that disturb each other, and demands that the host cannot meet.

A guest's exclusive CPUs need neighbours that stay off them: `EQUIP` gives hv2 one more guest and keeps all but web2 on
CPU 0, so that `PROFILE` holds; `OF_NEIGHBOURS` brings them together. Which cores and NUMA nodes the machine
below has is hidden: others are shown to the host inside its mount namespace.
"""

from __future__ import annotations

from tests.lab.faults import Fault

PROFILE = """\
virtvet: 1
host:
  partitions: {/machine: {}}
  neighbours:
    smt: same-guest
    numa: local
    vcpus: {host: 3, partitions: 3}
    memory: {host: 20%, partitions: 20%}
guests:
  web2:
    cpu: {pins: {vcpu: {0: 1}, emulator: 0, exclusive: true}}
"""

LODGER = "<domain type='qemu'><name>{name}</name><memory unit='MiB'>{memory}</memory>"
LODGER += "<vcpu cpuset='0'>{vcpus}</vcpu><os><type arch='x86_64' machine='pc'>hvm</type></os></domain>"
"""A guest with nothing to boot from."""


def _create(name: str, memory: int | str = 32, vcpus: int = 1) -> str:
    xml = LODGER.format(name=name, memory=memory, vcpus=vcpus)
    return f'echo "{xml}" >/run/{name}.xml; virsh -q create /run/{name}.xml; rm /run/{name}.xml'


EVERY = "virsh -q list --name | grep -vx -e web2 -e '' | while read -r name; do {}; done; "
STRANGERS = (
    "for pid in $(pgrep -x 'qemu-system-x86'); do grep -qx $pid /run/libvirt/qemu/*.pid || taskset -acp {} $pid; done"
)
"""QEMU processes that are not libvirt's."""
PIN = "virsh -q vcpupin $name 0 {0} --live; virsh -q emulatorpin $name {0} --live"
ONLINE = "$(cat /sys/devices/system/cpu/online)"
_CPUS, _NODES = "/sys/devices/system/cpu", "/sys/devices/system/node"
MACHINE = (
    f"for n in 0 1; do echo $n >/run/core$n; "
    f"mount --bind /run/core$n {_CPUS}/cpu$n/topology/thread_siblings_list; done; "
    f"mount -t tmpfs tmpfs {_NODES}; mkdir {_NODES}/node0; cat {_CPUS}/online >{_NODES}/node0/cpulist; "
    f"echo 0 >{_NODES}/has_memory; echo 0 >{_NODES}/online; "
)
"""CPUs 0 and 1 are cores by themselves, of one node, whatever the machine has."""
EQUIP = f"{MACHINE}{_create('lodger')}; {EVERY.format(PIN.format(0))}{STRANGERS.format(0)}"
UNEQUIP = (
    f"umount {_NODES} {_CPUS}/cpu[01]/topology/thread_siblings_list; rm /run/core[01]; "
    f"virsh -q destroy lodger; {EVERY.format(PIN.format(ONLINE))}{STRANGERS.format(ONLINE)}"
)

_LODGER = "pid=$(cat /run/libvirt/qemu/lodger.pid); vcpu=$(grep -lx 'CPU 0/TCG' /proc/$pid/task/*/comm | cut -d/ -f5); "
_LODGER += "group=/sys/fs/cgroup/cpuset$(sed -n 's/^[0-9]*:cpuset://p' /proc/$pid/task/$vcpu/cgroup)/cpuset.cpus; "
"""Shell: the lodger's process, its vCPU's thread, and the CPUs of that one's group."""
_STRANGER = (
    "qemu-system-x86_64 -name stranger,debug-threads=on -machine pc -accel tcg -nodefaults -display none "
    "-pidfile /run/stranger.pid -daemonize -m {memory} -smp {vcpus}; taskset -acp {cpus} $(cat /run/stranger.pid)"
)
_LEAVES = "kill $(cat /run/stranger.pid); while kill -0 $(cat /run/stranger.pid) 2>/dev/null; do sleep 0.1; done; "
_LEAVES += "rm -f /run/stranger.pid"


def _stranger(name: str, departs: dict[str, str], memory: int | str = 32, vcpus: int = 1, cpus: int = 0) -> Fault:
    return Fault(name, "hv2", _STRANGER.format(memory=memory, vcpus=vcpus, cpus=cpus), _LEAVES, departs)


def _lodgers(name: str, departs: dict[str, str], memory: int | str = 32, vcpus: int = 1) -> Fault:
    """Another guest of libvirt's."""
    return Fault(name, "hv2", _create("another", memory, vcpus), "virsh -q destroy another", departs)


_MUCH = "$(awk '/^MemTotal/ {print int($2 / 1024 * 21 / 100)}' /proc/meminfo)"
OF_NEIGHBOURS = (
    Fault(
        "a guest is pinned onto another's exclusive CPU, live",
        "hv2",
        "virsh vcpupin lodger 0 1 --live",
        "virsh vcpupin lodger 0 0 --live",
        {"NEIGHBOUR-1": "live actual"},
    ),
    Fault(
        "taskset moves a guest's main thread onto another's exclusive CPU",
        "hv2",
        f"{_LODGER} echo 0-1 >$(dirname $group)/../emulator/cpuset.cpus; taskset -pc 1 $pid",
        "virsh emulatorpin lodger 0 --live",
        {"NEIGHBOUR-1": "actual"},
    ),
    Fault(
        "a guest is pinned onto another's exclusive CPU, and its thread put back",
        "hv2",
        f"virsh vcpupin lodger 0 1 --live; {_LODGER} echo 0 >$group; taskset -pc 0 $vcpu",
        "virsh vcpupin lodger 0 0 --live",
        {"NEIGHBOUR-1": "live"},
    ),
    _stranger("a guest started by hand runs on another's exclusive CPU", {"NEIGHBOUR-1": "actual"}, cpus=1),
    Fault(
        "the CPUs are threads of one core",
        "hv2",
        "echo 0-1 >/run/core0; echo 0-1 >/run/core1",
        "echo 0 >/run/core0; echo 1 >/run/core1",
        {"NEIGHBOUR-2": "live actual"},
    ),
    Fault(
        "the CPUs are on two NUMA nodes, and memory comes from one",
        "hv2",
        f"cd {_NODES}; mkdir node1; echo 1 >node1/cpulist; echo 0 >node0/cpulist; echo 0-1 >has_memory",
        f"cd {_NODES}; rm -r node1; cat {_CPUS}/online >node0/cpulist; echo 0 >has_memory",
        {"NEIGHBOUR-3": "live actual"},
    ),
    _lodgers("one more guest, with many vCPUs", {"NEIGHBOUR-4": "live actual"}, vcpus=8),
    _stranger("a guest with many vCPUs is started by hand", {"NEIGHBOUR-4 host": "actual"}, vcpus=8),
    _lodgers("one more guest, with much memory", {"NEIGHBOUR-5": "live actual"}, memory=_MUCH),
    _stranger("a guest with much memory is started by hand", {"NEIGHBOUR-5 host": "actual"}, memory=_MUCH),
)

FAULTS = (
    Fault(
        "the host has less CPUs than the profile names",
        "hv2",
        f"echo 0 >/run/present; mount --bind /run/present {_CPUS}/present",
        f"umount {_CPUS}/present; rm /run/present",
        {"PROFILE-1 CPUs": "actual"},
    ),
    Fault(
        "the host has less memory than its guests' hard limits together",
        "hv1",
        "sed 's/^MemTotal:.*/MemTotal: 500000 kB/' /proc/meminfo >/run/meminfo; "
        "mount --bind /run/meminfo /proc/meminfo",
        "umount /proc/meminfo; rm /run/meminfo",
        {
            "PROFILE-1 hard limits": "actual",
            "NEIGHBOUR-5 host": "live actual",
            "NEIGHBOUR-5 /machine": "live actual",
        },
    ),
)
