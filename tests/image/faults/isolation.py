"""Faults of host.isolation on the image hosts; more in boots.py."""

from __future__ import annotations

from tests.lab.faults import Fault

_GRUB = "/boot/grub/grub.cfg"
_IRQ = "$(dirname $(grep -lx virtio2-input /sys/kernel/irq/*/actions))"
_BUILT = "/boot/config-$(uname -r)"
_UNITS = "/etc/systemd/system"
_CONF = "/etc/systemd/system.conf.d/lab.conf"


def stand_in(name: str) -> str:
    """A unit of what the image does not have: a process of the same name, which sleeps."""
    unit = f"[Service]\\nExecStart=/run/{name} 600\\n[Install]\\nWantedBy=multi-user.target\\n"
    return f"cp /bin/sleep /run/{name}; printf '{unit}' >{_UNITS}/{name}.service; systemctl daemon-reload"


def _gone(name: str) -> str:
    return f"rm {_UNITS}/{name}.service /run/{name}; systemctl daemon-reload"


FAULTS: tuple[Fault, ...] = (
    Fault(
        name="the next boot isolates another CPU, and none from callbacks",
        on="hv3",
        breaks=f"sed -i.kept 's/isolcpus=managed_irq,1 rcu_nocbs=1/isolcpus=managed_irq,0/' {_GRUB}",
        restores=f"mv {_GRUB}.kept {_GRUB}",
        departs={"ISOL-CPU-1": "config", "ISOL-CPU-4": "config"},
    ),
    Fault(
        name="whatever makes the boot loader's entries anew forgets isolcpus' flag, and stops the tick",
        on="hv4",
        breaks="sed -i.kept 's/isolcpus=managed_irq,1/isolcpus=domain,1 nohz_full=1/' /etc/default/grub",
        restores="mv /etc/default/grub.kept /etc/default/grub",
        departs={"ISOL-CPU-2": "config", "ISOL-CPU-3": "config"},
    ),
    Fault(
        name="the kernel was started to isolate another CPU (forged)",
        on="hv3",
        breaks="sed 's/isolcpus=managed_irq,1 rcu_nocbs=1/isolcpus=nohz,0/' /proc/cmdline > /run/cmdline; "
        "mount --bind /run/cmdline /proc/cmdline",
        restores="umount /proc/cmdline; rm /run/cmdline",
        departs={"ISOL-CPU-1": "actual", "ISOL-CPU-2": "actual", "ISOL-CPU-4": "actual"},
    ),
    Fault(
        name="the kernel was built without offloaded callbacks (forged)",
        on="hv4",
        breaks=f"echo '# CONFIG_RCU_NOCB_CPU is not set' >{_BUILT}",
        restores=f"rm {_BUILT}",
        departs={"ISOL-CPU-4": "actual"},
    ),
    Fault(
        name="an interrupt is led to an isolated CPU",
        on="hv3",
        breaks=f"irq={_IRQ}; echo 1 > /proc/irq/${{irq##*/}}/smp_affinity_list",
        restores=f"irq={_IRQ}; echo 0 > /proc/irq/${{irq##*/}}/smp_affinity_list",
        departs={"ISOL-IRQ-1": "actual"},
    ),
    Fault(
        name="interrupts of new devices go to all CPUs",
        on="hv4",
        breaks="echo 3 > /proc/irq/default_smp_affinity",
        restores="echo 1 > /proc/irq/default_smp_affinity",
        departs={"ISOL-IRQ-2": "actual"},
    ),
    Fault(
        name="the next boot lets interrupts go to all CPUs",
        on="hv3",
        breaks=f"sed -i.kept 's/ irqaffinity=0//' {_GRUB}",
        restores=f"mv {_GRUB}.kept {_GRUB}",
        departs={"ISOL-IRQ-2": "config"},
    ),
    Fault(
        name="irqbalance is started by hand, and nobody told it what to spare",
        on="hv4",
        breaks=f"{stand_in('irqbalance')}; systemctl start irqbalance.service",
        restores=f"systemctl stop irqbalance.service; {_gone('irqbalance')}",
        departs={"ISOL-IRQ-3": "live"},
    ),
    Fault(
        name="irqbalance starts at the next boot, and nobody told it what to spare",
        on="hv4",
        breaks=f"{stand_in('irqbalance')}; systemctl -q enable irqbalance.service",
        restores=f"systemctl -q disable irqbalance.service; {_gone('irqbalance')}",
        departs={"ISOL-IRQ-3": "config"},
    ),
    Fault(
        name="systemd runs on one CPU alone",
        on="hv3",
        breaks="taskset -pc 0 1 >/dev/null",
        restores="taskset -pc 0-1 1 >/dev/null",
        departs={"ISOL-SYSTEM-1": "actual"},
    ),
    Fault(
        name="systemd will run on one CPU alone",
        on="hv3",
        breaks=f"sed -i s/CPUAffinity=0-1/CPUAffinity=0/ {_CONF}",
        restores=f"sed -i s/CPUAffinity=0/CPUAffinity=0-1/ {_CONF}",
        departs={"ISOL-SYSTEM-1": "config"},
    ),
    Fault(
        name="workqueues run on one CPU alone",
        on="hv4",
        breaks="echo 1 > /sys/devices/virtual/workqueue/cpumask",
        restores="echo 3 > /sys/devices/virtual/workqueue/cpumask",
        departs={"ISOL-WORK-1": "actual"},
    ),
)
