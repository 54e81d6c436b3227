"""The image hosts as a whole: up, down, attach."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from lab import shell, state
from lab.errors import LabError
from lab.image import access, spec
from lab.image.build import Image, image
from lab.image.machine import ImageHost, NestedGuest
from lab.image.qmp import Qmp
from lab.image.warm import boot as boot_image
from lab.image.warm import frozen, memory, warm
from lab.machine import wait_until
from lab.progress import Progress

SILENT = 20
"""Seconds after which a clone that says nothing is thrown away."""
CLONES = 3
"""One clone in some dozens stays silent: so many are made."""
WAKE = """\
set -e
date -s @{now} >/dev/null
hostname {name}; echo {name} >/etc/hostname
printf '127.0.0.1 localhost\\n10.0.2.15 {name}\\n' >/etc/hosts
echo {machine_id} >/etc/machine-id
"""


def root() -> Path:
    """Where image hosts keep their things. LAB_IMAGE names a set of one's own, beside that of others."""
    own = os.environ.get("LAB_IMAGE", "")
    return state.TOP / ("image" + (f"-{own}" if own else ""))


class ImageLab:
    """Image hosts by name: ``with ImageLab("hv3") as lab: lab.hosts["hv3"].sh("virsh list")``.

    Entering makes those that do not answer; leaving ends those that it made.
    """

    def __init__(self, *names: str, quiet: bool = False) -> None:
        shell.find_system_commands()
        self.folder = root()
        self.hosts = {name: ImageHost(name, self.folder / name) for name in names or spec.HOSTS}
        self.say = Progress(quiet)
        self.inventory = self.folder / "inventory.yaml"
        self.made: list[ImageHost] = []
        self._starter = ThreadPoolExecutor(1)

    def machine(self, where: str) -> ImageHost | NestedGuest:
        """By ``hv3`` or ``hv3/tuned``."""
        host, _, guest = where.partition("/")
        return NestedGuest(guest, self.hosts[host]) if guest else self.hosts[host]

    def __enter__(self) -> ImageLab:
        return self.up(lasting=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down(*self.made)
        self._starter.shutdown()

    def revive(self, name: str) -> bool:
        """Another clone in the place of a host that fell silent, as it was at first; False where it answers.

        Any thread may call it: the clone ends with this lab.
        """
        host = self.hosts[name]
        if host.pid and host.answers():
            return False
        self.say(f"image: {name} fell silent: another")
        self._starter.submit(fresh, host).result()
        return True

    def up(self, *, lasting: bool) -> ImageLab:
        """Make what does not answer. lasting: it outlives this process."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._up(lasting)
        except BaseException:
            self.down(*self.made)
            raise
        return self

    def _up(self, lasting: bool) -> None:
        built = image(state.cache(), self.say)
        warm(built, self.folder, self.say)
        self.made = [host for host in self.hosts.values() if not (host.pid and host.answers())]
        for host in self.made:  # by this thread: a host that does not last ends with the thread that started it
            _thaw(host, built, lasting=lasting)
        with ThreadPoolExecutor(max_workers=4) as pool:
            silent = [host for host, woke in zip(self.made, pool.map(_wakes, self.made), strict=True) if not woke]
        for host in silent:
            self.say(f"image: {host.name} stays silent: another")
            fresh(host, lasting=lasting)
        self.inventory.write_text(access.inventory(self.hosts.values(), built))
        self.say(f"image: up: {' '.join(self.hosts)}")

    def down(self, *hosts: ImageHost) -> None:
        """End hosts, all where none is named, and leave nothing of them."""
        for host in hosts or self.hosts.values():
            host.kill()
            shutil.rmtree(host.folder, ignore_errors=True)
        if self.folder.is_dir() and not any(path.is_dir() for path in self.folder.iterdir()):
            shutil.rmtree(self.folder)


def fresh(host: ImageHost, *, lasting: bool = False) -> None:
    """The host as it was at first: another clone in its place."""
    built = image(state.cache(), Progress(quiet=True))
    for _attempt in range(CLONES):
        _thaw(host, built, lasting=lasting)
        if _wakes(host):
            return
    raise LabError(f"{host.name}: no clone of the image answers")


def boot(host: ImageHost, *words: str) -> None:
    """The host booted from the image, without guests, in its place: its kernel is given `words`, too, as the last."""
    built = image(state.cache(), Progress(quiet=True))
    host.kill()
    shutil.rmtree(host.folder, ignore_errors=True)
    more = ["-append", " ".join([*spec.CMDLINE, f"root={spec.ROOT}", *words])]
    boot_image(host, built, more)
    if not _wakes(host):
        raise LabError(f"{host.name} booted, and then fell silent")


def _thaw(host: ImageHost, built: Image, *, lasting: bool) -> None:
    host.kill()
    shutil.rmtree(host.folder, ignore_errors=True)
    warmth = frozen(built)
    more = [*memory(warmth / "ram", shared=False), "-incoming", "defer"]
    host.start(built, warmth / "disk.qcow2", access.public_key(built), more, lasting=lasting)
    access.write(host, built)
    with Qmp(host.monitor) as qmp:
        qmp.share_memory()
        qmp("migrate-incoming", uri=f"exec:cat {warmth / 'state'}")
        qmp.await_migration(30)
        qmp("cont")


def _wakes(host: ImageHost) -> bool:
    """Whether it answers; it is given its own name, id and time then."""
    try:
        wait_until(host.answers, SILENT, host.name, every=0.1)
        host.sh(WAKE.format(now=int(time.time()), name=host.name, machine_id=uuid.uuid4().hex), timeout=SILENT)
    except LabError:
        return False
    return True
