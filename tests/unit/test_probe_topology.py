"""How vCPUs are arranged, on every layer: recorded in the lab from hv1/app1, which had 3 of its 4 vCPUs, by

`grep . /sys/devices/system/cpu/possible /sys/devices/system/cpu/cpu*/topology/{physical_package_id,die_id,…}`
(`three_of_four`; `two_sockets_of_two_dies` after a start with that topology). The other arrangements are constructed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import qemu, topology
from virtvet.probes.topology import PARTS
from virtvet.snapshot.model import Absent, Answer, Completed, Content, Domain, LibvirtAnswer, Snapshot
from virtvet.snapshot.sources import Libvirt, Source

DATA = Path(__file__).parents[1] / "probes" / "topology"
TAKEN = datetime(2026, 11, 23, tzinfo=UTC)
XML = "<domain><vcpu current='3'>4</vcpu><cpu><topology sockets='1' dies='1' cores='2' threads='2'/></cpu></domain>"
SMP = "2,maxcpus=4,sockets=1,dies=1,cores=2,threads=2"


def host(
    xml: str = XML, live: str | None = XML, smp: str | None = SMP, inside: Mapping[Source, Answer] | None = None
) -> Snapshot:
    domain = Domain("app1", "7f3c", "running" if live else "shut off", True, live, xml)
    words = ["-name", "guest=app1,debug-threads=on", *(["-smp", smp] if smp else [])]
    arguments = "".join(f"/proc/258/cmdline:{word}\0" for word in words).encode()
    answers: dict[Source, Answer] = {
        Libvirt(): LibvirtAnswer("qemu:///system", "hv1", 9_000_000, 7_002_000, "", {"app1": domain}),
        qemu.ARGUMENTS: Completed(0, arguments, b""),
        qemu.PIDS: {f"{qemu.STATE}/app1.pid": Content(b"258")},
    }
    return Snapshot("hv1", TAKEN, answers, {"app1": Snapshot("hv1/app1", TAKEN, inside or {})})


def recorded(name: str) -> dict[Source, Answer]:
    lines = (line.partition(":") for line in (DATA / name).read_text().splitlines())
    return answered({path: value for path, _, value in lines})


def arranged(possible: str, *places: str) -> dict[Source, Answer]:
    """One place a CPU: "package die threads"; a die of - is not told."""
    said = {topology.POSSIBLE.path: possible}
    for cpu, place in enumerate(places):
        names = ("physical_package_id", "die_id", "thread_siblings_list")
        values = zip(names, place.split(), strict=True)
        said |= {f"{topology.INSIDE.root}/cpu{cpu}/topology/{name}": value for name, value in values if value != "-"}
    return answered(said)


def answered(said: Mapping[str, str]) -> dict[Source, Answer]:
    files = {path: Content(f"{value}\n".encode()) for path, value in said.items()}
    return {topology.POSSIBLE: files.pop(topology.POSSIBLE.path), topology.INSIDE: files}


def inside(answers: Mapping[Source, Answer], part: str, wanted: int) -> set[int]:
    return {one.value for one in topology.seen(host(inside=answers), "app1", part, wanted)}


@pytest.mark.parametrize(("part", "number"), list(zip(PARTS, (1, 1, 2, 2), strict=True)))
def test_every_layer_says_the_same(part: str, number: int) -> None:
    looked = host(inside=recorded("three_of_four"))
    layers = (topology.config, topology.live, topology.started)
    assert [probe(looked, "app1", part, number).value for probe in layers] == [number] * 3
    assert [one.value for one in topology.seen(looked, "app1", part, number)] == [number]


@pytest.mark.parametrize(
    ("topology_of_cpu", "numbers"),
    [
        ("<topology sockets='2' cores='4' threads='1'/>", (2, 1, 4, 1)),
        ("<topology sockets='2' dies='3' clusters='1' cores='4' threads='1'/>", (2, 3, 4, 1)),
        ("", (4, 1, 1, 1)),
    ],
)
def test_what_is_not_written(topology_of_cpu: str, numbers: tuple[int, ...]) -> None:
    looked = host(f"<domain><vcpu current='3'>4</vcpu><cpu>{topology_of_cpu}</cpu></domain>")
    assert tuple(topology.config(looked, "app1", part, 1).value for part in PARTS) == numbers


@pytest.mark.parametrize("number", ["0", "-1", "two", "", "²", "1000000"])
def test_what_is_no_number_is_an_error(number: str) -> None:
    looked = host(XML.replace("cores='2'", f"cores='{number}'"))
    with pytest.raises(CannotLook, match="no number of CPUs"):
        topology.config(looked, "app1", "cores", 2)


@pytest.mark.parametrize(
    ("smp", "numbers"),
    [
        (SMP, (1, 1, 2, 2)),
        ("2,sockets=2,cores=1,threads=1", (2, 1, 1, 1)),  # libvirt before it knew dies
        ("1", (1, 1, 1, 1)),
        ("cpus=8,sockets=2,cores=2", (2, 1, 2, 2)),
        ("8,sockets=2,threads=2", (2, 1, 2, 2)),
        ("2,maxcpus=8,cores=2,threads=2", (2, 1, 2, 2)),
        ("8,cores=2", (4, 1, 2, 1)),
        ("sockets=2,cores=3", (2, 1, 3, 1)),
        ("cores=3", (1, 1, 3, 1)),
    ],
)
def test_what_qemu_fills_in(smp: str, numbers: tuple[int, ...]) -> None:
    assert tuple(topology.arranged(smp, "-smp")[part] for part in PARTS) == numbers


@pytest.mark.parametrize("smp", ["4", "8,threads=2", "4,cores=two", "4,cores=0", "four,cores=2"])
def test_what_only_qemu_knows_is_an_error(smp: str) -> None:
    with pytest.raises(CannotLook):
        topology.arranged(smp, "-smp")


def test_without_smp_there_is_one() -> None:
    assert [topology.started(host(smp=None), "app1", part, 1).value for part in PARTS] == [1] * 4


def test_a_guest_that_is_off_has_a_configuration_only() -> None:
    looked = host(live=None)
    assert topology.config(looked, "app1", "cores", 2).value == 2
    for probe in (topology.live, topology.started, topology.seen):
        with pytest.raises(NotApplicable, match="shut off"):
            probe(looked, "app1", "cores", 2)


@pytest.mark.parametrize(
    ("places", "numbers"),
    [
        (("0 0 0-1", "0 0 0-1", "0 0 2-3", "0 0 2-3"), (1, 1, 2, 2)),
        (("0 0 0", "0 1 1", "1 0 2", "1 1 3"), (2, 2, 1, 1)),
        (("0 0 0-3",) * 4, (1, 1, 1, 4)),
        (("0 0 0,2", "0 0 1,3", "0 0 0,2", "0 0 1,3"), (1, 1, 2, 2)),
    ],
)
def test_all_vcpus_are_online(places: tuple[str, ...], numbers: tuple[int, ...]) -> None:
    assert tuple(inside(arranged("0-3", *places), part, 9) for part in PARTS) == tuple({one} for one in numbers)


def test_halves_that_differ_are_both_seen() -> None:
    assert inside(arranged("0-2", "0 0 0-1", "0 0 0-1", "0 0 2"), "threads", 2) == {1, 2}


class TestSomeVcpusAreOffline:
    """cpu3 of four is not there yet."""

    def test_what_is_reached_is_judged(self) -> None:
        assert inside(recorded("three_of_four"), "threads", 2) == {2}

    def test_what_is_more_contradicts(self) -> None:
        assert inside(recorded("three_of_four"), "threads", 1) == {2}

    def test_what_may_still_come_is_not_judged(self) -> None:
        with pytest.raises(NotApplicable, match="sees 2 cores, and CPU 3 is not online yet"):
            inside(recorded("three_of_four"), "cores", 4)

    def test_two_sockets(self) -> None:
        answers = recorded("two_sockets_of_two_dies")
        assert (inside(answers, "sockets", 1), inside(answers, "dies", 1)) == ({2}, {2})
        for part in ("cores", "threads"):
            with pytest.raises(NotApplicable, match=f"sees 1 {part}"):
                inside(answers, part, 2)


def test_an_old_kernel_tells_no_dies() -> None:
    answers = arranged("0-1", "0 - 0", "0 - 1")
    assert inside(answers, "cores", 2) == {2}
    with pytest.raises(NotApplicable, match="tells no dies"):
        inside(answers, "dies", 1)


@pytest.mark.parametrize(
    "answers",
    [
        {topology.INSIDE: Absent()},
        {topology.INSIDE: {}},
        {topology.INSIDE: {f"{topology.INSIDE.root}/cpu0/topology/die_id": Content(b"0\n")}},
        {topology.POSSIBLE: Content(b"")},
        {topology.POSSIBLE: Content(b"all\n")},
        {topology.POSSIBLE: Absent()},
    ],
)
def test_what_cannot_be_read_is_an_error(answers: dict[Source, Answer]) -> None:
    with pytest.raises(CannotLook):
        inside(arranged("0", "0 0 0") | answers, "cores", 1)
