"""Every check can fail: a real fault makes exactly its controls depart, on the named layers; restored, all is well.

Faults of different concerns are broken together (`tests/lab/proving.py`); with `--alone`, each by itself.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from lab import Lab
from tests.lab.conftest import PROFILE
from tests.lab.faults import Fault, definitions, hosts, neighbours, tls
from tests.lab.faults.proofs import FAULTS
from tests.lab.judging import inventory_without_uri, unlike
from tests.lab.proving import Proofs, Stage

ALONE = {"hv1": 1, "hv2": 1}
TOGETHER = {"hv1": 6, "hv2": 1}
"""hv1 has most faults; hv2's, of certificates and daemons, meet too often."""
ALL = (*FAULTS, *hosts.OF_HARDWARE, *neighbours.OF_NEIGHBOURS)


def _stages(lab: Lab, folder: Path, together: Mapping[str, int]) -> list[Stage]:
    """Each host as it is; then hv1 with hardware of our making, and hv2 with guests that leave web2's CPU alone."""
    hardware, beside = folder / "hardware.yaml", folder / "neighbours.yaml"
    facts = ", ".join(f"{fact}: true" for fact in hosts.EVERYTHING)
    hardware.write_text(f"virtvet: 1\nextends: {PROFILE}\nhost: {{validation: {{{facts}}}}}\n")
    beside.write_text(neighbours.PROFILE)
    return [
        *(
            Stage(host, [fault for fault in FAULTS if fault.host == host], PROFILE, together=together[host])
            for host in lab.hosts
        ),
        Stage("hv1", hosts.OF_HARDWARE, hardware, hosts.EQUIP, hosts.UNEQUIP),
        Stage("hv2", neighbours.OF_NEIGHBOURS, beside, neighbours.EQUIP, neighbours.UNEQUIP),
    ]


@pytest.fixture(scope="module")
def proofs(lab: Lab, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proofs]:
    """The faults of the tests that are to run, under way; at the end all is well."""
    folder = tmp_path_factory.mktemp("faults")
    wanted = {item.callspec.params["fault"].name for item in request.session.items if item.path == request.path}

    def shell(where: str, script: str) -> None:
        machine = lab.guests[where] if "/" in where else lab.hosts[where]
        done: subprocess.CompletedProcess[str] = machine.run(
            ["sh", "-euc", script], check=False, timeout=120
        )  # a guest may need a second start
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"

    stages = _stages(lab, folder, ALONE if request.config.getoption("--alone") else TOGETHER)
    with tls.prepared(lab), definitions.remembered(lab):
        with Proofs(stages, inventory_without_uri(lab, folder), shell, wanted) as under_way:
            yield under_way
        assert under_way.left() == {}, "not well again"


@pytest.mark.parametrize("fault", ALL, ids=[fault.name for fault in ALL])
def test_fault_departs_exactly_where_named(fault: Fault, proofs: Proofs) -> None:
    proof = proofs.of(fault)
    assert unlike(proof.found, fault.departs) == [], f"(the fault before it: {proof.before})"
