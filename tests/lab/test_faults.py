"""Every check can fail: a real fault makes exactly its controls depart, on the named layers; restored, all is well."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import Lab
from tests.lab.conftest import PROFILE
from tests.lab.faults import Fault, hosts, neighbours, tls
from tests.lab.faults.proofs import FAULTS
from tests.lab.judging import Departures, departures, inventory_without_uri, unlike

Look = Callable[[Fault, Path], Departures]
Shell = Callable[[str, str], None]


@pytest.fixture(scope="module")
def look(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Look:
    """What departs now on a fault's host."""
    over_ssh = inventory_without_uri(lab, tmp_path_factory.mktemp("inventory"))
    inventories: dict[str, Path] = {"ssh": over_ssh, "tls": lab.inventory}
    return lambda fault, profile: departures(inventories[fault.libvirt_over], profile, fault.host, fault.deadline)


@pytest.fixture(scope="module", autouse=True)
def bad_certificates(lab: Lab) -> Iterator[None]:
    """Issued anew for this lab."""
    with tls.prepared(lab):
        yield


@pytest.fixture(scope="module")
def shell(lab: Lab) -> Shell:
    """Run a script on a host or guest of the lab, loudly."""

    def run(where: str, script: str) -> None:
        machine = lab.guests[where] if "/" in where else lab.hosts[where]
        done: subprocess.CompletedProcess[str] = machine.run(
            ["sh", "-euc", script], check=False, timeout=120
        )  # a guest may need a second start
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"

    return run


@pytest.fixture(scope="module")
def hardware(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """hv1 with hardware of our making, and the profile that asks for it."""
    profile = tmp_path_factory.mktemp("hardware") / "hardware.yaml"
    facts = ", ".join(f"{fact}: true" for fact in hosts.EVERYTHING)
    profile.write_text(f"virtvet: 1\nextends: {PROFILE}\nhost: {{validation: {{{facts}}}}}\n")
    try:
        shell("hv1", hosts.EQUIP)
        yield profile
    finally:
        shell("hv1", hosts.UNEQUIP)


@pytest.fixture(scope="module")
def beside(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """hv2 with guests that leave web2's CPU alone, and the profile that asks for it."""
    profile = tmp_path_factory.mktemp("neighbours") / "neighbours.yaml"
    profile.write_text(neighbours.PROFILE)
    try:
        shell("hv2", neighbours.EQUIP)
        yield profile
    finally:
        shell("hv2", neighbours.UNEQUIP)


@pytest.fixture(scope="module")
def healed(lab: Lab, look: Look) -> Iterator[dict[str, Fault]]:
    """The last fault of each host, restored. Each is seen to be well again by the next look at its host, which must
    find the next fault and nothing else; the last ones by a look of their own, here."""
    last: dict[str, Fault] = {}
    yield last
    for fault in last.values():
        assert look(fault, PROFILE) == {}, f"not well again after: {fault.name}"


def prove(fault: Fault, look: Look, shell: Shell, profile: Path, healed: dict[str, Fault]) -> None:
    before = healed.get(fault.host)
    healed[fault.host] = fault
    try:
        shell(fault.on, fault.breaks)
        assert unlike(look(fault, profile), fault.departs) == [], f"(the fault before it: {before and before.name})"
    finally:
        shell(fault.on, fault.restores)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_fault_departs_exactly_where_named(fault: Fault, look: Look, shell: Shell, healed: dict[str, Fault]) -> None:
    prove(fault, look, shell, PROFILE, healed)


@pytest.mark.parametrize("fault", hosts.OF_HARDWARE, ids=[fault.name for fault in hosts.OF_HARDWARE])
def test_hardware_taken_away_departs_exactly_where_named(
    fault: Fault, look: Look, shell: Shell, hardware: Path, healed: dict[str, Fault]
) -> None:
    prove(fault, look, shell, hardware, healed)


@pytest.mark.parametrize("fault", neighbours.OF_NEIGHBOURS, ids=[fault.name for fault in neighbours.OF_NEIGHBOURS])
def test_neighbours_depart_exactly_where_named(
    fault: Fault, look: Look, shell: Shell, beside: Path, healed: dict[str, Fault]
) -> None:
    prove(fault, look, shell, beside, healed)
