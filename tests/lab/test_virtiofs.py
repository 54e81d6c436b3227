"""A share by virtiofs, right and then wrong: a guest is started with one, and started again without it at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import Lab
from tests.lab.conftest import PROFILE
from tests.lab.faults import definitions
from tests.lab.judging import departures, inventory_without_uri

TAG, AT = "fast", "/mnt/fast"
SHARE = (
    f"<filesystem type='mount'><driver type='virtiofs'/><source dir='/srv/share'/><target dir='{TAG}'/></filesystem>"
)
EDITS = (
    "s|<memory |<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>&|",
    f"s|<devices>|&{SHARE}|",
)
STATED = f"""\
virtvet: 1
extends: {PROFILE}
guests:
  plain1:
    memory: {{backing: {{source: memfd, access: shared}}}}
    shares:
      {TAG}:
        source: /srv/share
        driver: virtiofs
        readonly: false
        mount: {{at: {AT}, readonly: false}}
"""
MOUNT = f"mkdir -p {AT}; mount -t virtiofs {TAG} {AT}"
UNMOUNT = f"umount {AT}"


@dataclass(frozen=True)
class Wrong:
    """What is done in the guest, what restores it, and what departs."""

    name: str
    breaks: str
    restores: str
    departs: Mapping[str, str]


WRONG = (
    Wrong("nothing", ":", ":", {}),
    Wrong("it is not mounted", UNMOUNT, MOUNT, {f"SHARE-MOUNT-1 plain1/{TAG}": "guest"}),
    Wrong(
        "it is mounted read-only",
        f"mount -o remount,ro {AT}",
        f"mount -o remount,rw {AT}",
        {f"SHARE-MOUNT-4 plain1/{TAG}": "guest"},
    ),
    Wrong(
        "another file system is mounted there",
        f"{UNMOUNT}; mount -t tmpfs {TAG} {AT}",
        f"{UNMOUNT}; {MOUNT}",
        {f"SHARE-MOUNT-1 plain1/{TAG}": "guest"},
    ),
)


@pytest.fixture(scope="module")
def fast(lab: Lab) -> Iterator[Lab]:
    host = lab.hosts["hv1"]
    try:
        host.sh(f"set -e; {definitions.stored(*EDITS, guest='plain1')}; {definitions.start('plain1')}", timeout=120)
        lab.guests["hv1/plain1"].sh(f"set -e; {MOUNT}")
        yield lab
    finally:
        host.sh(f"{definitions.STORED_BACK}; {definitions.start('plain1')}", timeout=120)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_a_share_by_virtiofs(wrong: Wrong, fast: Lab, tmp_path: Path) -> None:
    profile, guest = tmp_path / "virtiofs.yaml", fast.guests["hv1/plain1"]
    profile.write_text(STATED)
    guest.sh(f"set -e; {wrong.breaks}")
    try:
        assert departures(inventory_without_uri(fast, tmp_path), profile, "hv1") == wrong.departs
    finally:
        guest.sh(f"set -e; {wrong.restores}")
