"""How one logs in to an image that nobody prepared for it: a key for this run, offered in two ways at the boot.

systemd ≥ 252 takes credentials from SMBIOS strings of type 11 (systemd.system-credentials(7)):
`ssh.authorized_keys.root` makes root's authorized_keys where there is none, and a line of `tmpfiles.extra` adds the key
where there is one. cloud-init takes a NoCloud seed: a volume that is called cidata. Neither leaves anything in the
image, which is not written; what they write goes to the overlay.
"""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from virtvet.image import iso9660

KEYS = "/root/.ssh/authorized_keys"


@dataclass(frozen=True, slots=True)
class Key:
    """An SSH key of one run: the private half in a file, the public half as a line."""

    path: Path
    public: str


def new_key(folder: Path) -> Key:
    """Make an Ed25519 key pair."""
    key, path = Ed25519PrivateKey.generate(), folder / "id_ed25519"
    encoding, none = serialization.Encoding, serialization.NoEncryption()
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(encoding.PEM, serialization.PrivateFormat.OpenSSH, none))
    public = key.public_key().public_bytes(encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return Key(path, f"{public.decode('ascii')} virtvet-image")


def smbios(public: str) -> list[str]:
    """QEMU's options that hand the key to systemd."""
    added = public.replace(" ", r"\x20")
    extra = rf"w+ {KEYS} - - - - \n{added}\n" + "\n"
    options = []
    for name, value in {"ssh.authorized_keys.root": f"{public}\n", "tmpfiles.extra": extra}.items():
        encoded = b64encode(value.encode("ascii")).decode("ascii")
        options += ["-smbios", f"type=11,value=io.systemd.credential.binary:{name}={encoded}"]
    return options


def seed(public: str, instance: str) -> bytes:
    """cloud-init's NoCloud seed as an ISO 9660 image; JSON is YAML, too. No user is made, root gets the key.

    cloud-init 22.2 to 23.1 warns that `users: []` is too short, and makes none (canonical/cloud-init#4055).
    https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html
    """
    user = {"disable_root": False, "users": [], "ssh_authorized_keys": [public]}
    files = {
        "meta-data": json.dumps({"instance-id": instance}),
        "user-data": "#cloud-config\n" + json.dumps(user),
    }
    return iso9660.image("cidata", {name: f"{text}\n".encode("ascii") for name, text in files.items()})
