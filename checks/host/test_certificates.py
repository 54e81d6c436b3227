"""What the certificates on the host are worth: valid, signed by the CA, fit for their purpose and names, strong."""

from __future__ import annotations

from collections.abc import Iterator

from virtvet.check import Case, Control, Severity, check
from virtvet.probes import certificates
from virtvet.snapshot.sources import Source
from virtvet.target import HostTarget

REFERENCES = ("https://libvirt.org/kbase/tlscerts.html", "https://libvirt.org/manpages/virt-pki-validate.html")
SHOW = "openssl x509 -noout -text -in '{path}'"

VALID = Control(
    id="TLS-VALID-1",
    title="Certificates are valid, and will be for a while",
    area="tls",
    severity=Severity.CRITICAL,
    requirement="R1",
    rationale="When a certificate expires, remote management and migration end at that minute, on all hosts at once.",
    hint="openssl x509 -noout -dates -in '{path}'   # renew it, then: virt-admin server-update-tls libvirtd",
    references=REFERENCES,
)
CHAIN = Control(
    id="TLS-CHAIN-1",
    title="Certificates are signed by the CA that the host trusts",
    area="tls",
    severity=Severity.CRITICAL,
    requirement="R1",
    rationale="A server certificate of another CA stops the daemon at its next start, and clients refuse it.",
    hint="openssl verify -no_check_time -CAfile '{ca}' '{path}'",
    references=REFERENCES,
)
PURPOSE = Control(
    id="TLS-USAGE-1",
    title="Certificates are fit for what they are used for",
    area="tls",
    severity=Severity.HIGH,
    requirement="R1",
    rationale="A CA without the CA flag is refused by GnuTLS; a host's certificate with it could sign others.",
    hint=SHOW + " | grep -A1 -e 'Key Usage' -e 'Basic Constraints'",
    references=REFERENCES,
)
NAMES = Control(
    id="TLS-NAME-1",
    title="The server certificate covers every name and address of the host",
    area="tls",
    severity=Severity.HIGH,
    requirement="R1",
    rationale="Clients and migrating hosts refuse a certificate that lacks the name or address they connected to.",
    hint=SHOW + " | grep -A1 'Subject Alternative Name'",
    references=REFERENCES,
)
STRENGTH = Control(
    id="TLS-WEAK-1",
    title="Certificates have strong keys and signatures",
    area="tls",
    severity=Severity.HIGH,
    requirement="R1",
    rationale="Short RSA keys can be factored; certificates signed with MD5 or SHA-1 can be forged.",
    hint=SHOW + " | grep -e 'Public-Key' -e 'Signature Algorithm'",
    references=(*REFERENCES, "https://csrc.nist.gov/pubs/sp/800/131/a/r2/final"),
)
REVOCATIONS = Control(
    id="TLS-CRL-1",
    title="The revocation list is signed by the CA and current",
    area="tls",
    severity=Severity.HIGH,
    requirement="R1",
    rationale="GnuTLS goes on with a list that is out of date, and lets in who was revoked since; nobody is told.",
    hint="openssl crl -noout -text -in '{path}'",
    references=REFERENCES,
)
REVOKED = Control(
    id="TLS-CRL-2",
    title="The host's own certificates are not revoked",
    area="tls",
    severity=Severity.CRITICAL,
    requirement="R1",
    rationale="Peers that know the list refuse a revoked certificate; one that does not is being deceived.",
    hint="openssl x509 -noout -serial -in '{path}'; openssl crl -noout -text -in '{crl}'",
    references=REFERENCES,
)


def _every_certificate(host: HostTarget) -> Iterator[Case]:
    if (tls := host.wants.tls) is None:
        return
    for role, path in tls.certificates.items():
        yield Case(f"{role} certificate", certificates.ValidFor(tls.valid_days), (path,), words={"path": path})


def _signed(host: HostTarget) -> Iterator[Case]:
    if (tls := host.wants.tls) is None:
        return
    for role, pair in tls.pairs.items():
        words = {"path": pair.certificate, "ca": tls.ca.file}
        yield Case(f"{role} certificate", certificates.TRUSTED, (pair.certificate, tls.ca.file), words=words)


def _purposes(host: HostTarget) -> Iterator[Case]:
    if (tls := host.wants.tls) is None:
        return
    for role, path in tls.certificates.items():
        yield Case(f"{role} certificate", certificates.FIT[role], (path, role), words={"path": path})


def _names(host: HostTarget) -> Iterator[Case]:
    if (tls := host.wants.tls) is None:
        return
    for name in dict.fromkeys(host.names if tls.names is True else tls.names):
        path = tls.server.certificate
        yield Case(f"server certificate/{name}", certificates.Covers(name), (path,), words={"path": path})


def _strengths(host: HostTarget) -> Iterator[Case]:
    if (tls := host.wants.tls) is None:
        return
    for role, path in tls.certificates.items():
        yield Case(f"{role} certificate", certificates.Strong(tls.minimum_rsa_bits), (path,), words={"path": path})


def _revocation_list(host: HostTarget) -> Iterator[Case]:
    if (tls := host.wants.tls) is None or tls.crl is None:
        return
    words = {"path": tls.crl.file}
    yield Case("revocation list", certificates.CURRENT, (tls.crl.file, tls.ca.file), words=words)


def _revocable(host: HostTarget) -> Iterator[Case]:
    if (tls := host.wants.tls) is None or tls.crl is None:
        return
    for role, pair in tls.pairs.items():
        words = {"path": pair.certificate, "crl": tls.crl.file}
        yield Case(f"{role} certificate", certificates.NOT_REVOKED, (pair.certificate, tls.crl.file), words=words)


def _files(host: HostTarget) -> Iterator[Source]:
    if (tls := host.wants.tls) is None:
        return
    yield from map(certificates.pem, tls.certificates.values())
    if tls.crl:
        yield certificates.crl_pem(tls.crl.file)


@check(VALID, cases=_every_certificate, sources=_files, config=certificates.validity)
def test_certificates_are_valid(case: Case, observed: object) -> None:
    """At the time of the look, and for the stated number of days."""
    assert observed == case.expected


@check(CHAIN, cases=_signed, sources=_files, config=certificates.chain)
def test_certificates_are_signed_by_the_ca(case: Case, observed: object) -> None:
    """Signatures only, so that an expired certificate is reported once."""
    assert observed == case.expected


@check(PURPOSE, cases=_purposes, sources=_files, config=certificates.purpose)
def test_certificates_fit_their_purpose(case: Case, observed: object) -> None:
    """Every certificate of a file, those of signers too."""
    assert observed == case.expected


@check(NAMES, cases=_names, sources=_files, config=certificates.names)
def test_server_certificate_covers_the_hosts_names(case: Case, observed: object) -> None:
    """One case a name."""
    assert observed == case.expected


@check(STRENGTH, cases=_strengths, sources=_files, config=certificates.strength)
def test_certificates_are_strong(case: Case, observed: object) -> None:
    """Key size and hash."""
    assert observed == case.expected


@check(REVOCATIONS, cases=_revocation_list, sources=_files, config=certificates.revocations)
def test_revocation_list_is_current(case: Case, observed: object) -> None:
    """Only where the profile names a list."""
    assert observed == case.expected


@check(REVOKED, cases=_revocable, sources=_files, config=certificates.revoked)
def test_certificates_are_not_revoked(case: Case, observed: object) -> None:
    """Only where the profile names a list."""
    assert observed == case.expected
