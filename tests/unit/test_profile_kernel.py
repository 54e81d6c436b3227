"""`host.kernel`: what is refused when the profile loads, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtvet.errors import BadInput
from virtvet.profile.load import load_profile


def loaded(folder: Path, kernel: str) -> object:
    profile = folder / "p.yaml"
    profile.write_text(f"virtvet: 1\nhost:\n  kernel: {kernel}\n")
    return load_profile(str(profile)).host.kernel


@pytest.mark.parametrize(
    ("kernel", "complaint"),
    [
        ("{version: 6.1}", "version"),
        ('{version: ">= 6.1.0-30-amd64"}', "without the flavour"),
        ("{cmdline: {present: [iommu=pt], absent: [iommu=pt]}}", "iommu=pt cannot be both present and absent"),
        ("{cmdline: {present: [no-smt=force], absent: [no_smt]}}", "no_smt cannot be both"),
        ("{cmdline: {present: [no_smt], absent: [no-smt]}}", "no-smt cannot be both"),
        ('{cmdline: {present: ["a b"]}}', "is no word of the kernel's command line"),
        ("{modules: {at_boot: [vfio-pci], blocked: [vfio_pci]}}", "vfio_pci cannot be both loaded and blocked"),
        ("{modules: {loaded: [../x]}}", "is no name of a kernel module"),
        ("{modules: {parameters: {nested: 1}}}", "is no parameter of a kernel module"),
        ("{modules: {parameters: {kvm-amd.npt: 1, kvm_amd.npt: 0}}}", "kvm-amd.npt and kvm_amd.npt are one"),
        ("{sysctl: {vm.swappiness: 1, vm/swappiness: 2}}", "vm.swappiness and vm/swappiness are one"),
        ("{sysctl: {swappiness: 1}}", "is no sysctl"),
        ("{sysctl: {vm/../swappiness: 1}}", "is no sysctl"),
        ("{sysctl: {vm.swappiness: {}}}", "state either value or at_least and at_most"),
        ("{sysctl: {vm.swappiness: {value: 1, at_most: 2}}}", "state either value or at_least and at_most"),
        ("{sysctl: {vm.swappiness: {at_least: 3, at_most: 2}}}", "at_least: 3 is more than at_most: 2"),
        ("{vulnerabilities: {Meltdown: mitigated}}", "is no vulnerability"),
        ("{vulnerabilities: fine}", "vulnerabilities"),
    ],
)
def test_refused(kernel: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r":3:\d+: ") as refused:
        loaded(tmp_path, kernel)
    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    "kernel",
    [
        '{version: ">= 6.1", cmdline: {present: [mitigations=auto], absent: [mitigations=off]}, smt: off}',
        "{modules: {parameters: {kvm.nested: true, kvm.x: {value: N}}}, vulnerabilities: partly mitigated}",
        "{sysctl: {net.ipv4.conf.eth0/100.rp_filter: 1, kernel.core_pattern: '|/bin/false', a.b: '-1'}}",
    ],
)
def test_taken(kernel: str, tmp_path: Path) -> None:
    assert loaded(tmp_path, kernel)
