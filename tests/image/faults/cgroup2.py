"""Control groups of version 2 under systemd, slices, traffic by tc, huge pages, systemd's sockets: on image hosts."""

from __future__ import annotations

import json

from tests.lab.faults import Fault

MIB = 1 << 20
ABOVE = "/sys/fs/cgroup/machine.slice"
SLICE = f"{ABOVE}/machine-prod.slice"
FIND = (
    f"set -- {SLICE}/*tuned.scope; scope=$1; unit=${{scope##*/}}; in=$scope/libvirt; "
    "pid=$(cat /run/libvirt/qemu/tuned.pid); "
    "vcpu=$(sed -n \"s/.*<vcpu id='0' pid='\\([0-9]*\\)'.*/\\1/p\" /run/libvirt/qemu/tuned.xml); "
    "io=$(grep -l '^IO iothread1$' /proc/$pid/task/*/comm | cut -d/ -f5); "
)
"""Shell: tuned's scope, the unit's name, the group where libvirt's limits are, and threads of QEMU."""


def _host(name: str, breaks: str, restores: str, departs: dict[str, str]) -> Fault:
    return Fault(name, "hv3", f"{FIND}{breaks}", f"{FIND}{restores}", departs)


def _file(name: str, file: str, right: object, wrong: object, *cases: str) -> Fault:
    """A file of tuned's groups (`$scope`, `$in`) or of the slice, rewritten behind libvirt and systemd."""
    return _host(name, f"echo {wrong} >{file}", f"echo {right} >{file}", dict.fromkeys(cases, "actual"))


DEVICE_WEIGHT = "BLKIO-3 tuned/dev/vda"
LIMITS = (
    _file("v2: memory.max is raised", "$in/memory.max", 600 * MIB, 700 * MIB, "MEM-LIMIT-1 tuned/hard"),
    _file("v2: memory.high is lifted", "$in/memory.high", 500 * MIB, "max", "MEM-LIMIT-2 tuned/soft"),
    _file("v2: memory.swap.max is lifted", "$in/memory.swap.max", 700 * MIB, "max", "MEM-LIMIT-3 tuned/swap_hard"),
    _file("v2: a vCPU's cpu.max is lifted", "$in/vcpu0/cpu.max", "90000 100000", "max", "CPU-BW-2 tuned/vcpu/quota"),
    _file(
        "v2: the emulator's cpu.max has another period",
        "$in/emulator/cpu.max",
        "45000 50000",
        "45000 100000",
        "CPU-BW-3 tuned/emulator/period",
    ),
    _file(
        "v2: an iothread's cpu.max is lowered",
        "$in/iothread1/cpu.max",
        "25000 50000",
        "20000 50000",
        "CPU-BW-4 tuned/iothread/quota",
    ),
    _file(
        "v2: the whole guest's cpu.max is lifted",
        "$in/cpu.max",
        "180000 100000",
        "max 100000",
        "CPU-BW-5 tuned/guest/quota",
    ),
    _file("v2: cpu.weight of a scope is changed", "$scope/cpu.weight", 2048, 100, "CPU-BW-1 tuned/guest/shares"),
    _file("v2: io.weight of a scope is changed", "$scope/io.weight", "default 300", "default 200", "BLKIO-1 tuned"),
    _file("v2: bfq's weight of a scope is changed", "$scope/io.bfq.weight", 118, 500, "BLKIO-1 tuned"),
    _file(
        "v2: io.max of a device is changed",
        "$in/io.max",
        "254:0 rbps=1073741824 wbps=max riops=max wiops=50000",
        "254:0 rbps=max wbps=1048576",
        "BLKIO-2 tuned/dev/vda/read_bytes",
        "BLKIO-2 tuned/dev/vda/write_bytes",
    ),
    _file("v2: a device has a weight of its own", "$scope/io.bfq.weight", "254:0 default", "254:0 200", DEVICE_WEIGHT),
    Fault(
        "a guest is given a device's weight for its next start",  # libvirt up to 9.0 would die of it there
        "hv3",
        "virsh -q blkiotune tuned --device-weights /dev/vda,200 --config",
        "virsh -q blkiotune tuned --device-weights /dev/vda,0 --config",
        {DEVICE_WEIGHT: "config"},
    ),
    _file("v2: a vCPU's cpuset.cpus is changed", "$in/vcpu0/cpuset.cpus", 0, "0-1", "CPU-PIN-1 tuned/vcpu0"),
)

GROUPS = (
    _host(
        "v2: an iothread is in a vCPU's group",
        "echo $io >$in/vcpu0/cgroup.threads",
        "echo $io >$in/iothread1/cgroup.threads",
        # its CPUs are those of the group that it is in
        {"PLACE-2 tuned": "actual", "CPU-PIN-3 tuned/iothread1": "actual"},
    ),
    _host(
        "v2: a guest's process is in another guest's scope",
        f"set -- {ABOVE}/*nic.scope; echo $pid >$1/libvirt/cgroup.procs",
        "echo $pid >$in/cgroup.procs; for task in /proc/$pid/task/*; do echo ${task##*/} >$in/emulator/cgroup.threads; "
        "done; echo $vcpu >$in/vcpu0/cgroup.threads; echo $io >$in/iothread1/cgroup.threads",
        # what holds for it now is what its new group has
        {
            "PLACE-1 tuned": "actual",
            "PLACE-2 tuned": "actual",  # the kernel's threads stay
            "CPU-PIN-1 tuned/vcpu0": "actual",
            "CPU-PIN-3 tuned/iothread1": "error",
            "CPU-BW-1 tuned/guest/shares": "actual",
            "CPU-BW-2 tuned/vcpu/quota": "actual",
            "CPU-BW-3": "actual",
            "CPU-BW-4": "error",
            "CPU-BW-5 tuned/guest/quota": "actual",
            **{f"MEM-LIMIT-{number}": "actual" for number in (1, 2, 3)},
            "BLKIO-1 tuned": "actual",
            "BLKIO-2 tuned/dev/vda/read_bytes": "actual",
            "BLKIO-2 tuned/dev/vda/write_iops": "actual",
        },
    ),
    _host(
        "v2: systemd is told other CPUs for a scope",
        "systemctl set-property --runtime $unit AllowedCPUs=1",
        "systemctl set-property --runtime $unit AllowedCPUs=0-1",  # an empty one leaves the kernel's as it is
        {"CPU-PIN-1 tuned/vcpu0": "actual", "CPU-PIN-2 tuned/emulator": "actual"},
    ),
)

PROD, UNIT = "/machine/prod", "/etc/systemd/system/machine-prod.slice"
CEILING = "/etc/systemd/system/machine.slice.d/ceiling.conf"


def _property(name: str, how: str, key: str, right: object, wrong: object, departs: dict[str, str]) -> Fault:
    """`systemctl set-property` of the slice."""
    command = f"systemctl set-property {how} machine-prod.slice {key}="
    return Fault(name, "hv3", f"{command}{wrong}", f"{command}{right}", departs)


SLICES = (
    _property(
        "a slice is given less memory until the next boot",
        "--runtime",
        "MemoryMax",
        "1G",
        "500M",
        {f"PART-LIMIT-1 {PROD} memory": "live actual", f"PART-ROOM-1 {PROD}": "actual"},
    ),
    _property(
        "a slice is given another weight for good",
        "",
        "CPUWeight",
        200,
        100,
        {f"PART-LIMIT-1 {PROD} cpu_shares": "config live actual"},
    ),
    _property(
        "a slice is given another weight of I/O until the next boot",
        "--runtime",
        "IOWeight",
        200,
        100,
        {f"PART-LIMIT-1 {PROD} io_weight": "live actual"},
    ),
    _property(
        "a slice is given other CPUs until the next boot",
        "--runtime",
        "AllowedCPUs",
        "0-1",
        0,
        {
            f"PART-CPUSET-1 {PROD} cpus": "live actual",
            "CPU-PIN-2 tuned/emulator": "actual",  # the group above bounds them
            "CPU-PIN-3 tuned/iothread1": "actual",
        },
    ),
    Fault(
        "a slice's file allows more memory at the next boot",
        "hv3",
        f"sed -i s/^MemoryMax=1G/MemoryMax=2G/ {UNIT}",
        f"sed -i s/^MemoryMax=2G/MemoryMax=1G/ {UNIT}",
        {f"PART-LIMIT-1 {PROD} memory": "config"},
    ),
    Fault(
        "a slice's drop-in is gone",
        "hv3",
        f"mv {UNIT}.d/cpu.conf /run/was.conf",
        f"mv /run/was.conf {UNIT}.d/cpu.conf",
        {f"PART-LIMIT-1 {PROD} cpu_quota": "config"},
    ),
    Fault(
        "a drop-in leaves a slice other CPUs at the next boot",
        "hv3",
        f"printf '[Slice]\\nAllowedCPUs=\\nAllowedCPUs=1\\n' >{UNIT}.d/less.conf",
        f"rm {UNIT}.d/less.conf",
        {f"PART-CPUSET-1 {PROD} cpus": "config"},
    ),
    _file("v2: pids.max of a slice is changed", f"{SLICE}/pids.max", 4096, 100000, f"PART-LIMIT-1 {PROD} pids"),
    _file(
        "v2: the slice above a slice has less memory",
        f"{ABOVE}/memory.max",
        2048 * MIB,
        900 * MIB,
        "PART-LIMIT-1 /machine memory",
        f"PART-LIMIT-1 {PROD} memory",
    ),
    Fault(
        "v2: a slice is not given a controller by the one above",
        "hv3",
        f"for group in $(find {ABOVE} -depth -type d); do echo -pids >$group/cgroup.subtree_control; done",
        f"echo +pids >{ABOVE}/cgroup.subtree_control; echo +pids >{SLICE}/cgroup.subtree_control; "
        f"echo 4096 >{SLICE}/pids.max",
        {f"PART-EXIST-1 {PROD}": "actual", f"PART-LIMIT-1 {PROD} pids": "actual"},
    ),
    Fault(
        "the ceiling of all guests is gone at the next boot",
        "hv3",
        f"mv {CEILING} /run/was.ceiling",
        f"mv /run/was.ceiling {CEILING}",
        {"PART-LIMIT-1 /machine memory": "config", "PART-LIMIT-1 /machine cpu_quota": "config"},
    ),
    Fault(
        "the ceiling of all guests is raised until the next boot",
        "hv3",
        "systemctl set-property --runtime machine.slice MemoryMax=3G",
        "systemctl set-property --runtime machine.slice MemoryMax=2G",
        {"PART-LIMIT-1 /machine memory": "live actual"},
    ),
)

READ, WRITES = (f"PART-LIMIT-2 {PROD} /dev/vda/{key}" for key in ("read_bytes", "write_iops"))
DEVICES = (
    _property(
        "a slice may read a disk slower until the next boot",
        "--runtime",
        "IOReadBandwidthMax",
        "'/dev/vda 2G'",
        "'/dev/vda 1500M'",
        {READ: "live actual"},
    ),
    _property(
        "a slice may write to a disk less often, until a drop-in of another name takes it back at the next boot",
        "",
        "IOWriteIOPSMax",
        "'/dev/vda 100000'",
        "'/dev/vda 90K'",
        {WRITES: "live actual"},
    ),
    Fault(
        "a slice may read a disk faster at the next boot",
        "hv3",
        f"sed -i 's:/dev/vda 2G:/dev/vda 3G:' {UNIT}.d/io.conf",
        f"sed -i 's:/dev/vda 3G:/dev/vda 2G:' {UNIT}.d/io.conf",
        {READ: "config"},
    ),
    _file("v2: io.max of a slice is lifted", f"{SLICE}/io.max", "254:0 rbps=2000000000", "254:0 rbps=max", READ),
    _file(
        "v2: the slice above a slice may use a disk less",
        f"{ABOVE}/io.max",
        "254:0 rbps=max",
        "254:0 rbps=1900000000",
        READ,
    ),
)

NET = "tuned/net1"
TUNE = "virsh -q domiftune tuned tuned1"
POLICE = (
    "tc qdisc add dev tuned1 ingress; tc filter add dev tuned1 parent ffff: protocol all u32 match u32 0 0 "
    "police rate 4000kbit burst 500kb mtu 64kb drop flowid :1"
)
INBOUND = "1000,2000,1024"


def _class(dev: str, name: str, rate: str) -> str:
    return f"tc class change dev {dev} parent {name.partition(':')[0]}: classid {name} htb {rate}"


FLOOR = "class=$(tc class show dev virbr0 | sed -n 's/^class htb \\(1:[3-9]\\) .*/\\1/p'); "
TRAFFIC = (
    Fault(
        "a tap's class has another rate",
        "hv3",
        "tc class change dev tuned1 parent 1: classid 1:1 htb rate 4mbit ceil 16mbit burst 1024kb",
        "tc class change dev tuned1 parent 1: classid 1:1 htb rate 8mbit ceil 16mbit burst 1024kb",
        {f"NIC-BW-1 {NET}/inbound/average": "actual"},
    ),
    Fault(
        "a tap has no policing filter",
        "hv3",
        "tc qdisc delete dev tuned1 ingress",
        POLICE,
        {f"NIC-BW-2 {NET}/outbound/average": "actual"},
    ),
    Fault(
        "what a guest sends is given more, while it runs",
        "hv3",
        f"{TUNE} --outbound 600 --live",
        f"{TUNE} --outbound 500 --live",
        {f"NIC-BW-2 {NET}/outbound/average": "live actual"},
    ),
    Fault(
        "the floor of a bridge's class is lowered",
        "hv3",
        f"{FLOOR}tc class change dev virbr0 parent 1:1 classid $class htb rate 1mbit ceil 1600mbit",
        f"{FLOOR}tc class change dev virbr0 parent 1:1 classid $class htb rate 2400kbit ceil 1600mbit",
        {f"NIC-BW-3 {NET}/inbound/floor": "actual"},
    ),
    Fault(
        "an interface is promised less, while the guest runs",
        "hv3",
        f"{TUNE} --inbound {INBOUND},200 --live",
        f"{TUNE} --inbound {INBOUND},300 --live",
        {f"NIC-BW-3 {NET}/inbound/floor": "live actual"},
    ),
    Fault(
        "an interface is promised nothing at the next start",
        "hv3",
        f"{TUNE} --inbound {INBOUND} --config",
        f"{TUNE} --inbound {INBOUND},300 --config",
        {f"NIC-BW-3 {NET}/inbound/floor": "config"},
    ),
)

QDEV = "/machine/peripheral/virtio-disk0/virtio-backend"


def _qmp(execute: str, **arguments: object) -> str:
    """A command to tuned's QEMU, behind libvirt's back."""
    return f"virsh -q qemu-monitor-command tuned '{json.dumps({'execute': execute, 'arguments': arguments})}'"


def _throttle(total: int) -> str:
    none = {"bps_rd": 0, "bps_wr": 0, "iops_rd": 0, "iops_wr": 0}
    return _qmp("block_set_io_throttle", id=QDEV, bps=total, iops=500, **none)


QEMU = (
    Fault(
        "a disk's limit is lifted in QEMU, under KVM",
        "hv3",
        _throttle(0),
        _throttle(10 * MIB),
        {"IOTUNE-1 tuned/vda/total_bytes": "actual"},
    ),
)

START = "virsh -q destroy backed; virsh -q create"
BACKED = (
    Fault(
        "a guest was started without its huge pages, unlocked",
        "hv3",
        "virsh dumpxml --inactive backed | sed '/<hugepages>/,/<.hugepages>/d;/<locked/d' >/run/backed.xml; "
        f"{START} /run/backed.xml",
        "virsh -q destroy backed; virsh -q start backed; rm /run/backed.xml",
        {"MEM-BACK-1 backed": "live actual", "MEM-BACK-2 backed": "live actual"},
    ),
    Fault(
        "a guest may lock less than its memory",
        "hv3",
        "prlimit --pid $(cat /run/libvirt/qemu/backed.pid) --memlock=8388608",
        "prlimit --pid $(cat /run/libvirt/qemu/backed.pid) --memlock=unlimited",
        {"MEM-BACK-2 backed": "actual", "QEMU-LIMIT-1 backed": "actual"},
    ),
)

SOCKETS = (
    Fault(
        "libvirt's TLS socket is not enabled",
        "hv3",
        "systemctl -q disable libvirtd-tls.socket",
        "systemctl -q enable libvirtd-tls.socket",
        {"DAEMON-START-2": "config"},
    ),
    Fault(
        "libvirt's TLS socket is stopped, and the daemon still has it",
        "hv3",
        "systemctl stop libvirtd-tls.socket",
        "systemctl stop libvirtd.service; systemctl start libvirtd-tls.socket libvirtd.service",
        {"DAEMON-START-2": "live"},
        anew=True,
    ),
)

FAULTS = (*LIMITS, *GROUPS, *SLICES, *DEVICES, *TRAFFIC, *QEMU, *BACKED, *SOCKETS)
