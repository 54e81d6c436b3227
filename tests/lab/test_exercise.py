"""Exercises: what is done is seen on every layer, and taken back; what does not follow departs; nothing stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from lab import Lab
from tests.lab.conftest import Virtvet
from tests.lab.faults import memory

FOLLOWS = "MEM-BALLOON-3"
DRIVER = next(fault for fault in memory.FAULTS if fault.name == "a guest's driver lets go of its balloon")


@dataclass(frozen=True)
class Stuck:
    """What is wrong inside the guest, and the layers that depart while memory is taken."""

    name: str
    breaks: str
    restores: str
    departs: str


STUCK = (
    Stuck("nobody drives the balloon", DRIVER.breaks, DRIVER.restores, "live actual guest"),
    Stuck(
        "the guest counts memory that it gave away",
        "cp /proc/meminfo /run/meminfo; mount --bind /run/meminfo /proc/meminfo",
        "umount /proc/meminfo; rm /run/meminfo",
        "guest",
    ),
)


def of_guests(lab: Lab) -> Mapping[str, str]:
    """What each guest has: libvirt's account, and its own."""
    told = {guest: lab.hosts[guest[:3]].sh(f"virsh dominfo {guest[4:]}").stdout for guest in ("hv1/app1", "hv1/plain1")}
    return told | {f"{guest} inside": lab.guests[guest].sh("grep MemTotal /proc/meminfo").stdout for guest in told}


def without_time(told: Mapping[str, str]) -> Mapping[str, list[str]]:
    return {name: [line for line in text.splitlines() if "CPU time" not in line] for name, text in told.items()}


def test_memory_is_taken_and_given_back(lab: Lab, virtvet: Virtvet) -> None:
    before = without_time(of_guests(lab))
    done = virtvet("--exercise", f"--control={FOLLOWS}")
    assert done.code == 0, done.out + done.err
    ended = {name: outcome for name, outcome in done.outcomes.items() if name.startswith(FOLLOWS)}
    assert ended == {
        f"{FOLLOWS} hv1/app1": "passed",
        f"{FOLLOWS} hv1/plain1": "passed",
        f"{FOLLOWS} hv2/mute2": "passed",  # through its agent
        f"{FOLLOWS} hv2/hand2": "skipped",  # nobody's to move
    }
    (seen,) = [one for one in done.run["results"] if one["id"].endswith("plain1]") and one["control"] == FOLLOWS]
    values = {layer: found["readings"][0]["value"] for layer, found in seen["layers"].items()}
    assert (values["live"], values["actual"]) == ("168 MiB", "168 MiB")
    assert seen["mending"]["mode"] == "exercise"
    assert seen["mending"]["outcome"] == "tried"
    assert without_time(of_guests(lab)) == before


@pytest.mark.parametrize("stuck", STUCK, ids=lambda stuck: stuck.name)
def test_what_does_not_follow_departs(stuck: Stuck, lab: Lab, virtvet: Virtvet) -> None:
    guest, before = lab.guests["hv1/plain1"], without_time(of_guests(lab))
    guest.sh(f"set -e; {stuck.breaks}")
    try:
        done = virtvet("-H", "hv1", "--exercise", f"--control={FOLLOWS}", "--guest=plain1")
    finally:
        guest.sh(f"set -e; {stuck.restores}")
    (seen,) = [one for one in done.run["results"] if one["control"] == FOLLOWS]
    departing = [layer for layer, found in seen["layers"].items() if found["verdict"] == "departs"]
    assert (done.code, seen["outcome"], " ".join(departing)) == (1, "failed", stuck.departs), done.out
    assert without_time(of_guests(lab)) == before


def test_it_is_not_done_unasked(virtvet: Virtvet) -> None:
    done = virtvet("-H", "hv1", "--area=memory", "--guest=plain1")
    assert done.code == 0
    assert not [name for name in done.outcomes if name.startswith(FOLLOWS)]
    refused = virtvet("-H", "hv1", f"--control={FOLLOWS}")
    assert refused.code == 21
    assert f"{FOLLOWS} changes something for a moment (ask for that: --exercise)" in refused.err
