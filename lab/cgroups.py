"""The machine's cgroup v1 hierarchies, and a group of the lab's own in each of them.

A process of the lab is known by its group: whoever is in ``virtvet-lab`` was started by a lab.
"""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

NAME = "virtvet-lab"
NEEDED = frozenset({"cpu", "cpuacct", "cpuset", "memory", "devices", "blkio", "freezer"})
JOIN = """n=$1; shift
while [ $n -gt 0 ]; do echo $$ >"$1/cgroup.procs" || exit 125; shift; n=$((n - 1)); done
exec "$@"
"""
SHARES = 16 * 1024
"""The lab's weight on the machine: by default a group has that of one process, and beside other work seven guests
together would get no more than one of them."""
CONTROLLERS = NEEDED | {"pids", "net_cls", "net_prio", "perf_event", "hugetlb", "rdma", "misc"}


@dataclass(frozen=True)
class Hierarchy:
    """One cgroup v1 mount: where, and with which controllers (or which name)."""

    mountpoint: Path
    controllers: tuple[str, ...]

    @property
    def mount_options(self) -> str:
        """What ``mount -o`` wants: ``cpu,cpuacct`` or ``none,name=systemd``."""
        named = [name for name in self.controllers if name.startswith("name=")]
        return ",".join(["none", *named] if named else self.controllers)

    @property
    def lab(self) -> Path:
        """The group that holds all of the lab."""
        return self.mountpoint / NAME


def hierarchies(mounts: str | None = None) -> list[Hierarchy]:
    """The cgroup v1 hierarchies of this machine, each once.

    >>> hierarchies("cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0")
    [Hierarchy(mountpoint=PosixPath('/sys/fs/cgroup/cpu'), controllers=('cpu',))]
    """
    text = Path("/proc/self/mounts").read_text() if mounts is None else mounts
    found: dict[tuple[str, ...], Hierarchy] = {}
    for line in text.splitlines():
        _, mountpoint, fstype, options, *_ = line.split()
        kept = tuple(o for o in options.split(",") if o in CONTROLLERS or o.startswith("name="))
        if fstype == "cgroup" and kept:
            found.setdefault(kept, Hierarchy(Path(mountpoint), kept))
    return list(found.values())


def create(name: str) -> list[Path]:
    """Make the group ``virtvet-lab/NAME`` in every hierarchy; return their paths."""
    groups = []
    for hierarchy in hierarchies():
        group = hierarchy.lab / name
        group.mkdir(parents=True, exist_ok=True)
        if "cpuset" in hierarchy.controllers:
            fill_cpuset(hierarchy.lab)
            fill_cpuset(group)
        if "cpu" in hierarchy.controllers:
            (hierarchy.lab / "cpu.shares").write_text(str(SHARES))
        groups.append(group)
    return groups


def fill_cpuset(group: Path) -> None:
    """An empty cpuset takes no process: start with all that the parent has."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not (group / name).read_text().strip():
            (group / name).write_text((group.parent / name).read_text())


def joined(groups: list[Path], argv: list[str]) -> list[str]:
    """``argv`` run by a shell that moves itself into ``groups`` first."""
    return ["/bin/sh", "-c", JOIN, "sh", str(len(groups)), *map(str, groups), *argv]


def members() -> set[int]:
    """The processes in any group of the lab."""
    pids: set[int] = set()
    for hierarchy in hierarchies():
        for directory, _, _ in os.walk(hierarchy.lab):
            pids.update(_procs(Path(directory)))
    return pids


def _procs(group: Path) -> list[int]:
    try:
        return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
    except OSError:
        return []  # it went while we walked


def kill_members(deadline: float = 15) -> None:
    """End every process in the lab's groups; come back when none is left."""
    end = time.monotonic() + deadline
    while pids := members():
        for pid in pids:
            _kill(pid)
        if time.monotonic() > end:
            raise LabError(f"processes of the lab do not end: {sorted(pids)}")
        time.sleep(0.02)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def remove(deadline: float = 10) -> None:
    """Remove the lab's groups; a group whose last process just died stays busy for a moment."""
    end = time.monotonic() + deadline
    while not all(_remove_tree(hierarchy.lab) for hierarchy in hierarchies()):
        if time.monotonic() > end:
            left = [str(h.lab) for h in hierarchies() if h.lab.exists()]
            raise LabError(f"cgroups of the lab stay busy: {' '.join(left)}")
        time.sleep(0.05)


def _remove_tree(top: Path) -> bool:
    for directory, _, _ in os.walk(top, topdown=False):
        try:
            Path(directory).rmdir()
        except OSError:
            return False
    return not top.exists()


def left() -> list[Path]:
    """The lab's groups that exist now."""
    return [hierarchy.lab for hierarchy in hierarchies() if hierarchy.lab.exists()]
