"""TLS handshakes with a host's libvirt port, from the checking machine. Nothing is verified here: probes judge.

libvirt's server sends one byte, 0x01, after it has looked at our certificate and accepted it (libvirt
src/rpc/virnetserverclient.c, virNetServerClientCheckAccess). That byte is the answer: with TLS 1.3 a refusal comes only
after the handshake.
"""

from __future__ import annotations

import socket
import ssl
import warnings
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from virtvet.snapshot.model import Failed, Shake
from virtvet.snapshot.side_by_side import Deadline
from virtvet.snapshot.sources import Handshake

ACCEPTED = b"\x01"

VERSIONS = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}

_WARNING = Lock()

CANNOT_OFFER = {"NO_PROTOCOLS_AVAILABLE", "NO_CIPHERS_AVAILABLE", "UNSUPPORTED_PROTOCOL", "INTERNAL_ERROR"}
NOT_TLS = {
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "UNEXPECTED_MESSAGE",
    "HTTP_REQUEST",
    "PACKET_LENGTH_TOO_LONG",
}


def shake(
    source: Handshake, address: str, pki: Path | None, expired: Path | None, deadline: Deadline
) -> Shake | Failed:
    """One handshake. A refusal is a Shake that was not accepted; what says nothing about our certificate is Failed."""
    try:
        context = _context(source, pki, expired)
        with socket.create_connection((address, source.port), timeout=deadline.left) as plain:
            return _greet(context, plain, address, deadline)
    except CannotAsk as reason:
        return Failed(str(reason))
    except ConnectionRefusedError:
        return Failed(f"nothing listens on {address} port {source.port}: connection refused")
    except TimeoutError:
        return Failed(f"{address} port {source.port} did not answer within {deadline}")
    except OSError as error:
        return Failed(f"{address} port {source.port}: {error.strerror or error}")


class CannotAsk(Exception):
    """We cannot make such a handshake; the text says why."""


def _context(source: Handshake, pki: Path | None, expired: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:@SECLEVEL=0")
    if source.highest:
        _offer_at_most(context, VERSIONS[source.highest])
    _show(context, source.client, pki, expired)
    return context


def _offer_at_most(context: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    """Python warns of old versions; here they are the question. Its filters are the whole process's: one by one."""
    with _WARNING, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.maximum_version = version


def _show(context: ssl.SSLContext, client: str, pki: Path | None, expired: Path | None) -> None:
    match client:
        case "ours":
            _load(context, pki, "client certificate: state libvirt: {pki: …} for this host in the inventory")
        case "expired":
            _load(context, expired, "expired one: state libvirt: {expired_client: …} for this host in the inventory")
        case "foreign":
            _load_foreign(context)


def _load(context: ssl.SSLContext, folder: Path | None, missing: str) -> None:
    if folder is None:
        raise CannotAsk(f"there is no {missing}")
    try:
        context.load_cert_chain(folder / "clientcert.pem", folder / "clientkey.pem", password=_no_password)
    except (OSError, ValueError) as error:
        raise CannotAsk(f"the client certificate in {folder} cannot be used: {error}") from None


def _no_password() -> str:
    """OpenSSL would ask the terminal."""
    raise ValueError("its key has a passphrase")


def _load_foreign(context: ssl.SSLContext) -> None:
    with TemporaryDirectory(prefix="virtvet-") as folder:
        file = Path(folder, "client.pem")
        file.touch(0o600)
        file.write_bytes(foreign())
        context.load_cert_chain(file)


@cache
def foreign() -> bytes:
    """PEM of a key, a client certificate right in every way but for its CA, and that CA. Made once a process."""
    authority_key, key = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    authority = _certificate("virtvet foreign CA", authority_key, None, None)
    client = _certificate("virtvet foreign client", key, authority, authority_key)
    unencrypted = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, unencrypted)
    return private + client.public_bytes(pem) + authority.public_bytes(pem)


def _certificate(
    name: str, key: rsa.RSAPrivateKey, issuer: x509.Certificate | None, issuer_key: rsa.RSAPrivateKey | None
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    return builder.sign(issuer_key or key, hashes.SHA256())


def _greet(context: ssl.SSLContext, plain: socket.socket, address: str, deadline: Deadline) -> Shake | Failed:
    tls = context.wrap_socket(plain, server_hostname=address, do_handshake_on_connect=False)
    with tls:
        try:
            tls.do_handshake()
        except (ssl.SSLError, ConnectionError) as error:
            return _no_handshake(error)
        protocol, chain = tls.version() or "", _chain(tls)
        tls.settimeout(max(deadline.left, 0.001))
        accepted, detail = _verdict(tls)
        return Shake(accepted, protocol, chain, detail)


def _no_handshake(error: OSError) -> Shake | Failed:
    reason = getattr(error, "reason", "") or ""
    if reason in CANNOT_OFFER:
        return Failed(f"the OpenSSL here cannot make such a handshake: {reason}")
    if reason in NOT_TLS:
        return Failed("the port listens, but does not speak TLS")
    return Shake(False, "", (), f"during the handshake: {reason or 'connection closed'}")


def _verdict(tls: ssl.SSLSocket) -> tuple[bool, str]:
    """Whether our certificate was accepted. Raises TimeoutError when the server says nothing."""
    try:
        said = tls.recv(1)
    except (ssl.SSLError, ConnectionError) as error:
        return False, f"after the handshake: {getattr(error, 'reason', None) or 'connection closed'}"
    if said and said != ACCEPTED:
        return False, f"the server said {said!r}, which is not libvirt's"
    return said == ACCEPTED, "" if said else "after the handshake: connection closed"


def _chain(tls: ssl.SSLSocket) -> tuple[bytes, ...]:
    """What the server presented, its own certificate first; DER. Python < 3.13 has it on the inner object only."""
    inner: Any = tls if hasattr(tls, "get_unverified_chain") else tls._sslobj  # type: ignore[attr-defined]
    with suppress(AttributeError):
        return tuple(_der(one) for one in inner.get_unverified_chain() or ())
    leaf = tls.getpeercert(binary_form=True)
    return (leaf,) if leaf else ()


def _der(certificate: Any) -> bytes:
    return certificate if isinstance(certificate, bytes) else ssl.PEM_cert_to_DER_cert(certificate.public_bytes())
