"""The gate lets the lab's disk pass; broken in one way, it fails with just that control.

The images boot two at a time while other tests run (conftest.py, tests/labs.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.image.gate_boots import BROKEN, GOOD, Boot, Gated


@pytest.mark.parametrize("boot", GOOD, ids=[boot.name for boot in GOOD])
def test_a_good_image_passes(boot: Boot, gated: Mapping[str, Future[Gated]]) -> None:
    seen = gated[boot.name].result()
    assert seen.departs == {}, seen.output
    assert seen.code == 0, seen.output
    assert [host["name"] for host in seen.run["hosts"]] == [Path(boot.file).stem]
    assert_is_told(boot, seen)


@pytest.mark.parametrize("boot", BROKEN, ids=[boot.name for boot in BROKEN])
def test_a_broken_image_fails_with_just_that_control(boot: Boot, gated: Mapping[str, Future[Gated]]) -> None:
    seen = gated[boot.name].result()
    assert seen.departs == boot.departs, seen.output
    assert seen.code == 1, seen.output
    assert_is_told(boot, seen)


def assert_is_told(boot: Boot, seen: Gated) -> None:
    """What was booted is in the reports, with the digest that it still has: nothing was written."""
    facts = seen.run["image"]
    assert facts.items() >= boot.booted.items()
    assert facts["accelerator"] in ("kvm", "tcg")
    assert facts["sha256"] == seen.sha256
