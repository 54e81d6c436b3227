"""No check without a fault: every control × layer is made to depart in the lab, or stands in EXEMPT with its reason."""

from __future__ import annotations

import re
from pathlib import Path

from tests.lab.faults import EXEMPT
from tests.lab.faults.proofs import ALL, exempt, page, proved
from virtvet import catalogue

TOP = Path(__file__).parents[2]
CHECKS = catalogue.shipped()
SHIPPED = {(check.control.id, str(layer)) for check in CHECKS for layer in check.layers}


def test_every_layer_of_every_control_is_proved_or_exempt() -> None:
    assert proved(CHECKS) | set(exempt()) == SHIPPED


def test_nothing_is_exempt_that_a_fault_proves() -> None:
    assert proved(CHECKS) & set(exempt()) == set()


def test_an_exemption_names_the_test_that_proves_it() -> None:
    for key, why in EXEMPT.items():
        test = re.search(r"tests/\S+\.py", why)
        assert test, key
        assert (TOP / test[0]).is_file(), key


def test_faults_have_names_of_their_own() -> None:
    names = [fault.name for fault in ALL]
    assert sorted(set(names)) == sorted(names)


def test_the_page_of_proofs_is_current() -> None:
    assert (TOP / "docs" / "proofs.md").read_text() == page(), "python -m tests.lab.faults > docs/proofs.md"
