"""The guests' userland: busybox, dropbear and the modules, started by busybox init from /etc/inittab.

The same tree serves as initramfs and as the root of a disk. Each guest's own files (name, keys, fstab) come in a
second archive behind the first, or are written into its disk.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from lab.cpio import Tree, libraries
from lab.kernel import Kernel
from lab.spec import GuestSpec

BUSYBOX = "/usr/bin/busybox"
DROPBEAR = "/usr/sbin/dropbear"
AGENT = "/usr/sbin/qemu-ga"

INIT = """\
#!/bin/busybox sh
# the initramfs: load the modules, then go on from here or from the disk that the kernel command line names
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
for module in $(/bin/busybox cat /modules/order); do /bin/busybox insmod /modules/$module; done
device=$(/bin/busybox sed -n 's/.*\\broot=\\([^ ]*\\).*/\\1/p' /proc/cmdline)
[ -z "$device" ] && exec /sbin/init
until [ -b "$device" ]; do /bin/busybox usleep 20000; done
/bin/busybox mount -t ext4 "$device" /newroot || exec /bin/busybox sh
for fs in dev proc sys; do /bin/busybox mount --move /$fs /newroot/$fs; done
exec /bin/busybox switch_root /newroot /sbin/init
"""

INITTAB = """\
::sysinit:/etc/init.d/rcS
{services}::respawn:/bin/sh -c 'exec /bin/sh </dev/ttyS0 >/dev/ttyS0 2>&1'
::ctrlaltdel:/sbin/reboot
::shutdown:/bin/umount -a -r
"""

BY_NETWORK = """\
::respawn:/sbin/udhcpc -f -S -i eth0 -t 30 -T 1 -s /etc/udhcpc.script
::respawn:/usr/sbin/dropbear -F -E -s -r /etc/dropbear/host_key
"""
BY_AGENT = "::respawn:/etc/agent\n"

AGENT_START = """\
#!/bin/sh
# without udev there is no /dev/virtio-ports
port=$(grep -lx org.qemu.guest_agent.0 /sys/class/virtio-ports/*/name) || exec sleep 1
port=${port%/name}
echo "virtvet-lab: agent on ${port##*/}" >/dev/console
exec qemu-ga -m virtio-serial -p "/dev/${port##*/}" -t /run -f /run/qemu-ga.pid
"""

RCS = """\
#!/bin/sh
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
hostname -F /etc/hostname
ip link set lo up
for link in /sys/class/net/eth*; do ip link set ${link##*/} up; done
mount -o remount,rw /
mount -a
mdev -d
"""

MDEV = """\
# CPUs that are plugged in come online by themselves
$SUBSYSTEM=cpu 0:0 660 @echo 1 >/sys$DEVPATH/online
"""

UDHCPC = """\
#!/bin/sh
# udhcpc calls this with what the DHCP server said
case $1 in
deconfig) ip addr flush dev $interface ;;
bound | renew)
    ip addr replace $ip/$mask dev $interface
    [ -n "$router" ] && ip route replace default via ${router%% *}
    echo "virtvet-lab: address $ip" >/dev/console
    ;;
esac
"""

STATIC_FILES = {
    "init": (INIT, 0o755),
    "etc/inittab": (INITTAB.format(services=BY_NETWORK), 0o644),
    "etc/init.d/rcS": (RCS, 0o755),
    "etc/mdev.conf": (MDEV, 0o644),
    "etc/udhcpc.script": (UDHCPC, 0o755),
    "etc/os-release": ('ID=debian\nVERSION_ID="12"\n', 0o644),
    "etc/passwd": ("root:x:0:0:root:/root:/bin/sh\n", 0o644),
    "etc/group": ("root:x:0:\n", 0o644),
    "etc/shadow": ("root:*:19000:0:99999:7:::\n", 0o600),
    "etc/shells": ("/bin/sh\n", 0o644),
    "etc/nsswitch.conf": ("passwd: files\ngroup: files\nshadow: files\n", 0o644),
    "etc/profile": ("export PATH=/usr/sbin:/usr/bin:/sbin:/bin\n", 0o644),
}
DIRECTORIES = ["dev", "proc", "sys", "run", "tmp", "newroot", "mnt/share", "var/log", "root/.ssh"]


def base(kernel: Kernel) -> Tree:
    """What every guest has."""
    tree = _userland()
    order = kernel.modules()
    for path in order:
        tree.file(f"modules/{path.name}", path.read_bytes())
    tree.file("modules/order", "".join(f"{path.name}\n" for path in order))
    return tree


def disk_root(own: Tree) -> Tree:
    """The root of a disk: the userland without the modules, which the initramfs has loaded already."""
    tree = _userland()
    tree.update(own)
    return tree


def _userland() -> Tree:
    tree = Tree()
    for path in DIRECTORIES:
        tree.directory(path)
    tree.directory("root", 0o700)
    tree.directory("root/.ssh", 0o700)
    for path, (text, mode) in STATIC_FILES.items():
        tree.file(path, text, mode)
    _add_program(tree, DROPBEAR)
    tree.file("bin/busybox", Path(BUSYBOX).read_bytes(), 0o755)
    for applet in _applets():
        tree.link(applet, "/bin/busybox")
    return tree


def _add_program(tree: Tree, program: str) -> None:
    for binary in [program, *libraries(program)]:
        tree.file(binary.lstrip("/"), Path(binary).read_bytes(), 0o755)


def _applets() -> list[str]:
    listed = subprocess.run([BUSYBOX, "--list-full"], capture_output=True, text=True, check=True).stdout.split()
    return [path for path in listed if Path(path).name not in ("busybox", "dropbear")]


def own(guest: GuestSpec, authorized_key: str, host_key: bytes) -> Tree:
    """What one guest alone has."""
    tree = Tree()
    tree.file("etc/hostname", f"{guest.name}\n")
    tree.file("etc/hosts", f"127.0.0.1 localhost\n{guest.address or '127.0.0.1'} {guest.name}\n")
    tree.file("etc/fstab", guest.share.fstab if guest.share else "")
    tree.directory("root", 0o700)
    tree.directory("root/.ssh", 0o700)
    tree.file("root/.ssh/authorized_keys", authorized_key, 0o600)
    tree.directory("etc/dropbear", 0o700)
    tree.file("etc/dropbear/host_key", host_key, 0o600)
    if not guest.address:
        _agent(tree)
    return tree


def _agent(tree: Tree) -> None:
    """An agent instead of a network."""
    _add_program(tree, AGENT)
    tree.file("etc/agent", AGENT_START, 0o755)
    tree.file("etc/inittab", INITTAB.format(services=BY_AGENT), 0o644)


def cached_base(cache: Path, kernel: Kernel) -> Path:
    """The archive of :func:`base`, built only when something it is made of has changed."""
    archive = cache / "initramfs" / f"{_fingerprint(kernel)}.cpio"
    if not archive.exists():
        shutil.rmtree(archive.parent, ignore_errors=True)  # of what is no longer so
        archive.parent.mkdir(parents=True, exist_ok=True)
        draft = archive.with_suffix(f".{os.getpid()}")
        draft.write_bytes(base(kernel).archive())
        draft.rename(archive)
    return archive


def _fingerprint(kernel: Kernel) -> str:
    digest = hashlib.sha256(kernel.version.encode())
    code = [__file__, str(Path(__file__).with_name("cpio.py"))]
    for path in [BUSYBOX, DROPBEAR, *libraries(DROPBEAR), *code]:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()[:16]
