"""A guest's share of the host's block devices: its weight, and upper limits for each device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virtvet.check import Case, Control, Severity, check
from virtvet.expect import Unit
from virtvet.probes import blkio
from virtvet.profile import throttle
from virtvet.profile.blkio import DeviceLimits
from virtvet.target import GuestTarget, HostTarget


def _control(number: int, title: str, rationale: str, hint: str) -> Control:
    return Control(
        id=f"BLKIO-{number}",
        title=title,
        area="disks",
        severity=Severity.MEDIUM,
        requirement="R27",
        rationale=rationale,
        hint=hint,
        references=(
            "https://libvirt.org/formatdomain.html#block-i-o-tuning",
            "https://docs.kernel.org/admin-guide/cgroup-v1/blkio-controller.html",
            "https://docs.kernel.org/admin-guide/cgroup-v2.html#io",
        ),
    )


WEIGHT = _control(
    1,
    "A guest has its weight of block I/O",
    "It decides who waits when guests want more of a disk than it can give; it counts in the group that the guest's "
    "threads really are in.",
    "virsh -c qemu:///system blkiotune {guest} --weight {expected} --live --config",
)
LIMIT = _control(
    2,
    "A guest may use a device of the host as stated",
    "The kernel enforces it for everything QEMU does, also for what no <iotune> sees.",
    "virsh -c qemu:///system blkiotune {guest} --device-{option} {device},{write} --live --config",
)
DEVICE_WEIGHT = _control(
    3,
    "A guest has its weight on a device of the host",
    "It goes before the guest's weight on this device.",
    "virsh -c qemu:///system blkiotune {guest} --device-weights {device},{write} --live --config   "
    "# never on cgroup v2 with libvirt up to 9.0: it kills the daemon",
)


def weights(host: HostTarget) -> Iterable[Case]:
    """Every guest with a weight."""
    for guest in host.guests:
        if guest.matched and guest.wants.blkio and (weight := guest.wants.blkio.weight):
            yield Case(guest.name, weight, (guest.name, "weight", weight), guest.name)


def _devices(host: HostTarget) -> Iterator[tuple[GuestTarget, str, DeviceLimits]]:
    for guest in host.guests:
        if guest.matched and guest.wants.blkio:
            yield from ((guest, path, limits) for path, limits in guest.wants.blkio.devices.items())


def limits(host: HostTarget) -> Iterable[Case]:
    """Every limit of every device."""
    for guest, path, wants in _devices(host):
        for key, wanted in wants.limits.items():
            words = {"device": path, "option": f"{key}-sec".replace("_", "-"), "write": wanted}
            shown = throttle.shown(wanted)
            unit: Unit = "bytes/s" if key.endswith("bytes") else ""
            yield Case(f"{guest.name}{path}/{key}", shown, (guest.name, key, shown, path), guest.name, words, unit)


def device_weights(host: HostTarget) -> Iterable[Case]:
    """Every device that is stated to have a weight of its own, or none."""
    for guest, path, wants in _devices(host):
        if wants.weight is not None:
            weight = None if wants.weight == "none" else wants.weight
            words = {"device": path, "write": weight or 0}
            yield Case(f"{guest.name}{path}", weight, (guest.name, "weight", weight, path), guest.name, words)


@check(WEIGHT, cases=weights, sources=blkio.sources, config=blkio.config, live=blkio.live, actual=blkio.weight)
def test_guest_has_its_weight(case: Case, observed: object) -> None:
    """Actual: every file that the kernel has for it; bfq's may hold what systemd makes of it."""
    assert observed == case.expected


@check(LIMIT, cases=limits, sources=blkio.sources, config=blkio.config, live=blkio.live, actual=blkio.limit)
def test_guest_may_use_a_device(case: Case, observed: object) -> None:
    """On v2 a group above may have less."""
    assert observed == case.expected


@check(
    DEVICE_WEIGHT,
    cases=device_weights,
    sources=blkio.sources,
    config=blkio.config,
    live=blkio.live,
    actual=blkio.weight,
)
def test_guest_has_its_weight_on_a_device(case: Case, observed: object) -> None:
    """As the weight of all devices."""
    assert observed == case.expected
