"""Shared folders: the host's directory, the guest's filesystem device, the mount in the guest, and its next boot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from virtvet.check import Case, Control, Severity, check
from virtvet.expect import Contains
from virtvet.probes import mounts, shares, v9fs
from virtvet.profile.shares import Mount, Share
from virtvet.remedies.shares import MOUNT
from virtvet.target import GuestTarget, HostTarget

FORMAT = "https://libvirt.org/formatdomain.html#filesystems"
VIRTIOFS = "https://libvirt.org/kbase/virtiofs.html"
V9FS = "https://docs.kernel.org/filesystems/9p.html"
FSTAB = "https://man7.org/linux/man-pages/man5/fstab.5.html"

DIRECTORY = Control(
    id="SHARE-DIR-1",
    title="The shared directory exists on the host",
    area="shares",
    severity=Severity.HIGH,
    requirement="R37",
    rationale="Without it the guest does not start; with a file in its place nothing can be mounted.",
    hint="mkdir -p {source}; ls -ld {source}",
    references=(FORMAT,),
)
OWNER = Control(
    id="SHARE-DIR-2",
    title="The shared directory belongs to its owner and group",
    area="shares",
    severity=Severity.MEDIUM,
    requirement="R37",
    rationale="Owner and mode decide what the guest may do (passthrough), or whether QEMU may write at all (mapped).",
    hint="{change} {expected} {source}",
    references=(FORMAT,),
)
MODE = Control(
    id="SHARE-DIR-3",
    title="The shared directory has its mode",
    area="shares",
    severity=Severity.MEDIUM,
    requirement="R37",
    rationale="A directory open to all lets every account of the host change what the guest reads.",
    hint="chmod {expected} {source}",
    references=(FORMAT,),
)
DEVICE = Control(
    id="SHARE-DEV-1",
    title="The guest has a filesystem device with this tag, of this directory",
    area="shares",
    severity=Severity.HIGH,
    requirement="R37",
    rationale="The tag is all that the guest sees: with another directory behind it, it mounts the wrong files.",
    hint="virsh -c qemu:///system edit {guest}   # <source dir='{source}'/> <target dir='{tag}'/>; from the next start",
    references=(FORMAT,),
)
DRIVER = Control(
    id="SHARE-DEV-2",
    title="The filesystem device uses its driver",
    area="shares",
    severity=Severity.MEDIUM,
    requirement="R37",
    rationale="9p and virtiofs differ in speed, in what they cache, and in how the guest mounts them.",
    hint="virsh -c qemu:///system edit {guest}   # <driver type='path'/> for 9p, <driver type='virtiofs'/>",
    references=(FORMAT, VIRTIOFS),
)
ACCESSMODE = Control(
    id="SHARE-DEV-3",
    title="The filesystem device has its accessmode",
    area="shares",
    severity=Severity.HIGH,
    requirement="R37",
    rationale="passthrough writes the guest's owners and setuid bits to the host; mapped keeps them in attributes.",
    hint="virsh -c qemu:///system edit {guest}   # <filesystem accessmode='{expected}'>; from the next start",
    references=(FORMAT, "https://wiki.qemu.org/Documentation/9psetup"),
)
READONLY = Control(
    id="SHARE-DEV-4",
    title="The filesystem device refuses writes, or takes them",
    area="shares",
    severity=Severity.HIGH,
    requirement="R37",
    rationale="A read-only mount is the guest's own choice; only the device keeps a guest from writing.",
    hint="virsh -c qemu:///system edit {guest}   # <readonly/> within <filesystem>; from the next start",
    references=(FORMAT,),
)
TYPE = Control(
    id="SHARE-DEV-5",
    title="The filesystem device has its type",
    area="shares",
    severity=Severity.MEDIUM,
    requirement="R37",
    rationale="QEMU shares host directories by type mount only.",
    hint="virsh -c qemu:///system edit {guest}   # <filesystem type='{expected}'>",
    references=(FORMAT,),
)
TAG = Control(
    id="SHARE-DEV-6",
    title="The guest's virtio bus offers the share's tag",
    area="shares",
    severity=Severity.HIGH,
    requirement="R37",
    rationale="What the guest is not offered it cannot mount.",
    hint="cat /sys/bus/virtio/drivers/9pnet_virtio/*/mount_tag   # in {guest}",
    references=(V9FS,),
)
MOUNTED = Control(
    id="SHARE-MOUNT-1",
    title="The share is mounted at its directory in the guest",
    area="shares",
    severity=Severity.HIGH,
    requirement="R38",
    rationale="Where nothing is mounted, the guest writes into its own disk, unseen by the host.",
    hint="mkdir -p {at} && mount -t {expected} -o {options} {tag} {at}   # in {guest}",
    references=(V9FS,),
)
SOURCE = Control(
    id="SHARE-MOUNT-2",
    title="The mount is of the stated tag",
    area="shares",
    severity=Severity.HIGH,
    requirement="R38",
    rationale="Another tag is another directory of the host.",
    hint="umount {at} && mount -t {fstype} -o {options} {tag} {at}   # in {guest}",
    references=(V9FS,),
)
OPTIONS = Control(
    id="SHARE-MOUNT-3",
    title="The mount has its options",
    area="shares",
    severity=Severity.MEDIUM,
    requirement="R38",
    rationale="cache=loose shows stale data where others write, too; without posixacl no ACL is enforced.",
    hint="umount {at} && mount -t {fstype} -o {options} {tag} {at}   # in {guest}; a remount keeps 9p's options",
    references=(V9FS,),
)
WRITABLE = Control(
    id="SHARE-MOUNT-4",
    title="The share is mounted read-only, or writable",
    area="shares",
    severity=Severity.MEDIUM,
    requirement="R38",
    rationale="A guest that must not write is kept from mistakes; one that must is not stopped at its first file.",
    hint="mount -o remount,{access} {at}   # in {guest}",
    references=(V9FS,),
)
BOOT = Control(
    id="SHARE-BOOT-1",
    title="The guest's next boot mounts the share",
    area="shares",
    severity=Severity.MEDIUM,
    requirement="R38",
    rationale="A mount made by hand is gone after a reboot, and nobody notices until then.",
    hint="echo {fstab} >> /etc/fstab   # in {guest}",
    references=(FSTAB, "https://man7.org/linux/man-pages/man5/systemd.mount.5.html"),
)
BOOT_OPTIONS = Control(
    id="SHARE-BOOT-2",
    title="The guest's next boot mounts the share with its options",
    area="shares",
    severity=Severity.MEDIUM,
    requirement="R38",
    rationale="Options that only the present mount has are gone after a reboot.",
    hint="vi /etc/fstab   # in {guest}: {fstab}",
    references=(FSTAB, V9FS),
)

Wanted = Callable[[Share], Any]


def _shares(host: HostTarget) -> Iterator[tuple[GuestTarget, str, Share]]:
    for guest in host.guests:
        for tag, share in guest.wants.shares.items() if guest.matched else ():
            yield guest, tag, share


def _mounts(host: HostTarget) -> Iterator[tuple[GuestTarget, str, Share, Mount]]:
    for guest, tag, share in _shares(host):
        if share.mount:
            yield guest, tag, share, share.mount


def _case(guest: GuestTarget, tag: str, share: Share, expected: Any, *args: Any, part: str = "", **words: str) -> Case:
    subject = "/".join(filter(None, (guest.name, tag, part)))
    return Case(subject, expected, args, guest.name, _words(tag, share) | words)


def _words(tag: str, share: Share) -> dict[str, str]:
    words = {"tag": tag, "source": share.source, "fstype": share.driver, "options": v9fs.options(share)}
    if share.mount:
        at = share.mount.at
        words |= {"at": at, "fstab": mounts.fstab_line(tag, at, share.driver, v9fs.options(share))}
        words |= {"access": "ro" if share.mount.readonly else "rw"}
    return words


def _directories(host: HostTarget) -> Iterable[Case]:
    for guest, tag, share in _shares(host):
        yield _case(guest, tag, share, "directory", share.source)


def _owners(host: HostTarget) -> Iterable[Case]:
    for guest, tag, share in _shares(host):
        for part, change in (("owner", "chown"), ("group", "chgrp")):
            if (account := getattr(share.directory, part)) is not None:
                args = (share.source, part, account.isdecimal())
                yield _case(guest, tag, share, account, *args, part=part, change=change)


def _modes(host: HostTarget) -> Iterable[Case]:
    for guest, tag, share in _shares(host):
        if share.directory.mode is not None:
            yield _case(guest, tag, share, f"{share.directory.mode:04o}", share.source)


def _devices(wanted: Wanted) -> Callable[[HostTarget], Iterable[Case]]:
    """One case a share, for what `wanted` takes from it; none where that is not stated."""

    def cases(host: HostTarget) -> Iterable[Case]:
        for guest, tag, share in _shares(host):
            if (expected := wanted(share)) is not None:
                yield _case(guest, tag, share, expected, guest.name, tag)

    return cases


def _tags(host: HostTarget) -> Iterable[Case]:
    for guest, tag, share, _mount in _mounts(host):
        if share.driver == "9p":
            yield _case(guest, tag, share, Contains.of([tag]), guest.name)


def _mounted(host: HostTarget) -> Iterable[Case]:
    for guest, tag, share, mount in _mounts(host):
        yield _case(guest, tag, share, share.driver, guest.name, mount.at)


def _sources(host: HostTarget) -> Iterable[Case]:
    for guest, tag, share, mount in _mounts(host):
        yield _case(guest, tag, share, tag, guest.name, mount.at, share.driver)


def _options(host: HostTarget) -> Iterable[Case]:
    for guest, tag, share, mount in _mounts(host):
        yield from _settings(guest, tag, share, mount, without="readonly")


def _writable(host: HostTarget) -> Iterable[Case]:
    for guest, tag, share, mount in _mounts(host):
        if mount.readonly is not None:
            yield _case(guest, tag, share, mount.readonly, guest.name, mount.at, share.driver, "readonly")


def _boots(host: HostTarget) -> Iterable[Case]:
    for guest, tag, share, mount in _mounts(host):
        if mount.persistent is not None:
            expected = tag if mount.persistent else shares.NOTHING
            yield _case(guest, tag, share, expected, guest.name, mount.at, share.driver)


def _boot_options(host: HostTarget) -> Iterable[Case]:
    for guest, tag, share, mount in _mounts(host):
        if mount.persistent:
            yield from _settings(guest, tag, share, mount)


def _settings(guest: GuestTarget, tag: str, share: Share, mount: Mount, without: str = "") -> Iterator[Case]:
    """One case for each option that the profile states; a 9p mount always goes over virtio."""
    stated = {"trans": "virtio"} if share.driver == "9p" else {}
    stated |= mount.model_dump(include=set(v9fs.KEYS - {without}), exclude_none=True)
    for key, value in stated.items():
        yield _case(guest, tag, share, value, guest.name, mount.at, share.driver, key, part=key)


@check(DIRECTORY, cases=_directories, sources=shares.sources, actual=shares.kind)
def test_directory_exists(case: Case, observed: object) -> None:
    """Links are followed, as QEMU follows them."""
    assert observed == case.expected


@check(OWNER, cases=_owners, sources=shares.sources, actual=shares.account)
def test_directory_belongs_to(case: Case, observed: object) -> None:
    """One case for the owner, one for the group."""
    assert observed == case.expected


@check(MODE, cases=_modes, sources=shares.sources, actual=shares.mode)
def test_directory_has_its_mode(case: Case, observed: object) -> None:
    """All twelve bits: setgid and sticky count."""
    assert observed == case.expected


@check(
    DEVICE,
    cases=_devices(lambda share: share.source),
    sources=shares.sources,
    config=shares.directory_of(shares.configured),
    live=shares.directory_of(shares.running),
    actual=shares.directory_of(shares.exported),
)
def test_device_shares_its_directory(case: Case, observed: object) -> None:
    """Actual: the -fsdev of QEMU, or what virtiofsd serves."""
    assert observed == case.expected


@check(
    DRIVER,
    cases=_devices(lambda share: share.driver),
    sources=shares.sources,
    config=shares.attribute_of(shares.configured, "driver"),
    live=shares.attribute_of(shares.running, "driver"),
    actual=shares.attribute_of(shares.exported, "driver"),
)
def test_device_uses_its_driver(case: Case, observed: object) -> None:
    """The types path and handle are both 9p."""
    assert observed == case.expected


@check(
    ACCESSMODE,
    cases=_devices(lambda share: share.accessmode),
    sources=shares.sources,
    config=shares.attribute_of(shares.configured, "accessmode"),
    live=shares.attribute_of(shares.running, "accessmode"),
    actual=shares.attribute_of(shares.exported, "accessmode"),
)
def test_device_has_its_accessmode(case: Case, observed: object) -> None:
    """Actual: security_model of -fsdev, where none is squash."""
    assert observed == case.expected


@check(
    READONLY,
    cases=_devices(lambda share: share.readonly),
    sources=shares.sources,
    config=shares.attribute_of(shares.configured, "readonly"),
    live=shares.attribute_of(shares.running, "readonly"),
    actual=shares.attribute_of(shares.exported, "readonly"),
)
def test_device_refuses_or_takes_writes(case: Case, observed: object) -> None:
    """Actual: readonly of -fsdev."""
    assert observed == case.expected


@check(
    TYPE,
    cases=_devices(lambda share: share.type),
    sources=shares.sources,
    config=shares.attribute_of(shares.configured, "type"),
    live=shares.attribute_of(shares.running, "type"),
)
def test_device_has_its_type(case: Case, observed: object) -> None:
    """QEMU's arguments have no word for it."""
    assert observed == case.expected


@check(TAG, cases=_tags, guest_sources=shares.guest_sources, guest=shares.tags)
def test_guest_is_offered_the_tag(case: Case, observed: object) -> None:
    """As 9pnet_virtio shows it."""
    assert observed == case.expected


@check(MOUNTED, cases=_mounted, guest_sources=shares.guest_sources, guest=shares.filesystem, remedy=MOUNT)
def test_share_is_mounted(case: Case, observed: object) -> None:
    """The topmost mount at the directory counts."""
    assert observed == case.expected


@check(SOURCE, cases=_sources, guest_sources=shares.guest_sources, guest=shares.mounted_tag)
def test_mount_is_of_its_tag(case: Case, observed: object) -> None:
    """The first column of /proc/mounts."""
    assert observed == case.expected


@check(OPTIONS, cases=_options, guest_sources=shares.guest_sources, guest=shares.mounted_setting)
def test_mount_has_its_option(case: Case, observed: object) -> None:
    """As the kernel applies them: it drops posixacl unless access is client."""
    assert observed == case.expected


@check(WRITABLE, cases=_writable, guest_sources=shares.guest_sources, guest=shares.mounted_setting)
def test_mount_is_readonly_or_writable(case: Case, observed: object) -> None:
    """A matter of the mount: the device may refuse writes all the same."""
    assert observed == case.expected


@check(BOOT, cases=_boots, guest_sources=shares.guest_sources, guest=shares.next_boot, remedy=MOUNT)
def test_next_boot_mounts_the_share(case: Case, observed: object) -> None:
    """/etc/fstab without noauto, or an enabled systemd mount unit."""
    assert observed == case.expected


@check(
    BOOT_OPTIONS,
    cases=_boot_options,
    guest_sources=shares.guest_sources,
    guest=shares.next_boot_setting,
    remedy=MOUNT,
)
def test_next_boot_has_the_option(case: Case, observed: object) -> None:
    """Skipped where the next boot mounts nothing: SHARE-BOOT-1 says so."""
    assert observed == case.expected
