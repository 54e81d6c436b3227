"""One look over a real sshd and libvirt's own test driver: what it costs, and what it says of what is not there."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.loopback_sshd import Account, free_port, needs_sshd, running
from virtvet.errors import Unreachable
from virtvet.inventory import GuestAccess, GuestSsh, HostAccess
from virtvet.inventory import Libvirt as LibvirtAccess
from virtvet.inventory import Ssh as SshAccess
from virtvet.snapshot import look as looking
from virtvet.snapshot.connections import HostLinks
from virtvet.snapshot.look import Connections, HostPlan, look
from virtvet.snapshot.model import Completed, Content, Domain, Failed, LibvirtAnswer, Snapshot
from virtvet.snapshot.side_by_side import Deadline
from virtvet.snapshot.sources import Command, File, Handshake, HostSource, Libvirt, Qmp, Source, Stat, TlsLibvirt
from virtvet.snapshot.transport import Local

UPTIME = File("/proc/uptime")
NOBODY = HostAccess("hv1", None, LibvirtAccess(), ("hv1",), None, {})
MANY = frozenset(
    {File(f"/proc/sys/kernel/none{i}") for i in range(300)}
    | {Stat(f"/proc/{i}") for i in range(300)}
    | {Command(("echo", str(i))) for i in range(20)}
)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with running(tmp_path_factory.mktemp("sshd")) as account:
        yield account


@pytest.fixture
def access(account: Account) -> HostAccess:
    login = {"port": account.port, "user": account.user, "key": account.key, "known_hosts": account.known_hosts}
    ssh = SshAccess(address=account.address, **login)
    guest = GuestAccess(ssh=GuestSsh(address=account.address, **login))
    return HostAccess("hv1", ssh, LibvirtAccess(uri="test:///default"), ("hv1",), None, {"*": guest})


def plan(access: HostAccess, *sources: Source, inside: frozenset[HostSource] = frozenset()) -> HostPlan:
    return HostPlan(access, frozenset(sources), lambda names: dict.fromkeys(names, inside) if inside else {})


def one(plan: HostPlan, connections: Connections | None = None, deadline: float = 10) -> Snapshot:
    return look([plan], lambda host, what: None, deadline, connections)[plan.access.name]


@needs_sshd
def test_the_host_its_libvirt_and_its_guest_are_one_look(access: HostAccess) -> None:
    told: list[tuple[str, str]] = []
    asked = plan(access, UPTIME, Libvirt(), Handshake("none", port=free_port()), inside=frozenset({UPTIME}))
    with Connections(10) as connections:
        snapshot = look([asked], lambda *what: told.append(what), 10, connections)["hv1"]
        assert connections.counts.connections == 2
        assert connections.counts.channels == 2
    assert snapshot.read(UPTIME)
    assert snapshot.guest("test").read(UPTIME)
    assert snapshot.domain("test").state == "running"
    assert isinstance(snapshot.answers[Handshake("none", port=asked_port(asked))], Failed)
    assert told == [("hv1", "connecting"), ("hv1", "looking"), ("hv1", "guests 1/1"), ("hv1", "done")]


def asked_port(plan: HostPlan) -> int:
    return next(source.port for source in plan.sources if isinstance(source, Handshake))


@needs_sshd
def test_round_trips_do_not_grow_with_the_sources(access: HostAccess) -> None:
    def cost(*sources: Source, inside: frozenset[HostSource]) -> tuple[int, int, int]:
        with Connections(20) as connections:
            snapshot = one(plan(access, Libvirt(), *sources, inside=inside), connections, 20)
            assert len(snapshot.answers) == 1 + len(sources)
            counts = connections.counts
        return counts.connections, counts.channels, counts.libvirt_calls

    assert cost(*MANY, inside=MANY) == cost(UPTIME, inside=frozenset({UPTIME})) == (2, 2, 9)


@needs_sshd
def test_what_needs_the_guests_names_is_asked_once_they_are_known(access: HostAccess) -> None:
    asked = replace(plan(access, UPTIME, Libvirt()), named_sources=lambda names: frozenset(map(greeting, names)))
    snapshot = one(asked)
    assert snapshot.read(greeting("test")).stdout == b"test\n"
    assert snapshot.read(UPTIME)


def greeting(name: str) -> Command:
    return Command(("echo", name))


def test_a_monitor_that_hangs_keeps_nobody_elses_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight questions to a QEMU that hangs, one to a QEMU that does not."""
    ended = threading.Event()

    def monitor(_links: object, domain: Domain, _deadline: Deadline) -> Callable[[Qmp], Content]:
        def answer(_source: Qmp) -> Content:
            assert domain.name == "well" or ended.wait(10)
            return Content(b"{}")

        return answer

    monkeypatch.setattr(looking, "_monitor", monitor)
    hung = frozenset(Qmp("hung", f"query-{i}") for i in range(8))
    well = Qmp("well", "query-balloon")
    asked = HostPlan(NOBODY, frozenset(), lambda _names: {}, lambda _names: hung | {well})
    domains = {name: Domain(name, "", "running", True, "<domain/>", None) for name in ("hung", "well")}
    answers = looking._monitors(asked, HostLinks(NOBODY, Local("hv1")), domains, Deadline(10))
    assert answers[well].result(timeout=5) == Content(b"{}")
    assert not any(answers[one].done() for one in hung)
    ended.set()
    assert {answers[one].result(timeout=5) for one in hung} == {Content(b"{}")}


@needs_sshd
def test_a_second_look_uses_the_same_connections(access: HostAccess) -> None:
    asked = plan(access, UPTIME, Libvirt(), inside=frozenset({UPTIME}))
    with Connections(10) as connections:
        one(asked, connections)
        one(asked, connections)
        assert (connections.counts.connections, connections.counts.channels) == (2, 4)


@needs_sshd
def test_mending_uses_them_too(access: HostAccess) -> None:
    with Connections(10) as connections:
        connections.know(access)
        assert connections.run("hv1", ["cat"], b"x\0") == Completed(0, b"x\0", b"")
        assert connections.run("hv1/test", ["printf", "%s", "$HOME"]) == Completed(0, b"$HOME", b"")
        assert connections.libvirt("hv1").getHostname() == socket.gethostname()
        with pytest.raises(Unreachable, match="nobody has said how to reach this host"):
            connections.run("hv2", ["true"])


@needs_sshd
def test_libvirt_may_fail_while_the_rest_is_looked_at(access: HostAccess) -> None:
    broken = replace(access, libvirt=LibvirtAccess(uri="qemu+unix:///system?socket=/nowhere"))
    snapshot = one(plan(broken, UPTIME, Libvirt(), inside=frozenset({UPTIME})))
    assert snapshot.answers[Libvirt()] == Failed("Failed to connect socket to '/nowhere': No such file or directory")
    assert snapshot.read(UPTIME)
    assert not snapshot.guests


@needs_sshd
def test_libvirt_without_a_uri_is_asked_for_over_ssh(access: HostAccess, tmp_path: Path) -> None:
    """Whatever libvirt is here or is not: its own words arrive, in time."""
    over_ssh = replace(access, libvirt=LibvirtAccess())
    with Connections(10) as connections:
        found = one(plan(over_ssh, UPTIME, Libvirt()), connections).answers[Libvirt()]
        assert (connections.counts.connections, connections.counts.channels) == (1, 2)
    if isinstance(found, Failed):
        assert "End of file" not in found.reason
        assert "libvirt" in found.reason
    else:
        assert isinstance(found, LibvirtAnswer)
        assert found.uri == "qemu:///system"


@needs_sshd
def test_a_guest_that_does_not_answer_is_the_guests_matter(access: HostAccess) -> None:
    port = free_port()
    guest = GuestAccess(ssh=GuestSsh(address="127.0.0.1", port=port))
    away = replace(access, guests={"*": guest})
    snapshot = one(plan(away, UPTIME, Libvirt(), inside=frozenset({UPTIME})))
    assert snapshot.read(UPTIME)
    assert snapshot.guest("test").unreachable == f"hv1 cannot connect to 127.0.0.1 port {port}: Connect failed"
    nowhere = one(plan(replace(access, guests={}), UPTIME, Libvirt(), inside=frozenset({UPTIME})))
    assert str(nowhere.guest("test").unreachable).startswith("the inventory does not say how to reach it")


@needs_sshd
def test_an_agent_is_asked_through_libvirt(access: HostAccess) -> None:
    """libvirt's test driver has none."""
    mute = replace(access, guests={"*": GuestAccess(agent=True)})
    with Connections(10) as connections:
        snapshot = one(plan(mute, UPTIME, Libvirt(), inside=frozenset({UPTIME})), connections)
        with pytest.raises(Unreachable, match=r"hv1/test: .*virDomainQemuAgentCommand"):
            connections.run("hv1/test", ["true"])
    assert "virDomainQemuAgentCommand" in str(snapshot.guest("test").unreachable)
    assert snapshot.domain("test").addresses == ()


@needs_sshd
@pytest.mark.parametrize("uri", ["test:///default", "qemu+unix:///system?socket=/nowhere"])
def test_a_guest_without_libvirt_waits_neither_for_it_nor_for_others(access: HostAccess, uri: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hanging = GuestAccess(ssh=GuestSsh(address="127.0.0.1", port=silent.getsockname()[1], via="direct"))
        guests = {"test": hanging, **access.guests}
        both = replace(access, libvirt=LibvirtAccess(uri=uri), guests=guests)
        asked = replace(plan(both, UPTIME, Libvirt(), inside=frozenset({UPTIME})), by_hand=lambda _: {"hand": 1})
        snapshot = one(asked, deadline=2.5)
    assert snapshot.by_hand == {"hand": 1}
    assert snapshot.guest("hand").read(UPTIME)
    assert "test" not in snapshot.guests or snapshot.guests["test"].unreachable


@needs_sshd
def test_a_guests_address_may_come_from_libvirt(access: HostAccess) -> None:
    lease = replace(access, guests={"*": GuestAccess(ssh=GuestSsh(address="lease", port=free_port()))})
    snapshot = one(plan(lease, UPTIME, Libvirt(), inside=frozenset({UPTIME})), deadline=1.5)
    [address] = snapshot.domain("test").addresses
    assert f"{address} port" in str(snapshot.guest("test").unreachable)


@needs_sshd
def test_the_machine_virtvet_runs_on(access: HostAccess) -> None:
    local = HostAccess("here", None, LibvirtAccess(uri="test:///default"), ("here",), None, {})
    snapshot = one(plan(local, UPTIME, Libvirt()))
    assert isinstance(snapshot.answers[UPTIME], Content)
    assert snapshot.domain("test").persistent


def test_hosts_that_hang_end_at_their_deadline_side_by_side() -> None:
    begun = time.monotonic()
    with socket.create_server(("127.0.0.1", 0), backlog=20) as server:
        ssh = SshAccess(address="127.0.0.1", port=server.getsockname()[1], user="root")
        silent = LibvirtAccess(uri=f"qemu+tls://127.0.0.1:{ssh.port}/system")
        hosts = [HostAccess(f"hv{i}", ssh, silent, (f"hv{i}",), None, {}) for i in range(6)]
        sources = (UPTIME, Libvirt(), TlsLibvirt(), Handshake("none", port=ssh.port))
        seen = look([plan(host, *sources) for host in hosts], lambda host, what: None, 0.5)
    assert time.monotonic() - begun < 2.5
    reason = f"127.0.0.1 port {ssh.port} accepted the connection, but did not log us in within 0.5 s"
    assert [snapshot.unreachable for snapshot in seen.values()] == [reason] * 6
    assert list(seen) == [host.name for host in hosts]
    assert all(thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())


@needs_sshd
def test_a_libvirt_that_hangs_costs_only_its_own_answer(access: HostAccess) -> None:
    begun = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        silent = replace(access, libvirt=LibvirtAccess(uri=f"qemu+tcp://127.0.0.1:{port}/system"))
        snapshot = one(plan(silent, UPTIME, Libvirt(), inside=frozenset({UPTIME})), deadline=1.5)
    assert time.monotonic() - begun < 5
    assert snapshot.answers[Libvirt()] == Failed("did not finish within 1.5 s")
    assert snapshot.read(UPTIME)
