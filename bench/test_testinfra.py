"""The facts as users of testinfra assert them today: a host object, an attribute, an assertion."""

from __future__ import annotations

import os

import pytest
from testinfra.host import Host

from bench.facts import Fact, load

FACTS = load(os.environ["BENCH_FACTS"]) * int(os.environ.get("BENCH_REPEAT", "1"))


@pytest.mark.parametrize("fact", FACTS, ids=range(len(FACTS)))
def test_fact(host: Host, fact: Fact) -> None:
    match fact["kind"]:
        case "stat":
            assert getattr(host.file(fact["path"]), fact["attribute"]) == fact["value"]
        case "cgroup":
            assert host.file(fact["path"]).content_string.strip() == fact["value"]
        case "sysctl":
            assert str(host.sysctl(fact["name"])) == fact["value"]
        case "thread":
            status = host.file(fact["path"]).content_string
            assert status.split("Cpus_allowed_list:")[1].split()[0] == fact["value"]
        case "domain":
            command = {"state": "virsh domstate %s", "uuid": "virsh domuuid %s"}[fact["attribute"]]
            assert host.check_output(command, fact["name"]).strip() == fact["value"]
