"""Every check can fail: a real fault makes exactly its controls depart, on the named layers; restored, all is well."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import Lab
from tests.lab.conftest import PROFILE
from tests.lab.faults import Fault, cgroups, hosts, reach, shares, tls
from tests.lab.judging import Departures, departures, inventory_without_uri, unlike

FAULTS = [*tls.FAULTS, *cgroups.FAULTS, *shares.FAULTS, *hosts.FAULTS, *reach.FAULTS]

Look = Callable[[Fault], Departures]


@pytest.fixture(scope="module")
def look(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Look:
    """What departs now on a fault's host."""
    over_ssh = inventory_without_uri(lab, tmp_path_factory.mktemp("inventory"))
    inventories: dict[str, Path] = {"ssh": over_ssh, "tls": lab.inventory}
    return lambda fault: departures(inventories[fault.libvirt_over], PROFILE, fault.host, fault.deadline)


@pytest.fixture(scope="module", autouse=True)
def bad_certificates(lab: Lab) -> Iterator[None]:
    """Issued anew for this lab."""
    with tls.prepared(lab):
        yield


@pytest.fixture
def shell(lab: Lab) -> Callable[[str, str], None]:
    """Run a script on a host or guest of the lab, loudly."""

    def run(where: str, script: str) -> None:
        machine = lab.guests[where] if "/" in where else lab.hosts[where]
        done: subprocess.CompletedProcess[str] = machine.run(["sh", "-euc", script], check=False, timeout=60)
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"

    return run


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_fault_departs_exactly_where_named(fault: Fault, look: Look, shell: Callable[[str, str], None]) -> None:
    try:
        shell(fault.on, fault.breaks)
        assert unlike(look(fault), fault.departs) == []
    finally:
        shell(fault.on, fault.restores)
    assert look(fault) == {}
