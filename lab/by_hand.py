"""A guest that libvirt does not know: QEMU started by a script on its host, as people do."""

import shlex

from lab.domain import IMAGES, KERNEL, cmdline
from lab.spec import GuestSpec

START = """\
cat >/run/{name}.start <<'SH'
set -e
{qemu}
ip link set {name} master virbr0 up
SH
sh /run/{name}.start"""


def start(guest: GuestSpec) -> list[str]:
    """Shell lines that leave a script ``/run/NAME.start`` and run it; the process is that of ``/run/NAME.pid``."""
    return START.format(name=guest.name, qemu=shlex.join(_qemu(guest))).split("\n")


def _qemu(guest: GuestSpec) -> list[str]:
    assert guest.share
    share = guest.share
    options = {
        "name": f"{guest.name},debug-threads=on",
        "uuid": guest.uuid,
        "machine": "pc,usb=off",
        "accel": "tcg,tb-size=64",
        "smp": str(guest.vcpus),
        "m": str(guest.memory_mib),
        "display": "none",
        "serial": f"file:/var/log/libvirt/console/{guest.name}.log",
        "kernel": KERNEL,
        "initrd": f"{IMAGES}/{guest.name}.cpio",
        "append": cmdline(guest),
        "fsdev": f"local,id=share,path={share.source},security_model={share.accessmode}",
        "netdev": f"tap,id=net,ifname={guest.name},script=no,downscript=no",
        "pidfile": f"/run/{guest.name}.pid",
    }
    devices = [f"virtio-9p-pci,fsdev=share,mount_tag={share.tag}", f"virtio-net-pci,netdev=net,mac={guest.mac}"]
    devices += ["virtio-rng-pci", "virtio-balloon-pci"]
    words = [word for name, value in options.items() for word in (f"-{name}", value)]
    words += [word for device in devices for word in ("-device", device)]
    return ["qemu-system-x86_64", "-nodefaults", "-no-user-config", *words, "-daemonize"]
