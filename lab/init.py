"""The first process of a host: arranges its namespaces, starts its daemons, then reaps until it is killed.

Run as a script (``python -I -S init.py CONFIG``) by ``unshare``, so it needs nothing but the standard library.
It says ``ready`` when the file systems are in place and waits for ``go`` until the network is; if the starter
dies before that, it reads end-of-file and ends, and all its namespaces with it.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

CGROUPS = Path("/sys/fs/cgroup")


def main() -> None:
    """Arrange, report, start, reap."""
    config = json.loads(Path(sys.argv[1]).read_text())
    arrange(config)
    print("ready", flush=True)
    if sys.stdin.readline() != "go\n":
        sys.exit("the starter went away")
    hand_over_streams()
    for argv in config["daemons"]:
        subprocess.run(argv, check=True)
    Path("/run/lab-started").touch()
    reap()


def arrange(config: dict[str, Any]) -> None:
    """Give this host its own name, its own folders, and /proc, /sys and cgroups that show only itself."""
    socket.sethostname(config["name"])
    mount("--make-rprivate", "/")
    for source, target in config["binds"]:
        mount("--bind", source, target)
    # what lies under the new mounts would still be listed, and libvirt would try the machine's cgroup v2 tree
    for path in ("/sys", "/proc"):
        subprocess.run(["umount", "--lazy", "--recursive", path], check=True)
    mount("-t", "proc", "-o", "nosuid,nodev,noexec", "proc", "/proc")
    mount("-t", "sysfs", "-o", "nosuid,nodev,noexec", "sysfs", "/sys")
    mount_cgroups(config["cgroups"])
    for path, memory_limit in config["partitions"].items():
        make_partition(config["cgroups"], path.lstrip("/"), memory_limit)


def mount_cgroups(hierarchies: list[str]) -> None:
    """Mount every hierarchy anew: inside the cgroup namespace its root is this host's own group."""
    mount("-t", "tmpfs", "-o", "mode=755", "cgroup", str(CGROUPS))
    for options in hierarchies:
        target = CGROUPS / folder_name(options)
        target.mkdir()
        mount("-t", "cgroup", "-o", options, "cgroup", str(target))
        for controller in options.split(","):
            if "," in options and "=" not in options:
                (CGROUPS / controller).symlink_to(target.name)


def folder_name(options: str) -> str:
    """``cpu,cpuacct`` as it is; ``none,name=systemd`` as ``systemd``."""
    return options.partition("name=")[2] or options


def make_partition(hierarchies: list[str], path: str, memory_limit: int) -> None:
    """libvirt makes no partition by itself without systemd, and an empty cpuset takes no guest."""
    for options in hierarchies:
        if "name=" in options:
            continue
        group = CGROUPS / folder_name(options)
        for part in path.split("/"):
            group = group / part
            group.mkdir(exist_ok=True)
            if "cpuset" in options.split(","):
                fill_cpuset(group)
        if "memory" in options.split(","):
            (group / "memory.limit_in_bytes").write_text(str(memory_limit))


def fill_cpuset(group: Path) -> None:
    """Start with all CPUs and memory nodes that the parent has."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        (group / name).write_text((group.parent / name).read_text())


def mount(*arguments: str) -> None:
    """The mount command; its words go to the host's log."""
    subprocess.run(["mount", *arguments], check=True)


def hand_over_streams() -> None:
    """Let go of the starter's pipes: it may end while the host lives on."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)


def reap() -> None:
    """Wait for whatever is orphaned into this namespace, for good."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        try:
            os.wait()
        except ChildProcessError:
            signal.sigwait({signal.SIGCHLD})


if __name__ == "__main__":
    main()
