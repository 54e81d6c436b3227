"""Certificates for tests, each broken in one way at most. Keys are made once a process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

TAKEN = datetime(2027, 1, 1, 12, tzinfo=UTC)
"""When tests look."""
USAGE = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@cache
def rsa_key(label: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key of this label's own."""
    return rsa.generate_private_key(65537, bits)


@cache
def other_key(kind: str) -> Any:
    """An elliptic key."""
    return ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


@dataclass(frozen=True)
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Any

    @classmethod
    def load(cls, pem: bytes, key: bytes) -> Issued:
        """From PEM."""
        return cls(x509.load_pem_x509_certificate(pem), serialization.load_pem_private_key(key, None))

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def public_pem(self) -> bytes:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(serialization.Encoding.PEM, form)

    @property
    def key_pem(self) -> bytes:
        form = serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def authority(
    common: str = "lab",
    by: Issued | None = None,
    *,
    ca: bool | None = True,
    usage: Sequence[str] = ("key_cert_sign", "crl_sign"),
    path_length: int | None = None,
    **how: Any,
) -> Issued:
    """A CA, self-signed unless `by` another; ca=None leaves basicConstraints out."""
    constraints = None if ca is None else x509.BasicConstraints(ca, path_length if ca else None)
    return make(name(common), by, [constraints, key_usage(usage)], **{"key": rsa_key(f"ca {common}"), **how})


def server(
    by: Issued,
    names: Sequence[str] = ("hv1", "10.77.0.1"),
    *,
    common: str = "hv1",
    ca: bool = False,
    usage: Sequence[str] = ("digital_signature", "key_encipherment"),
    purposes: Sequence[x509.ObjectIdentifier] = (SERVER,),
    **how: Any,
) -> Issued:
    """A server's certificate; no names leaves subjectAltName out."""
    extended = x509.ExtendedKeyUsage(purposes) if purposes else None
    alternatives = x509.SubjectAlternativeName([_alternative(one) for one in names]) if names else None
    return make(name(common), by, [x509.BasicConstraints(ca, None), key_usage(usage), extended, alternatives], **how)


def make(
    subject: x509.Name,
    by: Issued | None,
    extensions: Sequence[x509.ExtensionType | None],
    *,
    key: Any = None,
    days: tuple[float, float] = (-1, 365),
    at: datetime = TAKEN,
    hashed: hashes.HashAlgorithm | None = None,
    sign_as: Issued | None = None,
) -> Issued:
    """Valid from and to so many days from `at`. `sign_as` signs with another key than that of the issuer it names."""
    key = key or rsa_key("leaf")
    issuer = subject if by is None else by.certificate.subject
    signer = key if by is None else (sign_as or by).key
    starts, ends = (at + timedelta(days=day) for day in days)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number(), starts, ends)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False) if extension else builder
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashed or hashes.SHA256()
    return Issued(builder.sign(signer, algorithm), key)


def key_usage(named: Sequence[str]) -> x509.KeyUsage | None:
    return x509.KeyUsage(**{one: one in named for one in USAGE}) if named else None


def revocations(by: Issued, serials: Sequence[int] = (), *, days: float = 30, sign_as: Issued | None = None) -> bytes:
    """A revocation list, due in so many days."""
    start = TAKEN - timedelta(days=100)
    builder = x509.CertificateRevocationListBuilder(by.certificate.subject, start, TAKEN + timedelta(days=days))
    for serial in serials:
        entry = x509.RevokedCertificateBuilder(serial, start).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign((sign_as or by).key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _alternative(written: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(written))
    except ValueError:
        return x509.DNSName(written)
