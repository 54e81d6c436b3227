"""A QEMU that runs the image, and the guests inside: command line, process, shells."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from lab import shell
from lab.errors import LabError
from lab.image import spec
from lab.image.build import Image
from lab.machine import wait_until

Completed = subprocess.CompletedProcess[str]


class ImageHost:
    """A virtual machine in a folder of its own: pid, ports, console, monitor and disk overlay."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.monitor = folder / "qmp"
        self.console = folder / "console"
        self.disk = folder / "disk.qcow2"
        self._ports: dict[str, int] = {}

    # the process

    def start(self, image: Image, backing: Path, key: str, more: Sequence[str] = (), *, lasting: bool) -> None:
        """Start QEMU on an overlay of `backing`. lasting: it outlives this process.

        Not lasting, it ends with the thread that called this (prctl(2), PR_SET_PDEATHSIG). Started again, it has the
        ports that it had before.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kind = "raw" if backing.suffix == ".raw" else "qcow2"
        shell.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(backing), "-F", kind, str(self.disk)])
        ports = self._ports = self._ports or {"ssh": _free_port(), "tls": _free_port()}
        (self.folder / "ports").write_text("".join(f"{name} {port}\n" for name, port in ports.items()))
        tie = [] if lasting else ["setpriv", "--pdeathsig", "KILL"]
        argv = [*tie, *self._command(image, ports, key), *more]
        with (self.folder / "qemu.log").open("w") as log:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=self.folder
            )
        (self.folder / "pid").write_text(f"{process.pid}\n")
        wait_until(lambda: self._has_monitor(process), 10, f"{self.name}: QEMU's monitor", every=0.01)

    def _has_monitor(self, process: subprocess.Popen[bytes]) -> bool:
        if process.poll() is not None:
            raise LabError(f"{self.name}: QEMU ended: {(self.folder / 'qemu.log').read_text().strip()[-600:]}")
        return self.monitor.exists()

    def _command(self, image: Image, ports: dict[str, int], key: str) -> list[str]:
        forwards = f",hostfwd=tcp:127.0.0.1:{ports['ssh']}-:22,hostfwd=tcp:127.0.0.1:{ports['tls']}-:16514"
        credential = f"io.systemd.credential:ssh.authorized_keys.root={key}"
        return [
            *("qemu-system-x86_64", "-name", f"virtvet-lab-{self.name}", "-nodefaults", "-display", "none"),
            "-no-reboot",  # a kernel that panics ends its machine
            *("-accel", "tcg,thread=multi,tb-size=512", *spec.MACHINE, "-cpu", spec.CPU, "-smp", str(spec.CPUS)),
            *("-m", str(spec.MEMORY_MIB), *spec.IOMMU, "-smbios", f"type=11,value={credential}"),
            *("-kernel", str(image.vmlinux), "-initrd", str(image.initrd)),
            *("-append", " ".join([*spec.CMDLINE, f"root={spec.ROOT}"])),
            *("-drive", f"if=none,id=root,file={self.disk},format=qcow2,cache=unsafe,discard=unmap"),
            *("-device", "virtio-blk-pci,drive=root,bus=pcie.0,addr=3"),
            *("-netdev", f"user,id=management,restrict=on{forwards}", "-device", spec.MANAGEMENT, *spec.HARDWARE),
            *("-serial", f"file:{self.console}", "-qmp", f"unix:{self.monitor},server=on,wait=off"),
        ]

    @property
    def pid(self) -> int:
        """Of its QEMU; 0 when that does not run."""
        try:
            pid = int((self.folder / "pid").read_text())
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return 0
        return pid if str(self.monitor).encode() in b" ".join(argv) else 0

    def kill(self) -> None:
        """End QEMU at once, and wait for that."""
        end = time.monotonic() + 10
        while pid := self.pid:
            if time.monotonic() > end:
                raise LabError(f"{self.name}: QEMU (process {pid}) does not end")
            os.kill(pid, signal.SIGKILL)
            _reap(pid)
            time.sleep(0.01)

    # the shell in it

    def port(self, name: str) -> int:
        """On 127.0.0.1, of its "ssh" or "tls"."""
        ports = dict(line.split() for line in (self.folder / "ports").read_text().splitlines())
        return int(ports[name])

    def command(self, argv: Sequence[str]) -> list[str]:
        """``argv`` made to run in it as root."""
        return ["ssh", "-F", str(self.folder / "ssh_config"), self.name, shlex.join(argv)]

    def run(
        self, argv: Sequence[str], *, check: bool = True, input: str | None = None, timeout: float = 60
    ) -> Completed:
        """Run ``argv`` in it as root."""
        return shell.run(self.command(argv), check=check, input=input, timeout=timeout, shown=[f"{self.name}:", *argv])

    def sh(self, script: str, *, check: bool = True, input: str | None = None, timeout: float = 60) -> Completed:
        """Run a shell script in it as root."""
        return self.run(["/bin/sh", "-c", script], check=check, input=input, timeout=timeout)

    def answers(self) -> bool:
        """Whether a command runs in it now. An error once its QEMU has ended."""
        if not self.pid:
            raise LabError(f"{self.name} has ended: {(self.folder / 'qemu.log').read_text().strip()[-600:]}")
        try:
            return self.run(["true"], check=False, timeout=8).returncode == 0
        except LabError:
            return False  # a silent one lets the client wait


class NestedGuest:
    """A guest inside an image host, reached by SSH through it."""

    def __init__(self, name: str, host: ImageHost) -> None:
        self.name = name
        self.host = host

    def command(self, argv: Sequence[str]) -> list[str]:
        """``argv`` made to run in it as root."""
        return ["ssh", "-F", str(self.host.folder / "ssh_config"), f"{self.name}.{self.host.name}", shlex.join(argv)]

    def sh(self, script: str, *, check: bool = True, timeout: float = 60) -> Completed:
        """Run a shell script in the guest as root."""
        argv = ["/bin/sh", "-c", script]
        shown = [f"{self.host.name}/{self.name}:", *argv]
        return shell.run(self.command(argv), check=check, timeout=timeout, shown=shown)

    def answers(self) -> bool:
        """Whether a command runs in it now."""
        try:
            return self.sh("true", check=False, timeout=15).returncode == 0
        except LabError:
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # another process started it
        os.waitpid(pid, os.WNOHANG)
