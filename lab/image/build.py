"""The image: a Debian 12 hypervisor as a bootable disk, built once and kept in the cache.

Debian's packages are cached apart, by their versions; then come our files, and the disk, cached by what they are made
of. Nothing is mounted and no loop device is needed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab import domain, keys, shell, userland
from lab.cpio import Tree
from lab.image import bootloader, guests, spec
from lab.kernel import Kernel, elf, load_order, unpack
from lab.kernel import kernel as lab_kernel
from lab.progress import Progress

FILES = Path(__file__).with_name("root")
"""What is laid over Debian's files, as it is."""
MIB = bootloader.MIB
ROOT_STARTS = bootloader.ESP + bootloader.ESP_SIZE
"""Bytes from the disk's start."""
SFDISK = f"""\
label: gpt
start={bootloader.BIOS_BOOT // MIB}MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649, name=bios
start={bootloader.ESP // MIB}MiB, size={bootloader.ESP_SIZE // MIB}MiB, type=U, name=esp
start={ROOT_STARTS // MIB}MiB, type=L, name=root
"""


@dataclass(frozen=True)
class Image:
    """A built image: the disk, what boots it directly, and what its certificates were issued by."""

    folder: Path

    @property
    def disk(self) -> Path:
        """A raw disk with a boot loader; sparse. Never written."""
        return self.folder / "disk.raw"

    @property
    def vmlinux(self) -> Path:
        """Its kernel as an ELF file: the packed one would unpack itself for many seconds under TCG."""
        return self.folder / "vmlinux"

    @property
    def initrd(self) -> Path:
        """Its initramfs."""
        return self.folder / "initrd.img"

    @property
    def pki(self) -> Path:
        """Of a client that its libvirtd trusts."""
        return self.folder / "pki"

    @property
    def key(self) -> Path:
        """The SSH key that its clones and their guests let in."""
        return self.folder / "id"

    @property
    def host_key(self) -> str:
        """Its SSH host key: ``ssh-ed25519 AAAA…``."""
        return (self.folder / "host_key").read_text().strip()


def image(cache: Path, say: Progress) -> Image:
    """The image of this code, built if it is not there."""
    kernel = lab_kernel(cache, say)
    wanted = cache / "image" / _fingerprint(kernel)
    if not wanted.is_dir():
        draft = wanted.with_suffix(f".{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            _build(cache, kernel, draft, say)
            _forget_old(wanted)
            if not wanted.is_dir():  # another has built it meanwhile
                draft.rename(wanted)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return Image(wanted)


def _fingerprint(kernel: Kernel) -> str:
    """Of everything an image is made of."""
    modules = [spec, guests, bootloader, sys.modules[__name__], userland, domain]
    code = [Path(str(module.__file__)) for module in modules]
    return fingerprint([*code, *filter(Path.is_file, sorted(FILES.rglob("*")))], kernel.version)


def fingerprint(files: Iterable[Path], more: str = "") -> str:
    """Of the names and contents of files."""
    digest = hashlib.sha256(more.encode())
    for path in files:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _forget_old(wanted: Path) -> None:
    """Images of code that is no longer so; those that somebody just made or runs are young."""
    for other in wanted.parent.iterdir():
        if other.suffix == "" and time.time() - other.stat().st_mtime > 6 * 3600:
            shutil.rmtree(other, ignore_errors=True)


def _build(cache: Path, kernel: Kernel, folder: Path, say: Progress) -> None:
    packages = _packages(cache, kernel, say)
    say("image: the root file system")
    root = folder / "root"
    shell.run(["cp", "-a", "--reflink=auto", str(packages), str(root)], timeout=300)
    _lay_over(root)
    _certify(cache, root, folder)
    authorized = keys.ssh_key(folder / "id")
    guests.write(root, folder, kernel, userland.cached_base(cache, kernel).read_bytes(), authorized)
    _enable(root)
    _make_bootable(root)
    release = next((root / "usr/lib/modules").iterdir()).name
    (folder / "vmlinux").write_bytes(elf((root / f"boot/vmlinuz-{release}").read_bytes()))
    initrd = _initrd(root / "usr/lib/modules" / release).archive()
    for path in (folder / "initrd.img", root / f"boot/initrd.img-{release}"):
        path.write_bytes(initrd)
    say("image: the disk")
    _disk(root, folder / "disk.raw")
    bootloader.install(folder / "disk.raw")
    shutil.rmtree(root)


# --- Debian's packages


def _packages(cache: Path, kernel: Kernel, say: Progress) -> Path:
    """A root with the packages and the kernel, as they come."""
    wanted = cache / "image-packages" / _offered(kernel)
    if not wanted.is_dir():
        say(f"image: installing {len(spec.PACKAGES)} packages (once, about a minute)")
        shutil.rmtree(wanted.parent, ignore_errors=True)  # of what is no longer so
        wanted.parent.mkdir(parents=True)
        draft = wanted.with_suffix(".draft")
        _bootstrap(draft)
        _install_kernel(kernel.package, draft)
        draft.rename(wanted)
    return wanted


def _offered(kernel: Kernel) -> str:
    """A name for what apt would install now."""
    policy = shell.run(["apt-cache", "policy", *spec.PACKAGES]).stdout
    versions = [line for line in policy.splitlines() if line.strip().startswith("Candidate:")]
    made_of = [*versions, *spec.PACKAGES, *spec.LEFT_OUT, *spec.MODULES, kernel.package]
    return hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]


def _bootstrap(root: Path) -> None:
    options = ["--mode=root", "--variant=minbase", "--quiet", f"--include={','.join(spec.PACKAGES)}"]
    options += ["--aptopt=APT::Install-Recommends false", "--aptopt=Acquire::Languages none"]
    options += ["--dpkgopt=force-unsafe-io", *(f"--dpkgopt=path-exclude={pattern}" for pattern in spec.LEFT_OUT)]
    sources = [*Path("/etc/apt/sources.list.d").glob("*.sources"), *Path("/etc/apt/sources.list.d").glob("*.list")]
    old = Path("/etc/apt/sources.list")
    sources += [old] if old.exists() else []
    shell.run(["mmdebstrap", *options, spec.SUITE, str(root), *map(str, sources)], timeout=600)


def _install_kernel(package: str, root: Path) -> None:
    """The kernel and some of its modules, without the package's scripts: they would build an initramfs."""
    work = root / "tmp/kernel"
    work.mkdir()
    kernel = unpack(package, work)
    shutil.copy(kernel.image, root / "boot" / kernel.image.name)
    modules = root / "usr/lib/modules" / kernel.release
    modules.mkdir(parents=True)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        shutil.copy(kernel.modules / name, modules / name)
    for name in spec.MODULES:
        _take(kernel.modules / "kernel" / name, modules / "kernel" / name)
    shutil.rmtree(work)
    shell.run(["depmod", "-b", str(root), kernel.release])


def _take(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


# --- our files


def _lay_over(root: Path) -> None:
    shutil.copytree(FILES, root, dirs_exist_ok=True)
    (root / "etc/hostname").write_text("image\n")
    # one of its own for each clone, set when it wakes
    (root / "etc/machine-id").write_text("1" * 32 + "\n")
    for place in ("var/lib/apt/lists", "var/cache/apt"):
        shutil.rmtree(root / place, ignore_errors=True)
    share = root / spec.SHARE.source.lstrip("/")
    share.mkdir(parents=True)
    share.chmod(0o755)
    for setting in ('stdio_handler = "file"', 'security_driver = "none"'):
        with (root / "etc/libvirt/qemu.conf").open("a") as conf:
            conf.write(f"{setting}\n")


def _certify(cache: Path, root: Path, folder: Path) -> None:
    """Certificates and the SSH host key, on the host's side and on the checker's."""
    authority = keys.Authority.create("lab", cache / "keys")
    certificates, private = root / "etc/pki/libvirt", root / "etc/pki/libvirt/private"
    (root / "etc/pki/CA").mkdir(parents=True)
    private.mkdir(parents=True)
    private.chmod(0o750)
    (root / "etc/pki/CA/cacert.pem").write_bytes(authority.cert)
    authority.server(spec.NAMES, valid=(-1, 3650)).write(certificates / "servercert.pem", private / "serverkey.pem")
    keys.write_client(authority, folder / "pki", authority.client(valid=(-1, 3650)))
    for old in (root / "etc/ssh").glob("ssh_host_*"):
        old.unlink()
    (folder / "host_key").write_text(keys.ssh_key(root / "etc/ssh/ssh_host_ed25519_key"))


def _enable(root: Path) -> None:
    systemctl = ["systemctl", "-q", f"--root={root}"]
    shell.run([*systemctl, "mask", *spec.MASKED])
    shell.run([*systemctl, "enable", *spec.ENABLED])
    shell.run([*systemctl, "set-default", "multi-user.target"])


def _make_bootable(root: Path) -> None:
    release = next((root / "usr/lib/modules").iterdir()).name
    for path, text in bootloader.files(release, spec.ROOT, spec.CMDLINE).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def _initrd(modules: Path) -> Tree:
    """Finds the root, and no more."""
    tree = Tree()
    for name in ("dev", "proc", "sys", "newroot"):
        tree.directory(name)
    tree.file("bin/busybox", Path(userland.BUSYBOX).read_bytes(), 0o755)
    tree.file("init", userland.INIT, 0o755)
    order = [modules / path for path in load_order((modules / "modules.dep").read_text(), spec.BOOT_MODULES)]
    for path in order:
        tree.file(f"modules/{path.name}", path.read_bytes())
    tree.file("modules/order", "".join(f"{path.name}\n" for path in order))
    return tree


# --- the disk


def _disk(root: Path, disk: Path) -> None:
    used = int(shell.run(["du", "-sm", str(root)], timeout=120).stdout.split()[0])
    size = (used + 1024) * MIB
    with disk.open("wb") as raw:
        raw.truncate(ROOT_STARTS + size + 2 * MIB)
    shell.run(["sfdisk", "-q", str(disk)], input=SFDISK)
    quick = ["-q", "-F", "-t", "ext4", "-O", "^has_journal,^metadata_csum", "-m", "0", "-L", "root"]
    places = ["-E", f"offset={ROOT_STARTS},lazy_itable_init=1"]
    shell.run(["mke2fs", *quick, *places, "-d", str(root), str(disk), f"{size // MIB}M"], timeout=300)
