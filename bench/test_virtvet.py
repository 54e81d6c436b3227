"""The same facts as checks of virtvet's: everything is read in one look, then judged."""

from __future__ import annotations

import os
from collections.abc import Iterable

from bench.facts import CGROUP_FILES, HOST, Fact, load
from virtvet.check import Case, Control, Reading, Severity, check
from virtvet.snapshot.model import Snapshot, text_of
from virtvet.snapshot.sources import File, Libvirt, Processes, Source, Stat, Tree
from virtvet.target import HostTarget

FACTS = load(os.environ["BENCH_FACTS"])
REPEAT = int(os.environ.get("BENCH_REPEAT", "1"))
GROUPS = Tree("/sys/fs/cgroup", CGROUP_FILES, within="*machine*")
THREADS = Processes("qemu-system-*", (), ("status",))
CONTROL = Control("BENCH-1", "A fact", "bench", Severity.LOW, "R0", "to measure", "none")


def _cases(host: HostTarget) -> Iterable[Case]:
    for number, fact in enumerate(FACTS * REPEAT):
        yield Case(str(number), fact["value"], (fact,))


def _sources(host: HostTarget) -> Iterable[Source]:
    yield from (GROUPS, THREADS, Libvirt())
    for fact in FACTS:
        if fact["kind"] == "stat":
            yield Stat(fact["path"])
        elif fact["kind"] == "sysctl":
            yield File(fact["path"])


def _seen(snapshot: Snapshot, fact: Fact) -> Reading:
    return Reading(_value(snapshot, fact), HOST)


def _value(snapshot: Snapshot, fact: Fact) -> object:
    match fact["kind"]:
        case "stat":
            status = snapshot.read(Stat(fact["path"]))
            return {"mode": status.mode, "user": status.owner, "group": status.group, "exists": True}[fact["attribute"]]
        case "cgroup":
            return text_of(fact["path"], snapshot.read(GROUPS)[fact["path"]]).strip()
        case "sysctl":
            return snapshot.read(File(fact["path"])).decode().strip()
        case "thread":
            status = text_of(fact["path"], snapshot.read(THREADS)[fact["path"]])
            return status.split("Cpus_allowed_list:")[1].split()[0]
    domain = snapshot.domain(fact["name"])
    return {"state": domain.state, "uuid": domain.uuid}[fact["attribute"]]


@check(CONTROL, cases=_cases, sources=_sources, actual=_seen)
def test_fact(case: Case, observed: object) -> None:
    assert observed == case.expected
