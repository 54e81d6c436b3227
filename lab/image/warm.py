"""The image after its boot, libvirtd warm and guests running, frozen: memory, devices and disk, each in a file.

A clone maps the memory copy-on-write, lays an overlay on the disk and loads the devices: it answers after seconds,
where a boot under TCG takes most of a minute. The devices' state is a QEMU migration whose memory stays in its own file
(capability x-ignore-shared).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from lab.errors import LabError
from lab.image import access, guests, spec
from lab.image.build import Image, fingerprint
from lab.image.machine import ImageHost, NestedGuest
from lab.image.qmp import Qmp
from lab.machine import wait_until
from lab.progress import Progress

LOCKUPS = 3
"""One multi-threaded boot in a dozen locks up: the kernel patches itself while the other vCPU runs."""
WARM_UP = """\
set -e
sysctl -qw kernel.panic=-1
modprobe kvm_amd; modprobe vfio_pci
virsh -q version >/dev/null; virsh -q domcapabilities >/dev/null; virsh -q nodedev-list >/dev/null
"""
"""A panic ends QEMU (-no-reboot), where it would keep a CPU busy: now and then TCG's emulation of nested guests spoils
the host's memory ("corrupted stack end detected inside scheduler")."""
SETTLE = """\
set -e
cat /usr/bin/qemu-system-x86_64 >/dev/null
sync
"""


def frozen(image: Image) -> Path:
    """Where the frozen image is: `ram`, `state` and `disk.qcow2`. They hold for this virtual hardware alone."""
    code = [Path(__file__), Path(__file__).with_name("machine.py")]
    return image.folder / f"warm-{fingerprint(code)}"


def warm(image: Image, scratch: Path, say: Progress) -> Path:
    """Freeze the image, if that was not done; where it is."""
    if (done := frozen(image)).is_dir():
        return done
    draft = image.folder / f"draft.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    machine = ImageHost("warm", scratch / "warm")
    try:
        for attempt in range(1, LOCKUPS + 1):
            say("image: booting it (once)" if attempt == 1 else "image: one of its guests hangs; again")
            boot(machine, image, memory(draft / "ram", shared=True))
            say("image: starting its guests")
            if _warms_up(machine, last=attempt == LOCKUPS):
                break
        _freeze(machine, draft)
        draft.rename(done)
        say("image: frozen")
        return done
    finally:
        machine.kill()
        shutil.rmtree(machine.folder, ignore_errors=True)
        shutil.rmtree(draft, ignore_errors=True)


def memory(file: Path, shared: bool) -> list[str]:
    """QEMU's options for memory in a file: written to it, or copied on writing."""
    share = "on" if shared else "off"
    backend = f"memory-backend-file,id=ram,size={spec.MEMORY_MIB}M,mem-path={file},share={share}"
    return ["-object", backend, "-machine", "memory-backend=ram"]


def boot(host: ImageHost, image: Image, more: Sequence[str] = ()) -> None:
    """Start the image in QEMU and wait for SSH; a boot that locks up is begun anew."""
    for attempt in range(1, LOCKUPS + 1):
        shutil.rmtree(host.folder, ignore_errors=True)
        host.start(image, image.disk, access.public_key(image), more, lasting=False)
        access.write(host, image)
        try:
            return wait_until(host.answers, 100, f"{host.name}: SSH", every=0.5)
        except LabError:
            host.kill()
            if attempt == LOCKUPS:
                raise
    return None


def _warms_up(machine: ImageHost, *, last: bool) -> bool:
    """Whether its guests answer; the last time an error says which does not."""
    machine.sh(WARM_UP, timeout=180)
    machine.sh(guests.definition(), timeout=180)
    try:
        for guest in (NestedGuest(one.name, machine) for one in spec.INSIDE.guests):
            wait_until(guest.answers, 75, f"image/{guest.name}: SSH", every=0.5)
    except LabError:
        if last:
            raise
        machine.kill()
        return False
    machine.sh(SETTLE, timeout=120)
    return True


def _freeze(machine: ImageHost, draft: Path) -> None:
    with Qmp(machine.monitor) as qmp:
        qmp("stop")
        qmp.share_memory()
        qmp("migrate", uri=f"exec:cat >{draft / 'state'}")
        qmp.await_migration(60)
    machine.kill()
    shutil.move(machine.disk, draft / "disk.qcow2")
    for name in ("ram", "state", "disk.qcow2"):
        (draft / name).chmod(0o400)
