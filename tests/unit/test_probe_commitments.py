"""What guests ask for together: 8 CPUs and 2 GiB, and a partition with 2 CPUs and 1 GiB, made up."""

from __future__ import annotations

import pytest

from tests.unit.neighbour_looks import CPUSET, FILES, Guest, look
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import cgroup, commitments
from virtvet.snapshot.model import Content

WEB1 = Guest("web1", 100, {"vcpu0": "0", "vcpu1": "1"}, partition="/machine/a", resident=256)
DB1 = Guest("db1", 200, {"vcpu0": ""}, vcpu="<vcpu current='1'>4</vcpu>")
HAND = Guest("hand", 300, {}, arguments=("-m", "1G", "-smp", "6,maxcpus=8"), by_hand=True)
A = "/machine/a"


def test_vcpus_for_each_cpu() -> None:
    told, kept = commitments.told_vcpus(look([WEB1, DB1]), ""), commitments.kept_vcpus(look([WEB1, DB1, HAND]), "")
    assert (told.value, kept.value) == (0.38, 1.13)  # 3 / 8 and 9 / 8, rounded up
    assert told.source == "virsh dumpxml of every running guest: 3 of 8: web1 2, db1 1"
    assert kept.source == "/proc/PID of every QEMU process: 9 of 8: hand 6, web1 2, db1 1"


def test_vcpus_of_a_partition() -> None:
    assert commitments.told_vcpus(look([WEB1, DB1]), A).value == 1.0
    assert commitments.kept_vcpus(look([WEB1, DB1]), A).value == 1.0
    assert commitments.told_vcpus(look([WEB1, DB1]), "/machine").value == 0.38


def test_a_partition_without_cpus_is_told_elsewhere() -> None:
    files = {path: Content(text.encode()) for path, text in FILES.items()}
    files[f"{CPUSET}/machine/a.partition/cpuset.cpus"] = Content(b"\n")
    with pytest.raises(NotApplicable, match="PART-CPUSET-1"):
        commitments.told_vcpus(look([WEB1], {cgroup.FILES: files}), A)


@pytest.mark.parametrize(
    ("smp", "vcpus"),
    [("4", 4), ("4,maxcpus=8,sockets=2", 4), ("cpus=4,maxcpus=8", 4), ("sockets=2,cores=2,threads=1", 4), ("", 1)],
)
def test_smp(smp: str, vcpus: int) -> None:
    """Of QEMU's own, without threads that are known to be vCPUs."""
    hand = Guest("hand", 300, {}, arguments=("-smp", smp), by_hand=True)
    assert commitments.kept_vcpus(look([hand]), "").excerpt == f"hand {vcpus}"


def test_memory_in_percent() -> None:
    snapshot = look([WEB1, DB1])
    assert commitments.told_memory(snapshot, "").value == 18.75
    started, held = commitments.kept_memory(snapshot, "")
    assert (started.value, held.value) == (18.75, 17.39)
    assert held.source.endswith("VmRSS: 356 MiB of 2048 MiB: web1 256 MiB, db1 100 MiB")


def test_memory_of_a_partition() -> None:
    snapshot = look([WEB1, DB1])
    assert commitments.told_memory(snapshot, A).value == 18.75
    assert [one.value for one in commitments.kept_memory(snapshot, A)] == [18.75, 25.0]
    # without a limit of its own a partition may use all there is
    assert commitments.told_memory(snapshot, "/machine").value == 18.75


@pytest.mark.parametrize(
    ("arguments", "mib"),
    [
        (("-m", "192"), 192),
        (("-m", "1G"), 1024),
        (("-m", "size=262144k,slots=4,maxmem=1048576k"), 256),
        ((), 128),
        (
            (
                *("-m", "size=262144k,slots=4,maxmem=1048576k"),
                *("-object", '{"qom-type":"memory-backend-memfd","id":"ram-node0","size":268435456}'),
                *("-object", '{"qom-type":"memory-backend-memfd","id":"memdimm0","size":134217728}'),
                *("-device", '{"driver":"pc-dimm","node":0,"memdev":"memdimm0","id":"dimm0","slot":0}'),
            ),
            384,
        ),
    ],
)
def test_memory_a_guest_was_started_with(arguments: tuple[str, ...], mib: int) -> None:
    hand = Guest("hand", 300, {}, arguments=arguments, by_hand=True)
    started, _held = commitments.kept_memory(look([hand]), "")
    assert f": {mib} MiB of 2048 MiB: hand {mib} MiB" in started.source


def test_no_guest_asks_for_nothing() -> None:
    assert commitments.told_vcpus(look([]), "").value == 0
    assert commitments.told_memory(look([]), "").source.endswith("0 MiB of 2048 MiB: no guest")


def test_of_many_guests_the_largest_are_named() -> None:
    many = [Guest(f"g{number}", 100 * number, {"vcpu0": ""}) for number in range(1, 12)]
    reading = commitments.told_vcpus(look(many), "")
    assert reading.source.endswith("g5 1, g6 1, …")
    assert len(reading.excerpt.splitlines()) == 11


@pytest.mark.parametrize("arguments", [("-m", "x"), ("-m", "size=1Q"), ("-smp", "x"), ("-smp", "cpus=-1")])
def test_arguments_that_make_no_sense(arguments: tuple[str, ...]) -> None:
    snapshot = look([Guest("hand", 300, {}, arguments=arguments, by_hand=True)])
    probe = commitments.kept_memory if arguments[0] == "-m" else commitments.kept_vcpus
    with pytest.raises(CannotLook):
        probe(snapshot, "")


@pytest.mark.parametrize("xml", ["<vcpu>x</vcpu>", "<vcpu current=''></vcpu>", "<vcpu>99999999</vcpu>"])
def test_a_number_of_vcpus_that_makes_no_sense(xml: str) -> None:
    with pytest.raises(CannotLook):
        commitments.told_vcpus(look([Guest("a", 100, {}, vcpu=xml)]), "")
