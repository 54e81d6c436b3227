"""One look at many machines: hosts side by side; of each its script, its libvirt and its handshakes side by side."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import count
from urllib.parse import urlsplit

import libvirt
import paramiko

from virtvet import __version__
from virtvet.errors import CannotLook, Unreachable
from virtvet.inventory import HostAccess
from virtvet.snapshot import collector
from virtvet.snapshot.connections import Connections, HostLinks, in_time, result_of, strange
from virtvet.snapshot.libvirt_look import ask_hostname, tls_port
from virtvet.snapshot.model import Absent, Answer, Domain, Failed, Hostname, LibvirtAnswer, Snapshot
from virtvet.snapshot.side_by_side import Deadline, background, side_by_side
from virtvet.snapshot.sources import FORBIDDEN, Described, Handshake, HostSource, Libvirt, Qmp, Source, TlsLibvirt
from virtvet.snapshot.tls_look import shake
from virtvet.snapshot.transport import SHELL, Transport, late

__all__ = ["Connections", "HostPlan", "look"]

HOSTS_AT_ONCE = 32
GUESTS_AT_ONCE = 4
HANDSHAKES_AT_ONCE = 8
MONITORS_AT_ONCE = 4
"""libvirtd serves 5 calls of one client at once (libvirtd.conf: max_client_requests)."""

Progress = Callable[[str, str], None]
"""Told (host, what happens now), from several threads."""


@dataclass(frozen=True, slots=True)
class HostPlan:
    """What to ask of one host; and, once libvirt has named its domains, of which guests what."""

    access: HostAccess
    sources: frozenset[Source]
    guest_sources: Callable[[Collection[str]], Mapping[str, frozenset[HostSource]]]
    monitor_sources: Callable[[Collection[str]], frozenset[Qmp]] = lambda _names: frozenset()
    named_sources: Callable[[Collection[str]], frozenset[HostSource]] = lambda _names: frozenset()
    """What else is asked of the host itself once its guests' names are known."""
    by_hand: Callable[[Mapping[Source, Answer]], Mapping[str, int]] = lambda _answers: {}
    """Guests that run without libvirt, told from the host's own answers."""


def look(
    plans: Iterable[HostPlan], progress: Progress, deadline: float = 30.0, connections: Connections | None = None
) -> dict[str, Snapshot]:
    """Ask every host everything its plan says; a machine that cannot be asked is a Snapshot that says why.

    deadline: seconds for each host with its guests, from the moment its turn comes.
    """
    if connections is None:
        with Connections(deadline) as own:
            return look(plans, progress, deadline, own)
    jobs = {plan.access.name: partial(_host, plan, connections.know(plan.access), progress, deadline) for plan in plans}
    found = side_by_side(jobs.values(), HOSTS_AT_ONCE)
    return {name: future.result() for name, future in zip(jobs, found, strict=True)}


def _host(plan: HostPlan, links: HostLinks, progress: Progress, seconds: float) -> Snapshot:
    name, deadline, taken = plan.access.name, Deadline(seconds), datetime.now(UTC)
    progress(name, "connecting")
    outside = _outside(plan, links, deadline)
    try:
        in_time(partial(links.connect, deadline), name, deadline)
        progress(name, "looking")
        inside = background(partial(_ask, links.transport, plan.sources, deadline))
        domains = _domains(outside.get(Libvirt()), deadline)
        named = background(partial(_ask_more, links.transport, plan.named_sources(domains), deadline))
        monitors = _monitors(plan, links, domains, deadline)
        guests = _guests(plan, links, domains, progress, deadline)
        answers = result_of(inside, name, deadline) | result_of(named, name, deadline)
    except Unreachable as lost:
        progress(name, "unreachable")
        return Snapshot(name, taken, unreachable=lost.reason, tools=tools())
    by_hand = {guest: pid for guest, pid in plan.by_hand(answers).items() if guest not in domains}
    guests |= _strangers(plan, links, by_hand, deadline)
    seen = {guest: _guest_by(deadline, future, f"{name}/{guest}") for guest, future in guests.items()}
    answers |= {source: _by(deadline, future) for source, future in (outside | monitors).items()}
    progress(name, "done")
    return Snapshot(name, taken, _with_addresses(answers, links), seen, tools=tools(), by_hand=by_hand)


# --- asked on the machine itself


def _ask(transport: Transport, sources: Iterable[Source], deadline: Deadline) -> dict[Source, Answer]:
    """One script, one answer; none for nothing. Raises Unreachable."""
    if not (asked := [source for source in sources if isinstance(source, HostSource)]):
        return {}
    boundary = collector.boundary()
    done = transport.run(SHELL, collector.script(asked, boundary), deadline)
    try:
        return collector.parse(done.stdout, done.stderr, asked, boundary)
    except CannotLook as garbled:
        raise Unreachable(transport.machine, garbled.reason) from None


def _ask_more(transport: Transport, sources: Iterable[Source], deadline: Deadline) -> dict[Source, Answer]:
    """As `_ask`, when all else was asked already: what failed is a fact."""
    try:
        return _ask(transport, sources, deadline)
    except Unreachable as lost:
        return dict.fromkeys(sources, Failed(lost.reason))


# --- asked from the checking machine


def _outside(plan: HostPlan, links: HostLinks, deadline: Deadline) -> dict[Source, Future[Answer]]:
    """libvirt and the handshakes, under way."""
    under_way: dict[Source, Future[Answer]] = {}
    if Libvirt() in plan.sources:
        under_way[Libvirt()] = background(partial(_libvirt, links, deadline))
    sources = [source for source in plan.sources if isinstance(source, Handshake | TlsLibvirt)]
    known = under_way.get(Libvirt()) if tls_port(plan.access.libvirt.uri) else None
    jobs = [partial(_ask_tls, source, plan.access, known, deadline) for source in sources]
    under_way |= dict(zip(sources, side_by_side(jobs, HANDSHAKES_AT_ONCE), strict=True))
    return under_way | _descriptions(plan, links, under_way.get(Libvirt()), deadline)


def _descriptions(
    plan: HostPlan, links: HostLinks, libvirt: Future[Answer] | None, deadline: Deadline
) -> dict[Source, Future[Answer]]:
    described = [source for source in plan.sources if isinstance(source, Described)]
    jobs = [partial(_description, links, source, libvirt, deadline) for source in described]
    return dict(zip(described, side_by_side(jobs, MONITORS_AT_ONCE), strict=True))


def _description(links: HostLinks, source: Described, libvirt: Future[Answer] | None, deadline: Deadline) -> Answer:
    """Asked once libvirt has said what it must: a daemon that does not answer is not waited for again."""
    if libvirt and isinstance(found := libvirt.result(), Failed):
        return found
    try:
        return links.libvirt.description(source, deadline)
    except Unreachable as lost:
        return Failed(lost.reason)


def _libvirt(links: HostLinks, deadline: Deadline) -> Answer:
    try:
        return links.libvirt.look(deadline)
    except Unreachable as lost:
        return Failed(lost.reason)


def _ask_tls(
    source: Handshake | TlsLibvirt, access: HostAccess, known: Future[Answer] | None, deadline: Deadline
) -> Answer:
    """`known`: what the libvirt connection says, if that is by TLS: the same port need not be asked twice."""
    address, pki = tls_address(access), access.libvirt.pki
    if isinstance(source, Handshake):
        return shake(source, address, pki, access.libvirt.expired_client, deadline)
    if known and tls_port(access.libvirt.uri) == source.port:
        found = known.result()
        return Hostname(found.hostname) if isinstance(found, LibvirtAnswer) else found
    return ask_hostname(address, source.port, pki)


def tls_address(access: HostAccess) -> str:
    """Where a host is reached by TLS: as its qemu+tls URI says, else where SSH reaches it."""
    stated = urlsplit(access.libvirt.uri or "").hostname if tls_port(access.libvirt.uri) else None
    return stated or (access.ssh.address if access.ssh else access.names[0])


def _by(deadline: Deadline, future: Future[Answer]) -> Answer:
    try:
        return future.result(timeout=deadline.patience)
    except TimeoutError:
        return Failed(late(deadline))
    except Exception as error:
        return Failed(strange(error))


# --- guests


def _domains(libvirt: Future[Answer] | None, deadline: Deadline) -> Mapping[str, Domain]:
    """The guests that libvirt named; none where it was not asked or failed."""
    found = _by(deadline, libvirt) if libvirt else None
    return found.domains if isinstance(found, LibvirtAnswer) else {}


def _monitors(
    plan: HostPlan, links: HostLinks, domains: Mapping[str, Domain], deadline: Deadline
) -> dict[Source, Future[Answer]]:
    """What is asked of the monitors of guests that run, under way: of each guest in turn, so that a QEMU that hangs
    keeps nobody else's waiting."""
    futures: dict[Source, Future[Answer]] = {}
    guests: dict[str, dict[Qmp, Future[Answer]]] = {}
    for source in plan.monitor_sources(domains):
        futures[source] = guests.setdefault(source.guest, {})[source] = Future()
    jobs = [partial(_in_turn, links, domains[name], asked, deadline) for name, asked in guests.items()]
    side_by_side(jobs, MONITORS_AT_ONCE)
    return futures


def _in_turn(links: HostLinks, domain: Domain, asked: Mapping[Qmp, Future[Answer]], deadline: Deadline) -> None:
    ask = _monitor(links, domain, deadline)
    for source, future in asked.items():
        try:
            future.set_result(ask(source))
        except Exception as error:  # belongs to whoever asks for the result
            future.set_exception(error)


def _monitor(links: HostLinks, domain: Domain, deadline: Deadline) -> Callable[[Qmp], Answer]:
    """How a guest's monitor is asked, and what is answered where it is not."""
    if not domain.live_xml:
        return lambda _source: Absent()
    if not links.access.libvirt.monitor:
        return lambda _source: Failed(FORBIDDEN)
    try:
        return links.libvirt.monitor(domain.name, deadline)
    except Unreachable as lost:
        reason = lost.reason
        return lambda _source: Failed(reason)


def _guests(
    plan: HostPlan, links: HostLinks, domains: Mapping[str, Domain], progress: Progress, deadline: Deadline
) -> dict[str, Future[Snapshot]]:
    """The guests the plan asks about, of those that libvirt named, under way."""
    wanted = plan.guest_sources(domains)
    asked = [(domains[name], sources) for name, sources in wanted.items() if name in domains]
    ready = count(1)

    def one(domain: Domain, sources: Collection[HostSource]) -> Snapshot:
        seen = _guest(links, domain, sources, deadline)
        progress(plan.access.name, f"guests {next(ready)}/{len(asked)}")
        return seen

    futures = side_by_side([partial(one, domain, sources) for domain, sources in asked], GUESTS_AT_ONCE)
    return {domain.name: future for (domain, _sources), future in zip(asked, futures, strict=True)}


def _strangers(
    plan: HostPlan, links: HostLinks, names: Collection[str], deadline: Deadline
) -> dict[str, Future[Snapshot]]:
    """The guests the plan asks about, of those that run without libvirt, under way."""
    wanted = plan.guest_sources(names)
    jobs = [partial(_inside, links, name, sources, deadline) for name, sources in wanted.items()]
    return dict(zip(wanted, side_by_side(jobs, GUESTS_AT_ONCE), strict=True))


def _guest(links: HostLinks, domain: Domain, sources: Collection[HostSource], deadline: Deadline) -> Snapshot:
    if domain.state == "running":
        return _inside(links, domain.name, sources, deadline)
    machine = f"{links.access.name}/{domain.name}"
    return Snapshot(machine, datetime.now(UTC), unreachable=f"the guest is {domain.state}")


def _inside(links: HostLinks, guest: str, sources: Collection[HostSource], deadline: Deadline) -> Snapshot:
    machine, taken = f"{links.access.name}/{guest}", datetime.now(UTC)
    try:
        return Snapshot(machine, taken, _ask(links.guest(guest, deadline), sources, deadline))
    except Unreachable as lost:
        links.forget(guest)
        return Snapshot(machine, taken, unreachable=lost.reason)


def _guest_by(deadline: Deadline, future: Future[Snapshot], machine: str) -> Snapshot:
    try:
        return result_of(future, machine, deadline)
    except Unreachable as lost:
        return Snapshot(machine, datetime.now(UTC), unreachable=lost.reason)


def _with_addresses(answers: Mapping[Source, Answer], links: HostLinks) -> Mapping[Source, Answer]:
    """Domains with the addresses by which they were reached."""
    found = answers.get(Libvirt())
    if not isinstance(found, LibvirtAnswer):
        return answers
    domains = {name: replace(domain, addresses=links.addresses.get(name, ())) for name, domain in found.domains.items()}
    return {**answers, Libvirt(): replace(found, domains=domains)}


def tools() -> str:
    """What looked: "virtvet 0.1, libvirt 9.0.0, paramiko 5.1.0, OpenSSL 3.0.19 …"."""
    version = libvirt.getVersion()
    client = f"{version // 1000000}.{version // 1000 % 1000}.{version % 1000}"
    return f"virtvet {__version__}, libvirt {client}, paramiko {paramiko.__version__}, {ssl.OPENSSL_VERSION}"
