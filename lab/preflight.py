"""What this machine must have before anything is started."""

import os
import shutil
import socket
from pathlib import Path

from lab import cgroups, network, shell
from lab.errors import PreflightError
from lab.spec import HOSTS

PACKAGE_OF = {
    "libvirtd": "libvirt-daemon-system",
    "virtlogd": "libvirt-daemon-system",
    "virsh": "libvirt-clients",
    "qemu-system-x86_64": "qemu-system-x86",
    "dnsmasq": "dnsmasq-base",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "busybox": "busybox-static",
    "dropbear": "dropbear-bin",
    "dropbearkey": "dropbear-bin",
    "qemu-ga": "qemu-guest-agent",
    "depmod": "kmod",
    "mke2fs": "e2fsprogs",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}
NAMESPACES = ("net", "mnt", "uts", "pid", "cgroup")


def check() -> None:
    """Raise with one line that says what is missing, or return."""
    for test in (_root, _commands, _namespaces, _cgroups, _devices, _addresses):
        test()


def _root() -> None:
    if os.geteuid():
        raise PreflightError("the lab needs root: run it with sudo")


def _commands() -> None:
    missing = {package for name, package in PACKAGE_OF.items() if not shutil.which(name)}
    if missing:
        packages = " ".join(sorted(missing))
        raise PreflightError(f"missing packages: apt-get install --no-install-recommends {packages}")


def _namespaces() -> None:
    missing = [name for name in NAMESPACES if not Path("/proc/self/ns", name).exists()]
    if missing:
        raise PreflightError(f"the kernel has no namespaces of kind {', '.join(missing)}")
    isolate = ["unshare", "--mount", "--uts", "--net", "--pid", "--cgroup", "--fork", "true"]
    tried = shell.run(isolate, check=False)
    if tried.returncode:
        raise PreflightError(f"no new namespaces here (a container?): {tried.stderr.strip()}")


def _cgroups() -> None:
    mounted = {name for hierarchy in cgroups.hierarchies() for name in hierarchy.controllers}
    missing = sorted(cgroups.NEEDED - mounted)
    if missing:
        raise PreflightError(f"no cgroup v1 controllers {', '.join(missing)} are mounted (a pure cgroup v2 machine?)")


def _devices() -> None:
    if not Path("/dev/net/tun").exists():
        raise PreflightError("no /dev/net/tun: modprobe tun")


def _addresses() -> None:
    """Refuse where the lab's addresses already lead somewhere: a lab must not shadow a real network."""
    if network.exists():
        return  # our own, from a lab before; it is swept first
    for host in HOSTS:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((host.ip, 9))  # sends nothing: asks the routing table
            except OSError:
                continue
            own = probe.getsockname()[0]
        if own.startswith("10.77.0."):
            raise PreflightError(f"{host.ip} is already in a network of this machine ({own})")
