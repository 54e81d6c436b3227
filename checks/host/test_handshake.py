"""What a client meets on the TLS _port, tried from the checking machine."""

from __future__ import annotations

from collections.abc import Iterator

from virtvet.check import Case, Control, Severity, check
from virtvet.expect import OneOf
from virtvet.probes import certificates, handshake
from virtvet.probes.listeners import TABLES
from virtvet.profile.listeners import TLS_PORT
from virtvet.snapshot.sources import Handshake, Source, TlsLibvirt
from virtvet.target import HostTarget

REFERENCES = ("https://libvirt.org/remote.html", "https://libvirt.org/kbase/tlscerts.html")
TRY = "openssl s_client -connect {address}:{port} "

SESSION = Control(
    id="TLS-SHAKE-1",
    title="A client with a good certificate gets a session in a TLS version that is new enough",
    area="tls",
    severity=Severity.CRITICAL,
    requirement="R5",
    rationale="Sound files do not prove that the daemon uses them: only a handshake does.",
    hint=TRY + "-cert clientcert.pem -key clientkey.pem",
    references=REFERENCES,
)
OLD_PROTOCOL = Control(
    id="TLS-SHAKE-2",
    title="Versions of TLS below the stated minimum are refused",
    area="tls",
    severity=Severity.HIGH,
    requirement="R5",
    rationale="A client that can be talked down to TLS 1.1 or older can be attacked there (RFC 8996).",
    hint="vi /etc/libvirt/libvirtd.conf && systemctl restart libvirtd   "
    '# tls_priority = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"',
    references=(*REFERENCES, "https://www.rfc-editor.org/rfc/rfc8996"),
)
PRESENTED = Control(
    id="TLS-SHAKE-3",
    title="The daemon presents the certificate that is on disk",
    area="tls",
    severity=Severity.HIGH,
    requirement="R5",
    rationale="A renewed certificate counts only once the daemon has loaded it; the old one goes on to expire.",
    hint="virt-admin server-update-tls libvirtd  # or restart the daemon",
    references=(*REFERENCES, "https://libvirt.org/manpages/virt-admin.html"),
)
REFUSAL = Control(
    id="TLS-REFUSE-1",
    title="Clients without a good certificate are refused",
    area="tls",
    severity=Severity.CRITICAL,
    requirement="R5",
    rationale="A client certificate is all that keeps the network out of qemu+tls://, and who is in is root.",
    hint="vi /etc/libvirt/libvirtd.conf && systemctl restart libvirtd   # tls_no_verify_certificate = 0",
    references=REFERENCES,
)
HOSTNAME = Control(
    id="TLS-HOST-1",
    title="libvirt answers over TLS, with the right host name",
    area="tls",
    severity=Severity.HIGH,
    requirement="R6",
    rationale="Migration asks the target for its name and connects there: a wrong one leads elsewhere.",
    hint="virsh -c qemu+tls://{address}:{port}/system hostname   # on the host: hostnamectl set-hostname NAME",
    references=REFERENCES,
)

CLIENTS = {
    "none": "client without a certificate",
    "foreign": "client of a foreign CA",
    "expired": "client whose certificate has expired",
}


def _port(host: HostTarget) -> int:
    return TLS_PORT if host.wants.listeners is None else host.wants.listeners.tls_port


def _words(host: HostTarget) -> dict[str, object]:
    return {"port": _port(host), "address": host.names[0] if host.names else host.name}


def _session(host: HostTarget) -> Iterator[Case]:
    if host.wants.tls and (wanted := host.wants.tls.handshake):
        expected = handshake.SpeaksAtLeast(wanted.minimum)
        yield Case("client of ours", expected, (_port(host),), words=_words(host))


def _old_protocol(host: HostTarget) -> Iterator[Case]:
    if host.wants.tls and (wanted := host.wants.tls.handshake) and (version := wanted.refused_protocol):
        args = ("ours", version, _port(host))
        yield Case(f"TLS {version}", handshake.REFUSED, args, words=_words(host))


def _presented(host: HostTarget) -> Iterator[Case]:
    if host.wants.tls and host.wants.tls.handshake:
        path = host.wants.tls.server.certificate
        yield Case("server certificate", handshake.on_disk(path), (path, _port(host)), words=_words(host))


def _refused(host: HostTarget) -> Iterator[Case]:
    if host.wants.tls and (wanted := host.wants.tls.handshake):
        for client in dict.fromkeys(wanted.refuse):
            yield Case(CLIENTS[client], handshake.REFUSED, (client, "", _port(host)), words=_words(host))


def _hostname(host: HostTarget) -> Iterator[Case]:
    if host.wants.tls and (wanted := host.wants.tls.hostname):
        expected = OneOf(host.names) if wanted is True else wanted
        yield Case("qemu+tls", expected, (_port(host),), words=_words(host))


def _session_source(host: HostTarget) -> Iterator[Source]:
    for case in _session(host):
        yield from (Handshake(port=case.args[0]), *TABLES)


def _tried_clients(host: HostTarget) -> Iterator[Source]:
    for case in (*_old_protocol(host), *_refused(host)):
        yield from (Handshake(*case.args), *TABLES)


def _presented_sources(host: HostTarget) -> Iterator[Source]:
    for case in _presented(host):
        path, number = case.args
        yield from (Handshake(port=number), certificates.pem(path), *TABLES)


def _hostname_source(host: HostTarget) -> Iterator[Source]:
    for case in _hostname(host):
        yield from (TlsLibvirt(case.args[0]), *TABLES)


@check(SESSION, cases=_session, sources=_session_source, actual=handshake.protocol)
def test_client_gets_a_modern_session(case: Case, observed: object) -> None:
    """Accepted, and in which version."""
    assert observed == case.expected


@check(OLD_PROTOCOL, cases=_old_protocol, sources=_tried_clients, actual=handshake.verdict)
def test_old_protocols_are_refused(case: Case, observed: object) -> None:
    """We offer nothing newer."""
    assert observed == case.expected


@check(PRESENTED, cases=_presented, sources=_presented_sources, actual=handshake.presented)
def test_daemon_presents_the_certificate_on_disk(case: Case, observed: object) -> None:
    """By fingerprint."""
    assert observed == case.expected


@check(REFUSAL, cases=_refused, sources=_tried_clients, actual=handshake.verdict)
def test_bad_clients_are_refused(case: Case, observed: object) -> None:
    """Each kind the profile names."""
    assert observed == case.expected


@check(HOSTNAME, cases=_hostname, sources=_hostname_source, actual=handshake.hostname)
def test_libvirt_answers_with_the_hosts_name(case: Case, observed: object) -> None:
    """A real libvirt connection."""
    assert observed == case.expected
