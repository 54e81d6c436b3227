"""What host.memory, host.isolation and host.services take, in short and in full, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from virtvet.errors import BadInput
from virtvet.profile.load import load_profile
from virtvet.profile.model import HostWants

MIB, GIB = 1 << 20, 1 << 30


def host(text: str, folder: Path) -> HostWants:
    (folder / "p.yaml").write_text(f"virtvet: 1\nhost:\n  {text}\n")
    return load_profile(str(folder / "p.yaml")).host


def test_pages_in_short(tmp_path: Path) -> None:
    memory = host("memory: {hugepages: {2 MiB: 16, 1G: 0}, transparent_hugepages: never}", tmp_path).memory
    assert memory
    pools = memory.hugepages
    assert (pools[2 * MIB].count, pools[2 * MIB].mounted) == (16, True)
    assert (pools[GIB].count, pools[GIB].mounted) == (0, None)
    assert memory.transparent_hugepages
    assert memory.transparent_hugepages.enabled == "never"


def test_units_in_short(tmp_path: Path) -> None:
    text = "services: {units: {a.service: true, b.timer: false, c@1.socket: masked, d.path: {enabled: static}}}"
    services = host(text, tmp_path).services
    assert services
    assert {name: (one.enabled, one.active) for name, one in services.units.items()} == {
        "a.service": (True, True),
        "b.timer": (False, False),
        "c@1.socket": ("masked", False),
        "d.path": ("static", None),
    }


@pytest.mark.parametrize(
    ("text", "isolcpus", "nohz_full", "rcu_nocbs", "off"),
    [
        ("{cpus: 2-3}", {2, 3}, {2, 3}, {2, 3}, {2, 3}),
        ("{cpus: 2-3, nohz_full: none, rcu_nocbs: 1}", {2, 3}, set(), {1}, {2, 3}),
        ("{cpus: 2-3, isolcpus: none, interrupts: {default: 0-1}}", set(), {2, 3}, {2, 3}, {2, 3}),
        ("{isolcpus: {cpus: 2, flags: [domain]}, interrupts: 2}", {2}, None, None, {2}),
    ],
)
def test_isolation_in_short(text: str, isolcpus: Any, nohz_full: Any, rcu_nocbs: Any, off: Any, tmp_path: Path) -> None:
    wants = host(f"isolation: {text}", tmp_path).isolation
    assert wants
    assert wants.unscheduled
    assert wants.unscheduled.cpus == isolcpus
    assert (wants.kept("nohz_full"), wants.kept("rcu_nocbs"), wants.uninterrupted) == (nohz_full, rcu_nocbs, off)


def test_what_is_merged_means_the_same(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "virtvet: 1\nhost:\n  isolation: {cpus: 2-3, nohz_full: none}\n  memory: {hugepages: {2 MiB: {count: 4}}}\n"
        "  services: {units: {a.service: true}, packages: {a: '>= 1'}}\n"
    )
    wants = host(
        "isolation: {cpus: 1}\n  memory: {hugepages: {2 MiB: {free: 2}}}\n"
        "  services: {units: {a.service: {active: false}}}\nextends: base.yaml",
        tmp_path,
    )
    assert wants.isolation
    assert wants.isolation.cpus == {1}
    assert wants.isolation.nohz_full == frozenset()
    assert wants.memory
    assert (wants.memory.hugepages[2 * MIB].count, wants.memory.hugepages[2 * MIB].free) == (4, 2)
    assert wants.services
    assert (wants.services.units["a.service"].enabled, wants.services.units["a.service"].active) == (None, False)


REFUSED = {
    "memory: {hugepages: {3 MiB: 1}}": "huge pages of 3145728 bytes do not exist",
    "memory: {hugepages: {2 MiB: 1, 2M: 2}}": "2 MiB and 2M are one size",
    "memory: {hugepages: {2 MiB: {count: 4, free: 5}}}": "free: 5 is more than count: 4",
    "memory: {hugepages: {2 MiB: {count: 4, nodes: {0: 3, 1: 2}}}}": "nodes: have 5 together, more than count: 4",
    "memory: {hugepages: {1 GiB: 0}, default_hugepage: 1 GiB}": "default_hugepage: 1 GiB is the size of no page at all",
    "memory: {transparent_hugepages: sometimes}": "transparent_hugepages",
    "isolation: {isolcpus: 2-3, nohz_full: 2-7}": "nohz_full: 2-7 and isolcpus: 2-3 differ",
    "isolation: {cpus: 2-3, nohz_full: 2}": "nohz_full: 2 and isolcpus: 2-3 differ",
    "isolation: {isolcpus: {cpus: 1, flags: [fast]}}": "flags",
    "isolation: {cpus: 2-3, system: 0-2}": "CPU 2 stands in system: and in cpus:",
    "isolation: {interrupts: {off: 2-3, default: 0-2}}": "CPU 2 stands in off: and in default:",
    "isolation: {cpus: none}": '"none" is no CPU list',
    "isolation: {tuned: 'a\"b'}": "tuned",
    "services: {units: {libvirtd: true}}": '"libvirtd" is no unit of systemd: use its whole name',
    "services: {units: {getty@.service: true}}": "of a template one instance",
    "services: {units: {-x.service: true}}": "is no unit of systemd",
    "services: {units: {'a b.service': true}}": "is no unit of systemd",
    "services: {units: {a.service: {enabled: masked, active: true}}}": "a unit that is masked cannot be started",
    "services: {packages: {'lib*': installed}}": '"lib*" is no name of a package',
    "services: {packages: {-a: installed}}": '"-a" is no name of a package',
    "services: {packages: {qemu: newest}}": '"newest" is no version',
}


@pytest.mark.parametrize(("text", "complaint"), REFUSED.items())
def test_what_is_refused(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        host(text, tmp_path)
    assert complaint in str(refused.value)
    assert "p.yaml:3:" in str(refused.value)
