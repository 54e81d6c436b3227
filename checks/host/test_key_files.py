"""Certificates and keys are there, belong to root, and the keys are nobody else's to read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from virtvet.check import Case, Control, Severity, check
from virtvet.probes import certificates, files
from virtvet.profile.tls import Tls
from virtvet.snapshot.sources import Source, Stat
from virtvet.target import HostTarget

REFERENCES = ("https://libvirt.org/kbase/tlscerts.html", "https://libvirt.org/manpages/virt-pki-validate.html")
CHANGE = "chown {owner}:{group} '{path}' && chmod {mode} '{path}'"

CERTIFICATE_FILE = Control(
    id="TLS-FILE-1",
    title="Certificate files exist and only their owner may change them",
    area="tls",
    severity=Severity.HIGH,
    requirement="R1",
    rationale="Whoever may replace the CA certificate decides which clients are let in.",
    hint=CHANGE,
    references=REFERENCES,
)
DIRECTORY = Control(
    id="TLS-DIR-1",
    title="Directories on the way to certificates and keys are root's, and no one else may write in them",
    area="tls",
    severity=Severity.HIGH,
    requirement="R1",
    rationale="Who may write in a directory may replace every file in it, whatever the file's own mode.",
    hint=CHANGE,
    references=REFERENCES,
)
KEY_FILE = Control(
    id="TLS-KEY-1",
    title="Private keys exist and no one but their owner may read them",
    area="tls",
    severity=Severity.CRITICAL,
    requirement="R1",
    rationale="With the server's key anyone can pose as this host; with a client's, command every host of the CA.",
    hint=CHANGE + "   # if others may have read it, make a new key",
    references=REFERENCES,
)
KEY_MATCHES = Control(
    id="TLS-KEY-2",
    title="Private keys are those of their certificates",
    area="tls",
    severity=Severity.CRITICAL,
    requirement="R1",
    rationale="With another key the daemon does not start, or cannot be reached after its next start.",
    hint="openssl x509 -noout -pubkey -in '{certificate}'; openssl pkey -pubout -in '{path}'  # must be equal",
    references=REFERENCES,
)


def _certificate_files(host: HostTarget) -> Iterator[Case]:
    if (tls := host.wants.tls) is None:
        return
    yield _file("ca certificate", tls.ca.file, tls.ca.owner, tls.ca.group, tls.ca.mode)
    for role, pair in tls.pairs.items():
        yield _file(f"{role} certificate", pair.certificate, pair.owner, pair.group, pair.mode)
    if tls.crl:
        yield _file("revocation list", tls.crl.file, tls.crl.owner, tls.crl.group, tls.crl.mode)


def _directories(host: HostTarget) -> Iterator[Case]:
    if (tls := host.wants.tls) is None:
        return
    for path in sorted({str(parent) for file in _paths(tls) for parent in PurePosixPath(file).parents} - {"/"}):
        yield _file(path, path, "root", "root", 0o755, "directory")


def _key_files(host: HostTarget) -> Iterator[Case]:
    if (tls := host.wants.tls) is None:
        return
    for role, pair in tls.pairs.items():
        yield _file(f"{role} key", pair.key, pair.owner, pair.group, pair.key_mode)


def _own_keys(host: HostTarget) -> Iterator[Case]:
    if (tls := host.wants.tls) is None:
        return
    for role, pair in tls.pairs.items():
        words = {"path": pair.key, "certificate": pair.certificate}
        yield Case(f"{role} key", certificates.OWN_KEY, (pair.key, pair.certificate), words=words)


def _file(subject: str, path: str, owner: str, group: str, mode: int, kind: str = "regular file") -> Case:
    words = {"path": path, "owner": owner, "group": group, "mode": f"{mode:04o}"}
    return Case(subject, files.NoMoreThan(kind, owner, group, mode), (path,), words=words)


def _paths(tls: Tls) -> set[str]:
    keys = {pair.key for pair in tls.pairs.values()}
    return keys | set(tls.certificates.values()) | ({tls.crl.file} if tls.crl else set())


def _certificate_stats(host: HostTarget) -> Iterator[Source]:
    return (Stat(case.args[0]) for case in _certificate_files(host))


def _directory_stats(host: HostTarget) -> Iterator[Source]:
    return (Stat(case.args[0]) for case in _directories(host))


def _key_stats(host: HostTarget) -> Iterator[Source]:
    return (Stat(case.args[0]) for case in _key_files(host))


def _public_halves(host: HostTarget) -> Iterator[Source]:
    for case in _own_keys(host):
        key, certificate = case.args
        yield from (certificates.public_half(key), certificates.pem(certificate))


@check(CERTIFICATE_FILE, cases=_certificate_files, sources=_certificate_stats, config=files.guard)
def test_certificate_files_are_guarded(case: Case, observed: object) -> None:
    """A missing file is a departure here; what cannot be read in it is an error of the other controls."""
    assert observed == case.expected


@check(DIRECTORY, cases=_directories, sources=_directory_stats, config=files.guard)
def test_directories_of_certificates_are_guarded(case: Case, observed: object) -> None:
    """Every directory from the root down."""
    assert observed == case.expected


@check(KEY_FILE, cases=_key_files, sources=_key_stats, config=files.guard)
def test_private_keys_are_private(case: Case, observed: object) -> None:
    """Fewer permissions than stated are fine."""
    assert observed == case.expected


@check(KEY_MATCHES, cases=_own_keys, sources=_public_halves, config=certificates.key)
def test_private_keys_belong_to_their_certificates(case: Case, observed: object) -> None:
    """Compared by their public halves: the key never leaves the host."""
    assert observed == case.expected
