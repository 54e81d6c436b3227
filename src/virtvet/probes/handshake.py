"""What a client meets on the TLS port, seen from the checking machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cryptography import x509

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.expect import Expectation
from virtvet.probes import certificates, listeners
from virtvet.snapshot.model import Failed, Shake, Snapshot
from virtvet.snapshot.sources import Handshake, TlsLibvirt

ACCEPTED, REFUSED = "accepted", "refused"

_VERSIONS = {"TLSv1": (1, 0), "TLSv1.1": (1, 1), "TLSv1.2": (1, 2), "TLSv1.3": (1, 3)}
"""As OpenSSL's SSL_get_version names them."""


@dataclass(frozen=True, slots=True)
class SpeaksAtLeast(Expectation):
    """A session in this TLS version ("1.2") or a newer one."""

    version: str

    def matches(self, value: Any) -> bool:
        """Names of versions only; "refused" is none."""
        major, minor = map(int, self.version.split("."))
        return value in _VERSIONS and _VERSIONS[value] >= (major, minor)

    def __str__(self) -> str:
        return f"TLS {self.version} or newer"


def closed(snapshot: Snapshot, port: int) -> str:
    """That nothing listens, where both sides agree: our connection failed, and the host's own table has no listener.

    Empty otherwise: a packet filter, or a certificate of ours that cannot be used, says nothing about the host.
    """
    return "" if listeners.addresses(snapshot, port).value else f"nothing listens on port {port}"


def protocol(snapshot: Snapshot, port: int) -> Reading:
    """The version a client with our certificate gets ("TLSv1.3"), or that it is refused, and why."""
    source = Handshake(port=port)
    if isinstance(snapshot.answer(source), Failed) and (why := closed(snapshot, port)):
        return Reading(why, str(source))
    shake = snapshot.read(source)
    value = shake.protocol if shake.accepted else f"{REFUSED}: {shake.detail or 'no reason given'}"
    return Reading(value, str(source), _about(shake))


def verdict(snapshot: Snapshot, client: str, highest: str, port: int) -> Reading:
    """ACCEPTED or REFUSED for a client that shows this certificate and offers at most this version."""
    shake = _shake(snapshot, source := Handshake(client, highest, port))
    return Reading(ACCEPTED if shake.accepted else REFUSED, str(source), _about(shake))


def _shake(snapshot: Snapshot, source: Handshake) -> Shake:
    """Without a listener there is nothing to shake hands with: `protocol` reports that."""
    if isinstance(snapshot.answer(source), Failed) and (why := closed(snapshot, source.port)):
        raise NotApplicable(why)
    return snapshot.read(source)


def _about(shake: Shake) -> str:
    return ", ".join(filter(None, (shake.protocol, shake.detail)))[:200]


def presented(snapshot: Snapshot, path: str, port: int) -> Reading:
    """`on_disk(path)`, or which certificate the daemon presents instead."""
    source = Handshake(port=port)
    shown = _peer(_shake(snapshot, source), source)
    file = certificates.certificates(snapshot, path)[0]
    same = certificates.fingerprint(shown) == certificates.fingerprint(file)
    another = f"another one: {certificates.name_of(shown.subject)}, until {shown.not_valid_after_utc:%Y-%m-%d}"
    excerpt = f"presented {certificates.fingerprint(shown)}, file {certificates.fingerprint(file)}"
    return Reading(on_disk(path) if same else another, str(source), excerpt)


def on_disk(path: str) -> str:
    """How `presented` says that all is well."""
    return f"the certificate in {path}"


def _peer(shake: Shake, source: Handshake) -> x509.Certificate:
    if not shake.peer:
        raise CannotLook(source, f"the daemon presented no certificate: {shake.detail or 'no reason given'}")
    try:
        return x509.load_der_x509_certificate(shake.peer[0])
    except certificates.MALFORMED as error:
        raise CannotLook(source, f"the daemon presented something that is no certificate: {error}") from None


def hostname(snapshot: Snapshot, port: int) -> Reading:
    """What libvirt answers over TLS to virConnectGetHostname, or that nothing listens."""
    source = TlsLibvirt(port)
    if isinstance(snapshot.answer(source), Failed) and (why := closed(snapshot, port)):
        return Reading(why, str(source))
    return Reading(snapshot.read(source).name, str(source))
