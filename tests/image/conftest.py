"""The lab's image hosts as fixtures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.image import ImageLab

TOP = Path(__file__).parents[2]
PROFILE = TOP / "profiles" / "lab-image.yaml"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the image hosts."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def image_lab() -> Iterator[ImageLab]:
    """hv3 and hv4, fresh clones of the warm image, taken down at the end."""
    with ImageLab() as lab:
        yield lab


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A set of image hosts beside those of the other tests; by its name."""
    monkeypatch.setenv("LAB_IMAGE", f"test{os.getpid()}")
    yield os.environ["LAB_IMAGE"]
    ImageLab("one").down()
