"""A guest that was started by hand: what is judged of it, what is not and why; what of its arguments is never taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lab import Lab
from tests.lab.conftest import PROFILE, Virtvet
from tests.lab.faults import by_hand
from virtvet.snapshot.store import load

HAND2 = ("-H", "hv2", "--guest", "hand2")


@pytest.fixture
def wanted(tmp_path: Path) -> Path:
    """The lab's profile, but hand2 must be there."""
    path = tmp_path / "wanted.yaml"
    path.write_text(f"virtvet: 1\nextends: {PROFILE}\nguests: {{hand2: {{optional: false}}}}\n")
    return path


def test_what_has_its_sources_is_judged_and_the_rest_says_why(virtvet: Virtvet) -> None:
    done = virtvet(*HAND2)
    assert done.code == 0, done.out + done.err
    layers = {f"{one['control']} {one['subject']}": one["layers"] for one in done.run["results"]}
    without = "the guest was started by hand: libvirt does not know it"
    device = {layer: one["not_applicable"] for layer, one in layers["SHARE-DEV-1 hand2/hostshare"].items()}
    assert device == {"config": without, "live": without, "actual": ""}
    assert done.outcomes["SHARE-DEV-1 hv2/hand2/hostshare"] == "passed"
    assert done.outcomes["SHARE-MOUNT-1 hv2/hand2/hostshare"] == "passed"
    assert done.outcomes["CPU-PIN-1 hv2/hand2/vcpu0"] == "passed"
    assert done.outcomes["GUEST-REACH-1 hv2/hand2"] == "passed"
    assert done.outcomes["PLACE-2 hv2/hand2"] == "skipped"
    assert "error" not in done.outcomes.values()


def test_it_is_missed_when_it_is_gone(lab: Lab, virtvet: Virtvet, wanted: Path) -> None:
    assert virtvet(*HAND2, profile=wanted).code == 0
    host = lab.hosts["hv2"]
    host.sh(by_hand.END)
    try:
        done = virtvet(*HAND2, profile=wanted)
    finally:
        host.sh(by_hand.START)
        lab.guests["hv2/hand2"].wait()
    assert done.outcomes["GUEST-STATE-1 hv2/hand2"] == "error"
    assert "passed" not in [outcome for name, outcome in done.outcomes.items() if "hand2" in name]
    assert "no guest on hv2 matches this name; there are: mute2, web2" in done.out


def test_it_is_judged_where_libvirt_does_not_answer(lab: Lab, virtvet: Virtvet) -> None:
    host = lab.hosts["hv2"]
    host.stop_libvirtd()
    try:
        done = virtvet("-H", "hv2", "--area=reach", "--area=shares")
    finally:
        host.start_libvirtd()
    assert done.outcomes["HOST-REACH-2 hv2/libvirt"] == "error"
    assert done.outcomes["GUEST-STATE-1 hv2/hand2"] == "passed"
    assert done.outcomes["SHARE-DEV-1 hv2/hand2/hostshare"] == "passed"
    assert done.outcomes["SHARE-MOUNT-1 hv2/hand2/hostshare"] == "passed"
    assert done.outcomes["SHARE-DEV-1 hv2/mute2/hostshare"] == "skipped"


ODD = (
    "truncate -s 16M /run/odd.img; qemu-system-x86_64 -name odd,debug-threads=on -display none -S -daemonize "
    "-pidfile /run/odd.pid -m 256M,slots=4,maxmem=1G -smp 2,maxcpus=4,sockets=1,cores=2,threads=2 "
    "-object memory-backend-memfd,id=m0,size=256M,share=on -numa node,nodeid=0,cpus=0-3,memdev=m0 "
    "-object iothread,id=io1 -drive file=/run/odd.img,format=raw,if=none,id=d0,cache=none "
    "-device virtio-blk-pci,drive=d0,id=vda -netdev user,id=n0 -device e1000,netdev=n0,mac=52:54:00:77:01:24 "
    "-virtfs local,path=/srv/share,mount_tag=hostshare,security_model=passthrough"
)


JUDGED = """
CPU-MODEL-1 CPU-MODEL-2 CPU-MODEL-9 CPU-PIN-1 CPU-PIN-2 CPU-SCHED-1 CPU-SCHED-2 CPU-SCHED-4 CPU-TOPO-1 CPU-VCPU-1
CPU-VCPU-2 DISK-1 DISK-2 DISK-3 DISK-4 DISK-5 DISK-DRIVER-1 DISK-DRIVER-2 DISK-DRIVER-3 DISK-DRIVER-4 DISK-DRIVER-5
DISK-DRIVER-6 DISK-SOURCE-2 MEM-BACK-2 MEM-BACK-3 MEM-BACK-6 MEM-BALLOON-1 MEM-BALLOON-2 MEM-CELL-1 MEM-CELL-2
MEM-CELL-3 MEM-PLUG-1 NIC-DEV-1 SHARE-DEV-1 SHARE-DEV-2 SHARE-DEV-3 SHARE-DEV-4 SHARE-DIR-1 SHARE-DIR-2 SHARE-DIR-3
""".split()
"""What /proc tells of a QEMU whose monitor cannot be asked, which is in nobody's control group, and has no SSH."""


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """A profile that states of a guest whatever the lab's does of any; not what is wrong by itself for this one."""
    yaml = YAML(typ="safe")
    entries = yaml.load(PROFILE)["guests"]
    web1, app1 = entries["web1"], entries["app1"]
    both = {area: {**web1.get(area, {}), **app1.get(area, {})} for area in ("cpu", "memory")}
    stated = {**web1, **app1, **both, "optional": False}
    path = tmp_path / "everything.yaml"
    with path.open("w") as stream:
        yaml.dump({"virtvet": 1, "guests": {"odd": stated}}, stream)
    return path


def test_every_check_whose_sources_exist_is_run(lab: Lab, virtvet: Virtvet, everything: Path) -> None:
    host = lab.hosts["hv2"]
    host.sh(ODD)
    try:
        done = virtvet("-H", "hv2", profile=everything)
    finally:
        host.sh("kill $(cat /run/odd.pid); rm /run/odd.img")
    of_odd = {name: outcome for name, outcome in done.outcomes.items() if "/odd" in name}
    assert len(of_odd) > 60
    assert [name for name, outcome in of_odd.items() if outcome == "error"] == ["GUEST-REACH-1 hv2/odd"]
    for control in ("SHARE-DEV-1 hv2/odd/hostshare", "GUEST-STATE-1 hv2/odd", "CPU-PIN-1 hv2/odd/vcpu1"):
        assert of_odd[control] == "passed", control
    told = [one for one in done.run["results"] if one["guest"] == "odd" and one["control"] != "GUEST-STATE-1"]
    assert not [one["id"] for one in told for layer in ("config", "live") if _read(one["layers"].get(layer))]
    assert sorted({one["control"] for one in told if _read(one["layers"].get("actual"))}) == JUDGED


def _read(layer: dict[str, Any] | None) -> bool:
    return bool(layer and layer["readings"])


SPY = (
    "qemu-system-x86_64 -name spy -machine none -display none -S -daemonize -pidfile /run/spy.pid "
    "-object secret,id=first,data=CANARY-1 -object id=second,data=CANARY-2,qom-type=secret "
    """-object '{"qom-type":"secret","id":"third","data":"CANARY-3"}'"""
)


def test_secrets_among_its_arguments_do_not_travel(lab: Lab, virtvet: Virtvet, tmp_path: Path) -> None:
    host, file = lab.hosts["hv2"], tmp_path / "look.json"
    host.sh(SPY)
    try:
        assert "CANARY" in host.sh("cat /proc/$(cat /run/spy.pid)/cmdline").stdout
        done = virtvet("-H", "hv2", f"--save-snapshot={file}")
    finally:
        host.sh("kill $(cat /run/spy.pid)")
    assert load(file)["hv2"].by_hand.keys() == {"hand2", "spy"}
    for text in (file.read_text(), done.out, done.err, json.dumps(done.run)):
        assert "CANARY" not in text
