"""A running host and a running guest, and how to have a command run in them."""

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lab import cgroups, network, shell
from lab.errors import LabError
from lab.hostroot import START_LIBVIRTD
from lab.spec import TLS_PORT, GuestSpec, HostSpec

AGENT = Path(__file__).with_name("agent.py")
CHECKER = "checker"  # the group of what the lab itself runs on the checking side
STOP_LIBVIRTD = """pid=$(cat /run/libvirtd.pid 2>/dev/null) || exit 0
kill $pid 2>/dev/null
while kill -0 $pid 2>/dev/null; do sleep 0.05; done
"""
Completed = subprocess.CompletedProcess[str]


class Host:
    """A hypervisor. ``root`` holds its own etc, run, srv, var/lib/libvirt and var/cache/libvirt."""

    def __init__(self, spec: HostSpec, folder: Path, logs: Path) -> None:
        self.spec = spec
        self.name = spec.name
        self.address = spec.ip
        self.folder = folder
        self.root = folder / "root"
        self.logs = logs

    @property
    def init(self) -> int:
        """The process id, on this machine, of the host's first process; an error once that has ended."""
        try:
            pid = int((self.folder / "init").read_text())
            if cgroups.NAME in Path(f"/proc/{pid}/cgroup").read_text():
                return pid
        except OSError as gone:
            raise LabError(f"{self.name} is not up: `python -m lab up`") from gone
        raise LabError(f"{self.name} has ended, and another process has its number")

    def path(self, path: str) -> Path:
        """A file of the host as this machine sees it, below any of its mounts: ``path("/etc/hosts")``."""
        return Path(f"/proc/{self.init}/root") / path.lstrip("/")

    def command(self, argv: Sequence[str]) -> list[str]:
        """``argv`` made to run inside the host's namespaces and cgroups."""
        enter = ["nsenter", "-t", str(self.init), "-m", "-u", "-n", "-p", "-C", "--"]
        return cgroups.joined(self.groups, [*enter, *argv])

    @property
    def groups(self) -> list[Path]:
        """The host's group in every hierarchy, as this machine sees it."""
        return [hierarchy.lab / self.name for hierarchy in cgroups.hierarchies()]

    def run(
        self, argv: Sequence[str], *, check: bool = True, input: str | None = None, timeout: float = 60
    ) -> Completed:
        """Run ``argv`` in the host as root."""
        return shell.run(self.command(argv), check=check, input=input, timeout=timeout, shown=[f"{self.name}:", *argv])

    def sh(self, script: str, *, check: bool = True, input: str | None = None, timeout: float = 60) -> Completed:
        """Run a shell script in the host as root."""
        return self.run(["/bin/sh", "-c", script], check=check, input=input, timeout=timeout)

    def stop_libvirtd(self) -> None:
        """End libvirtd, if it runs; its guests run on."""
        self.sh(STOP_LIBVIRTD, timeout=30)

    def start_libvirtd(self) -> None:
        """Start libvirtd as its /etc/default/libvirtd says; it answers when this comes back.

        It refuses to start, and this says so, with a server certificate that has expired or that is not its CA's.
        """
        self.sh(START_LIBVIRTD, timeout=30)

    def restart_libvirtd(self) -> None:
        """Have libvirtd read its configuration and certificates anew."""
        self.stop_libvirtd()
        self.start_libvirtd()

    def wait_for_tls(self, timeout: float = 20) -> None:
        """Come back when libvirtd takes connections from the network."""
        wait_until(
            lambda: self.init > 0 and network.listens(self.address, TLS_PORT),
            timeout,
            f"{self.name}: TLS port {TLS_PORT}",
        )


class Guest:
    """A guest, reached by SSH through its host, or, where it has no network, by its agent."""

    def __init__(self, spec: GuestSpec, host: Host, ssh_config: Path) -> None:
        self.spec = spec
        self.host = host
        self.name = spec.name
        self.address = spec.address
        self.ssh_config = ssh_config

    @property
    def id(self) -> str:
        """``hv1/web1``."""
        return f"{self.host.name}/{self.name}"

    @property
    def console(self) -> Path:
        """What the guest wrote to its serial console."""
        return self.host.logs / "console" / f"{self.name}.log"

    def command(self, argv: Sequence[str]) -> list[str]:
        """``argv`` made to run in the guest; the ssh belongs to the lab, so that it ends with the lab."""
        if not self.address:
            return self.host.command([sys.executable, "-I", "-S", str(AGENT), self.name, *argv])
        ssh = ["ssh", "-F", str(self.ssh_config), f"{self.name}.{self.host.name}", shlex.join(argv)]
        return cgroups.joined([hierarchy.lab / CHECKER for hierarchy in cgroups.hierarchies()], ssh)

    def run(
        self, argv: Sequence[str], *, check: bool = True, input: str | None = None, timeout: float = 60
    ) -> Completed:
        """Run ``argv`` in the guest as root."""
        return shell.run(self.command(argv), check=check, input=input, timeout=timeout, shown=[f"{self.id}:", *argv])

    def sh(self, script: str, *, check: bool = True, input: str | None = None, timeout: float = 60) -> Completed:
        """Run a shell script in the guest as root."""
        return self.run(["/bin/sh", "-c", script], check=check, input=input, timeout=timeout)

    def virsh(self, command: str, *arguments: str, check: bool = True, timeout: float = 60) -> Completed:
        """``virsh COMMAND GUEST ARGUMENTS`` on its host."""
        return self.host.run(["virsh", "-q", command, self.name, *arguments], check=check, timeout=timeout)

    def answers(self) -> bool:
        """Whether a command runs in the guest now; an error where its host has ended."""
        _ = self.host.init
        return self.run(["true"], check=False, timeout=15).returncode == 0

    def wait(self, timeout: float = 60) -> None:
        """Come back when the guest runs commands."""
        wait_until(self.answers, timeout, f"{self.id}: {'SSH' if self.address else 'its agent'}")

    def reboot(self, timeout: float = 90) -> None:
        """Have the guest reboot itself; it answers again when this comes back."""
        before = self.boot_id()
        self.run(["reboot"])
        wait_until(lambda: self.boot_id(check=False) not in ("", before), timeout, f"{self.id}: reboot")

    def boot_id(self, check: bool = True) -> str:
        """A name of the current boot; empty where the guest does not answer."""
        return self.run(["cat", "/proc/sys/kernel/random/boot_id"], check=check, timeout=15).stdout.strip()


def wait_until(condition: Callable[[], bool], timeout: float, what: str, every: float = 0.1) -> None:
    """Ask ``condition`` until it holds; after ``timeout`` seconds say that ``what`` did not come."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise LabError(f"{what}: nothing after {timeout:g} s")
        time.sleep(every)
