"""A disk over the network: while the tests run two servers have its image, and only one is the right one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from lab import Lab
from tests.lab.conftest import PROFILE
from tests.lab.judging import departures, inventory_without_uri

IMAGE = "/run/network-disk.img"
RIGHT, OTHER = 10809, 10810
STATED = f"{{type: network, protocol: nbd, name: data, hosts: [{{name: 127.0.0.1, port: {RIGHT}}}]}}"
SERVE = (
    f"truncate -s 16M {IMAGE}; for port in {RIGHT} {OTHER}; do "
    f"qemu-nbd --fork --pid-file=/run/nbd.$port.pid -t -e 2 -x data -f raw "
    f"-b 127.0.0.1 -p $port {IMAGE}; done"
)
END = f"for port in {RIGHT} {OTHER}; do kill $(cat /run/nbd.$port.pid) || true; done; rm {IMAGE} /run/nbd.*.pid"


def _disk(port: int) -> str:
    """virsh, with the disk by that server in a file."""
    xml = (
        "<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name='data'>"
        f"<host name='127.0.0.1' port='{port}'/></source><target dev='vdz' bus='virtio'/><shareable/></disk>"
    )
    return f'echo "{xml}" >/run/vdz.xml; virsh -q'


def _attach(port: int, *where: str) -> str:
    return f"{_disk(port)} attach-device app1 /run/vdz.xml {' '.join(where)}"


def _detach(*where: str) -> str:
    """An unplugged disk is gone when the guest has let go of it."""
    flags = " ".join(where)
    gone = "until ! virsh -q domblklist app1 | grep -q vdz; do sleep 0.2; done" if "--live" in where else ":"
    return f"virsh -q detach-disk app1 vdz {flags}; {gone}"


@pytest.fixture(scope="module")
def served(lab: Lab) -> Iterator[Lab]:
    host = lab.hosts["hv1"]
    try:
        host.sh(f"set -e; {SERVE}; {_attach(RIGHT, '--live', '--config')}")
        yield lab
    finally:
        host.sh(f"{_detach('--live', '--config')}; {END}; rm /run/vdz.xml", check=False)


FAULTS = {
    "": {},
    "--config": {"DISK-SOURCE-3 app1/vdz/hosts": "config"},
    "--live": {"DISK-SOURCE-3 app1/vdz/hosts": "live actual"},
}
"""Where another server is stated -> what departs."""


@pytest.mark.parametrize(("where", "departs"), FAULTS.items(), ids=lambda one: one or "nowhere")
def test_a_disk_of_another_server(where: str, departs: Mapping[str, str], served: Lab, tmp_path: Path) -> None:
    profile, host = tmp_path / "network.yaml", served.hosts["hv1"]
    profile.write_text(f"virtvet: 1\nextends: {PROFILE}\nguests: {{app1: {{disks: {{vdz: {{source: {STATED}}}}}}}}}\n")
    try:
        if where:
            host.sh(f"set -e; {_detach(where)}; {_attach(OTHER, where)}")
        assert departures(inventory_without_uri(served, tmp_path), profile, "hv1") == departs
    finally:
        if where:
            host.sh(f"set -e; {_detach(where)}; {_attach(RIGHT, where)}")
