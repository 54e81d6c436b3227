"""Every verdict of virt-host-validate beside ours, on the same host in the same state.

Where they differ, the difference stands here with its reason, and in docs/areas/host-validate.md; no other is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab import Lab
from lab.image.machine import ImageHost
from lab.machine import Host
from tests.lab.judging import departures, inventory_without_uri

EVERYTHING = "virtvet: 1\nhost:\n  validation: {qemu: true, lxc: true}\n"

_LINE = re.compile(r"\s*(?:QEMU|LXC): Checking (.+?)\s*: (PASS|FAIL|WARN|NOTE)\b.*")
"""`  QEMU: Checking if device /dev/net/tun exists                 : PASS`"""

FACTS = {
    "for hardware virtualization": "hardware_virtualization",
    "if device /dev/kvm exists": "kvm",
    "if device /dev/kvm is accessible": "kvm_accessible",
    "if device /dev/vhost-net exists": "vhost_net",
    "if device /dev/net/tun exists": "tun",
    "for device assignment IOMMU support": "iommu",
    "if IOMMU is enabled by kernel": "iommu_enabled",
    "for secure guest support": "secure_guest",
    "for Linux >= 2.6.26": "kernel",
    "if device /sys/fs/fuse/connections exists": "fuse",
}
_FAMILIES = (
    (re.compile(r"for cgroup '(\w+)' controller support"), "HOST-CGROUP-1"),
    (re.compile(r"for namespace (\w+)"), "HOST-LXC-2"),
)


SAME = (("PASS", True), ("FAIL", False), ("WARN", False))


@dataclass(frozen=True)
class State:
    """A state of a host. differs: fact -> (their verdict, or "not asked", ours, why)."""

    name: str
    breaks: str
    restores: str
    differs: Mapping[str, tuple[str, bool, str]] = field(default_factory=dict)


def _hardware(flag: str = "", table: str = "", groups: int = 0) -> tuple[str, str]:
    """CPUs and an IOMMU of our making, the same on every machine: the script, and the one that takes it back."""
    flags = f"sed 's/ vmx\\b//g; s/ svm\\b//g; s/^flags.*/&{flag}/' /proc/cpuinfo >/run/cpuinfo"
    folders = ("/sys/firmware/acpi/tables", "/sys/kernel/iommu_groups", "/sys/class/iommu")
    made = [f"mkdir /sys/kernel/iommu_groups/{group}" for group in range(groups)]
    made += [f"touch /sys/firmware/acpi/tables/{table}"] if table else []
    over = [f"mount -t tmpfs tmpfs {folder}" for folder in folders]
    mounted = ["/proc/cpuinfo", *folders]
    return "; ".join([flags, "mount --bind /run/cpuinfo /proc/cpuinfo", *over, *made]), f"umount {' '.join(mounted)}"


def _state(name: str, hardware: tuple[str, str], breaks: str, restores: str, **differs: tuple[str, bool, str]) -> State:
    made, back = hardware
    return State(name, f"{made}; {breaks}", f"{restores}; {back}", differs)


INTEL = _hardware(" vmx")
KVM_NODE = "mknod /run/kvm c 10 232; chmod 0600 /run/kvm; chown 64055 /run/kvm; mount --bind /run/kvm /dev/kvm"

STATES = (
    State("CPUs without hardware virtualization", *_hardware()),
    State("CPUs of Intel, no IOMMU", *INTEL),
    State("CPUs and IOMMU of Intel", *_hardware(" vmx", "DMAR", groups=2)),
    State("CPUs and IOMMU of AMD", *_hardware(" svm", "IVRS", groups=2)),
    State("an IOMMU that the kernel leaves off", *_hardware(" vmx", "DMAR")),
    State(
        "an IOMMU whose table is of another vendor than the CPUs",
        *_hardware(" svm", "DMAR", groups=2),
        {
            "iommu": ("WARN", True, "they look for the table of the CPUs' vendor alone"),
            "iommu_enabled": ("not asked", True, "they do not ask once they found no IOMMU"),
        },
    ),
    _state(
        "/dev/kvm closed to QEMU's account",
        INTEL,
        KVM_NODE,
        "umount /dev/kvm; rm /run/kvm",
        kvm_accessible=("PASS", False, "they ask for root, whom no mode stops; QEMU is not given that power"),
    ),
    _state(
        "a file in the place of /dev/net/tun",
        INTEL,
        "mount --bind /etc/hostname /dev/net/tun",
        "umount /dev/net/tun",
        tun=("PASS", False, "they take any file for the device"),
    ),
    _state(
        "no /dev/net/tun and no FUSE",
        INTEL,
        "mount -t tmpfs tmpfs /dev/net; mount -t tmpfs tmpfs /sys/fs/fuse",
        "umount /dev/net /sys/fs/fuse",
    ),
    _state(
        "no user namespace may be made",
        INTEL,
        "echo 0 >/run/none; mount --bind /run/none /proc/sys/user/max_user_namespaces",
        "umount /proc/sys/user/max_user_namespaces; rm /run/none",
        **{"HOST-LXC-2 user": ("PASS", False, "they ask whether the kernel knows them, not whether it allows any")},
    ),
    _state(
        "no freezer and no blkio",
        INTEL,
        "umount -l /sys/fs/cgroup/freezer /sys/fs/cgroup/blkio",
        "for c in freezer blkio; do mount -t cgroup -o $c cgroup /sys/fs/cgroup/$c; done",
    ),
)


@pytest.fixture(scope="module")
def inventory(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return inventory_without_uri(lab, tmp_path_factory.mktemp("inventory"))


@pytest.fixture
def state(request: pytest.FixtureRequest, lab: Lab) -> Iterator[State]:
    """The host brought into a state, and back."""
    wanted: State = request.param
    try:
        lab.hosts["hv1"].run(["sh", "-euc", wanted.breaks])
        yield wanted
    finally:
        lab.hosts["hv1"].run(["sh", "-uc", wanted.restores])


def theirs(host: Host | ImageHost, *parts: str) -> dict[str, str]:
    """{"tun": "PASS", "HOST-CGROUP-1 cpu": "PASS", …} of `virt-host-validate qemu`, `lxc` or both together."""
    found: dict[str, str] = {}
    for part in parts:
        # exit status 1: something FAILed
        done = host.run(["virt-host-validate", part], check=False)
        for line in done.stdout.splitlines():
            match = _LINE.fullmatch(line)
            assert match, f"unknown line: {line}"
            found.setdefault(fact_of(match[1]), match[2])
    return found


def fact_of(asked: str) -> str:
    for pattern, control in _FAMILIES:
        if match := pattern.fullmatch(asked):
            return f"{control} {match[1]}"
    return FACTS[asked]


def ours(inventory: Path, profile: Path, host: str = "hv1", deadline: float = 20) -> Callable[[str], bool]:
    """Whether a fact holds, of one look."""
    departing = departures(inventory, profile, host, deadline)
    assert "error" not in departing.values()
    keys = {key if key.startswith(("HOST-CGROUP-1", "HOST-LXC-2")) else key.partition(" ")[2] for key in departing}
    return lambda fact: fact not in keys


def differing(
    their: Mapping[str, str], holds: Callable[[str], bool], more: Iterable[str] = ()
) -> dict[str, tuple[str, bool]]:
    """Their verdict and ours of each fact, and of those that they may not ask, where they are not the same."""
    seen = {fact: (their.get(fact, "not asked"), holds(fact)) for fact in {*their, *more}}
    return {fact: both for fact, both in seen.items() if both not in SAME}


@pytest.mark.parametrize("state", STATES, ids=[one.name for one in STATES], indirect=True)
def test_same_or_better_verdict(state: State, lab: Lab, inventory: Path, tmp_path: Path) -> None:
    profile = tmp_path / "everything.yaml"
    profile.write_text(EVERYTHING)
    their, holds = theirs(lab.hosts["hv1"], "qemu", "lxc"), ours(inventory, profile)
    assert differing(their, holds, state.differs) == {
        fact: (verdict, held) for fact, (verdict, held, _why) in state.differs.items()
    }
