"""The virtual machine: QEMU's command line, as a pure function, and its process."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import randbelow
from typing import Literal

from virtvet.image import programs
from virtvet.image.accelerator import Accelerator
from virtvet.image.console import Console
from virtvet.image.disk import Disk
from virtvet.image.firmware import Firmware, Flash
from virtvet.image.interrupts import held
from virtvet.reporting.text import one_line

IommuKind = Literal["intel", "amd", "none"]
Bus = Literal["virtio", "sata", "nvme"]
Nic = Literal["virtio", "e1000e"]

CONSOLE = "console"
"""A UNIX socket in the machine's folder."""
SSH_PORT = 2222
"""On the run's own address, where a user who is not root may listen."""
IOMMU: dict[IommuKind, tuple[str, ...]] = {
    "intel": ("-device", "intel-iommu,intremap=on"),
    "amd": ("-device", "amd-iommu,intremap=on"),
    "none": (),
}
BUS: dict[Bus, str] = {"virtio": "virtio-blk-pci", "sata": "ide-hd", "nvme": "nvme,serial=virtvet"}
NIC: dict[Nic, str] = {"virtio": "virtio-net-pci", "e1000e": "e1000e"}
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
"""What a hostile image that breaks out of its machine would find (qemu(1), -sandbox)."""

PR_SET_PDEATHSIG = 1
"""prctl(2)."""
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class DirectKernel:
    """A kernel that QEMU loads itself, as `-kernel`."""

    kernel: Path
    initrd: Path | None
    append: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is booted, on what."""

    disk: Disk
    accelerator: Accelerator
    firmware: Firmware
    flash: Flash | None
    iommu: IommuKind
    bus: Bus
    nic: Nic
    memory: int
    """MiB."""
    cpus: int
    direct: DirectKernel | None
    address: str
    """On loopback: of this run alone."""
    ports: tuple[int, ...]
    """Besides SSH's: forwarded to the same port inside."""


def own_address() -> str:
    """An address of the loopback interface that nobody else uses: ports can be those they are inside the machine.

    All of 127.0.0.0/8 is loopback (RFC 1122, 3.2.1.3); 4 million of them are drawn from.
    """
    return f"127.{64 + randbelow(64)}.{randbelow(256)}.{1 + randbelow(254)}"


def command(plan: Plan, folder: Path, credentials: Sequence[str], console: int) -> list[str]:
    """QEMU's command line. folder: where the seed and the firmware's variables are; console: a listening socket.

    `snapshot=on` opens the image read-only and puts what is written into a file that QEMU unlinks at once.
    """
    forwards = "".join(f",hostfwd=tcp:{plan.address}:{out}-:{inside}" for out, inside in _forwards(plan))
    disk = f"file={_escaped(plan.disk.path.absolute())},format={plan.disk.format},snapshot=on,cache=unsafe"
    seed = f"file={_escaped(folder / 'seed.iso')},format=raw,readonly=on"
    return [
        *(programs.path_of("qemu-system-x86_64"), "-name", "virtvet-image", "-nodefaults", "-no-user-config"),
        *("-display", "none", "-sandbox", SANDBOX, "-machine", "q35,kernel-irqchip=split,smm=off,vmport=off"),
        *(*plan.accelerator.options, "-smp", str(plan.cpus), "-m", str(plan.memory)),
        *(*IOMMU[plan.iommu], *_boots(plan, folder), *credentials),
        *("-drive", f"if=none,id=disk,{disk}", "-device", f"{BUS[plan.bus]},drive=disk,bootindex=1"),
        *("-drive", f"if=none,id=seed,{seed}", "-device", "virtio-blk-pci,drive=seed"),
        *("-netdev", f"user,id=net,restrict=on{forwards}", "-device", f"{NIC[plan.nic]},netdev=net,romfile="),
        *("-device", "virtio-rng-pci", "-chardev", f"socket,id=console,fd={console},server=on,wait=on"),
        *("-serial", "chardev:console"),
    ]


def _forwards(plan: Plan) -> Iterator[tuple[int, int]]:
    yield SSH_PORT, 22
    yield from ((port, port) for port in dict.fromkeys(plan.ports))


def _boots(plan: Plan, folder: Path) -> list[str]:
    if plan.direct:
        initrd = ["-initrd", str(plan.direct.initrd)] if plan.direct.initrd else []
        return ["-kernel", str(plan.direct.kernel), *initrd, "-append", plan.direct.append]
    if plan.flash is None:
        return []
    code = f"if=pflash,format=raw,readonly=on,file={_escaped(plan.flash.code)}"
    return ["-drive", code, "-drive", f"if=pflash,format=raw,file={_escaped(folder / 'variables.fd')}"]


def _escaped(path: Path) -> str:
    """In a list of QEMU's options a comma is written twice."""
    return str(path).replace(",", ",,")


class Machine:
    """A QEMU that runs."""

    def __init__(self, process: subprocess.Popen[bytes], console: Console, log: Path) -> None:
        self.process, self.console, self._log = process, console, log

    @property
    def ended(self) -> bool:
        """Whether QEMU is no more: the image switched itself off, or QEMU could not start."""
        return self.process.poll() is not None

    def complaint(self) -> str:
        """What QEMU itself said last."""
        lines = self._log.read_text("utf-8", "backslashreplace").splitlines()
        said = next((line for line in reversed(lines) if line and "warning:" not in line), "")
        return one_line(said.removeprefix("qemu-system-x86_64: "))

    def kill(self) -> None:
        """End it at once: nothing in it is kept."""
        self.process.kill()
        self.process.wait()


@contextmanager
def running(plan: Plan, folder: Path, credentials: Sequence[str], *, keep: bool) -> Iterator[Machine]:
    """Start it; at the end of the block it is killed. To be kept, the block must end without an exception.

    One that is not to be kept ends with this process, whatever ends that.
    """
    started, kept = None, False
    try:
        with held():
            started = _start(plan, folder, credentials, tied=not keep)
        yield started
        kept = keep
    finally:
        if started:
            if not kept:
                started.kill()
            started.console.close()


def _start(plan: Plan, folder: Path, credentials: Sequence[str], *, tied: bool) -> Machine:
    if plan.flash:
        shutil.copyfile(plan.flash.variables, folder / "variables.fd")
    path, log = folder / CONSOLE, folder / "qemu.log"
    connected = socket.socket(socket.AF_UNIX)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(1)
        connected.connect(str(path))
        argv = command(plan, folder, credentials, listening.fileno())
        process = _started(argv, listening.fileno(), log, tied=tied)
    return Machine(process, Console(connected), log)


def _started(argv: Sequence[str], console: int, log: Path, *, tied: bool) -> subprocess.Popen[bytes]:
    """In a session of its own: the terminal's Ctrl-C is for us alone, and we end it when all else is done."""
    with log.open("wb") as errors:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            pass_fds=[console],
            start_new_session=True,
            env=os.environ | {"TMPDIR": str(log.parent)},
            preexec_fn=_ends_with_parent if tied else None,  # noqa: PLW1509 - no other thread runs yet
        )


def _ends_with_parent() -> None:
    """In a new child: to be killed when the thread that started it ends, which here is the main one (prctl(2))."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
