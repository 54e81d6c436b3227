"""SSH keys and certificates of one run.

libvirt refuses ECDSA server certificates, so certificates are RSA. Making an RSA key is slow: the four keys a lab
needs are made once and kept in the cache. They protect nothing but namespaces that live for minutes.
"""

import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab import shell

DAY = datetime.timedelta(days=1)


def ssh_key(path: Path) -> str:
    """Make an Ed25519 key pair at ``path``; return the public line without comment."""
    shell.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "virtvet-lab", "-f", str(path)])
    return _without_comment(path.with_name(path.name + ".pub").read_text())


def dropbear_key(path: Path) -> str:
    """Make an Ed25519 host key in dropbear's own format; return the public line."""
    output = shell.run(["dropbearkey", "-t", "ed25519", "-f", str(path)]).stdout
    return _without_comment(next(line for line in output.splitlines() if line.startswith("ssh-")))


def _without_comment(line: str) -> str:
    return " ".join(line.split()[:2])


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, as PEM."""

    cert: bytes
    key: bytes

    def write(self, cert: Path, key: Path) -> None:
        """Write both as libvirt wants them: the certificate for all to read, the key for its owner only."""
        cert.write_bytes(self.cert)
        cert.chmod(0o644)
        key.touch(mode=0o600)
        key.write_bytes(self.key)
        key.chmod(0o600)


class Authority:
    """A certificate authority that issues what a test asks for."""

    def __init__(self, pair: Pair, keys: Path) -> None:
        self.pair = pair
        self.keys = keys

    @classmethod
    def create(cls, name: str, keys: Path) -> "Authority":
        """A new self-signed authority called ``name``; its key and those it issues for come from ``keys``."""
        key = rsa_key(keys / f"{name}.pem")
        subject = _name(name)
        builder = _builder(subject, subject, key, valid=(-1, 3650))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(_usage(key_cert_sign=True), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        return cls(Pair(_pem(builder.sign(key, hashes.SHA256())), _key_pem(key)), keys)

    @classmethod
    def load(cls, folder: Path, keys: Path) -> "Authority":
        """The authority saved in ``folder`` by :meth:`save`."""
        return cls(Pair((folder / "cacert.pem").read_bytes(), (folder / "cakey.pem").read_bytes()), keys)

    def save(self, folder: Path) -> None:
        """Write ``cacert.pem`` and ``cakey.pem``."""
        folder.mkdir(parents=True, exist_ok=True)
        self.pair.write(folder / "cacert.pem", folder / "cakey.pem")

    @property
    def cert(self) -> bytes:
        """The authority's own certificate, as PEM."""
        return self.pair.cert

    def server(self, names: Sequence[str], *, valid: tuple[float, float] = (-1, 365)) -> Pair:
        """A server certificate for DNS names and IP addresses, valid from and to so many days from now."""
        alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
        return self._issue(names[0], ExtendedKeyUsageOID.SERVER_AUTH, "server", valid, alternatives)

    def client(self, name: str = "virtvet", *, valid: tuple[float, float] = (-1, 365)) -> Pair:
        """A client certificate whose common name is ``name``."""
        return self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, "client", valid, None)

    def revocations(self, *certs: bytes, valid: tuple[float, float] = (-1, 365)) -> bytes:
        """A revocation list of these certificates, as PEM, of so many days from now and to be renewed after so many."""
        issuer = x509.load_pem_x509_certificate(self.pair.cert).subject
        since, due = (datetime.datetime.now(datetime.UTC) + days * DAY for days in valid)
        builder = x509.CertificateRevocationListBuilder(issuer, since, due)
        for cert in certs:
            serial = x509.load_pem_x509_certificate(cert).serial_number
            builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder(serial, since).build())
        signed = builder.sign(_load_key(self.pair.key), hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    def _issue(
        self,
        name: str,
        usage: x509.ObjectIdentifier,
        key_name: str,
        valid: tuple[float, float],
        alternatives: x509.SubjectAlternativeName | None,
    ) -> Pair:
        key = rsa_key(self.keys / f"{key_name}.pem")
        issuer = x509.load_pem_x509_certificate(self.pair.cert)
        builder = _builder(_name(name), issuer.subject, key, valid)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]
        builder = builder.add_extension(signer, critical=False)
        if alternatives:
            builder = builder.add_extension(alternatives, critical=False)
        return Pair(_pem(builder.sign(_load_key(self.pair.key), hashes.SHA256())), _key_pem(key))


def write_client(authority: Authority, folder: Path, pair: Pair | None = None) -> Path:
    """A folder for ``pkipath=``: cacert.pem, clientcert.pem, clientkey.pem."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cacert.pem").write_bytes(authority.cert)
    (pair or authority.client()).write(folder / "clientcert.pem", folder / "clientkey.pem")
    return folder


def rsa_key(path: Path) -> rsa.RSAPrivateKey:
    """The RSA key kept at ``path``, made the first time."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_bytes(_key_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)))
        draft.rename(path)
    return _load_key(path.read_bytes())


def _load_key(pem: bytes) -> rsa.RSAPrivateKey:
    # ours, made above: the consistency check would cost 0.1 s a key
    key = serialization.load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey, valid: tuple[float, float]
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return x509.CertificateBuilder(
        issuer, subject, key.public_key(), x509.random_serial_number(), now + valid[0] * DAY, now + valid[1] * DAY
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "virtvet lab"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not key_cert_sign,
        key_encipherment=not key_cert_sign,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
