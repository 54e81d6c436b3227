"""QEMU's arguments: whose they are, what they say, which guests run without libvirt, and what is never taken of them.

Recorded: every guest of the lab's hosts, tests/probes/qemu/*.txt.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests import looks
from tests.looks import pid
from virtvet.errors import CannotLook
from virtvet.probes import qemu
from virtvet.snapshot.model import Absent, Answer, Completed, Content, Domain, LibvirtAnswer, Snapshot, Unreadable
from virtvet.snapshot.sources import Libvirt, Source

RECORDED = {host: looks.look(f"qemu/{host}") for host in ("hv1", "hv2")}
PIDS = {
    "hv1": {guest: pid("qemu/hv1", guest) for guest in ("web1", "db1", "app1", "plain1")},
    "hv2": {guest: pid("qemu/hv2", guest) for guest in ("mute2", "web2")},
}
HAND2 = RECORDED["hv2"].by_hand


def said(text: str) -> Completed:
    return Completed(0, text.replace("\n", "\0").encode(), b"")


def look(answers: Mapping[Source, Answer], by_hand: Mapping[str, int] | None = None) -> Snapshot:
    """Every guest runs."""
    names = {"x", *(name for host in PIDS.values() for name in host)}
    domains = {name: Domain(name, "", "running", True, "<domain/>", None) for name in names}
    known = LibvirtAnswer("qemu:///system", "hv", 9000000, 7002000, "", domains)
    return Snapshot("hv", datetime(2026, 11, 23, tzinfo=UTC), {Libvirt(): known, **answers}, by_hand=by_hand or {})


HV1, HV2 = (look(one.answers, one.by_hand) for one in RECORDED.values())


# --- whose they are


def test_each_guest_has_its_process() -> None:
    for name, process in PIDS["hv1"].items():
        assert (qemu.of_guest(HV1, name).pid, qemu.of_guest(HV1, name).name) == (process, name)
    assert qemu.of_guest(HV2, "hand2").source == f"/proc/{HAND2['hand2']}/cmdline"


def test_who_runs_without_libvirt_is_told_by_what_libvirt_does_not_name() -> None:
    assert qemu.started_by_hand(HV1.answers) == {}
    assert list(HAND2) == ["hand2"]
    assert qemu.started_by_hand({**HV2.answers, qemu.PIDS: {}}) == HAND2 | PIDS["hv2"]


@pytest.mark.parametrize("blind", [Absent(), Unreadable("no")])
@pytest.mark.parametrize("source", [qemu.ARGUMENTS, qemu.PIDS], ids=["arguments", "pid files"])
def test_where_nobody_could_look_nobody_was_started_by_hand(source: Source, blind: Answer) -> None:
    assert qemu.started_by_hand({**HV2.answers, source: blind}) == {}


def test_of_two_with_one_name_the_older_counts() -> None:
    two = said("/proc/7:x\n/proc/70/cmdline:-name\n/proc/70/cmdline-a\n/proc/9/cmdline:-name\n/proc/9/cmdline-a\n")
    assert qemu.started_by_hand({qemu.ARGUMENTS: two, qemu.PIDS: {}}) == {"a": 9}


NAMES = {
    "a": "a",
    "guest=a": "a",
    "guest=a,debug-threads=on": "a",
    "a,process=x": "a",
    "debug-threads=on,guest=a,,b": "a,b",
    "debug-threads=on": None,
    "guest=": None,
    "../a": None,
    "a\x1bb": None,
    "x" * 256: None,
}


@pytest.mark.parametrize("written", NAMES)
def test_name(written: str) -> None:
    assert qemu.Process(1, ("-name", written)).name == NAMES[written]


def test_a_guest_whose_process_is_anothers_is_not_looked_at() -> None:
    db1 = PIDS["hv1"]["db1"]
    wrong = {**HV1.answers, qemu.PIDS: {f"{qemu.STATE}/web1.pid": Content(str(db1).encode())}}
    with pytest.raises(CannotLook, match=f"names process {db1}, which is not web1's"):
        qemu.of_guest(look(wrong), "web1")
    gone = {**HV1.answers, qemu.PIDS: {f"{qemu.STATE}/web1.pid": Content(b"1")}}
    with pytest.raises(CannotLook, match="no QEMU process 1 that we may read"):
        qemu.of_guest(look(gone), "web1")


@pytest.mark.parametrize("text", ["", "x", "-1", "1\n2", "٣", "1" * 11])
def test_pid_file(text: str) -> None:
    odd = {**HV1.answers, qemu.PIDS: {f"{qemu.STATE}/web1.pid": Content(text.encode())}}
    with pytest.raises(CannotLook, match="holds no process id"):
        qemu.pid(look(odd), "web1")


# --- what they say


def test_options() -> None:
    app1, hand2 = qemu.of_guest(HV1, "app1"), qemu.of_guest(HV2, "hand2")
    assert app1.option("smp") == "2,maxcpus=4,sockets=1,dies=1,cores=2,threads=2"
    assert app1.option("m") == "size=262144k,slots=4,maxmem=1048576k"
    assert (app1.option("cpu") or "").startswith("Westmere,rdrand=on,")
    assert (hand2.option("m"), hand2.option("M", "machine"), hand2.option("numa")) == ("192", "pc,usb=off", None)


def test_the_last_of_an_option_counts() -> None:
    process = qemu.Process(1, ("-m", "1G", "--m", "2G", "-M", "pc", "-machine", "q35"))
    assert (process.option("m"), process.option("machine", "M")) == ("2G", "q35")


def test_parts_are_alike_however_they_are_written() -> None:
    of_libvirt = [one for one in qemu.of_guest(HV2, "mute2").parts() if "mount_tag" in one]
    of_hand = [one for one in qemu.of_guest(HV2, "hand2").parts() if "mount_tag" in one]
    assert [(one["driver"], one["mount_tag"]) for one in of_libvirt] == [("virtio-9p-pci", "hostshare")]
    assert of_hand == [{"driver": "virtio-9p-pci", "fsdev": "share", "mount_tag": "hostshare"}]
    assert {"driver": "tap", "id": "net", "ifname": "hand2", "script": "no", "downscript": "no"} in list(
        qemu.of_guest(HV2, "hand2").parts()
    )
    dimms = [one for one in qemu.of_guest(HV1, "app1").parts() if one.get("driver") == "pc-dimm"]
    assert [(one["id"], one["memdev"]) for one in dimms] == [("dimm0", "memdimm0")]


@pytest.mark.parametrize("argument", ['{"driver":"virtio-', "{" + '"a":{' * 100_000])
def test_json_that_is_none_is_an_error(argument: str) -> None:
    with pytest.raises(CannotLook, match="is not JSON"):
        list(qemu.Process(1, (argument,)).parts())


def test_keywords() -> None:
    assert qemu.keywords("local,path=/srv/a,,b,readonly") == {"local": "", "path": "/srv/a,b", "readonly": ""}


# --- what is taken, of a process that is there: a script with QEMU's name and arguments

Start = Callable[..., int]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a process that looks like a QEMU with these arguments."""
    running: list[subprocess.Popen[bytes]] = []
    program = tmp_path / "qemu-system-x86"
    program.write_text("#!/bin/sh\nread line\n")
    program.chmod(0o755)

    def started(*arguments: str) -> int:
        process = subprocess.Popen([program, *arguments], stdin=subprocess.PIPE)
        running.append(process)
        while program.name not in Path(f"/proc/{process.pid}/cmdline").read_text():  # empty while it changes programs
            time.sleep(0.005)
        return process.pid

    yield started
    for process in running:
        process.kill()
        process.communicate()


def taken(pid: int) -> tuple[qemu.Process, bytes]:
    """What ARGUMENTS takes of one process on this machine, and its raw answer."""
    done = subprocess.run(qemu.ARGUMENTS.argv, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"})
    files = {f"{qemu.STATE}/x.pid": Content(str(pid).encode())}
    answers = {qemu.ARGUMENTS: Completed(0, done.stdout, b""), qemu.PIDS: files}
    return qemu.of_guest(look(answers), "x"), done.stdout


def test_a_process_started_by_hand_is_found(start: Start) -> None:
    pid = start("-name", "x", "-virtfs", "local,path=/srv,mount_tag=t,security_model=none", "-drive", "file=/a,if=none")
    process, _raw = taken(pid)
    assert process.option("virtfs") == "local,path=/srv,mount_tag=t,security_model=none"
    assert {"file": "/a", "if": "none"} in list(process.parts())


SECRETS = (
    ("-object", "secret,id=x,data=CANARY"),
    ("-object", "id=x,qom-type=secret,data=CANARY"),
    ("-object", "id=x,data=CANARY,qom-type=secret"),
    ("-object", '{"qom-type":"secret","id":"x","data":"CANARY"}'),
    ("-object", '{"id":"x","data":"CANARY","qom-type":"secret"}'),
    ("-drive", "file=rbd:pool/img:id=admin:key=CANARY"),
    ("-drive", "if=none,id=d,file=rbd:pool/img:id=admin:key=CANARY"),
    ("-drive", "id=d,file.driver=iscsi,file.password=CANARY"),
    ("-drive", "file=https://user:CANARY@host/image,if=none"),
    ("-drive", "if=none,file.driver=https,file.url=https://user:CANARY@host/image"),
    ("-drive", "if=none,file.driver=https,file.cookie=CANARY"),
    ("-blockdev", '{"driver":"raw","file":{"driver":"https","url":"https://user:CANARY@host/image"}}'),
    ("-blockdev", '{"driver":"raw","file":{"driver":"https","url":"https://host/","cookie":"CANARY"}}'),
    ("-blockdev", '{"driver":"rbd","pool":"p","image":"i","key":"CANARY"}'),
    ("-vnc", ":1,password=CANARY"),
    ("-spice", "port=1,password=CANARY"),
    ("-fw_cfg", "name=opt/token,string=CANARY"),
    ("-smbios", "type=11,value=CANARY"),
    ("-append", "token=CANARY"),
    ("-chardev", "socket,id=CANARY,path=/a"),
    ("rbd:pool/img:id=admin:key=CANARY",),
)


@pytest.mark.parametrize("arguments", SECRETS, ids=" ".join)
def test_secrets_are_not_taken(arguments: tuple[str, ...], start: Start) -> None:
    pid = start("-name", "x", "-m", "1G", "-device", "virtio-rng-pci", *arguments, "-smp", "2")
    assert b"CANARY" in Path(f"/proc/{pid}/cmdline").read_bytes()
    process, raw = taken(pid)
    assert b"CANARY" not in raw
    assert (process.option("m"), process.option("smp")) == ("1G", "2")


def test_names_of_secrets_are_no_secrets(start: Start) -> None:
    """libvirt's encrypted disks: the key is in an object of its own."""
    disk = '{"node-name":"a","driver":"qcow2","encrypt":{"format":"luks","key-secret":"secret0"},"file":"b"}'
    process, _raw = taken(start("-name", "x", "-blockdev", disk, "-drive", "if=none,file=/a,password-secret=secret0"))
    assert [sorted(one) for one in process.parts()] == [
        ["driver", "encrypt", "file", "node-name"],
        ["file", "if", "password-secret"],
    ]
