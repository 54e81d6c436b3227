"""Debian's kernel for the guests: taken out of its package once, kept in the cache.

The ``-cloud`` kernel has no 9p, so it is ``linux-image-amd64``. The packed image would unpack itself for many
seconds under TCG, so the guests boot the ELF file inside it (PVH).
"""

import hashlib
import lzma
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import shell
from lab.errors import LabError
from lab.progress import Progress

METAPACKAGE = "linux-image-amd64"
MODULES = [
    "virtio_pci",
    "virtio_net",
    "e1000",
    "e1000e",
    "virtio_blk",
    "virtio_console",
    "virtio_balloon",
    "virtio_mem",
    "virtio_rng",
    "9pnet_virtio",
    "9p",
    "virtiofs",
    "crc32c_generic",
    "ext4",
]
XZ_MAGIC = b"\xfd7zXZ\0"


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel in the cache: ``vmlinux`` and the ``modules/`` that guests load."""

    folder: Path

    @property
    def vmlinux(self) -> Path:
        """The uncompressed kernel."""
        return self.folder / "vmlinux"

    @property
    def version(self) -> str:
        """The package: ``linux-image-6.1.0-56-amd64_6.1.192-2``, and what of its modules is kept."""
        return self.folder.name

    @property
    def package(self) -> str:
        """``linux-image-6.1.0-56-amd64_6.1.192-2``."""
        return self.folder.name.rpartition(".")[0]

    def modules(self) -> list[Path]:
        """The files of the modules that guests load, in loading order."""
        order = (self.folder / "modules" / "order").read_text().split()
        return [self.folder / "modules" / name for name in order]


def kernel(cache: Path, progress: Progress) -> Kernel:
    """The kernel that apt offers now, or the newest in the cache where apt offers none."""
    package = _offered()
    folder = cache / "kernel" / f"{package}.{_fingerprint()}" if package else _newest(cache / "kernel")
    if not folder.is_dir():
        progress(f"unpacking {package} (once)")
        _fetch(package, folder)
    return Kernel(folder)


def _fingerprint() -> str:
    return hashlib.sha256(" ".join(MODULES).encode()).hexdigest()[:8]


def _offered() -> str:
    """``linux-image-6.1.0-56-amd64_6.1.192-2``, or nothing without package lists."""
    shown = shell.run(["apt-cache", "show", "--no-all-versions", METAPACKAGE], check=False).stdout
    depends = re.search(r"^Depends: (linux-image-\S+)", shown, re.M)
    version = re.search(r"^Version: (\S+)", shown, re.M)
    return f"{depends[1]}_{version[1]}" if depends and version else ""


def _newest(folder: Path) -> Path:
    kept = sorted(folder.glob(f"linux-image-*.{_fingerprint()}"), key=lambda path: path.stat().st_mtime)
    if not kept:
        raise LabError(f"apt knows no package {METAPACKAGE}: run `apt-get update`")
    return kept[-1]


def _fetch(package: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        unpacked = unpack(package, Path(scratch))
        result = Path(scratch) / "result"
        result.mkdir()
        (result / "vmlinux").write_bytes(elf(unpacked.image.read_bytes()))
        _keep_modules(unpacked.modules, result / "modules")
        if not folder.is_dir():  # another has unpacked it meanwhile
            result.rename(folder)


@dataclass(frozen=True)
class Unpacked:
    """What a kernel package holds, below ``root``."""

    root: Path
    release: str

    @property
    def image(self) -> Path:
        """The bzImage."""
        return self.root / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        """All modules, and modules.dep."""
        return self.root / "lib/modules" / self.release


def unpack(package: str, work: Path) -> Unpacked:
    """Fetch a kernel package (``linux-image-6.1.0-56-amd64_6.1.192-2``) and unpack it, without its scripts."""
    name = package.partition("_")[0]
    shell.run(["/bin/sh", "-c", 'cd "$1" && apt-get -q download "$2"', "sh", str(work), name], timeout=300)
    shell.run(["dpkg", "-x", str(next(work.glob("*.deb"))), str(work / "x")], timeout=120)
    release = next((work / "x/lib/modules").iterdir()).name
    shell.run(["depmod", "-b", str(work / "x"), release])
    return Unpacked(work / "x", release)


def _keep_modules(tree: Path, kept: Path) -> None:
    """Copy the modules that guests load, and their order, out of a kernel's module tree."""
    kept.mkdir()
    order = [tree / path for path in load_order((tree / "modules.dep").read_text(), MODULES)]
    for path in order:
        shutil.copyfile(path, kept / path.name)
    (kept / "order").write_text("".join(f"{path.name}\n" for path in order))


def elf(image: bytes) -> bytes:
    """The ELF file that a bzImage carries as its xz payload."""
    payload = lzma.LZMADecompressor().decompress(image[image.index(XZ_MAGIC) :])
    if payload[:4] != b"\x7fELF":
        raise LabError("the kernel image holds no ELF file")
    return payload


def load_order(modules_dep: str, names: Sequence[str]) -> list[str]:
    """Paths of these modules and of what they need, in loading order.

    >>> load_order("kernel/a.ko: kernel/b-c.ko\\nkernel/b-c.ko:", ["a"])
    ['kernel/b-c.ko', 'kernel/a.ko']
    """
    needs = dict(line.split(":", 1) for line in modules_dep.splitlines())
    path_of = {Path(path).stem.replace("-", "_"): path for path in needs}
    missing = [name for name in names if name not in path_of]
    if missing:
        raise LabError(f"the kernel has no module {', '.join(missing)}")
    ordered: dict[str, None] = {}
    for name in names:
        path = path_of[name]
        ordered.update(dict.fromkeys([*reversed(needs[path].split()), path]))
    return list(ordered)
