"""What the certificate files of a host are worth: validity, chain, purpose, names, strength, and whose key it is.

Everything `virt-pki-validate` looks at (libvirt's src/rpc/virnettlscert.c) and more: the key, its size, the hash, IP
addresses, revocation. Each function judges one thing only, so that one fault is reported once.
Dates are judged at the time of the look, never at the time of reading.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from virtvet.check import Reading
from virtvet.errors import CannotLook
from virtvet.expect import Expectation
from virtvet.profile.tls import Role
from virtvet.snapshot.model import Completed, Snapshot
from virtvet.snapshot.sources import Command

# A file may hold a private key beside the certificate: every BEGIN line decides anew, so the key stays on the host.
_BLOCKS = "/^-----BEGIN /{{on=/BEGIN (X509 )?{what}-----/}} on; /^-----END /{{on=0}}"

_PUBLIC_HALF = """\
if command -v openssl >/dev/null 2>&1; then exec openssl pkey -in "$1" -passin pass: -pubout; fi
if command -v certtool >/dev/null 2>&1; then exec certtool --load-privkey "$1" --pubkey-info; fi
echo 'neither openssl nor certtool is installed' >&2; exit 69"""

MALFORMED = (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion)
"""What `cryptography` raises for bytes that are no certificate, or one it cannot understand."""


def pem(path: str) -> Command:
    """The certificates of a PEM file and nothing else of it. Answer: "-----BEGIN CERTIFICATE-----\\nMIID…"."""
    return Command(("awk", _BLOCKS.format(what="CERTIFICATE"), path))


def crl_pem(path: str) -> Command:
    """The revocation lists of a PEM file and nothing else of it."""
    return Command(("awk", _BLOCKS.format(what="CRL"), path))


def public_half(path: str) -> Command:
    """The public half of a private key, worked out on the host: "-----BEGIN PUBLIC KEY-----\\nMIIB…"."""
    return Command(("sh", "-c", _PUBLIC_HALF, "sh", path))


# --- what is in the files


def certificates(snapshot: Snapshot, path: str) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM file in their order, at least one. Raises CannotLook."""
    data = _output(snapshot, pem(path), path)
    try:
        found = tuple(x509.load_pem_x509_certificates(data)) if data.strip() else ()
        for certificate in found:
            _parse_all(certificate)
    except MALFORMED as error:
        raise CannotLook(path, f"holds something that is no certificate: {_first_line(str(error))}") from None
    if not found:
        raise CannotLook(path, "holds no PEM certificate")
    return found


_PARSED_LATE = (
    "subject",
    "issuer",
    "extensions",
    "signature_hash_algorithm",
    "not_valid_before_utc",
    "not_valid_after_utc",
)


def _parse_all(certificate: x509.Certificate) -> None:
    """Fields are parsed when first touched: touch them here, where errors are expected."""
    certificate.public_key()
    for field in _PARSED_LATE:
        getattr(certificate, field)


def _output(snapshot: Snapshot, command: Command, path: str) -> bytes:
    done: Completed = snapshot.read(command)
    if done.returncode != 0:
        raise CannotLook(path, _first_line(done.stderr.decode(errors="backslashreplace")) or "cannot be read")
    return done.stdout


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:200]


def name_of(name: x509.Name) -> str:
    """CN=lab,O=virtvet lab: RFC 4514, at most 200 characters."""
    return name.rfc4514_string()[:200] or "(no name)"


def fingerprint(certificate: x509.Certificate) -> str:
    """sha256:1f2e3d… of the DER form."""
    return "sha256:" + certificate.fingerprint(hashes.SHA256()).hex()


def _about(certificate: x509.Certificate) -> str:
    return f"subject {name_of(certificate.subject)}, issuer {name_of(certificate.issuer)}, {fingerprint(certificate)}"


def _source(path: str, place: int) -> str:
    return path if place == 0 else f"{path}, certificate {place + 1}"


# --- validity


@dataclass(frozen=True, slots=True)
class Validity:
    """From when to when a certificate is valid, and when it was looked at; all in UTC."""

    starts: datetime
    ends: datetime
    at: datetime

    @property
    def left(self) -> timedelta:
        """How much longer it is valid; negative once it has expired."""
        return self.ends - self.at

    def __str__(self) -> str:
        span = f"valid {self.starts:%Y-%m-%d} to {self.ends:%Y-%m-%d}"
        if self.at < self.starts:
            return f"{span}: not yet"
        return f"{span}: " + (f"{self.left.days} days left" if self.left >= timedelta() else "expired")


@dataclass(frozen=True, slots=True)
class ValidFor(Expectation):
    """A Validity that has begun and lasts for so many more days."""

    days: int

    def matches(self, value: Any) -> bool:
        """Validities only."""
        return isinstance(value, Validity) and value.starts <= value.at and value.left > timedelta(days=self.days)

    def __str__(self) -> str:
        return f"valid for at least {self.days} more days" if self.days else "valid"


def validity(snapshot: Snapshot, path: str) -> Iterator[Reading]:
    """The Validity of every certificate in the file."""
    for place, one in enumerate(certificates(snapshot, path)):
        seen = Validity(one.not_valid_before_utc, one.not_valid_after_utc, snapshot.taken)
        yield Reading(seen, _source(path, place), _about(one))


# --- chain

TRUSTED = "signed by a CA in the CA file"


def chain(snapshot: Snapshot, path: str, ca_path: str) -> Reading:
    """TRUSTED, or why no chain of signatures leads from the file's first certificate to one in the CA file.

    Signatures, issuer names and path lengths only: dates, purposes and hashes are controls of their own.
    """
    leaf, *between = certificates(snapshot, path)
    return Reading(_climb(leaf, between, certificates(snapshot, ca_path)), path, _about(leaf))


def _climb(child: x509.Certificate, between: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate]) -> str:
    for below in range(len(between) + 1):
        if any(_issued(anchor, child, below) for anchor in anchors):
            return TRUSTED
        parent = next((one for one in between if one != child and _issued(one, child, below)), None)
        if parent is None:
            break
        child = parent
    return _broken(child, anchors)


def _broken(child: x509.Certificate, anchors: Sequence[x509.Certificate]) -> str:
    issuer = name_of(child.issuer)
    if any(anchor.subject == child.issuer for anchor in anchors):
        return f"names {issuer} as its issuer, but bears no valid signature of the CA file's certificate of that name"
    return f"signed by {issuer}, which is not in the CA file"


def _issued(parent: x509.Certificate, child: x509.Certificate, below: int) -> bool:
    """Whether `parent` signed `child` and may have `below` other signing certificates under it.

    A signature with MD5 or SHA-1 proves nothing, and `cryptography` does not verify it.
    """
    try:
        child.verify_directly_issued_by(parent)
    except (InvalidSignature, *MALFORMED):
        return False
    limit = _extension(parent, x509.BasicConstraints)
    return limit is None or limit.path_length is None or limit.path_length >= below


# --- purpose

FIT: dict[Role, str] = {
    "ca": "fit to sign certificates",
    "server": "fit for a server",
    "client": "fit for a client",
}
_EKU = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
_EKU_NAMES = {"server": "serverAuth", "client": "clientAuth"}


def purpose(snapshot: Snapshot, path: str, role: Role) -> Iterator[Reading]:
    """FIT[role] of the first certificate and FIT["ca"] of those that sign it, or what forbids it.

    As virNetTLSContextCheckCert* (virnettlscert.c), but a wrong usage is a fault whether marked critical or not.
    Readings of signing certificates in a server's file are given in the words of that role's expectation.
    """
    for place, one in enumerate(certificates(snapshot, path)):
        own: Role = role if place == 0 else "ca"
        faults = list(_ca_faults(one) if own == "ca" else _leaf_faults(one, own))
        yield Reading("; ".join(faults) or FIT[role], _source(path, place), _about(one))


def _ca_faults(certificate: x509.Certificate) -> Iterator[str]:
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        yield "basicConstraints do not make it a CA"
    usage = _extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        yield "keyUsage lacks keyCertSign"


def _leaf_faults(certificate: x509.Certificate, role: Role) -> Iterator[str]:
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        yield "basicConstraints make it a CA"
    usage = _extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        yield "keyUsage lacks digitalSignature"
    # libvirt before 11.2 demands it of every certificate; of an RSA one it is needed for TLS 1.2 without (EC)DHE
    if usage is not None and not usage.key_encipherment and isinstance(certificate.public_key(), rsa.RSAPublicKey):
        yield "keyUsage lacks keyEncipherment"
    extended = _extension(certificate, x509.ExtendedKeyUsage)
    if extended is not None and not {_EKU[role], ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(extended):
        yield f"extendedKeyUsage lacks {_EKU_NAMES[role]}"


def _extension(certificate: x509.Certificate, kind: type[Any]) -> Any:
    """The extension's value, or None when the certificate has none of this kind."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


# --- names


@dataclass(frozen=True, slots=True)
class Covers(Expectation):
    """A list of a certificate's names that one can reach `name` by."""

    name: str

    def matches(self, value: Any) -> bool:
        """Addresses by equality; DNS names without case, `*` for one leftmost label (RFC 6125, as GnuTLS)."""
        return isinstance(value, tuple) and any(_covers(str(one), self.name) for one in value)

    def __str__(self) -> str:
        return f"a certificate for {self.name}"


def _covers(pattern: str, name: str) -> bool:
    pattern, name = pattern.lower(), name.lower()
    if pattern.startswith("*.") and pattern.count(".") >= 2 and not _is_address(name):
        return name.partition(".")[2] == pattern[2:]
    return pattern == name


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def names(snapshot: Snapshot, path: str) -> Reading:
    """The names of the file's first certificate: ("hv1", "10.77.0.1")."""
    leaf = certificates(snapshot, path)[0]
    return Reading(names_of(leaf), path, _about(leaf))


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """DNS names and addresses of subjectAltName; the common name only where that has no DNS name.

    So does gnutls_x509_crt_check_hostname. We never take an address from a common name.
    """
    alternatives = _extension(certificate, x509.SubjectAlternativeName)
    dns = alternatives.get_values_for_type(x509.DNSName) if alternatives else []
    addresses = [str(one) for one in alternatives.get_values_for_type(x509.IPAddress)] if alternatives else []
    common = [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    fallback = [] if dns else [one for one in common if not _is_address(one)]
    return tuple(dict.fromkeys([*dns, *fallback, *addresses]))


# --- strength


@dataclass(frozen=True, slots=True)
class Strength:
    """Kind and size of a certificate's key, and the hash it is signed with (None: self-signed, or none is used)."""

    kind: str
    bits: int
    hash: str | None

    def __str__(self) -> str:
        return f"{self.kind} {self.bits} bits" + (f", {self.hash}" if self.hash else "")


@dataclass(frozen=True, slots=True)
class Strong(Expectation):
    """A Strength of at least so many RSA bits (or an elliptic curve of 256), signed neither with MD5 nor SHA-1."""

    rsa_bits: int

    def matches(self, value: Any) -> bool:
        """Strengths only."""
        if not isinstance(value, Strength) or value.hash in {"md5", "sha1"}:
            return False
        return value.bits >= {"RSA": self.rsa_bits, "EC": 256}.get(value.kind, 1 << 30)

    def __str__(self) -> str:
        return f"RSA of at least {self.rsa_bits} bits or EC of 256, signed with SHA-2"


def strength(snapshot: Snapshot, path: str) -> Iterator[Reading]:
    """The Strength of every certificate in the file."""
    for place, one in enumerate(certificates(snapshot, path)):
        yield Reading(_strength(one), _source(path, place), _about(one))


def _strength(certificate: x509.Certificate) -> Strength:
    algorithm = certificate.signature_hash_algorithm
    # nobody verifies the signature of a root under itself: it is trusted for being in the file
    hashed = None if certificate.subject == certificate.issuer or algorithm is None else algorithm.name
    match certificate.public_key():
        case rsa.RSAPublicKey() as key:
            return Strength("RSA", key.key_size, hashed)
        case ec.EllipticCurvePublicKey() as key:
            return Strength("EC", key.key_size, hashed)
        case dsa.DSAPublicKey() as key:
            return Strength("DSA", key.key_size, hashed)
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return Strength("EC", 256, hashed)
        case other:
            return Strength(type(other).__name__, 0, hashed)


# --- the private key

OWN_KEY = "the certificate's own key"


def key(snapshot: Snapshot, path: str, certificate_path: str) -> Reading:
    """OWN_KEY, or which key it is instead. Only the public half has left the host."""
    leaf = certificates(snapshot, certificate_path)[0]
    try:
        public = serialization.load_pem_public_key(_output(snapshot, public_half(path), path))
    except MALFORMED as error:
        raise CannotLook(path, f"has no public half we understand: {_first_line(str(error))}") from None
    mine, theirs = _key_id(public), _key_id(leaf.public_key())
    excerpt = f"public key {mine}; the certificate's is {theirs}"
    return Reading(OWN_KEY if mine == theirs else f"another key ({mine})", path, excerpt)


def _key_id(public: Any) -> str:
    """sha256:… of the SubjectPublicKeyInfo."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
    return "sha256:" + digest.finalize().hex()


# --- revocation

CURRENT = "signed by a CA in the CA file, and current"
NOT_REVOKED = "not revoked"


def revocations(snapshot: Snapshot, path: str, ca_path: str) -> Reading:
    """CURRENT, or what is wrong with the list. GnuTLS uses one that is out of date like any other."""
    crl = _crl(snapshot, path)
    signer = next((one for one in certificates(snapshot, ca_path) if one.subject == crl.issuer), None)
    due = crl.next_update_utc
    excerpt = f"issuer {name_of(crl.issuer)}, next update {due or 'not stated'}"
    return Reading(_crl_verdict(crl, signer, due, snapshot.taken), path, excerpt)


def _crl_verdict(
    crl: x509.CertificateRevocationList, signer: x509.Certificate | None, due: datetime | None, at: datetime
) -> str:
    if signer is None:
        return f"issued by {name_of(crl.issuer)}, which is not in the CA file"
    if not crl.is_signature_valid(signer.public_key()):  # type: ignore[arg-type]
        return "not signed by the CA it names"
    if due is not None and due < at:
        return f"out of date since {due:%Y-%m-%d}"
    return CURRENT


def revoked(snapshot: Snapshot, path: str, crl_path: str) -> Reading:
    """NOT_REVOKED, or since when the file's first certificate is on the list."""
    leaf = certificates(snapshot, path)[0]
    entry = _crl(snapshot, crl_path).get_revoked_certificate_by_serial_number(leaf.serial_number)
    value = NOT_REVOKED if entry is None else f"revoked since {entry.revocation_date_utc:%Y-%m-%d}"
    return Reading(value, crl_path, f"serial {leaf.serial_number:x}")


def _crl(snapshot: Snapshot, path: str) -> x509.CertificateRevocationList:
    data = _output(snapshot, crl_pem(path), path)
    if not data.strip():
        raise CannotLook(path, "holds no PEM revocation list")
    try:
        return x509.load_pem_x509_crl(data)
    except MALFORMED as error:
        raise CannotLook(path, f"is no revocation list: {_first_line(str(error))}") from None
