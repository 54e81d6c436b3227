"""What only a boot changes: image hosts that boot with other kernel parameters than the boot loader's files name.

Judged against `booted`; `tests/image/test_reboot.py` proves them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.image.faults.confinement import tiny
from tests.image.faults.isolation import stand_in

TOP = Path(__file__).parents[3]


@dataclass(frozen=True)
class Boot:
    """Parameters that are put behind the others, and what departs then: as a `Fault` names it. breaks: more, by sh."""

    what: str
    words: str
    departs: Mapping[str, str]
    breaks: str = "true"

    on = "a host that boots"

    @property
    def name(self) -> str:
        """With the parameters."""
        return f"{self.what}: booted with `{self.words}`"


PREPARES = f"""\
set -e
echo "{tiny("plain")}" | virsh -q define /dev/stdin
virsh -q start --paused plain
mkdir -p /etc/tuned; echo virtual-host >/etc/tuned/active_profile
{stand_in("tuned")}; systemctl -q enable --now tuned.service
"""
"""Run by sh on a host that booted: it has no guests (one that is paused costs nothing), and the image has no tuned, of
which a unit and a file are seen."""

_CONFINED = {
    "HOST-QEMU-2": "config live actual",
    "HOST-QEMU-4": "actual",
    "QEMU-LABEL-1 plain": "config live actual",
}
"""AppArmor, which `booted` wants, is not there. (Where the kernel has it, it confines neither libvirt nor QEMU: the
image has no profiles, and its qemu.conf wants none.)"""

BOOTS = (
    Boot(
        "the IOMMU is off",
        "intel_iommu=off mitigations=auto",
        {
            **dict.fromkeys(("HOST-IOMMU-2", "HOST-IOMMU-3", "HOST-IOMMU-4", "HOST-IOMMU-7"), "actual"),
            **{
                f"{control} {card}": "live actual"  # without groups no card is given to guests, or shares one
                for control in ("HOST-PCI-2", "HOST-PCI-5")
                for card in ("0000:03:01.0", "0000:03:02.0")
            },
            **_CONFINED,
        },
    ),
    Boot(
        "much else is off, or on",
        "intremap=off iommu=nopt nosmt audit=1 random.trust_cpu=off isolcpus=nohz,1 nohz_full=1 rcu_nocbs=0 "
        "irqaffinity=1 kvm_amd.nested=0 kvm.halt_poll_ns=0 modprobe.blacklist=loop "
        "vfio_iommu_type1.allow_unsafe_interrupts=1 apparmor=1 security=apparmor",
        {
            **dict.fromkeys(("HOST-IOMMU-5", "HOST-IOMMU-6", "HOST-VFIO-1"), "actual"),
            **dict.fromkeys(("HOST-CMDLINE-1 random.trust_cpu=on", "HOST-CMDLINE-2"), "actual"),
            # the lab's hosts all boot with mitigations=off
            **dict.fromkeys(("HOST-CPU-1 spectre_v1", "HOST-CPU-1 spectre_v2"), "actual"),
            **dict.fromkeys(("HOST-MOD-1 loop", "HOST-MOD-4 kvm.halt_poll_ns", "HOST-MOD-5"), "actual"),
            **dict.fromkeys(("ISOL-CPU-2", "ISOL-CPU-3", "ISOL-CPU-4"), "actual"),
            **dict.fromkeys(("ISOL-IRQ-1", "ISOL-IRQ-2", "ISOL-WORK-1"), "actual"),
            **_CONFINED,
            "HOST-QEMU-2": "config live",
            "ISOL-TUNED-1": "config live",
        },
        "systemctl -q disable --now tuned.service",
    ),
)


def booted() -> dict[str, Any]:
    """The profile: lab-image's host as it is without its guests (one has its card), and what only a boot breaks."""
    profile: dict[str, Any] = YAML(typ="safe").load(TOP / "profiles" / "lab-image.yaml")
    host = profile["host"]
    del host["devices"]["0000:01:00.0"]
    host["kernel"]["vulnerabilities"] |= {"spectre_v1": "mitigated", "spectre_v2": "mitigated"}
    host["isolation"]["tuned"] = "virtual-host"
    host["confinement"] |= {"daemon": "apparmor", "security_driver": "apparmor"}
    return profile | {"guests": {"plain": {"state": "paused", "confinement": {"security": "apparmor"}}}}
