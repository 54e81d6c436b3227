"""Demands that a host with CPUs 0-7, nodes 0-1 and 2 GiB cannot meet, each with its place in the profile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.neighbour_looks import look
from virtvet import catalogue
from virtvet.errors import CannotLook
from virtvet.inventory import from_hostspecs
from virtvet.judge import Outcome, judge
from virtvet.probes import demands, pins
from virtvet.profile.load import load_profile
from virtvet.snapshot.model import Absent, Content, LibvirtAnswer
from virtvet.snapshot.sources import Libvirt, Network
from virtvet.target import HostTarget

(CHECK,) = [check for check in catalogue.shipped() if check.control.id == "PROFILE-1"]
GUESTS = ("db1", "web1", "web2")
MISTAKES = {
    "CPUs of pins": (
        "guests:\n  web1: {cpu: {pins: {vcpu: {0: 7, 1: 7-8}, emulator: 0, iothread: {1: 9}, default: 9-10}}}",
        {
            "p.yaml:3:36: web1: cpu.pins.vcpu.1: there is no CPU 8 (the host has 0-7)",
            "p.yaml:3:69: web1: cpu.pins.iothread.1: there is no CPU 9 (the host has 0-7)",
            "p.yaml:3:76: web1: cpu.pins.default: there is no CPU 9-10 (the host has 0-7)",
        },
    ),
    "CPUs of a partition": (
        "host: {partitions: {/machine: {cpuset: 6-9}}}",
        {"p.yaml:2:32: /machine: cpuset: there is no CPU 8-9 (the host has 0-7)"},
    ),
    "of several entries the last that states it": (
        'guests:\n  "*": {cpu: {pins: {emulator: 9}}}\n  web*: {cpu: {pins: {emulator: 8, vcpu: {0: 9}}}}\n'
        "  web1: {cpu: {pins: {vcpu: {0: 1}}}}",
        {
            "p.yaml:3:22: db1: cpu.pins.emulator: there is no CPU 9 (the host has 0-7)",
            "p.yaml:4:23: web1: cpu.pins.emulator: there is no CPU 8 (the host has 0-7)",
            "p.yaml:4:23: web2: cpu.pins.emulator: there is no CPU 8 (the host has 0-7)",
            "p.yaml:4:43: web2: cpu.pins.vcpu.0: there is no CPU 9 (the host has 0-7)",
        },
    ),
    "nodes": (
        "host: {partitions: {/machine: {memory_nodes: 0-2}}}",
        {"p.yaml:2:32: /machine: memory_nodes: there is no node 2 (the host has 0-1)"},
    ),
    "CPUs that are two guests' alone": (
        "guests:\n  web*: {cpu: {pins: {vcpu: {0: 1-2}, exclusive: true}}}\n"
        "  db1: {cpu: {pins: {default: 2-3, exclusive: true}}}",
        {
            "p.yaml:3:39: web1: cpu.pins.exclusive: CPU 2 is db1's alone (p.yaml:4:36)",
            "p.yaml:3:39: web2: cpu.pins.exclusive: CPU 2 is db1's alone (p.yaml:4:36)",
            "p.yaml:3:39: web2: cpu.pins.exclusive: CPU 1-2 is web1's alone (p.yaml:3:39)",
        },
    ),
    "alone nobody knows where": (
        "guests:\n  'web*': {cpu: {pins: {exclusive: true}}}\n  web2: {cpu: {pins: {vcpu: {0: 1}}}}",
        {"p.yaml:3:25: web1: cpu.pins.exclusive: neither vcpu: nor default: says on which CPUs"},
    ),
    "hard limits in a partition": (
        "host: {partitions: {/machine: {memory: 700 MiB}, /machine/a: {memory: 10%}, /machine/b: {}}}\nguests:\n"
        "  web*: {partition: /machine/a, memory: {limits: {hard: 400 MiB}}}",
        {
            "p.yaml:4:51: web1: memory.limits.hard: 800 MiB with web2, and /machine has 700 MiB",
            "p.yaml:4:51: web1: memory.limits.hard: 800 MiB with web2, and /machine/a has 204 MiB",
        },
    ),
    "hard limits on the host": (
        "guests:\n  web*: {memory: {limits: {hard: 1 GiB}}}\n  db1: {memory: {limits: {hard: 1 GiB}}}",
        {"p.yaml:4:27: db1: memory.limits.hard: 3072 MiB with web1, web2, and the host has 2048 MiB"},
    ),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def target(text: str) -> HostTarget:
    Path("p.yaml").write_text(f"virtvet: 1\n{text}\n")
    (access,) = from_hostspecs(["local://"]).hosts.values()
    return HostTarget.unseen(access, load_profile("./p.yaml")).seen(GUESTS)


@pytest.mark.parametrize("name", MISTAKES)
def test_told_with_its_place(name: str) -> None:
    text, complaints = MISTAKES[name]
    seen = [judge(CHECK, case, look([])) for case in CHECK.cases(target(text))]
    said = {line for one in seen for layer in one.layers for reading, _good in layer.readings for line in reading.value}
    assert said == complaints
    assert Outcome.FAILED in {one.outcome for one in seen}


def test_what_is_not_demanded_is_no_case() -> None:
    assert list(CHECK.cases(target("guests: {web1: {}}"))) == []


def test_what_can_be_met_passes() -> None:
    text = """\
host: {partitions: {/machine: {cpuset: 0-7, memory_nodes: 0-1, memory: 100%}}}
guests:
  web1: {partition: /machine, cpu: {pins: {vcpu: {0: 1}, exclusive: true}}, memory: {limits: {hard: 2 GiB}}}
  web2: {cpu: {pins: {vcpu: {0: 2}, exclusive: true}}, memory: {limits: {hard: unlimited}}}
"""
    seen = {case.subject: judge(CHECK, case, look([])).outcome for case in CHECK.cases(target(text))}
    assert seen == dict.fromkeys(["CPUs", "NUMA nodes", "exclusive CPUs", "hard limits"], Outcome.PASSED)


def test_a_pin_of_which_no_cpu_is_online() -> None:
    snapshot = look([], {pins.ONLINE: Content(b"0-3\n")})
    pinned = target("guests: {web1: {cpu: {pins: {vcpu: {0: 4}}}}}")
    seen = [judge(CHECK, case, snapshot) for case in CHECK.cases(pinned)]
    assert "p.yaml:2:37: web1: cpu.pins.vcpu.0: none of these CPUs is online" in seen[0].message()


def test_without_numa_there_is_node_0() -> None:
    snapshot = look([], {demands.NODES: Absent()})
    cases = CHECK.cases(target("host: {partitions: {/machine: {memory_nodes: 0}}}"))
    assert [judge(CHECK, case, snapshot).outcome for case in cases] == [Outcome.PASSED]


def test_cpus_that_cannot_be_read() -> None:
    with pytest.raises(CannotLook):
        demands.cpus(look([], {demands.PRESENT: Content(b"")}), ())


FLOORS = """\
guests:
  web*: {interfaces: {net0: {network: lan, inbound: {average: 10 Mbit/s, floor: 1 Mbit/s}}}}
  db1: {interfaces: {net0: {network: lan, inbound: {average: 1 MB/s}}, net1: {network: gone, inbound: {floor: 5 MB/s}}}}
"""
AVERAGE = "<bandwidth><inbound average='{}'/></bandwidth>"


@pytest.mark.parametrize("bandwidth", ["", "<bandwidth><outbound average='2000'/></bandwidth>", AVERAGE.format(2000)])
def test_floors_need_a_network_that_has_something_to_promise(bandwidth: str) -> None:
    asked, networks = target(FLOORS), {"lan": Content(f"<network>{bandwidth}</network>".encode()), "gone": Absent()}
    assert {source for source in CHECK.sources(asked) if isinstance(source, Network)} == {*map(Network, networks)}
    libvirt = LibvirtAnswer("qemu:///system", "hv1", 9000000, 7002000, "<capabilities/>", {})
    answers = {Libvirt(): libvirt, **{Network(name): said for name, said in networks.items()}}
    (case,) = [case for case in CHECK.cases(asked) if case.subject == "floors"]
    (layer,) = judge(CHECK, case, replace(look([]), answers=answers)).layers
    said = [line.partition(": ")[2] for reading, _good in layer.readings for line in reading.value]
    why = "interfaces.net0.inbound.floor: the network lan has no inbound average to take it from"
    lost = [f"{guest}: {why}" for guest in GUESTS[1:]]
    gone = ["db1: interfaces.net1.inbound.floor: there is no network gone"]
    assert sorted(said) == gone + (lost if "inbound" not in bandwidth else [])
