"""The ways to hosts and guests: the same verdicts by each; where there is none, an error once, in time, and no pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lab import Lab
from lab.spec import HOSTS
from tests.lab.conftest import PROFILE, TOP, Ended, Virtvet

Edit = Callable[[dict[str, Any]], None]
HV1 = HOSTS[0]
ONLY_HOSTS = ("--area=cpu", "--guest=web*")
"""A specification of a host says no way into its guests: these have no guest layer to be judged in this area."""


@pytest.fixture
def inventory(lab: Lab, tmp_path: Path) -> Callable[[Edit], Path]:
    """The lab's inventory with hv1 only, and that edited."""

    def edited(edit: Edit) -> Path:
        yaml = YAML(typ="safe")
        tree = yaml.load(lab.inventory)
        tree["hosts"] = {"hv1": tree["hosts"]["hv1"]}
        edit(tree["hosts"]["hv1"])
        path = tmp_path / "inventory.yaml"
        path.write_text(json.dumps(tree))
        return path

    return edited


def without_uri(host: dict[str, Any]) -> None:
    del host["libvirt"]["uri"]


def by_operator(host: dict[str, Any]) -> None:
    host["ssh"].update(user="operator", sudo=True)
    without_uri(host)


def through_hv2(host: dict[str, Any]) -> None:
    host["ssh"]["jump"] = "ssh://root@10.77.0.2:22"
    without_uri(host)


def literal_addresses(host: dict[str, Any]) -> None:
    login = host["guests"].pop("*")["ssh"]
    host["guests"] = {guest.name: {"ssh": {**login, "address": guest.address}} for guest in HV1.guests}


WAYS = [without_uri, by_operator, through_hv2, literal_addresses]


@pytest.mark.parametrize("edit", WAYS, ids=[way.__name__ for way in WAYS])
def test_all_ways_lead_to_the_same_verdicts(edit: Edit, virtvet: Virtvet, inventory: Callable[[Edit], Path]) -> None:
    done = virtvet(inventory=inventory(edit))
    sometimes_idle = {"CPU-PIN-5 hv1/db1"}  # a vCPU that sleeps just then is on no CPU
    not_passed = {name for name, outcome in done.outcomes.items() if outcome != "passed"}
    assert not_passed <= sometimes_idle, done.out + done.err
    assert done.code == 0


def unknown_key(host: dict[str, Any]) -> None:
    host["ssh"]["known_hosts"] = "/dev/null"


def wrong_user(host: dict[str, Any]) -> None:
    host["ssh"]["user"] = "nosuch"


def closed_port(host: dict[str, Any]) -> None:
    host["ssh"]["port"] = 1


LOST = [(unknown_key, "host key"), (wrong_user, "refused nosuch's key"), (closed_port, "refused")]


@pytest.mark.parametrize(("edit", "words"), LOST, ids=[edit.__name__ for edit, _words in LOST])
def test_lost_host_is_told_once_with_its_reason(
    edit: Edit, words: str, virtvet: Virtvet, inventory: Callable[[Edit], Path]
) -> None:
    began = time.monotonic()
    done = virtvet("--deadline=8", inventory=inventory(edit))
    assert time.monotonic() - began < 20
    assert done.code == 20
    assert [name for name, outcome in done.outcomes.items() if outcome == "error"] == ["HOST-REACH-1 hv1/ssh"]
    assert "passed" not in done.outcomes.values()
    assert words in done.out
    assert "Traceback" not in done.out + done.err


def as_guestless(host: dict[str, Any]) -> None:
    host["ssh"].update(user="guestless")
    without_uri(host)


def test_without_permission_nothing_hidden_passes(virtvet: Virtvet, inventory: Callable[[Edit], Path]) -> None:
    done = virtvet(inventory=inventory(as_guestless))
    assert done.code == 1
    assert done.outcomes["HOST-REACH-2 hv1/libvirt"] == "error"
    assert "Traceback" not in done.out + done.err
    passed = {name.split()[0] for name, outcome in done.outcomes.items() if outcome == "passed"}
    assert passed.isdisjoint({"TLS-KEY-2", "CPU-PIN-1", "MEM-LIMIT-1", "PLACE-1", "SHARE-DEV-1"})


def no_way_in(host: dict[str, Any]) -> None:
    host["guests"] = {}


def test_guest_without_a_way_in_is_an_error_once_and_its_other_layers_are_judged(
    virtvet: Virtvet, inventory: Callable[[Edit], Path]
) -> None:
    done = virtvet("--guest=web1", inventory=inventory(no_way_in))
    assert [name for name, outcome in done.outcomes.items() if outcome == "error"] == ["GUEST-REACH-1 hv1/web1"]
    assert done.outcomes["CPU-PIN-1 hv1/web1/vcpu0"] == "passed"
    assert done.code == 1


def _told(ended: Ended) -> dict[str, Any]:
    """All that was judged, without what differs between any two runs."""
    return {one["id"]: {**one, "duration": 0} for one in ended.run["results"]}


def test_snapshot_gives_the_same_verdicts_offline(lab: Lab, virtvet: Virtvet, tmp_path: Path) -> None:
    file = tmp_path / "lab.json.gz"
    lab.hosts["hv1"].sh("chmod 700 /srv/share")
    try:
        live = virtvet(f"--save-snapshot={file}")
    finally:
        lab.hosts["hv1"].sh("chmod 755 /srv/share")
    seen = _told(live)
    replayed = virtvet(f"--from={file}")
    assert live.code == replayed.code == 1, live.out + replayed.out
    assert "looked at" not in replayed.err
    assert _told(replayed) == seen


def test_plain_pytest_with_hostspecs(lab: Lab, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", f"--profile={PROFILE}", "--hosts=ssh://hv1,ssh://hv2", *ONLY_HOSTS]
    command += [f"--ssh-config={lab.ssh_config}", f"--reports={tmp_path}"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_ansible_inventory(lab: Lab, tmp_path: Path) -> None:
    pytest.importorskip("ansible", reason="ansible-core is not installed")
    hosts = tmp_path / "hosts.ini"
    hosts.write_text(
        f"[hypervisors]\nhv1 ansible_host=10.77.0.1 ansible_user=root ansible_ssh_private_key_file={lab.key}\n"
    )
    spec = f"ansible://hypervisors?ansible_inventory={hosts}&known_hosts={lab.known_hosts}"
    asked = ["check", str(PROFILE), "-H", spec, *ONLY_HOSTS, f"--reports={tmp_path}"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "virtvet", *asked]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_selection(virtvet: Virtvet) -> None:
    done: Ended = virtvet("--guest=web1", "--control=CPU-PIN-*")
    controls = {name.split()[0] for name in done.outcomes}
    assert done.code == 0
    assert {"CPU-PIN-1", "CPU-PIN-2", "CPU-PIN-3"} <= controls
    assert all(name.startswith(("CPU-PIN", "HOST-REACH", "GUEST-STATE")) for name in controls)
