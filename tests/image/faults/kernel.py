"""Faults of host.kernel on the image hosts.

What no kernel lets go of before it ends (its release, what it thinks of its CPUs) is hidden by a file mounted over
it, or breaks at a boot (boots.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.lab.faults import Fault

GRUB = "/boot/grub/grub.cfg"
SETTINGS = "/etc/default/grub"
WORDS = "s/tsc=reliable/nosmt/"
"""Takes away a word that must be there, and brings one that must not."""
MODPROBE, SYSCTL, MODULES = "/etc/modprobe.d", "/etc/sysctl.d", "/etc/modules-load.d"
HALT_POLL = "/sys/module/kvm/parameters/halt_poll_ns"


def _forged(name: str, path: str, edit: str, departs: Mapping[str, str]) -> Fault:
    return Fault(
        name=f"{name} (forged)",
        on="hv3",
        breaks=f"sed '{edit}' {path} >/run/forged; ! cmp -s /run/forged {path}; mount --bind /run/forged {path}",
        restores=f"umount {path}; rm /run/forged",
        departs=departs,
    )


def _edited(name: str, path: str, edit: str, departs: Mapping[str, str]) -> Fault:
    return Fault(
        name=name,
        on="hv3",
        breaks=f"cp -a {path} /run/was; sed -i '{edit}' {path}; ! cmp -s /run/was {path}",
        restores=f"cp -a /run/was {path}; rm /run/was",
        departs=departs,
    )


def _added(name: str, path: str, text: str, departs: Mapping[str, str]) -> Fault:
    return Fault(name=name, on="hv3", breaks=f"echo '{text}' >{path}", restores=f"rm {path}", departs=departs)


FAULTS: tuple[Fault, ...] = (
    _edited(
        "the next boot has other words",
        GRUB,
        WORDS,
        {"HOST-CMDLINE-1 tsc=reliable": "config", "HOST-CMDLINE-2 nosmt": "config"},
    ),
    _edited(
        "grub.cfg is not what /etc/default/grub makes of it",
        SETTINGS,
        WORDS,
        {"HOST-CMDLINE-1 tsc=reliable": "config", "HOST-CMDLINE-2 nosmt": "config"},
    ),
    _forged(
        "an older kernel runs than must",
        "/proc/sys/kernel/osrelease",
        "s/6.1.0-[0-9]*/6.1.0-3/",
        {"HOST-KERNEL-1": "actual", "HOST-KERNEL-2": "actual"},
    ),
    _edited(
        "the boot loader starts an older kernel",
        GRUB,
        "s/vmlinuz-6.1.0-[0-9]*/vmlinuz-6.1.0-3/",
        {"HOST-KERNEL-1": "config", "HOST-KERNEL-2": "config"},
    ),
    _added(
        "a kernel is installed, and neither started nor to be started",
        "/boot/vmlinuz-6.1.0-999-amd64",
        "",
        {"HOST-KERNEL-2": "config actual"},
    ),
    Fault(
        name="a module is unloaded",
        on="hv3",
        breaks="modprobe -r loop",
        restores="modprobe loop",
        departs={"HOST-MOD-1 loop": "actual"},
    ),
    _added("a module is on a blacklist", f"{MODPROBE}/local.conf", "blacklist loop", {"HOST-MOD-1 loop": "config"}),
    _edited("nothing loads a module at boot", f"{MODULES}/vhost.conf", "d", {"HOST-MOD-2 vhost_net": "config"}),
    _added(
        "a module of modules-load.d is never loaded",
        f"{MODPROBE}/local.conf",
        "install vhost-net /bin/true",
        {"HOST-MOD-1 vhost_net": "config", "HOST-MOD-2 vhost_net": "config"},
    ),
    Fault(
        name="a module that must be kept out is loaded by hand",
        on="hv3",
        breaks="modprobe dummy",
        restores="modprobe -r dummy",
        departs={"HOST-MOD-3 dummy": "actual"},
    ),
    _edited(
        "the line that keeps a module out is a comment",
        f"{MODPROBE}/hypervisor.conf",
        "s/^blacklist/#blacklist/",
        {"HOST-MOD-3 dummy": "config"},
    ),
    Fault(
        name="a module's parameter is changed while it runs",
        on="hv3",
        breaks=f"echo 0 >{HALT_POLL}",
        restores=f"echo 100000 >{HALT_POLL}",
        departs={"HOST-MOD-4 kvm.halt_poll_ns": "actual"},
    ),
    _added(
        "a later file gives a module another parameter",
        f"{MODPROBE}/local.conf",
        "options kvm halt_poll_ns=0",
        {"HOST-MOD-4 kvm.halt_poll_ns": "config"},
    ),
    _edited(
        "guests cannot run guests after the next boot",
        f"{MODPROBE}/hypervisor.conf",
        "s/nested=1/nested=0/",
        {"HOST-MOD-5": "config"},
    ),
    Fault(
        name="a sysctl is set by hand",
        on="hv3",
        breaks="sysctl -qw vm.swappiness=60",
        restores="sysctl -qw vm.swappiness=10",
        departs={"HOST-SYSCTL-1 vm.swappiness": "actual"},
    ),
    _added(
        "a later file sets a sysctl to another value",
        f"{SYSCTL}/60-local.conf",
        "vm/swappiness = 60",
        {"HOST-SYSCTL-1 vm.swappiness": "config"},
    ),
    Fault(
        name="a file of sysctls is hidden by a link to /dev/null",
        on="hv3",
        breaks=f"mv {SYSCTL}/50-hypervisor.conf /run/was; ln -s /dev/null {SYSCTL}/50-hypervisor.conf; "
        "mkdir -p /usr/local/lib/sysctl.d; cp /run/was /usr/local/lib/sysctl.d/50-hypervisor.conf",
        restores=f"mv /run/was {SYSCTL}/50-hypervisor.conf; rm -r /usr/local/lib/sysctl.d",
        departs={
            "HOST-SYSCTL-1 vm.swappiness": "config",
            "HOST-SYSCTL-1 fs.aio-max-nr": "config",
            "HOST-SYSCTL-1 net.ipv4.conf.mgmt0.rp_filter": "config",
        },
    ),
    _added(
        "one interface is taken out of a pattern's reach",
        f"{SYSCTL}/60-local.conf",
        "-net.ipv4.conf.mgmt0.rp_filter",
        {"HOST-SYSCTL-1 net.ipv4.conf.mgmt0.rp_filter": "config"},
    ),
    _forged(
        "a CPU is vulnerable",
        "/sys/devices/system/cpu/vulnerabilities/mds",
        "s/.*/Mitigation: Clear CPU buffers; SMT vulnerable/",
        {"HOST-CPU-1 all others": "actual"},
    ),
    _forged("CPUs run two threads each", "/sys/devices/system/cpu/smt/control", "s/.*/on/", {"HOST-CPU-2": "actual"}),
)
