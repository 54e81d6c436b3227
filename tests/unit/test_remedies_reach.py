"""How a run reached its machines survives the journal; what has gone since is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from virtvet.errors import BadInput
from virtvet.inventory import load_inventory
from virtvet.remedies import reach

INVENTORY = """\
virtvet: 1
hosts:
  hv1:
    ssh: {address: 192.0.2.1, user: root, key: id, jump: "ssh://ops@gateway:2222"}
    libvirt: {uri: "qemu+tls://192.0.2.1/system", pki: pki}
    guests: {"web*": {ssh: {key: id, address: arp}}}
  hv2: {local: true}
"""


def test_the_inventory_comes_back_and_a_lost_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    (tmp_path / "id").touch()
    (tmp_path / "pki").mkdir()
    known = load_inventory(tmp_path / "inventory.yaml")
    written = json.loads(json.dumps(reach.written(known)))
    assert reach.inventory(written) == known
    (tmp_path / "id").unlink()
    with pytest.raises(BadInput, match=r"no longer works: hosts\.hv1\.ssh\.key.*--inventory FILE"):
        reach.inventory(written)
