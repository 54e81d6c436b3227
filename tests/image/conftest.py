"""The lab's image hosts as fixtures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path

import pytest

from lab.image import ImageLab
from tests.image.gate_boots import Gated, under_way

TOP = Path(__file__).parents[2]
PROFILE = TOP / "profiles" / "lab-image.yaml"


LAST = ("test_gate.py", "test_reboot.py")
"""Images boot for the gate while others wait; hosts that boot want the machine for themselves."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the image hosts."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.lab)
    items.sort(key=lambda item: LAST.index(item.path.name) if item.path.name in LAST else -1)


@pytest.fixture(scope="session")
def image_lab() -> Iterator[ImageLab]:
    """hv3 and hv4, fresh clones of the warm image, taken down at the end."""
    with ImageLab() as lab:
        yield lab


@pytest.fixture(scope="session")
def gated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[Gated]]]:
    """The runs of the gate that were selected, under way: tests that mostly wait ask for it, so that it begins."""
    names = {item.name for item in request.session.items}
    with under_way(names, tmp_path_factory.mktemp("gate")) as runs:
        yield runs


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A set of image hosts beside those of the other tests; by its name."""
    monkeypatch.setenv("LAB_IMAGE", f"test{os.getpid()}")
    yield os.environ["LAB_IMAGE"]
    ImageLab("one").down()
