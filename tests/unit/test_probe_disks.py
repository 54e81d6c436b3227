"""What a disk is, on every layer; text that is not of the lab is marked as made up."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from lxml import etree

from tests import looks
from tests.looks import Edits, arguments, by_hand, pid
from tests.recorded_text import label
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import blockdev, disks

LOOK = "disks/app1"
LIVE, CONFIG, ARGUMENTS = "virsh dumpxml app1", "virsh dumpxml --inactive app1", "qemu.ARGUMENTS"
QUERY, PLUGGED = map(label, blockdev.asked("app1"))
PID, HAND = pid(LOOK, "app1"), by_hand(LOOK, "app1")
look, changed = partial(looks.look, LOOK), partial(looks.changed, LOOK)
APP1 = {
    "vda": {
        "device": "disk",
        "bus": "virtio",
        "boot_order": 1,
        "readonly": False,
        "shareable": False,
        "source.type": "file",
        "source.path": "/var/lib/libvirt/images/app1.img",
        "source.protocol": None,
        "source.name": None,
        "source.hosts": frozenset(),
        "driver.type": "raw",
        "driver.cache": "none",
        "driver.io": "threads",
        "driver.discard": "unmap",
        "driver.iothread": 1,
        "driver.queues": 2,
    },
    "hdc": {
        "device": "cdrom",
        "bus": "ide",
        "boot_order": None,
        "readonly": True,
        "shareable": False,
        "source.type": "file",
        "source.path": "/var/lib/libvirt/boot/vmlinux",
        "driver.type": "raw",
        "driver.cache": "writeback",
        "driver.io": "threads",
        "driver.discard": "ignore",
        "driver.iothread": None,
        "driver.queues": None,
    },
}


@pytest.mark.parametrize(
    ("target", "what", "value"), [(target, what, value) for target, one in APP1.items() for what, value in one.items()]
)
def test_every_layer_says_the_same(target: str, what: str, value: object) -> None:
    host = look()
    assert [probe(host, "app1", target, what).value for probe in (disks.config, disks.live, disks.actual)] == [
        value
    ] * 3


@pytest.mark.parametrize(("what", "value"), [item for item in APP1["vda"].items() if item[0] != "device"])
def test_a_guest_started_by_hand_has_its_arguments(what: str, value: object) -> None:
    assert disks.actual(look(HAND), "app1", "virtio-disk0", what).value == value


def test_kinds_of_devices_by_hand() -> None:
    host = look(HAND)
    kinds = [disks.actual(host, "app1", name, "device").value for name in ("virtio-disk0", "ide0-1-0", "scsi0")]
    assert kinds == ["disk", "cdrom", None]


def test_the_drivers_name_is_libvirts_alone() -> None:
    assert disks.config(look(), "app1", "vda", "driver.name").value == "qemu"
    with pytest.raises(NotApplicable, match="no word"):
        disks.actual(look(), "app1", "vda", "driver.name")
    other = look(changed(CONFIG, "driver name='qemu' type='raw' cache", "driver name='tap' type='raw' cache"))
    assert disks.config(other, "app1", "vda", "driver.name").value == "tap"


def test_a_disk_that_is_not_there_departs_once() -> None:
    host = look()
    assert disks.config(host, "app1", "vdb", "device").value is None
    assert disks.live(host, "app1", "vdb", "device").value is None
    for probe in (disks.config, disks.live, disks.actual):
        with pytest.raises(NotApplicable, match="DISK-1"):
            probe(host, "app1", "vdb", "bus")


def test_a_disk_that_qemu_does_not_have() -> None:
    host = look({QUERY: "[]", PLUGGED: "[]"})
    assert disks.actual(host, "app1", "vda", "device").value is None
    with pytest.raises(CannotLook, match="names no device virtio-disk0"):
        disks.actual(host, "app1", "vda", "driver.cache")


def test_a_disk_that_was_plugged_in_later() -> None:
    """Its device is in QEMU, and not in its arguments."""
    host = look(changed(ARGUMENTS, '"id":"virtio-disk0"', '"id":"virtio-disk9"'))
    assert disks.actual(host, "app1", "vda", "device").value == "disk"
    assert disks.actual(host, "app1", "vda", "driver.cache").value == "none"
    for what in ("bus", "driver.io", "driver.iothread", "source.type"):
        with pytest.raises(NotApplicable, match="came after"):
            disks.actual(host, "app1", "vda", what)


def test_an_empty_drive_has_no_image() -> None:
    entry = {"qdev": "ide0-1-0", "removable": True, "tray_open": False}
    host = look({QUERY: json.dumps([entry])})
    assert disks.actual(host, "app1", "hdc", "source.path").value is None
    with pytest.raises(NotApplicable, match="no medium"):
        disks.actual(host, "app1", "hdc", "driver.cache")


@pytest.mark.parametrize(
    ("edit", "error"),
    [
        ({QUERY: "{"}, "is not JSON"),
        ({QUERY: '{"a": 1}'}, "no list"),
        ({QUERY: "[1]"}, "no list"),
        (changed(LIVE, "<alias name='virtio-disk0'/>", ""), "names no alias"),
    ],
)
def test_what_makes_no_sense_is_an_error(edit: Edits, error: str) -> None:
    with pytest.raises(CannotLook, match=error):
        disks.actual(look(edit), "app1", "vda", "driver.cache")


def test_arguments_that_make_no_sense() -> None:
    broken = look(changed(ARGUMENTS, '"drive":"libvirt-2-format"', '"drive":"libvirt-7-format"'))
    with pytest.raises(CannotLook, match="names no drive"):
        disks.actual(broken, "app1", "vda", "driver.io")
    lost = look(changed(ARGUMENTS, '"file":"libvirt-2-storage"', '"file":"libvirt-7-storage"'))
    with pytest.raises(CannotLook, match="names no node"):
        disks.actual(lost, "app1", "vda", "driver.io")


# --- the domain XML: what is left out, and what the lab has not (made up)


def told(what: str, disk: str, boot: str = "") -> Any:
    domain = etree.fromstring(f"<domain><os>{boot}</os><devices>{disk}</devices></domain>")
    return disks._XML[what](domain, domain.find("devices/disk"))


RBD = """<disk type='network' device='disk'><driver name='qemu' type='raw'/>
  <source protocol='rbd' name='vms/web1'><host name='mon1' port='6789'/><host name='mon2'/></source>
  <target dev='vda' bus='virtio'/></disk>"""
BARE = "<disk><target dev='vda'/></disk>"
HD, CD = "<boot dev='hd'/>", "<boot dev='cdrom'/>"
CDROM = "<disk device='cdrom'><target dev='hdc'/></disk>"


@pytest.mark.parametrize(
    ("what", "disk", "boot", "value"),
    [
        ("source.protocol", RBD, "", "rbd"),
        ("source.name", RBD, "", "vms/web1"),
        ("source.hosts", RBD, "", {"mon1:6789", "mon2"}),
        ("source.path", RBD, "", None),
        ("source.path", "<disk type='block'><source dev='/dev/vg/web1'/></disk>", "", "/dev/vg/web1"),
        ("source.name", "<disk type='volume'><source pool='default' volume='a.img'/></disk>", "", "default/a.img"),
        ("driver.name", BARE, "", "qemu"),
        ("driver.type", BARE, "", "raw"),
        ("driver.cache", BARE, "", "writeback"),
        ("driver.cache", "<disk><driver cache='default'/></disk>", "", "writeback"),
        ("driver.cache", "<disk><shareable/></disk>", "", "none"),
        ("driver.cache", "<disk><shareable/><readonly/></disk>", "", "writeback"),
        ("driver.io", BARE, "", "threads"),
        ("driver.discard", BARE, "", "ignore"),
        ("boot_order", BARE, "", None),
        ("boot_order", BARE, HD, 1),
        ("boot_order", BARE, CD + HD, 2),
        ("boot_order", BARE, CD, None),
        ("boot_order", CDROM + BARE, HD + CD, 2),
        ("boot_order", "<disk><boot order='3'/></disk>", HD, 3),
    ],
)
def test_domain_xml(what: str, disk: str, boot: str, value: object) -> None:
    assert told(what, disk, boot) == value


def test_only_the_first_disk_is_booted_from() -> None:
    domain = etree.fromstring(f"<domain><os>{HD}</os><devices>{CDROM}{BARE}{BARE}</devices></domain>")
    assert [disks.boot_order(domain, disk) for disk in domain.iterfind("devices/disk")] == [None, 1, None]


def test_a_volume_is_a_file_to_qemu() -> None:
    host = look(changed(LIVE, "<disk type='file' device='disk'>", "<disk type='volume' device='disk'>"))
    for what in ("source.type", "source.name"):
        with pytest.raises(NotApplicable, match="knows no volumes"):
            disks.actual(host, "app1", "vda", what)


# --- QEMU: what the lab has not (made up after block/rbd.c, block/nbd.c and libvirt's src/qemu/qemu_block.c)


@pytest.mark.parametrize(
    ("filename", "where"),
    [
        ("/a.img", {"path": "/a.img"}),
        (
            'json:{"driver":"raw","file":{"driver":"rbd","pool":"vms","image":"web1","server.0.host":"mon1",'
            '"server.0.port":"6789","server.1.host":"mon2"}}',
            {"protocol": "rbd", "name": "vms/web1", "hosts": {"mon1:6789", "mon2"}},
        ),
        (
            'json:{"driver":"rbd","pool":"vms","namespace":"n","image":"web1","server":[{"host":"::1","port":"3300"}]}',
            {"protocol": "rbd", "name": "vms/n/web1", "hosts": {"::1:3300"}},
        ),
        (
            'json:{"driver":"nbd","export":"other","server.host":"127.0.0.1","server.port":"10809","server.type":"inet"}',
            {"protocol": "nbd", "name": "other", "hosts": {"127.0.0.1:10809"}},
        ),
        ("nbd://127.0.0.1:10809/other", {"protocol": "nbd", "name": "other", "hosts": {"127.0.0.1:10809"}}),
        ("https://user@h/a.iso", {"protocol": "https", "name": "a.iso", "hosts": {"h"}}),
    ],
)
def test_where_an_image_is(filename: str, where: dict[str, object]) -> None:
    assert blockdev.location(blockdev.options(filename)) == where


@pytest.mark.parametrize("filename", ["json:{", "json:" + "[" * 100_000])
def test_an_image_whose_name_makes_no_sense(filename: str) -> None:
    with pytest.raises(CannotLook, match="not JSON"):
        blockdev.options(filename)


@pytest.mark.parametrize(
    ("cache", "mode"),
    [
        ({"writeback": True, "direct": False, "no-flush": False}, "writeback"),
        ({"writeback": False, "direct": False, "no-flush": False}, "writethrough"),
        ({"writeback": True, "direct": True, "no-flush": False}, "none"),
        ({"writeback": False, "direct": True, "no-flush": False}, "directsync"),
        ({"writeback": True, "direct": False, "no-flush": True}, "unsafe"),
    ],
)
def test_cache_modes(cache: dict[str, bool], mode: str) -> None:
    entry = {"qdev": "/machine/peripheral/virtio-disk0/virtio-backend", "inserted": {"cache": cache}}
    assert disks.actual(look({QUERY: json.dumps([entry])}), "app1", "vda", "driver.cache").value == mode


@pytest.mark.parametrize(
    ("driver", "kind"), [("file", "raw"), ("host_device", "raw"), ("rbd", "raw"), ("qcow2", "qcow2")]
)
def test_libvirt_10_puts_no_raw_format_above_where_an_image_is(driver: str, kind: str) -> None:
    entry = {"qdev": "/machine/peripheral/virtio-disk0/virtio-backend", "inserted": {"drv": driver}}
    assert disks.actual(look({QUERY: json.dumps([entry])}), "app1", "vda", "driver.type").value == kind


def test_a_filter_does_not_tell_the_format() -> None:
    entry = {"qdev": "/machine/peripheral/virtio-disk0/virtio-backend", "inserted": {"drv": "copy-on-read"}}
    with pytest.raises(NotApplicable, match="above the image's format"):
        disks.actual(look({QUERY: json.dumps([entry])}), "app1", "vda", "driver.type")


def test_a_usb_disk_has_a_scsi_disk_within() -> None:
    edits = changed(LIVE, "<alias name='virtio-disk0'/>", "<alias name='usb-disk0'/>")
    entry = {"qdev": "/machine/peripheral/usb-disk0/usb-disk0.0/legacy[0]", "inserted": {"drv": "raw"}}
    assert disks.actual(look({**edits, QUERY: json.dumps([entry])}), "app1", "vda", "driver.type").value == "raw"


LIBVIRT_10 = arguments(
    PID,
    *"""\
-name
guest=app1
-blockdev
{"driver":"host_device","filename":"/dev/vg/web1","node-name":"libvirt-1-storage","discard":"unmap","cache":{"direct":true},"aio":"native"}
-device
{"driver":"virtio-blk-pci","drive":"libvirt-1-storage","id":"virtio-disk0","write-cache":"on"}
-blockdev
{"driver":"file","filename":"/b.qcow2","node-name":"libvirt-2-storage"}
-blockdev
{"node-name":"libvirt-2-format","driver":"qcow2","file":"libvirt-2-storage","discard":"unmap"}
-blockdev
{"driver":"copy-on-read","node-name":"libvirt-CoR-vdb","file":"libvirt-2-format"}
-device
{"driver":"virtio-blk-pci","drive":"libvirt-CoR-vdb","id":"virtio-disk1"}""".splitlines(),
)


@pytest.mark.parametrize(
    ("name", "what", "value"),
    [
        ("virtio-disk0", "driver.type", "raw"),
        ("virtio-disk0", "driver.cache", "none"),
        ("virtio-disk0", "driver.io", "native"),
        ("virtio-disk0", "driver.discard", "unmap"),
        ("virtio-disk0", "source.type", "block"),
        ("virtio-disk0", "source.path", "/dev/vg/web1"),
        ("virtio-disk1", "driver.type", "qcow2"),
        ("virtio-disk1", "driver.discard", "unmap"),
        ("virtio-disk1", "source.path", "/b.qcow2"),
    ],
)
def test_arguments_without_a_format_and_with_a_filter(name: str, what: str, value: object) -> None:
    assert disks.actual(look(HAND | {ARGUMENTS: LIBVIRT_10}), "app1", name, what).value == value


OLD = arguments(
    PID,
    *"""\
-name
guest=app1
-drive
file=/var/lib/images/a,,b.qcow2,format=qcow2,if=none,id=drive-virtio-disk0,cache=none,discard=unmap,aio=native,readonly=on
-device
virtio-blk-pci,scsi=off,drive=drive-virtio-disk0,id=virtio-disk0,bootindex=2,share-rw=on,num-queues=4,iothread=io-a""".splitlines(),
)


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("bus", "virtio"),
        ("boot_order", 2),
        ("readonly", True),
        ("shareable", True),
        ("source.path", "/var/lib/images/a,b.qcow2"),
        ("driver.type", "qcow2"),
        ("driver.cache", "none"),
        ("driver.io", "native"),
        ("driver.discard", "unmap"),
        ("driver.iothread", "io-a"),
        ("driver.queues", 4),
    ],
)
def test_arguments_of_old_libvirt_or_by_hand(what: str, value: object) -> None:
    assert disks.actual(look(HAND | {ARGUMENTS: OLD}), "app1", "virtio-disk0", what).value == value


def test_what_old_arguments_do_not_say() -> None:
    with pytest.raises(NotApplicable, match="does not say"):
        disks.actual(look(HAND | {ARGUMENTS: OLD}), "app1", "virtio-disk0", "source.type")


NETWORK = arguments(
    PID,
    *"""\
-name
guest=app1
-blockdev
{"driver":"rbd","pool":"vms","image":"web1","server":[{"host":"mon1","port":"6789"}],"node-name":"libvirt-1-storage"}
-blockdev
{"node-name":"libvirt-1-format","driver":"raw","file":"libvirt-1-storage"}
-device
{"driver":"scsi-block","drive":"libvirt-1-format","id":"scsi0-0-0-0","write-cache":"off"}
-device
{"driver":"scsi-cd","id":"scsi0-0-0-1"}""".splitlines(),
)


@pytest.mark.parametrize(
    ("name", "what", "value"),
    [
        ("scsi0-0-0-0", "device", "lun"),
        ("scsi0-0-0-0", "bus", "scsi"),
        ("scsi0-0-0-0", "source.type", "network"),
        ("scsi0-0-0-0", "source.name", "vms/web1"),
        ("scsi0-0-0-0", "source.hosts", {"mon1:6789"}),
        ("scsi0-0-0-0", "driver.cache", "writethrough"),
        ("scsi0-0-0-1", "device", "cdrom"),
        ("scsi0-0-0-1", "bus", "scsi"),
        ("scsi0-0-0-1", "source.path", None),
    ],
)
def test_network_disks_in_arguments(name: str, what: str, value: object) -> None:
    assert disks.actual(look(HAND | {ARGUMENTS: NETWORK}), "app1", name, what).value == value


@pytest.mark.parametrize(("name", "what"), [("scsi0-0-0-0", "driver.io"), ("scsi0-0-0-1", "driver.discard")])
def test_what_network_and_empty_disks_have_not(name: str, what: str) -> None:
    with pytest.raises(NotApplicable):
        disks.actual(look(HAND | {ARGUMENTS: NETWORK}), "app1", name, what)
