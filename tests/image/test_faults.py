"""Every check can fail on systemd, cgroup v2 and VT-d, too: as `tests/lab/test_faults.py`, on the image hosts.

A look takes seconds under TCG: more faults are broken together.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.image import ImageLab
from tests.image.conftest import PROFILE
from tests.image.faults import FAULTS
from tests.lab.faults import Fault
from tests.lab.judging import unlike
from tests.lab.proving import Proofs, Stage

SLOW = 90
"""Seconds for a look: a process takes 40 ms to start under TCG."""
TOGETHER = 8


@pytest.fixture(scope="module")
def proofs(image_lab: ImageLab, request: pytest.FixtureRequest) -> Iterator[Proofs]:
    """The faults of the tests that are to run, under way; at the end all is well."""
    wanted = {item.callspec.params["fault"].name for item in request.session.items if item.path == request.path}
    faults = {host: [fault for fault in FAULTS if fault.host == host] for host in image_lab.hosts}
    together = 1 if request.config.getoption("--alone") else TOGETHER
    stages = [Stage(host, own, PROFILE, deadline=SLOW, together=together) for host, own in faults.items()]

    def shell(where: str, script: str) -> None:
        image_lab.machine(where).sh(f"set -eu\n{script}", timeout=120)

    with Proofs(stages, image_lab.inventory, shell, wanted, image_lab.revive) as under_way:
        yield under_way
    assert under_way.left() == {}, "not well again"


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_fault_departs_exactly_where_named(fault: Fault, proofs: Proofs) -> None:
    proof = proofs.of(fault)
    assert unlike(proof.found, fault.departs) == [], f"(the fault before it: {proof.before})"
