"""A guest's disks: that they are there, what they are, where their data are, and how QEMU treats them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from virtvet.check import Case, Control, PerLayer, Severity, check
from virtvet.expect import OneOf
from virtvet.probes import disks
from virtvet.profile.disks import Disk
from virtvet.target import GuestTarget, HostTarget

XML = "https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms"
BLOCKDEV = "https://www.qemu.org/docs/master/system/qemu-block-drivers.html"
EDIT = "virsh -c qemu:///system edit {guest}   # the disk {disk}: {element}; then stop the guest and start it"


def _control(
    number: str, title: str, rationale: str, severity: Severity = Severity.MEDIUM, hint: str = EDIT
) -> Control:
    return Control(
        id=f"DISK-{number}",
        title=title,
        area="disks",
        severity=severity,
        requirement="R28",
        rationale=rationale,
        hint=hint,
        references=(XML, BLOCKDEV),
    )


DEVICE = _control(
    "1",
    "A guest has its disk, as the device it must be",
    "A disk that is missing after the next start is found out by an application, at night.",
    Severity.HIGH,
    "virsh -c qemu:///system attach-disk {guest} IMAGE {disk} --live --config",
)
BUS = _control("2", "A disk is on its bus", "Another bus is another driver and another name inside the guest.")
BOOT = _control("3", "A disk has its place in the boot order", "Otherwise the next start boots something else.")
READONLY = _control(
    "4",
    "A disk is read-only or writable as stated",
    "A shared image that is writable is changed by the first guest that mounts it.",
    Severity.HIGH,
)
SHAREABLE = _control(
    "5",
    "A disk is shareable or the guest's own as stated",
    "Without it a second guest cannot open the image; with it nothing keeps a second guest from it.",
    Severity.HIGH,
)
SOURCE_TYPE = _control("SOURCE-1", "A disk's data are in the kind of place stated", "File, block, network or volume.")
SOURCE = _control(
    "SOURCE-2",
    "A disk has its image",
    "After a snapshot or a copy that nobody ended, the guest writes to another image than the one that is backed up.",
    Severity.HIGH,
)
HOSTS = _control(
    "SOURCE-3",
    "A network disk has its servers",
    "With one Ceph monitor named, the guest cannot start without that one.",
)
FORMAT = _control(
    "DRIVER-1",
    "A disk's image has its format",
    "A qcow2 image that is opened as raw is destroyed by its first write.",
    Severity.HIGH,
)
CACHE = _control(
    "DRIVER-2",
    "A disk has its cache mode",
    "It decides whether written data survive a crash of the host, and whether the guest can be migrated.",
    Severity.HIGH,
)
IO = _control("DRIVER-3", "A disk has its I/O mode", "threads, native or io_uring: latency differs by a multiple.")
DISCARD = _control("DRIVER-4", "A disk passes discards on as stated", "Without it images only ever grow.")
IOTHREAD = _control(
    "DRIVER-5", "A disk is served by its iothread", "Otherwise it is QEMU's main thread that serves it."
)
QUEUES = _control("DRIVER-6", "A disk has its number of queues", "One queue is served by one CPU.")
NAME = _control("DRIVER-7", "A disk has its driver", "libvirt's QEMU driver knows one name.", Severity.LOW)

ELEMENTS = {
    "device": "<disk device='{}'>",
    "bus": "<target bus='{}'>",
    "boot_order": "<boot order='{}'/>",
    "readonly": "<readonly/>: {}",
    "shareable": "<shareable/>: {}",
    "source.type": "<disk type='{}'>",
}


def _disks(host: HostTarget) -> Iterator[tuple[GuestTarget, str, Disk]]:
    for guest in host.guests:
        for target, disk in guest.wants.disks.items() if guest.matched else ():
            yield guest, target, disk


def _stated(disk: Disk, what: str) -> Any:
    """ "driver.cache" -> disk.driver.cache."""
    value: Any = disk
    for name in what.split("."):
        value = getattr(value, name)
    return value


def _case(guest: GuestTarget, target: str, what: str, expected: Any, shown: object) -> Case:
    part, _, name = what.rpartition(".")
    element = ELEMENTS.get(what, f"<{part} {name}='{{}}'>").format(shown)
    words = {"disk": target, "element": element}
    subject = f"{guest.name}/{target}" + (f"/{name}" if what != "device" else "")
    return Case(subject, expected, (guest.name, target, what), guest.name, words)


def devices(host: HostTarget) -> Iterable[Case]:
    """Every disk that is stated, whatever is stated of it."""
    for guest, target, disk in _disks(host):
        kind = disk.device or OneOf(("disk", "cdrom", "lun", "floppy"))
        yield _case(guest, target, "device", kind, disk.device or "disk")


def buses(host: HostTarget) -> Iterable[Case]:
    """QEMU names IDE and SATA disks alike."""
    for guest, target, disk in _disks(host):
        if bus := disk.bus:
            qemu = "ide" if bus == "sata" else bus
            yield _case(guest, target, "bus", PerLayer(config=bus, live=bus, actual=qemu), bus)


def hosts(host: HostTarget) -> Iterable[Case]:
    """Every network disk with servers, in any order."""
    for guest, target, disk in _disks(host):
        if servers := disk.source.hosts:
            names = frozenset(map(str, servers))
            yield _case(guest, target, "source.hosts", names, " ".join(sorted(names)))


def stated(*keys: str) -> Callable[[HostTarget], Iterable[Case]]:
    """Every disk of which one of these is stated."""

    def cases(host: HostTarget) -> Iterable[Case]:
        for guest, target, disk in _disks(host):
            for what in keys:
                if (wanted := _stated(disk, what)) is not None:
                    yield _case(guest, target, what, wanted, wanted)

    return cases


@check(DEVICE, cases=devices, sources=disks.sources, config=disks.config, live=disks.live, actual=disks.actual)
def test_guest_has_its_disk(case: Case, observed: object) -> None:
    """Actual: by qom-list, so a disk that was plugged in later is seen, too."""
    assert observed == case.expected


@check(BUS, cases=buses, sources=disks.sources, config=disks.config, live=disks.live, actual=disks.actual)
def test_disk_is_on_its_bus(case: Case, observed: object) -> None:
    """Actual: the driver of QEMU's device."""
    assert observed == case.expected


@check(
    BOOT, cases=stated("boot_order"), sources=disks.sources, config=disks.config, live=disks.live, actual=disks.actual
)
def test_disk_has_its_boot_order(case: Case, observed: object) -> None:
    """Actual: bootindex."""
    assert observed == case.expected


@check(
    READONLY, cases=stated("readonly"), sources=disks.sources, config=disks.config, live=disks.live, actual=disks.actual
)
def test_disk_is_readonly_or_writable(case: Case, observed: object) -> None:
    """Actual: what query-block says now."""
    assert observed == case.expected


@check(
    SHAREABLE,
    cases=stated("shareable"),
    sources=disks.sources,
    config=disks.config,
    live=disks.live,
    actual=disks.actual,
)
def test_disk_is_shareable_or_not(case: Case, observed: object) -> None:
    """Actual: share-rw of the device."""
    assert observed == case.expected


@check(
    SOURCE_TYPE,
    cases=stated("source.type"),
    sources=disks.sources,
    config=disks.config,
    live=disks.live,
    actual=disks.actual,
)
def test_disk_has_its_kind_of_source(case: Case, observed: object) -> None:
    """Actual: the driver of QEMU's last node."""
    assert observed == case.expected


@check(
    SOURCE,
    cases=stated("source.path", "source.protocol", "source.name"),
    sources=disks.sources,
    config=disks.config,
    live=disks.live,
    actual=disks.actual,
)
def test_disk_has_its_image(case: Case, observed: object) -> None:
    """Actual: the image that is open now."""
    assert observed == case.expected


@check(HOSTS, cases=hosts, sources=disks.sources, config=disks.config, live=disks.live, actual=disks.actual)
def test_network_disk_has_its_servers(case: Case, observed: object) -> None:
    """A set: their order does not matter."""
    assert observed == case.expected


@check(
    FORMAT,
    cases=stated("driver.type"),
    sources=disks.sources,
    config=disks.config,
    live=disks.live,
    actual=disks.actual,
)
def test_image_has_its_format(case: Case, observed: object) -> None:
    """Actual: the driver that reads it now."""
    assert observed == case.expected


@check(
    CACHE,
    cases=stated("driver.cache"),
    sources=disks.sources,
    config=disks.config,
    live=disks.live,
    actual=disks.actual,
)
def test_disk_has_its_cache_mode(case: Case, observed: object) -> None:
    """Actual: three switches, which make up one mode."""
    assert observed == case.expected


@check(IO, cases=stated("driver.io"), sources=disks.sources, config=disks.config, live=disks.live, actual=disks.actual)
def test_disk_has_its_io_mode(case: Case, observed: object) -> None:
    """Actual: aio of the last node."""
    assert observed == case.expected


@check(
    DISCARD,
    cases=stated("driver.discard"),
    sources=disks.sources,
    config=disks.config,
    live=disks.live,
    actual=disks.actual,
)
def test_disk_passes_discards_on(case: Case, observed: object) -> None:
    """Actual: discard of the first node, which decides."""
    assert observed == case.expected


@check(
    IOTHREAD,
    cases=stated("driver.iothread"),
    sources=disks.sources,
    config=disks.config,
    live=disks.live,
    actual=disks.actual,
)
def test_disk_is_served_by_its_iothread(case: Case, observed: object) -> None:
    """Actual: the device's own."""
    assert observed == case.expected


@check(
    QUEUES,
    cases=stated("driver.queues"),
    sources=disks.sources,
    config=disks.config,
    live=disks.live,
    actual=disks.actual,
)
def test_disk_has_its_queues(case: Case, observed: object) -> None:
    """Actual: num-queues of the device."""
    assert observed == case.expected


@check(NAME, cases=stated("driver.name"), sources=disks.sources, config=disks.config, live=disks.live)
def test_disk_has_its_driver(case: Case, observed: object) -> None:
    """QEMU has no word for it."""
    assert observed == case.expected
