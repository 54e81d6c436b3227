"""A guest without any network, judged and mended through its agent, whichever way leads to its host's libvirt."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lab import Lab
from tests.lab.conftest import PROFILE, TOP, Virtvet
from virtvet.errors import Unreachable
from virtvet.inventory import load_inventory
from virtvet.snapshot.connections import Connections

MUTE2 = ("-H", "hv2", "--guest", "mute2")
Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def inventory(lab: Lab, tmp_path: Path) -> Callable[[Edit], Path]:
    """The lab's inventory with hv2 only, and that edited."""

    def edited(edit: Edit) -> Path:
        tree = YAML(typ="safe").load(lab.inventory)
        tree["hosts"] = {"hv2": tree["hosts"]["hv2"]}
        edit(tree["hosts"]["hv2"])
        path = tmp_path / "inventory.yaml"
        path.write_text(json.dumps(tree))
        return path

    return edited


def by_tls(host: dict[str, Any]) -> None:
    assert host["libvirt"]["uri"].startswith("qemu+tls://")


def by_ssh(host: dict[str, Any]) -> None:
    del host["libvirt"]["uri"]


def by_operator(host: dict[str, Any]) -> None:
    host["ssh"].update(user="operator", sudo=True)
    by_ssh(host)


@pytest.mark.parametrize("edit", [by_tls, by_ssh, by_operator], ids=lambda edit: edit.__name__)
def test_it_is_judged_fully(edit: Edit, virtvet: Virtvet, inventory: Callable[[Edit], Path]) -> None:
    done = virtvet(*MUTE2, inventory=inventory(edit))
    assert done.code == 0, done.out + done.err
    assert set(done.outcomes.values()) == {"passed"}
    guests = [result["layers"]["guest"] for result in done.run["results"] if "guest" in result["layers"]]
    assert len(guests) > 10
    assert not [one for one in guests if one["error"] or one["not_applicable"]]


def test_it_is_judged_from_the_host_itself(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "inventory.yaml"
    file.write_text("virtvet: 1\nhosts: {here: {local: true, guests: {mute2: {agent: true}}}}\n")
    asked = ["check", str(PROFILE), f"--inventory={file}", "--guest=mute2", "--area=shares", f"--reports={tmp_path}"]
    environment = ["env", f"PYTHONPATH={TOP / 'src'}"]
    done = lab.hosts["hv2"].run([*environment, sys.executable, "-m", "virtvet", *asked], check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "latest" / "run.json").read_text())["results"]
    assert "SHARE-MOUNT-3" in {one["control"] for one in results if one["outcome"] == "passed"}


def test_it_is_mended_through_its_agent(lab: Lab, virtvet: Virtvet) -> None:
    guest = lab.guests["hv2/mute2"]
    guest.sh("umount /mnt/share")
    try:
        tried = virtvet(*MUTE2, "--control=SHARE-MOUNT-1", "--fix=try", "--fix-risk=live")
        assert " /mnt/share " not in guest.sh("cat /proc/mounts").stdout
        kept = virtvet(*MUTE2, "--control=SHARE-MOUNT-1", "--fix=keep", "--fix-risk=live")
        assert " /mnt/share 9p " in guest.sh("cat /proc/mounts").stdout
    finally:
        guest.sh("grep -q ' /mnt/share ' /proc/mounts || mount /mnt/share")
    assert tried.code == 1
    assert kept.outcomes["SHARE-MOUNT-1 hv2/mute2/hostshare"] == "passed", kept.out


def test_commands(lab: Lab) -> None:
    inventory = load_inventory(lab.inventory, only=["hv2"])
    with Connections(15) as connections:
        connections.know(inventory.hosts["hv2"])

        def run(*argv: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
            done = connections.run("hv2/mute2", argv, stdin)
            return done.returncode, done.stdout, done.stderr

        assert run("printf", "%s|", "a b", "$(id)", "") == (0, b"a b|$(id)||", b"")
        assert run("sh", "-c", "cat; echo err >&2; exit 7", stdin=b"in") == (7, b"in", b"err\n")
        assert run("sh", "-c", "kill -9 $$")[0] == 137
        large = run("sh", "-c", "cat | head -c 70000; head -c 400000 /dev/urandom >&2; head -c 2000000 /dev/zero")
        assert (large[1], len(large[2])) == (bytes(2_000_000), 400_000)


def test_a_large_question_and_a_large_answer_arrive_or_are_refused(lab: Lab) -> None:
    """More than 200 KiB at once would silence the agent: the next command must be answered at once."""
    inventory = load_inventory(lab.inventory, only=["hv2"])
    with Connections(15) as connections:
        connections.know(inventory.hosts["hv2"])
        question = bytes(70_000)
        assert connections.run("hv2/mute2", ["cat"], question).stdout == question
        with pytest.raises(Unreachable, match="asked so much at once"):
            connections.run("hv2/mute2", ["cat"], bytes(100_000))
        with pytest.raises(Unreachable, match="cannot send so much"):
            connections.run("hv2/mute2", ["head", "-c", "3000000", "/dev/urandom"])
        assert connections.run("hv2/mute2", ["echo", "well"]).stdout == b"well\n"
        assert connections.counts.channels == 0


def test_what_hangs_ends_at_the_deadline_there_too(lab: Lab) -> None:
    inventory = load_inventory(lab.inventory, only=["hv2"])
    with Connections(1.5) as connections:
        connections.know(inventory.hosts["hv2"])
        with pytest.raises(Unreachable, match=r"did not finish within 1\.5 s"):
            connections.run("hv2/mute2", ["sleep", "4711"])
    script = "while pidof sleep >/dev/null && ps | grep -q '[s]leep 4711'; do sleep 0.2; done"
    lab.guests["hv2/mute2"].sh(script, timeout=10)
