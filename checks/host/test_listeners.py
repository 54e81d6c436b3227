"""Ports listen where they should, for whom they should, and plaintext does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virtvet.check import Case, Control, Severity, check
from virtvet.expect import Within
from virtvet.probes import listeners
from virtvet.profile.listeners import OWN, Listener
from virtvet.target import HostTarget

REFERENCES = ("https://libvirt.org/remote.html", "https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html")

TLS_PORT = Control(
    id="LISTEN-TLS-1",
    title="The TLS port listens where stated, and nowhere else",
    area="daemon",
    severity=Severity.HIGH,
    requirement="R4",
    rationale="Configuration does not prove that the port is open; on a wrong address it is open to the wrong network.",
    hint="ss -Hltnp 'sport = :{port}'",
    references=REFERENCES,
)
OWNER = Control(
    id="LISTEN-OWNER-1",
    title="The listener is the libvirt daemon",
    area="daemon",
    severity=Severity.CRITICAL,
    requirement="R4",
    rationale="Another process on libvirt's port keeps the daemon from listening and may pose as it.",
    hint="ss -Hltnp 'sport = :{port}'",
    references=REFERENCES,
)
PLAINTEXT = Control(
    id="LISTEN-TCP-1",
    title="The plaintext port is as stated (closed unless the profile says otherwise)",
    area="daemon",
    severity=Severity.CRITICAL,
    requirement="R4",
    rationale="What goes over qemu+tcp:// can be read and changed on the way, passwords and guest memory included.",
    hint="ss -Hltnp 'sport = :{port}'; systemctl disable --now libvirtd-tcp.socket virtproxyd-tcp.socket   "
    "# without systemd: listen_tcp = 0 in libvirtd.conf",
    references=REFERENCES,
)


def _tls_port(host: HostTarget) -> Iterator[Case]:
    wanted = host.wants.listeners
    if wanted is not None and not isinstance(wanted.tls, str):
        yield _case(host, wanted.tls, wanted.tls_port)


def _plaintext_port(host: HostTarget) -> Iterator[Case]:
    wanted = host.wants.listeners
    if wanted is not None and not isinstance(wanted.tcp, str):
        yield _case(host, wanted.tcp, wanted.tcp_port)


def _case(host: HostTarget, wanted: bool | Listener, port: int) -> Case:
    return Case(f"port {port}", _addresses(host, wanted), (port,), words={"port": port})


def _addresses(host: HostTarget, wanted: bool | Listener) -> frozenset[str] | listeners.Anywhere | listeners.SomeOf:
    if wanted is False:
        return frozenset()
    stated = wanted.addresses if isinstance(wanted, Listener) else frozenset()
    if OWN in stated:
        return listeners.SomeOf(frozenset(host.names) | stated - {OWN})
    return stated or listeners.Anywhere()


def _owned(host: HostTarget) -> Iterator[Case]:
    if (wanted := host.wants.listeners) is None:
        return
    names = Within(frozenset(_programs(host)))
    for listener, port in ((wanted.tls, wanted.tls_port), (wanted.tcp, wanted.tcp_port)):
        if listener not in (False, "any"):
            yield Case(f"port {port}", names, (port,), words={"port": port})


def _programs(host: HostTarget) -> Iterable[str]:
    """systemd holds the socket of an activated daemon, too."""
    daemon = host.wants.daemon
    yield from ("libvirtd", "virtproxyd") if daemon is None else (daemon.program,)
    if daemon is None or daemon.start != "listen-argument":
        yield "systemd"


@check(TLS_PORT, cases=_tls_port, sources=listeners.TABLES, actual=listeners.addresses)
def test_tls_port_listens(case: Case, observed: object) -> None:
    """The kernel's table, not the daemon's word."""
    assert observed == case.expected


@check(
    OWNER,
    cases=_owned,
    sources=(*listeners.TABLES, listeners.HOLDERS, listeners.NAMES),
    actual=listeners.owners,
)
def test_listener_is_the_daemon(case: Case, observed: object) -> None:
    """By the open files of processes."""
    assert observed == case.expected


@check(PLAINTEXT, cases=_plaintext_port, sources=listeners.TABLES, actual=listeners.addresses)
def test_plaintext_port_is_as_stated(case: Case, observed: object) -> None:
    """The kernel's table, not the daemon's word."""
    assert observed == case.expected
