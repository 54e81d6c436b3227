"""300 facts of one lab host, as they are now: what both suites then assert."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

from lab import Lab

COUNT = 300
HOST = "hv1"
Fact = dict[str, Any]

CGROUP_FILES = (
    "cpu.shares",
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
    "cpuset.cpus",
    "cpuset.mems",
    "memory.limit_in_bytes",
    "memory.soft_limit_in_bytes",
    "memory.swappiness",
    "notify_on_release",
    "cgroup.clone_children",
)
FILES = """/etc/libvirt/libvirtd.conf /etc/libvirt/qemu.conf /etc/pki/CA/cacert.pem /etc/pki/libvirt/servercert.pem
  /etc/pki/libvirt/clientcert.pem /etc/pki/libvirt/private/serverkey.pem /etc/pki/libvirt/private/clientkey.pem
  /etc/pki/CA /etc/pki/libvirt /run/libvirt/libvirt-sock /srv/share /etc/ssh/sshd_config /etc/hosts /etc/passwd
  /etc/default/libvirtd /var/lib/libvirt /var/lib/libvirt/qemu /var/cache/libvirt /usr/sbin/libvirtd /bin/sh""".split()
SYSCTLS = """kernel.pid_max kernel.randomize_va_space kernel.sysrq kernel.threads-max kernel.panic kernel.ostype
  kernel.osrelease kernel.sched_rt_period_us kernel.sched_rt_runtime_us vm.swappiness vm.overcommit_memory
  vm.nr_hugepages vm.dirty_ratio vm.dirty_background_ratio vm.max_map_count vm.min_free_kbytes vm.overcommit_ratio
  vm.vfs_cache_pressure vm.page-cluster vm.laptop_mode fs.file-max fs.nr_open fs.aio-max-nr
  fs.inotify.max_user_instances fs.inotify.max_user_watches fs.pipe-max-size net.ipv4.ip_forward
  net.ipv4.tcp_syncookies net.ipv4.conf.all.rp_filter net.ipv4.tcp_keepalive_time net.ipv4.tcp_fin_timeout
  net.ipv4.ip_default_ttl net.ipv4.tcp_window_scaling net.ipv4.tcp_timestamps net.ipv4.tcp_sack net.core.somaxconn
  net.ipv4.conf.all.accept_redirects net.ipv4.conf.all.send_redirects net.ipv4.conf.default.rp_filter
  net.ipv4.icmp_echo_ignore_all""".split()


def recorded(lab: Lab) -> list[Fact]:
    """The facts: a mixture of what acceptance tests ask, in the same proportion for any count."""
    sources = [_stats(lab), _cgroups(lab), _sysctls(lab), _threads(lab), _domains(lab)]
    facts = list(islice(_in_turn(sources), COUNT))
    if len(facts) < COUNT:
        raise SystemExit(f"bench: only {len(facts)} facts on {HOST}, {COUNT} wanted")
    return facts


def _in_turn(sources: list[Iterator[Fact]]) -> Iterator[Fact]:
    """Round robin until all are used up."""
    turns = cycle(sources)
    empty: set[int] = set()
    while len(empty) < len(sources):
        source = next(turns)
        if id(source) in empty:
            continue
        try:
            yield next(source)
        except StopIteration:
            empty.add(id(source))


def _stats(lab: Lab) -> Iterator[Fact]:
    lines = lab.hosts[HOST].run(["stat", "-L", "-c", "%a %U %G %n", *FILES], check=False).stdout.splitlines()
    for line in lines:
        mode, user, group, path = line.split(" ", 3)
        for attribute, value in (("mode", int(mode, 8)), ("user", user), ("group", group), ("exists", True)):
            yield {"kind": "stat", "path": path, "attribute": attribute, "value": value}


def _cgroups(lab: Lab) -> Iterator[Fact]:
    names = " -o ".join(f"-name {name}" for name in CGROUP_FILES)
    found = lab.hosts[HOST].sh(f"find /sys/fs/cgroup/*/machine* -type f \\( {names} \\) -exec grep -H '' {{}} +")
    for line in sorted(found.stdout.splitlines()):
        path, value = line.split(":", 1)
        yield {"kind": "cgroup", "path": path, "value": value}


def _sysctls(lab: Lab) -> Iterator[Fact]:
    for name in SYSCTLS:
        path = "/proc/sys/" + name.replace(".", "/")
        found = lab.hosts[HOST].run(["cat", path], check=False)
        if found.returncode == 0:
            yield {"kind": "sysctl", "name": name, "path": path, "value": found.stdout.strip()}


def _threads(lab: Lab) -> Iterator[Fact]:
    lasting = "grep -lE '^(CPU|IO|qemu)' /proc/$(cat /run/libvirt/qemu/$name.pid)/task/*/comm"  # workers come and go
    shown = "grep -H Cpus_allowed_list ${comm%comm}status"
    script = f"for name in $(virsh list --name); do for comm in $({lasting}); do {shown}; done; done"
    for line in lab.hosts[HOST].sh(script).stdout.splitlines():
        path, _, value = line.partition(":")
        yield {"kind": "thread", "path": path, "value": value.split()[-1]}


def _domains(lab: Lab) -> Iterator[Fact]:
    for name in lab.hosts[HOST].run(["virsh", "list", "--name"]).stdout.split():
        yield {"kind": "domain", "name": name, "attribute": "state", "value": "running"}
        yield {"kind": "domain", "name": name, "attribute": "uuid", "value": _uuid(lab, name)}


def _uuid(lab: Lab, name: str) -> str:
    return lab.hosts[HOST].run(["virsh", "domuuid", name]).stdout.strip()


def load(path: str) -> list[Fact]:
    """The facts a bench run recorded."""
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - one line, and no Path elsewhere here
        facts: list[Fact] = json.load(file)
    return facts
