"""A guest that was started by hand: what is judged of it, what is not and why; what of its arguments is never taken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
