"""`virt-host-validate qemu` beside us on a host whose VT-d works: it warns, since the CPUs are of another vendor."""

from __future__ import annotations

from pathlib import Path

from lab.image import ImageLab
from tests.image.test_faults import SLOW
from tests.lab.test_host_validate_side_by_side import differing, ours, theirs

ASKED = "virtvet: 1\nhost:\n  validation: {qemu: true}\n  iommu: {enabled: true}\n"


def test_a_working_vt_d_is_seen(image_lab: ImageLab, tmp_path: Path) -> None:
    profile = tmp_path / "asked.yaml"
    profile.write_text(ASKED)
    their, holds = theirs(image_lab.hosts["hv3"], "qemu"), ours(image_lab.inventory, profile, "hv3", SLOW)
    assert differing(their, holds, ["iommu", "iommu_enabled", "enabled"]) == {
        "iommu": ("WARN", True),  # HOST-IOMMU-1
        "iommu_enabled": ("not asked", True),  # HOST-IOMMU-2
        "enabled": ("not asked", True),  # HOST-IOMMU-3
    }
