"""Faults of host.confinement and of guests' confinement on the image hosts."""

from __future__ import annotations

from tests.lab.faults import Fault

CONF = "/etc/libvirt/qemu.conf"
BACK = f"cp -a /run/qemu.conf.was {CONF}; rm /run/qemu.conf.was"
QEMU = "$(cat /run/libvirt/qemu/tuned.pid)"
LABEL = "<seclabel type='static' model='dac' relabel='yes'><label>+0:+0</label></seclabel>"


def tiny(name: str, label: str = "") -> str:
    """A guest without anything, which runs nothing but its firmware: its XML, without double quotes."""
    return (
        f"<domain type='kvm'><name>{name}</name><memory unit='MiB'>16</memory><os><type machine='pc'>hvm</type></os>"
        f"<devices><controller type='usb' model='none'/><memballoon model='none'/></devices>{label}</domain>"
    )


def _conf(*lines: str, without: str = "no such key") -> str:
    """Append to qemu.conf, in which the first of two counts."""
    added = "".join(f"{line}\\n" for line in lines)
    return f"cp -a {CONF} /run/qemu.conf.was; sed -i '/^{without} =/d' {CONF}; printf '{added}' >>{CONF}"


def _limited(name: str, limit: str, wrong: str, right: str, control: str) -> Fault:
    return Fault(
        name=name,
        on="hv3",
        breaks=f"prlimit --{limit}={wrong} --pid {QEMU}",
        restores=f"prlimit --{limit}={right} --pid {QEMU}",
        departs={f"{control} tuned": "actual"},
    )


_RESTART = "systemctl restart libvirtd; virsh -q list >/dev/null"
ROOTS = _conf('user = "root"', 'group = "+0"')


FAULTS: tuple[Fault, ...] = (
    Fault(
        name="qemu.conf makes every QEMU root's",
        on="hv3",
        breaks=ROOTS,
        restores=BACK,
        departs={"HOST-QEMU-1": "config"},
    ),
    Fault(
        name="qemu.conf names another security driver",
        on="hv3",
        breaks=_conf('security_driver = "apparmor"', without="security_driver"),
        restores=BACK,
        departs={"HOST-QEMU-2": "config"},
    ),
    Fault(
        name="qemu.conf confines nothing",
        on="hv3",
        breaks=_conf("seccomp_sandbox = 0", "namespaces = [ ]", "dynamic_ownership = 0", 'max_core = "unlimited"'),
        restores=BACK,
        departs={"HOST-QEMU-3": "config"},
    ),
    Fault(
        name="a guest was started by hand, as root",
        on="hv3",
        breaks="qemu-system-x86_64 -name hand,debug-threads=on -nodefaults -display none -S -m 16 -daemonize "
        "-pidfile /run/hand.pid",
        restores="kill $(cat /run/hand.pid); while [ -e /run/hand.pid ]; do sleep 0.1; done",
        departs={
            **dict.fromkeys(("QEMU-USER-1 hand", "QEMU-USER-2 hand", "QEMU-USER-3 hand", "QEMU-CAP-1 hand"), "actual"),
            **dict.fromkeys(("QEMU-SANDBOX-1 hand", "QEMU-SANDBOX-2 hand", "QEMU-SANDBOX-3 hand"), "actual"),
        },
    ),
    Fault(
        name="a guest's own label makes it root's",
        on="hv3",
        breaks=f'echo "{tiny("loose", LABEL)}" >/run/loose.xml; virsh -q create /run/loose.xml',
        restores="virsh -q destroy loose; rm /run/loose.xml",
        departs={
            "QEMU-USER-1 loose": "live actual",
            "QEMU-USER-2 loose": "live actual",
            "QEMU-USER-3 loose": "actual",
            "QEMU-CAP-1 loose": "actual",
        },
    ),
    Fault(
        name="a guest was started when qemu.conf confined none",
        on="hv3",
        breaks=f"{_conf('seccomp_sandbox = 0', 'namespaces = [ ]')}; systemctl restart libvirtd; "
        f'echo "{tiny("free")}" >/run/free.xml; virsh -q create /run/free.xml; {BACK}; {_RESTART}',
        restores="virsh -q destroy free; rm /run/free.xml",
        departs=dict.fromkeys(("QEMU-SANDBOX-1 free", "QEMU-SANDBOX-2 free", "QEMU-SANDBOX-3 free"), "actual"),
        anew=True,
    ),
    _limited("a guest may lock less than its limit", "memlock", "67108864", "629145600", "QEMU-LIMIT-1"),
    _limited("a guest leaves its memory behind when it crashes", "core", "unlimited", "0", "QEMU-LIMIT-2"),
    Fault(
        name="libvirt was started when qemu.conf made every QEMU root's",
        on="hv3",
        breaks=f"{ROOTS}; {_RESTART}; {BACK}",
        restores=_RESTART,
        departs={"HOST-QEMU-1": "live", "QEMU-USER-1": "config", "QEMU-USER-2": "config"},
        anew=True,
    ),
)
