"""The folders a host has to itself, filled before it starts.

``<state>/hv1/root`` holds etc, run, srv, var/lib/libvirt and var/cache/libvirt of hv1; the host's first process binds
them over the machine's. What is changed in them from outside is changed for the host.
"""

import json
import os
import re
import shutil
import stat
from pathlib import Path

from lab import cgroups, keys, shell
from lab.spec import DISK, HOSTS, ROOT_ADDRESS, TLS_PORT, HostSpec

BOUND = ("etc", "srv", "var/lib/libvirt", "var/cache/libvirt")
CAPABILITIES = "var/cache/libvirt/qemu/capabilities"
RUN = ("run/libvirt", "run/lock", "run/sshd")
START_LIBVIRTD = ". /etc/default/libvirtd && exec libvirtd -d $LIBVIRTD_ARGS"
DAEMONS = [["virtlogd", "-d"], ["/bin/sh", "-c", START_LIBVIRTD], ["/usr/sbin/sshd"]]

LIBVIRTD_CONF = """\
listen_tls = 1
listen_tcp = 0
tls_port = "{port}"
listen_addr = "0.0.0.0"
tls_priority = "NORMAL:-VERS-TLS1.0:-VERS-TLS1.1"
ca_file = "/etc/pki/CA/cacert.pem"
cert_file = "/etc/pki/libvirt/servercert.pem"
key_file = "/etc/pki/libvirt/private/serverkey.pem"
crl_file = "/etc/pki/CA/cacrl.pem"
unix_sock_group = "libvirt"
unix_sock_ro_perms = "0777"
unix_sock_rw_perms = "0770"
auth_unix_ro = "none"
auth_unix_rw = "none"
auth_tls = "none"
host_uuid = "{uuid}"
log_level = 3
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""

# root: the share is passed through with the guest's own owners and modes; the files booted from are not re-owned
QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
"""

SSHD_CONFIG = """\
Port 22
ListenAddress 0.0.0.0
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding yes
UseDNS no
UsePAM no
MaxStartups 100
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
"""

# operator may become root by sudo; guestless may not, and sees no guest
USERS = {"operator": 2001, "guestless": 2002}


def fill(host: HostSpec, folder: Path, authority: keys.Authority, authorized_key: str) -> str:
    """Make ``folder`` the root of ``host``; return its public SSH host key."""
    for path in (*BOUND[1:], *RUN, "srv/share", "var/lib/libvirt/boot", "var/lib/libvirt/images"):
        (folder / path).mkdir(parents=True, exist_ok=True)
    (folder / "srv/share/hello").write_text(f"hello from {host.name}\n")
    shell.run(["cp", "-a", "/etc", str(folder / "etc")])
    etc = folder / "etc"
    _names(host, etc)
    _libvirt(host, etc)
    _pki(host, etc, authority)
    _users(etc, authorized_key)
    _homes(folder)
    _disk(folder)
    return _sshd(etc)


def _names(host: HostSpec, etc: Path) -> None:
    _replace(etc / "hostname", f"{host.name}\n")
    known = [f"{other.ip} {other.name}" for other in HOSTS]
    _replace(etc / "hosts", "\n".join(["127.0.0.1 localhost", f"{ROOT_ADDRESS.ip} checker", *known, ""]))


def _replace(path: Path, text: str, mode: int = 0o644) -> None:
    """Write ``path`` anew: a symbolic link in the machine's /etc must not lead us out of the copy."""
    path.unlink(missing_ok=True)
    path.touch(mode=mode)
    path.write_text(text)
    path.chmod(mode)


def _libvirt(host: HostSpec, etc: Path) -> None:
    """A libvirt configuration from nothing: the machine's own guests must not start in the lab."""
    shutil.rmtree(etc / "libvirt", ignore_errors=True)
    (etc / "libvirt/qemu/networks").mkdir(parents=True)
    conf = LIBVIRTD_CONF.format(port=TLS_PORT, uuid=host.uuid)
    _replace(etc / "libvirt/libvirtd.conf", conf)
    _replace(etc / "libvirt/qemu.conf", QEMU_CONF, 0o600)
    (etc / "default").mkdir(exist_ok=True)
    _replace(etc / "default/libvirtd", 'LIBVIRTD_ARGS="--listen"\n')


def _pki(host: HostSpec, etc: Path, authority: keys.Authority) -> None:
    shutil.rmtree(etc / "pki", ignore_errors=True)
    (etc / "pki/CA").mkdir(parents=True)
    (etc / "pki/libvirt").mkdir()
    (etc / "pki/libvirt/private").mkdir(mode=0o750)
    _replace(etc / "pki/CA/cacert.pem", authority.cert.decode())
    _replace(etc / "pki/CA/cacrl.pem", authority.revocations().decode())
    private = etc / "pki/libvirt/private"
    authority.server(host.names).write(etc / "pki/libvirt/servercert.pem", private / "serverkey.pem")
    authority.client(host.name).write(etc / "pki/libvirt/clientcert.pem", private / "clientkey.pem")


def _users(etc: Path, authorized_key: str) -> None:
    # not the machine's /root: what its .bashrc starts (pyenv: 0.1 s) would start with every command
    passwd = etc / "passwd"
    _replace(passwd, re.sub(r"(?m)^(root:.*):[^:]*:[^:]*$", r"\1:/srv/home/root:/bin/sh", passwd.read_text()))
    for name, uid in USERS.items():
        _append(etc / "passwd", f"{name}:x:{uid}:{uid}::/srv/home/{name}:/bin/sh\n")
        _append(etc / "group", f"{name}:x:{uid}:\n")
        _append(etc / "shadow", f"{name}:*:19000:0:99999:7:::\n")
    (etc / "ssh-keys").mkdir()
    _replace(etc / "ssh-keys/authorized_keys", f"{authorized_key}\n")
    (etc / "sudoers.d").mkdir(exist_ok=True)
    _replace(etc / "sudoers.d/virtvet-lab", "operator ALL=(ALL) NOPASSWD: ALL\n", 0o440)


def _append(path: Path, text: str) -> None:
    with path.open("a") as stream:
        stream.write(text)


def _sshd(etc: Path) -> str:
    shutil.rmtree(etc / "ssh", ignore_errors=True)
    (etc / "ssh").mkdir()
    public = keys.ssh_key(etc / "ssh/ssh_host_ed25519_key")
    _replace(etc / "ssh/sshd_config", SSHD_CONFIG + "AuthorizedKeysFile /etc/ssh-keys/authorized_keys\n")
    return public


def _homes(folder: Path) -> None:
    """Homes below the host's own /srv."""
    for name, uid in {"root": 0, **USERS}.items():
        home = folder / "srv/home" / name
        home.mkdir(parents=True)
        os.chown(home, uid, uid)


def _disk(folder: Path) -> None:
    """A node for a disk of the machine: what libvirt and the kernel need to throttle a guest on it. Nobody opens it."""
    disks = sorted(Path("/sys/block").glob("*/dev"), key=_emulated)
    if disks:
        major, minor = map(int, disks[0].read_text().split(":"))
        os.mknod(folder / DISK.lstrip("/"), 0o600 | stat.S_IFBLK, os.makedev(major, minor))


def _emulated(device: Path) -> tuple[bool, str]:
    """Real disks first: only they hang on a bus."""
    return not (device.parent / "device").exists(), str(device)


def reuse_capabilities(folder: Path, cache: Path) -> None:
    """Give libvirtd what an earlier one learnt by asking QEMU; it looks itself whether that is still true."""
    if (cache / "capabilities").is_dir():
        shutil.copytree(cache / "capabilities", folder / CAPABILITIES, dirs_exist_ok=True)


def keep_capabilities(folder: Path, cache: Path) -> None:
    """Keep for the next lab what libvirtd has learnt about QEMU."""
    for learnt in (folder / CAPABILITIES).glob("*.xml"):
        kept = cache / "capabilities" / learnt.name
        if not kept.exists() or kept.read_bytes() != learnt.read_bytes():
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(learnt, kept)


def init_config(host: HostSpec, folder: Path, kernel: Path, logs: Path, images: Path) -> str:
    """What the host's first process must know, as JSON."""
    binds = [[str(folder / path), f"/{path}"] for path in BOUND]
    binds.append([str(kernel), "/var/lib/libvirt/boot"])
    binds.append([str(images), "/var/lib/libvirt/images"])
    binds.append([str(logs), "/var/log/libvirt"])
    binds.append([str(folder / "run"), "/run"])  # last: it hides the folders that the others come from
    return json.dumps(
        {
            "name": host.name,
            "binds": binds,
            "cgroups": [hierarchy.mount_options for hierarchy in cgroups.hierarchies()],
            "partitions": dict(host.partitions),
            "daemons": DAEMONS,
        }
    )
