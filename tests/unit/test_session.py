"""What a run asks of a host, before and after its guests are named."""

from __future__ import annotations

from virtvet import catalogue
from virtvet.inventory import HostAccess, Inventory, Libvirt
from virtvet.probes import qmp, ram
from virtvet.profile import Profile
from virtvet.session import Selection, Session
from virtvet.snapshot.connections import Connections

ACCESS = HostAccess("hv1", None, Libvirt(), ("hv1",), None, {})
WANTS = {"memory": {"backing": {"source": "memfd", "nosharepages": True}, "numatune": {"mode": "strict", "nodes": 0}}}


def session(*patterns: str) -> Session:
    profile = Profile.model_validate({"virtvet": 1, "guests": dict.fromkeys(patterns, WANTS)})
    return Session(Inventory({"hv1": ACCESS}), {"hv1": profile}, catalogue.shipped(), Selection(), Connections())


def test_sources_of_single_guests_are_asked_for_each_that_a_pattern_matches() -> None:
    one = session("web*", "old")
    plan = one.plan(one.targets["hv1"])
    names = ("web1", "web2", "db1")
    assert plan.named_sources(names) == {ram.mapped("web1"), ram.mapped("web2")}
    assert plan.monitor_sources(names) == {qmp.asked(name, "query-memdev") for name in ("web1", "web2")}


def test_nothing_more_is_asked_of_guests_that_the_profile_names() -> None:
    one = session("web1")
    plan = one.plan(one.targets["hv1"])
    assert ram.mapped("web1") in plan.sources
    assert plan.named_sources(("web1", "web2")) == frozenset()
    assert plan.named_sources(()) == frozenset()
