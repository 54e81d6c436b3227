"""Shared folders on every layer, from what a lab host answered: mapped and read-only, squash, virtiofs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from virtvet.errors import CannotLook, NotApplicable
from virtvet.expect import Contains, matches
from virtvet.probes import kernel, mounts, qemu, shares
from virtvet.profile import Profile
from virtvet.snapshot.model import Absent, Answer, Completed, Content, Domain, LibvirtAnswer, Snapshot, Status
from virtvet.snapshot.sources import Libvirt, Source, Stat
from virtvet.target import GuestTarget, HostTarget

DATA = Path(__file__).parents[1] / "probes" / "shares"
TAKEN = datetime(2026, 1, 1, tzinfo=UTC)
GUEST = "odd,share"
XML = (DATA / "odd_live.xml").read_text()
ARGUMENTS = (DATA / "qemu_arguments").read_bytes()
VIRTIOFSD = b"/usr/lib/qemu/virtiofsd\0--fd=30\0-o\0source=/srv/share"
PID = "/run/libvirt/qemu/4-odd,share-fs2-fs.pid"


def host(
    answers: Mapping[Source, Answer] | None = None, xml: str | None = XML, inside: Snapshot | None = None
) -> Snapshot:
    domain = Domain(GUEST, "7f3c", "running" if xml else "shut off", True, xml, XML)
    usual: dict[Source, Answer] = {
        Libvirt(): LibvirtAnswer("qemu:///system", "hv1", 9_000_000, 7_002_000, "<capabilities/>", {GUEST: domain}),
        qemu.ARGUMENTS: Completed(0, ARGUMENTS, b""),
        qemu.PIDS: {f"/run/libvirt/qemu/{GUEST}.pid": Content(b"258")},
        shares.VIRTIOFSD: {"/proc/256/cmdline": Content(VIRTIOFSD)},
        shares.VIRTIOFSD_PIDS: {PID: Content(b"256")},
    }
    return Snapshot("hv1", TAKEN, usual | dict(answers or {}), {GUEST: inside} if inside else {})


LAYERS = {"config": shares.configured, "live": shares.running, "actual": shares.exported}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    ("tag", "directory", "driver", "accessmode", "readonly"),
    [
        ("mapped", "/srv/share", "9p", "mapped", True),
        ("squash", "/srv/a,b", "9p", "squash", False),
        ("fast", "/srv/share", "virtiofs", "passthrough", False),
    ],
)
def test_every_layer_agrees(layer: str, tag: str, directory: str, driver: str, accessmode: str, readonly: bool) -> None:
    device = LAYERS[layer](host(), GUEST, tag)
    found = (device.directory, device.driver, device.accessmode, device.readonly, device.type)
    assert found == (directory, driver, accessmode, readonly, "mount")
    assert len(device.excerpt) > 20


def test_a_share_wanted_over_9p_is_seen_over_virtiofs() -> None:
    wanted = Profile.model_validate({"virtvet": 1, "guests": {"db1": {"shares": {"fast": {"source": "/srv/share"}}}}})
    guests = (GuestTarget("db1", wanted.guests["db1"], "hv1"),)
    asked = set(shares.sources(HostTarget("hv1", wanted, None, guests)))  # type: ignore[arg-type]
    assert asked >= {shares.VIRTIOFSD, shares.VIRTIOFSD_PIDS}
    assert shares.attribute_of(shares.exported, "driver")(host(), GUEST, "fast").value == "virtiofs"


@pytest.mark.parametrize("type_", ["mount", "template"])
def test_another_type_is_seen(type_: str) -> None:
    other = XML.replace("<filesystem type='mount'", f"<filesystem type='{type_}'")
    assert shares.attribute_of(shares.running, "type")(host(xml=other), GUEST, "mapped").value == type_


@pytest.mark.parametrize("layer", LAYERS)
def test_no_device_has_the_tag(layer: str) -> None:
    reading = shares.directory_of(LAYERS[layer])(host(), GUEST, "absent")
    assert (reading.value, reading.excerpt) == (None, "no filesystem device has the tag absent")
    with pytest.raises(NotApplicable, match="has the tag absent"):
        shares.attribute_of(LAYERS[layer], "accessmode")(host(), GUEST, "absent")


@pytest.mark.parametrize("layer", ["live", "actual"])
def test_a_guest_that_is_off_has_no_such_layer(layer: str) -> None:
    with pytest.raises(NotApplicable, match="shut off"):
        shares.directory_of(LAYERS[layer])(host(xml=None), GUEST, "mapped")


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({qemu.ARGUMENTS: Completed(0, b"", b"")}, "no QEMU process 258"),
        (
            {qemu.ARGUMENTS: Completed(0, b"/proc/258/cmdline:-name\0/proc/258/cmdline-odd\0", b"")},
            "is not odd,share's",
        ),
        ({qemu.ARGUMENTS: Absent()}, "does not exist"),
        ({qemu.ARGUMENTS: Completed(0, ARGUMENTS.replace(b'"addr"', b"addr"), b"")}, "is not JSON"),
        ({shares.VIRTIOFSD_PIDS: {}}, "no virtiofsd of odd,share serves fast"),
        ({shares.VIRTIOFSD_PIDS: {PID.replace("/4-", "/5-"): Content(b"256")}}, "no virtiofsd"),
        ({shares.VIRTIOFSD: {}}, "is not running"),
    ],
)
def test_what_cannot_be_seen_is_no_answer(answers: dict[Source, Answer], reason: str) -> None:
    with pytest.raises(CannotLook, match=reason):
        shares.exported(host(answers), GUEST, "fast")


def of_hand(*arguments: str) -> Snapshot:
    """A guest that was started by hand with these arguments."""
    said = "".join(f"/proc/7/cmdline-{one}\0" for one in ("-name", "hand", *arguments))
    return replace(host({qemu.ARGUMENTS: Completed(0, said.encode(), b"")}), by_hand={"hand": 7})


BY_HAND = {
    "fsdev": ("-fsdev", "local,id=a,path=/srv,security_model=mapped-xattr", "virtio-9p-pci,fsdev=a,mount_tag=t"),
    "virtfs": ("-virtfs", "local,path=/srv,mount_tag=t,security_model=mapped"),
}


@pytest.mark.parametrize("arguments", BY_HAND.values(), ids=BY_HAND)
def test_a_share_of_a_guest_started_by_hand(arguments: tuple[str, ...]) -> None:
    device = shares.exported(of_hand(*arguments), "hand", "t")
    assert (device.directory, device.driver, device.accessmode, device.readonly) == ("/srv", "9p", "mapped", False)
    readonly = [one.replace("path=/srv", "path=/srv,readonly=on") for one in arguments]
    assert shares.exported(of_hand(*readonly), "hand", "t").readonly is True
    assert shares.exported(of_hand(*arguments), "hand", "other").type is None
    with pytest.raises(NotApplicable, match="libvirt does not know it"):
        shares.running(of_hand(*arguments), "hand", "t")


def test_nobody_knows_which_virtiofsd_serves_a_guest_started_by_hand() -> None:
    hand = of_hand("vhost-user-fs-pci,chardev=c,tag=t")
    assert shares.attribute_of(shares.exported, "driver")(hand, "hand", "t").value == "virtiofs"
    for probe in (shares.directory_of(shares.exported), shares.attribute_of(shares.exported, "readonly")):
        with pytest.raises(NotApplicable, match="which virtiofsd serves it cannot be told"):
            probe(hand, "hand", "t")


def test_arguments_of_an_older_libvirt() -> None:
    arguments = (
        "local,security_model=passthrough,id=fsdev-fs0,path=/srv/share",
        "virtio-9p-pci,id=fs0,fsdev=fsdev-fs0,mount_tag=hostshare,bus=pci.0,addr=0x2",
    )
    device = shares.from_process(qemu.Process(1, arguments), "hostshare")
    assert (device.directory, device.accessmode, device.readonly) == ("/srv/share", "passthrough", False)


def test_a_device_whose_backend_is_not_there() -> None:
    device = shares.from_process(qemu.Process(1, ('{"driver":"virtio-9p-pci","fsdev":"x","mount_tag":"t"}',)), "t")
    assert (device.directory, device.accessmode) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "directory"),
    [
        (("virtiofsd", "--fd=30", "-o", "source=/srv/a,,b,cache=auto"), "/srv/a,b"),
        (("virtiofsd", "--fd=30", "--shared-dir", "/srv/share", "--cache", "auto"), "/srv/share"),
        (("virtiofsd", "--fd=30", "-o", "cache=auto"), None),
    ],
)
def test_what_virtiofsd_serves(arguments: tuple[str, ...], directory: str | None) -> None:
    assert shares.served(arguments) == directory


# --- the directory

SHARED = Status("directory", 0o2755, "root", "kvm", 0, 106, 4096)


def test_directory() -> None:
    looked = host({Stat("/srv/share"): SHARED})
    assert shares.kind(looked, "/srv/share").value == "directory"
    assert shares.mode(looked, "/srv/share").value == "2755"
    assert [shares.account(looked, "/srv/share", part, False).value for part in ("owner", "group")] == ["root", "kvm"]
    assert [shares.account(looked, "/srv/share", part, True).value for part in ("owner", "group")] == ["0", "106"]


def test_a_missing_directory_departs_once() -> None:
    looked = host({Stat("/srv/share"): Absent()})
    assert shares.kind(looked, "/srv/share").value is None
    with pytest.raises(NotApplicable):
        shares.mode(looked, "/srv/share")
    with pytest.raises(NotApplicable):
        shares.account(looked, "/srv/share", "owner", False)


# --- inside the guest

SHOWN = (DATA / "guest_mounts").read_bytes()
FSTAB = b"hostshare /mnt/share 9p trans=virtio,version=9p2000.L,posixacl,cache=none 0 0\n"


def inside(table: bytes = SHOWN, fstab: bytes = FSTAB, tags: tuple[bytes, ...] = (b"hostshare\0",)) -> Snapshot:
    answers: dict[Source, Answer] = {
        mounts.MOUNTS: Content(table),
        mounts.FSTAB: Content(fstab),
        mounts.SYSTEMD: Absent(),
        mounts.UNITS: {},
        kernel.OSRELEASE: Content(b"6.1.0-56-amd64\n"),
        shares.TAGS: {
            f"/sys/bus/virtio/drivers/9pnet_virtio/virtio{i}/mount_tag": Content(t) for i, t in enumerate(tags)
        },
    }
    return host(inside=Snapshot(f"hv1/{GUEST}", TAKEN, answers))


MOUNT = (GUEST, "/mnt/share", "9p")


def test_mounted() -> None:
    looked = inside()
    assert shares.filesystem(looked, GUEST, "/mnt/share").value == "9p"
    assert shares.mounted_tag(looked, *MOUNT).value == "hostshare"
    assert [
        shares.mounted_setting(looked, *MOUNT, key).value for key in ("cache", "posixacl", "version", "readonly")
    ] == [
        "loose",
        True,
        "9p2000.L",
        False,
    ]


def test_the_next_boot_is_a_matter_of_its_own() -> None:
    looked = inside()
    assert shares.next_boot(looked, *MOUNT).value == "hostshare"
    assert shares.next_boot_setting(looked, *MOUNT, "cache").value == "none"


@pytest.mark.parametrize("table", [b"", SHOWN.replace(b"hostshare /mnt/share 9p", b"tmpfs /mnt/share tmpfs")])
def test_an_unmounted_share_departs_once(table: bytes) -> None:
    looked = inside(table=table)
    assert shares.filesystem(looked, GUEST, "/mnt/share").value in (shares.NOTHING, "tmpfs")
    with pytest.raises(NotApplicable):
        shares.mounted_tag(looked, *MOUNT)
    with pytest.raises(NotApplicable):
        shares.mounted_setting(looked, *MOUNT, "cache")
    assert shares.next_boot(looked, *MOUNT).value == "hostshare"


@pytest.mark.parametrize(
    ("fstab", "value"), [(b"", shares.NOTHING), (FSTAB.replace(b" 9p ", b" ext4 "), "ext4"), (FSTAB, "hostshare")]
)
def test_next_boot(fstab: bytes, value: str) -> None:
    assert shares.next_boot(inside(fstab=fstab), *MOUNT).value == value


def test_tags() -> None:
    found = shares.tags(inside(tags=(b"hostshare\0", b"other")), GUEST).value
    assert matches(Contains.of(["hostshare"]), found)
    assert not matches(Contains.of(["absent"]), found)
    with pytest.raises(NotApplicable, match="9pnet_virtio"):
        shares.tags(inside(tags=()), GUEST)


def test_nobody_looks_into_a_guest_that_is_off() -> None:
    with pytest.raises(NotApplicable, match="shut off"):
        shares.filesystem(host(xml=None), GUEST, "/mnt/share")
