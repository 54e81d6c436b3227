"""How fast each disk of a guest may be used: QEMU's own limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from virtvet.check import Case, Control, Severity, check
from virtvet.expect import Unit
from virtvet.probes import disks, iotune
from virtvet.profile.disks import LIMITS
from virtvet.remedies.iotune import RETUNE
from virtvet.target import HostTarget


def _control(number: int, title: str, rationale: str, severity: Severity = Severity.MEDIUM) -> Control:
    return Control(
        id=f"IOTUNE-{number}",
        title=title,
        area="disks",
        severity=severity,
        requirement="R26",
        rationale=rationale,
        hint="virsh -c qemu:///system blkdeviotune {guest} {disk} --{option} {write} --live --config   "
        "# name its other limits, too",
        references=(
            "https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms",
            "https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html",
            "https://github.com/qemu/qemu/blob/master/docs/throttle.txt",
        ),
    )


LIMIT = _control(
    1,
    "A disk has its limits of throughput and requests",
    "One guest without limits takes the storage of all; one with a forgotten limit is slow for no visible reason.",
    Severity.HIGH,
)
BURST = _control(
    2, "A disk may burst as stated", "Bursts decide how fast a guest boots, and what its neighbours notice."
)
SIZE = _control(
    3, "A disk's requests are counted by their size", "Otherwise few large requests pass any limit of their number."
)
GROUP = _control(
    4, "A disk shares its limits with its group", "Disks that are not in the group have the whole limit each."
)


def keys(*names: str) -> Callable[[HostTarget], Iterable[Case]]:
    """Every disk of which one of these is stated."""

    def cases(host: HostTarget) -> Iterable[Case]:
        for guest in host.guests:
            for target, disk in guest.wants.disks.items() if guest.matched else ():
                for key, wanted in disk.throttling.stated.items():
                    if key in names:
                        yield _case(guest.name, target, key, wanted)

    return cases


def _case(guest: str, target: str, key: str, wanted: int | str) -> Case:
    words = {"disk": target, "option": iotune.element(key).replace("_", "-"), "write": wanted}
    return Case(f"{guest}/{target}/{key}", iotune.expected(key, wanted), (guest, target, key), guest, words, _unit(key))


def _unit(key: str) -> Unit:
    if key in LIMITS or key.endswith("_max"):
        return "bytes/s" if "bytes" in key else ""
    return "bytes" if key == "size_iops" else ""


@check(
    LIMIT,
    cases=keys(*LIMITS),
    sources=disks.sources,
    config=iotune.config,
    live=iotune.live,
    actual=iotune.actual,
    remedy=RETUNE,
)
def test_disk_has_its_limits(case: Case, observed: object) -> None:
    """Bytes or requests a second."""
    assert observed == case.expected


@check(
    BURST,
    cases=keys(*(key for key in iotune.KEYS if "_max" in key)),
    sources=disks.sources,
    config=iotune.config,
    live=iotune.live,
    actual=iotune.actual,
    remedy=RETUNE,
)
def test_disk_may_burst(case: Case, observed: object) -> None:
    """How much, and for how many seconds."""
    assert observed == case.expected


@check(
    SIZE,
    cases=keys("size_iops"),
    sources=disks.sources,
    config=iotune.config,
    live=iotune.live,
    actual=iotune.actual,
    remedy=RETUNE,
)
def test_requests_are_counted_by_size(case: Case, observed: object) -> None:
    """Bytes that count as one request."""
    assert observed == case.expected


@check(
    GROUP,
    cases=keys("group"),
    sources=disks.sources,
    config=iotune.config,
    live=iotune.live,
    actual=iotune.actual,
)
def test_disk_is_in_its_group(case: Case, observed: object) -> None:
    """A group without a name is the disk's own."""
    assert observed == case.expected
