"""The guests inside an image host: what they boot from, and how they are defined."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from lab import domain, keys, userland
from lab.image import spec
from lab.kernel import Kernel
from lab.spec import MIB, NETWORK


def write(root: Path, folder: Path, kernel: Kernel, archive: bytes, authorized_key: str) -> None:
    """Their files into the image's `root`; the lines of their SSH host keys into `folder`."""
    images, boot = root / domain.IMAGES.lstrip("/"), root / Path(domain.KERNEL).parent.relative_to("/")
    boot.mkdir(parents=True, exist_ok=True)
    (boot / "vmlinux").write_bytes(kernel.vmlinux.read_bytes())
    (root / "var/log/libvirt/console").mkdir(parents=True, exist_ok=True)
    known = []
    for guest in spec.INSIDE.guests:
        key = folder / f"{guest.name}.key"
        known.append(f"{guest.address} {keys.dropbear_key(key)}\n")
        own = userland.own(guest, authorized_key, key.read_bytes()).archive()
        (images / f"{guest.name}.cpio").write_bytes(archive + own)
        if guest.empty_mib:
            with (images / f"{guest.name}.img").open("wb") as image:
                image.truncate(guest.empty_mib * MIB)
    (images / "backed.img").write_bytes(spec.HALTED)
    (folder / "known_hosts").write_text("".join(known))


def definition() -> str:
    """The shell script that defines network and guests and starts them, side by side."""
    # Debian's own network has our bridge's name
    lines = [
        "set -e",
        "cd /run",
        "virsh -q net-undefine default",
        *_defined("net-define", "net", _network()),
    ]
    lines += [f"virsh -q net-start {NETWORK}", f"virsh -q net-autostart {NETWORK}"]
    for guest in spec.INSIDE.guests:
        lines += _defined("define", guest.name, domain.domain_xml(guest))
    lines += _defined("define", "backed", spec.BACKED)
    names = " ".join([*(guest.name for guest in spec.INSIDE.guests), "backed"])
    lines += [f'pids=; for name in {names}; do virsh -q start $name & pids="$pids $!"; done']
    return "\n".join([*lines, "for pid in $pids; do wait $pid; done"])


def _network() -> str:
    network = ET.fromstring(domain.network_xml(spec.INSIDE))
    domain.merge(network, ET.fromstring(spec.BANDWIDTH))
    return ET.tostring(network, encoding="unicode")


def _defined(command: str, name: str, xml: str) -> list[str]:
    return [f"cat >{name}.xml <<'XML'", xml, "XML", f"virsh -q {command} {name}.xml", f"rm {name}.xml"]
