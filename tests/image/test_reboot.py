"""What a boot with other kernel parameters turns off is seen, though the boot loader's files say otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lab.image import ImageLab, boot
from tests.image.faults.boots import BOOTS, PREPARES, Boot, booted
from tests.image.test_faults import SLOW
from tests.lab.judging import departures, unlike


@pytest.mark.parametrize("one", BOOTS, ids=[one.what for one in BOOTS])
def test_a_boot_departs_exactly_where_named(one: Boot, apart: str, tmp_path: Path) -> None:
    profile = tmp_path / "booted.yaml"
    YAML(typ="safe").dump(booted(), profile)
    with ImageLab("one", quiet=True) as lab:
        host = lab.hosts["one"]
        boot(host, one.words)
        host.sh(f"{PREPARES}{one.breaks}", timeout=180)
        found = departures(lab.inventory, profile, "one", SLOW)
    assert unlike(found, one.departs) == []
