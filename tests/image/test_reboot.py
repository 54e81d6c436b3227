"""What a boot with other kernel parameters turns off is seen, though the boot loader's files say otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lab.image import ImageLab, boot
from tests.image.faults.boots import BOOTS, PREPARES, Boot, booted
from tests.image.test_faults import SLOW
from tests.lab.judging import Departures, departures, unlike


def seen(lab: ImageLab, name: str, one: Boot, profile: Path) -> Departures:
    """What departs on this host once it has booted so. In one thread: the host ends with it."""
    host = lab.hosts[name]
    boot(host, one.words)
    host.sh(f"{PREPARES}{one.breaks}", timeout=180)
    return departures(lab.inventory, profile, name, SLOW)


@pytest.fixture(scope="module")
def rebooted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[Departures]]]:
    """Those that were selected, each on a host of its own."""
    profile = tmp_path_factory.mktemp("boots") / "booted.yaml"
    YAML(typ="safe").dump(booted(), profile)
    names = [item.name for item in request.session.items]
    wanted = {f"boot{number}": one for number, one in enumerate(BOOTS) if any(one.what in name for name in names)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_IMAGE", f"boots{os.getpid()}")
        with ImageLab(*wanted, quiet=True) as lab, ThreadPoolExecutor(len(wanted)) as pool:
            yield {one.what: pool.submit(seen, lab, name, one, profile) for name, one in wanted.items()}


@pytest.mark.parametrize("one", BOOTS, ids=[one.what for one in BOOTS])
def test_a_boot_departs_exactly_where_named(one: Boot, rebooted: Mapping[str, Future[Departures]]) -> None:
    assert unlike(rebooted[one.what].result(), one.departs) == []
