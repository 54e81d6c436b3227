"""vCPUs: in the file, in the running domain, in QEMU, inside the guest. What is only live takes a restart to show."""

from __future__ import annotations

from tests.lab.faults import Fault

ROOT = "/sys/fs/cgroup"
ADDRESS = {"app1": "10.78.1.14", "plain1": "10.78.1.13"}


def edited(guest: str, *edits: str) -> str:
    """Shell: the guest's stored definition changed by these commands of sed(1)."""
    script = " ".join(f"-e '{one}'" for one in edits)
    dump = f"virsh dumpxml --inactive {guest} >/run/was.xml; sed {script} /run/was.xml >/run/new.xml"
    return f"{dump}; virsh define /run/new.xml"


AS_IT_WAS = "virsh define /run/was.xml; rm -f /run/was.xml /run/new.xml"


def restarted(guest: str) -> str:
    """Shell: the guest started anew by its stored definition, until it answers."""
    answers = f"until bash -c '</dev/tcp/{ADDRESS[guest]}/22' 2>/dev/null; do sleep 0.2; done"
    return f"virsh destroy {guest}; virsh start {guest}; {answers}"


def running_by_another(guest: str, *edits: str) -> str:
    """Shell: the guest runs by a changed definition, while the stored one is right."""
    return f"{edited(guest, *edits)}; {restarted(guest)}; {AS_IT_WAS}"


FAULTS = (
    Fault(
        "the file has fewer vCPUs, on one CPU",
        "hv1",
        edited(
            "app1",
            's,current=.3.,current="2",; s,cpuset=.0-1.,cpuset="0",',
            's,<vcpu id=.2.*,<vcpu id="2" enabled="no" hotpluggable="yes"/>,',
        ),
        AS_IT_WAS,
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
        "virsh dumpxml --inactive app1 >/run/was.xml; virsh setvcpus app1 2 --config; virsh setvcpus app1 3 --config",
        AS_IT_WAS,
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
        edited("plain1", 's,placement=.static.,placement="auto",'),
        AS_IT_WAS,
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
        running_by_another("plain1", "s,>1</vcpu>,>2</vcpu>,"),
        restarted("plain1"),
        {"CPU-VCPU-1 plain1/maximum": "live actual", "CPU-VCPU-2 plain1/current": "live actual guest"},
    ),
    Fault(
        "a vCPU that is plugged in inherits the emulator's scheduler",
        "hv1",
        "virsh setvcpus app1 4 --live; sleep 1",
        restarted("app1"),
        {
            "CPU-VCPU-2 app1/current": "live actual guest",
            "CPU-VCPU-5 app1/vcpu3/enabled": "live actual",
            "CPU-SCHED-4 app1/others": "actual",
        },
    ),
    Fault(
        "the guest runs with other vCPUs and schedulers than its file has",
        "hv1",
        running_by_another(
            "app1",
            's,current=.3.,current="2",; s,cpuset=.0-1.,cpuset="0",',
            's,<vcpu id=.1. .*,<vcpu id="1" enabled="yes" hotpluggable="yes" order="2"/>,',
            's,<vcpu id=.2. .*,<vcpu id="2" enabled="no" hotpluggable="yes"/>,',
            "s,<cmdline>,&possible_cpus=2 ,",
            "/vcpusched vcpus=.0./d; /emulatorsched/d; s,<iothreads>1<,<iothreads>2<,",
            's,.*<iothreadsched.*,<iothreadsched iothreads="1-2" scheduler="batch"/>,',
        ),
        restarted("app1"),
        {
            "CPU-VCPU-1 app1/maximum": "guest",
            "CPU-VCPU-2 app1/current": "live actual guest",
            "CPU-VCPU-4 app1/cpuset": "live actual",
            "CPU-VCPU-5 app1/vcpu1/hotpluggable": "live actual",
            "CPU-VCPU-5 app1/vcpu2/enabled": "live actual",
            "CPU-VCPU-5 app1/vcpu2/order": "live",
            "CPU-SCHED-1 app1/vcpu0": "live actual",
            "CPU-SCHED-2 app1/emulator": "live actual",
            "CPU-SCHED-3 app1/iothread1": "live actual",
            "CPU-SCHED-4 app1/others": "live actual",
        },
    ),
)
