"""The gate as a whole: examine, boot, log in, check, throw away."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from tempfile import mkdtemp

from virtvet.errors import BadInput, ExitCode, Unreachable
from virtvet.expect import show
from virtvet.image import accelerator, credentials, disk, firmware, login, machine
from virtvet.image.firmware import Firmware
from virtvet.image.interrupts import held, stoppable
from virtvet.image.login import Account, NoAnswer
from virtvet.image.machine import Bus, DirectKernel, IommuKind, Machine, Nic, Plan
from virtvet.image.progress import Progress
from virtvet.profile.listeners import TLS_PORT
from virtvet.profile.load import load_profile
from virtvet.reporting.run import Image
from virtvet.snapshot import store
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.side_by_side import Deadline, background
from virtvet.snapshot.ssh import Ssh

TAIL = 30
"""Lines of the console that are shown when the image cannot be checked."""
LONGEST_SOCKET = 107
"""Bytes of the path of a UNIX socket (unix(7))."""
ENDING_SECONDS = 30
"""For the checks to write their reports once they are interrupted."""

NO_ROOM = (ENOSPC, EDQUOT, EFBIG)
"""What is said where a file cannot grow (write(2))."""

Checking = Callable[[Path, Path, Path | None], Sequence[str]]
"""From the inventory, the file of what was booted and the snapshot of a host that does not answer (None where it does)
to the command that checks and writes the reports."""


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for."""

    image: Path
    profile: str
    checking: Checking
    names: tuple[str, ...] = ()
    pki: Path | None = None
    accel: accelerator.Name | None = None
    firmware: Firmware | None = None
    iommu: IommuKind = "intel"
    bus: Bus = "virtio"
    nic: Nic = "virtio"
    memory: int = 2048
    cpus: int | None = None
    """None: as many as go well with the accelerator."""
    direct: DirectKernel | None = None
    timeout: float = 300
    keep: bool = False


def run(order: Order, progress: Progress) -> int:
    """Exit code. Raises BadInput: an image, a profile or a tool that cannot be used."""
    plan = _plan(order, progress)
    before = _stamp(order.image)
    try:
        with stoppable() as ending, _folder(keep=order.keep) as folder:
            code = _in(folder, order, plan, progress, ending)
    except KeyboardInterrupt:
        progress.say("interrupted; the machine is gone")
        return ExitCode.INTERRUPTED
    finally:
        progress.quiet()
    if _stamp(order.image) != before:
        progress.say(
            f"{order.image.name} was changed while it was checked, by somebody else: the result is worth nothing"
        )
        return code or ExitCode.FAILED
    return code


def _plan(order: Order, progress: Progress) -> Plan:
    """Everything that can be found out, and refused, before a machine starts."""
    found = disk.examine(order.image)
    wants = load_profile(order.profile)
    boots, flash = ("bios", None) if order.direct else firmware.choose(found.boots, order.firmware)
    accelerated = accelerator.choose(order.accel)
    if accelerated.why:
        progress.say(f"{accelerated.why}; TCG emulates every instruction, which takes its time")
    cpus = order.cpus or accelerated.cpus
    ports = (TLS_PORT, *((wants.host.listeners.tls_port,) if wants.host.listeners else ()))
    by = "with the kernel that was given" if order.direct else f"by {boots.upper()}"
    progress.say(
        f"{order.image.name} ({show(found.virtual_size, 'bytes')}, {found.format}) boots {by} under "
        f"{accelerated.name.upper()}, "
        f"{cpus} CPU{'s' * (cpus > 1)}, {order.memory} MiB, IOMMU: {order.iommu}"
    )
    return Plan(
        *(found, accelerated, boots, flash, order.iommu, order.bus, order.nic, order.memory, cpus, order.direct),
        *(machine.own_address(), ports),
    )


def _stamp(image: Path) -> tuple[int, int, int] | None:
    """None where the image is there no more."""
    try:
        known = image.stat()
    except OSError:
        return None
    return known.st_ino, known.st_size, known.st_mtime_ns


def _in(folder: Path, order: Order, plan: Plan, progress: Progress, ending: Callable[[], None]) -> int:
    key = credentials.new_key(folder)
    (folder / "seed.iso").write_bytes(credentials.seed(key.public, folder.name))
    account = Account(plan.address, key.path, folder / "known_hosts")
    account.known_hosts.touch()
    inventory, facts, recorded = folder / "inventory.yaml", folder / "image.json", None
    with machine.running(plan, folder, credentials.smbios(key.public), keep=order.keep) as started:
        digest = background(plan.disk.sha256)
        try:
            names = _booted(order, started, account, progress)
        except NoAnswer as error:
            reason = f"{error}{_no_room(folder)}"
            progress.say(f"{order.image.name}: {reason}{_tail(started)}")
            if not order.keep:
                started.kill()  # and what it wrote makes room
            names, recorded = order.names, _unreachable(_host_name(order.image), reason, folder)
        facts.write_text(_facts(plan, digest.result(), progress.seconds).model_dump_json())
        inventory.write_text(_inventory(order, account, names))
        code = _child(order.checking(inventory, facts, recorded))
        ending()
        if order.keep:
            progress.say(_how_to_go_on(folder, account, started))
    return code


def _unreachable(name: str, reason: str, folder: Path) -> Path:
    """A snapshot of a host that nobody can look at: what is judged by it is that, and it has reports as any other."""
    path = folder / "unreachable.json"
    store.save({name: Snapshot(name, datetime.now(UTC), unreachable=reason)}, path)
    return path


def _booted(order: Order, started: Machine, account: Account, progress: Progress) -> tuple[str, ...]:
    """Wait until it can be checked; the names its certificate must cover. Raises NoAnswer."""
    deadline = Deadline(order.timeout)
    ssh = login.wait(started, account, deadline, progress)
    try:
        progress.say(f"SSH answers after {progress.seconds:.1f} s")
        state = login.wait_until_booted(ssh, started, deadline, progress)
        failed = f": {', '.join(login.failed_units(ssh, deadline)[:20])}" if state == "degraded" else ""
        progress.say(f"booted after {progress.seconds:.1f} s{f', systemd says {state}{failed}' if state else ''}")
        return order.names or _own_names(ssh, deadline)
    except Unreachable as lost:
        raise NoAnswer(f"answers no more: {lost.reason}") from None
    finally:
        ssh.close()


def _no_room(folder: Path) -> str:
    """QEMU halts a machine whose writes find no room (qemu(1), werror=enospc); its console says nothing of it."""
    if shutil.disk_usage(folder).free >= disk.MIB:
        return ""
    return f"; {folder.parent} is full, which halts it: TMPDIR names another place"


def _own_names(ssh: Ssh, deadline: Deadline) -> tuple[str, ...]:
    name = login.hostname(ssh, deadline)
    return (name,) if name else ()


def _tail(started: Machine) -> str:
    lines = started.console.tail(TAIL)
    if not lines:
        return "\n  its serial console stayed silent: does it boot with console=ttyS0?"
    return f"\n  the last {len(lines)} lines of its console:" + "".join(f"\n  | {line}" for line in lines)


def _facts(plan: Plan, digest: str, seconds: float) -> Image:
    direct = plan.direct
    return Image(
        name=plan.disk.path.name,
        format=plan.disk.format,
        size=plan.disk.size,
        virtual_size=plan.disk.virtual_size,
        sha256=digest,
        firmware=plan.firmware,
        accelerator=plan.accelerator.name,
        why=plan.accelerator.why,
        iommu=plan.iommu,
        direct_kernel=f"{direct.kernel.name} {direct.append}" if direct else "",
        seconds=round(seconds, 3),
    )


def _inventory(order: Order, account: Account, names: Sequence[str]) -> str:
    """JSON is YAML, too."""
    ssh = {
        **{"address": account.address, "port": account.port, "user": account.user},
        **{"key": str(account.key), "known_hosts": str(account.known_hosts)},
    }
    libvirt = {"pki": str(order.pki.absolute())} if order.pki else {}
    name = _host_name(order.image)
    return json.dumps({"virtvet": 1, "hosts": {name: {"ssh": ssh, "libvirt": libvirt, "names": list(names) or [name]}}})


def _host_name(image: Path) -> str:
    """What reports call it: "hypervisor-12.qcow2" -> "hypervisor-12"."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", image.stem, flags=re.ASCII).lstrip(".-") or "image"


def _child(argv: Sequence[str]) -> int:
    """Run the checks in a process of their own; interrupted, they write their reports first."""
    child = None
    try:
        with held():
            child = subprocess.Popen(argv, start_new_session=True)
        return child.wait()
    except KeyboardInterrupt:
        if child:
            child.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                child.wait(ENDING_SECONDS)
            child.kill()
            child.wait()
        raise


def _how_to_go_on(folder: Path, account: Account, started: Machine) -> str:
    pid, remove = started.process.pid, ["rm", "-rf", str(folder)]
    if started.ended:
        return f"the machine has ended; what is left of it: {shlex.join(remove)}"
    where = ["-i", str(account.key), "-p", str(account.port), "-o", f'UserKnownHostsFile="{account.known_hosts}"']
    log_in = shlex.join(["ssh", *where, f"{account.user}@{account.address}"])
    console = shlex.quote(f"UNIX-CONNECT:{folder / machine.CONSOLE}")
    return (
        f"the machine is kept, as was asked (process {pid})\n"
        f"  log in: {log_in}\n"
        f"  its console: socat -,rawer,escape=0x1d {console}   # Ctrl-] leaves it\n"
        f"  end it: kill {pid}; {shlex.join(remove)}"
    )


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    """For what the machine needs, on a disk and not in memory (file-hierarchy(7)); gone at the end, unless kept.

    Raises BadInput where there can be none, or no more in it.
    """
    parent = os.environ.get("TMPDIR") or "/var/tmp"  # noqa: S108
    folder, kept = None, False
    try:
        with held():
            folder = Path(mkdtemp(prefix="virtvet-image-", dir=parent))
        if len(os.fsencode(folder / machine.CONSOLE)) > LONGEST_SOCKET:
            raise BadInput.one(f"{parent} is too long a name for a socket in it", "TMPDIR names another place")
        yield folder
        kept = keep
    except OSError as error:
        if folder and error.errno not in NO_ROOM:
            raise
        raise BadInput.one(f"nothing can be kept in {parent}: {error.strerror}", "TMPDIR names another place") from None
    finally:
        if folder and not kept:
            shutil.rmtree(folder, ignore_errors=True)
