"""vCPUs: in the file, in the running domain, in QEMU, inside the guest. What is only live takes a restart to show."""

from __future__ import annotations

from tests.lab.faults import Fault
from tests.lab.faults.definitions import (
    SETTLED,
    STARTED_BACK,
    STORED_BACK,
    back,
    kept,
    started,
    started_back,
    stored,
)

ROOT = "/sys/fs/cgroup"
FEWER = (
    "s,current='3',current='2',",
    "s,cpuset='0-1',cpuset='0',",
    "s,<vcpu id='2'.*,<vcpu id='2' enabled='no' hotpluggable='yes'/>,",
)

FAULTS = (
    Fault(
        "the file has fewer vCPUs, on one CPU",
        "hv1",
        stored(*FEWER),
        STORED_BACK,
        {
            "CPU-VCPU-2 app1/current": "config",
            "CPU-VCPU-4 app1/cpuset": "config",
            "CPU-VCPU-5 app1/vcpu2/enabled": "config",
            "CPU-VCPU-5 app1/vcpu2/order": "config",
        },
    ),
    Fault(
        "virsh setvcpus, there and back, makes a vCPU in the file one that cannot be unplugged",
        "hv1",
        f"{stored('')}; virsh setvcpus app1 2 --config; virsh setvcpus app1 3 --config",
        STORED_BACK,
        {
            "CPU-VCPU-5 app1/vcpu0/order": "config",
            "CPU-VCPU-5 app1/vcpu2/hotpluggable": "config",
            "CPU-VCPU-5 app1/vcpu2/order": "config",
        },
    ),
    Fault(
        "the file allows more vCPUs",
        "hv1",
        "virsh setvcpus plain1 2 --maximum --config",
        "virsh setvcpus plain1 1 --maximum --config",
        {"CPU-VCPU-1 plain1/maximum": "config"},
    ),
    Fault(
        "the file leaves the placement to numad",
        "hv1",
        stored("s,placement='static',placement='auto',", guest="plain1"),
        STORED_BACK,
        {"CPU-VCPU-3 plain1/placement": "config"},
    ),
    Fault(
        "a thread without a pin of its own is taken off one of the domain's CPUs",
        "hv1",
        f"echo 0 >$(ls -d {ROOT}/cpuset/machine/*-app1.libvirt-qemu/vcpu2)/cpuset.cpus",
        f"echo 0-1 >$(ls -d {ROOT}/cpuset/machine/*-app1.libvirt-qemu/vcpu2)/cpuset.cpus",
        {"CPU-VCPU-4 app1/cpuset": "actual"},
    ),
    Fault(
        "a vCPU is plugged in, but offline in the guest",
        "hv1/app1",
        "echo 0 >/sys/devices/system/cpu/cpu2/online",
        "echo 1 >/sys/devices/system/cpu/cpu2/online",
        {"CPU-VCPU-2 app1/current": "guest"},
    ),
    Fault(
        "the guest has no rule that brings vCPUs online",
        "hv1/app1",
        "mv /etc/mdev.conf /etc/mdev.off",
        "mv /etc/mdev.off /etc/mdev.conf",
        {"CPU-VCPU-6 app1": "guest"},
    ),
    Fault(
        "nobody in the guest brings vCPUs online",
        "hv1/app1",
        "killall mdev",
        "mdev -d",
        {"CPU-VCPU-6 app1": "guest"},
    ),
    Fault(
        "the guest runs with more vCPUs than its file has",
        "hv1",
        started("s,>1</vcpu>,>2</vcpu>,", guest="plain1"),
        started_back("plain1"),
        {"CPU-VCPU-1 plain1/maximum": "live actual", "CPU-VCPU-2 plain1/current": "live actual guest"},
    ),
    Fault(
        "a vCPU that is plugged in inherits the emulator's scheduler",
        "hv1",
        f"{kept('app1')}; virsh setvcpus app1 4 --live; sleep 1",
        f"{back('app1')}; {SETTLED}",
        {
            "CPU-VCPU-2 app1/current": "live actual guest",
            "CPU-VCPU-5 app1/vcpu3/enabled": "live actual",
            "CPU-SCHED-4 app1/others": "actual",
        },
    ),
    Fault(
        "the guest runs with other vCPUs and schedulers than its file has",
        "hv1",
        started(
            *FEWER,
            "s,<vcpu id='1'.*,<vcpu id='1' enabled='yes' hotpluggable='yes' order='2'/>,",
            "s,<cmdline>,&possible_cpus=2 ,",
            "/vcpusched vcpus='0'/d",
            "/emulatorsched/d",
            "s,<iothreads>1<,<iothreads>2<,",
            "s,<iothreadsched.*,<iothreadsched iothreads='1-2' scheduler='batch'/>,",
        )
        + f"; {SETTLED}",
        STARTED_BACK,
        {
            "CPU-VCPU-1 app1/maximum": "guest",
            "CPU-VCPU-2 app1/current": "live actual guest",
            "CPU-VCPU-4 app1/cpuset": "live actual",
            "CPU-VCPU-5 app1/vcpu1/hotpluggable": "live actual",
            "CPU-VCPU-5 app1/vcpu2/enabled": "live actual",
            "CPU-VCPU-5 app1/vcpu2/order": "live",
            "CPU-TOPO-1 app1/cores": "guest",  # its kernel expects no more CPUs to come
            "CPU-SCHED-1 app1/vcpu0": "live actual",
            "CPU-SCHED-2 app1/emulator": "live actual",
            "CPU-SCHED-3 app1/iothread1": "live actual",
            "CPU-SCHED-4 app1/others": "live actual",
        },
    ),
)
