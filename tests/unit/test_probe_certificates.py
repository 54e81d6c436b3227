"""Certificates judged one property at a time: a certificate broken in one way departs in that way and no other."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.unit.certificate_maker import (
    CLIENT,
    SERVER,
    TAKEN,
    Issued,
    authority,
    other_key,
    revocations,
    rsa_key,
    server,
)
from virtvet.check import Reading
from virtvet.errors import CannotLook
from virtvet.expect import matches
from virtvet.probes import certificates
from virtvet.snapshot.model import Absent, Answer, Completed, Snapshot
from virtvet.snapshot.sources import Source

CA, CERT, KEY, CRL = "/etc/pki/CA/cacert.pem", "/etc/pki/libvirt/servercert.pem", "/key.pem", "/crl.pem"

Judge = Callable[[Snapshot], Any]


def looked(ca: bytes, cert: bytes, public: bytes = b"", crl: bytes = b"") -> Snapshot:
    answers: dict[Source, Answer] = {
        certificates.pem(CA): Completed(0, ca, b""),
        certificates.pem(CERT): Completed(0, cert, b""),
        certificates.public_half(KEY): Completed(0, public, b""),
        certificates.crl_pem(CRL): Completed(0, crl, b""),
    }
    return Snapshot("hv1", TAKEN, answers)


def fits(expected: Any, readings: Reading | Iterable[Reading]) -> bool:
    found = [readings] if isinstance(readings, Reading) else list(readings)
    return bool(found) and all(matches(expected, one.value) for one in found)


JUDGES: dict[str, Judge] = {
    "valid": lambda s: fits(certificates.ValidFor(30), certificates.validity(s, CERT)),
    "ca valid": lambda s: fits(certificates.ValidFor(30), certificates.validity(s, CA)),
    "chain": lambda s: fits(certificates.TRUSTED, certificates.chain(s, CERT, CA)),
    "purpose": lambda s: fits(certificates.FIT["server"], certificates.purpose(s, CERT, "server")),
    "ca purpose": lambda s: fits(certificates.FIT["ca"], certificates.purpose(s, CA, "ca")),
    "name": lambda s: fits(certificates.Covers("hv1"), certificates.names(s, CERT)),
    "address": lambda s: fits(certificates.Covers("10.77.0.1"), certificates.names(s, CERT)),
    "strong": lambda s: fits(certificates.Strong(2048), certificates.strength(s, CERT)),
    "ca strong": lambda s: fits(certificates.Strong(2048), certificates.strength(s, CA)),
    "key": lambda s: fits(certificates.OWN_KEY, certificates.key(s, KEY, CERT)),
}

Made = tuple[bytes, bytes, bytes]


def _of(ca: Issued, leaf: Issued, *between: Issued) -> Made:
    return ca.pem, b"".join(one.pem for one in (leaf, *between)), leaf.public_pem


def _good() -> Made:
    return _of(authority(), server(authority()))


def _of_a_foreign_ca() -> Made:
    return _of(authority(), server(authority("foreign")))


def _signed_by_a_ca_of_the_same_name() -> Made:
    return _of(authority(), server(authority(), sign_as=authority("foreign")))


def _through_an_intermediate() -> Made:
    middle = authority("middle", authority())
    return _of(authority(), server(middle), middle)


def _intermediate_missing() -> Made:
    return _of(authority(), server(authority("middle", authority())))


def _intermediate_is_no_ca() -> Made:
    middle = authority("middle", authority(), ca=False)
    return _of(authority(), server(middle), middle)


def _path_too_long() -> Made:
    root = authority("short", path_length=0)
    middle = authority("middle", root)
    return _of(root, server(middle), middle)


def _bundle_of_cas() -> Made:
    return authority("foreign").pem + authority().pem, server(authority()).pem, server(authority()).public_pem


def _another_key() -> Made:
    ca, cert, _public = _good()
    return ca, cert, authority().public_pem


def _leaf(**how: Any) -> Callable[[], Made]:
    return lambda: _of(authority(), server(authority(), **how))


def _root(**how: Any) -> Callable[[], Made]:
    def made() -> Made:
        root = authority("root", **how)
        return _of(root, server(root))

    return made


def _recorded(case: str) -> Callable[[], Made]:
    """Certificates that `cryptography` refuses to make. Their root is signed with the same hash, which is no fault."""
    folder = Path(__file__).parents[1] / "probes" / "certificates" / case
    return lambda: tuple((folder / f"{one}.pem").read_bytes() for one in ("ca", "server", "public"))  # type: ignore[return-value]


CASES: dict[str, tuple[Callable[[], Made], set[str]]] = {
    "good": (_good, set()),
    "expired": (_leaf(days=(-400, -1)), {"valid"}),
    "expires within the month": (_leaf(days=(-300, 29)), {"valid"}),
    "not yet valid": (_leaf(days=(1, 400)), {"valid"}),
    "CA expired": (_root(days=(-4000, -1)), {"ca valid"}),
    "of a foreign CA": (_of_a_foreign_ca, {"chain"}),
    "signed by another CA of the same name": (_signed_by_a_ca_of_the_same_name, {"chain"}),
    "through an intermediate": (_through_an_intermediate, set()),
    "intermediate missing": (_intermediate_missing, {"chain"}),
    "intermediate is no CA": (_intermediate_is_no_ca, {"purpose"}),
    "path longer than the CA allows": (_path_too_long, {"chain"}),
    "several CAs in the file": (_bundle_of_cas, set()),
    "CA without the CA flag": (_root(ca=False), {"ca purpose"}),
    "CA without basicConstraints": (_root(ca=None), {"ca purpose"}),
    "CA may not sign": (_root(usage=("digital_signature",)), {"ca purpose"}),
    "CA without keyUsage": (_root(usage=()), set()),
    "leaf is a CA": (_leaf(ca=True), {"purpose"}),
    "leaf may not sign handshakes": (_leaf(usage=("key_encipherment",)), {"purpose"}),
    "RSA leaf may not encipher keys": (_leaf(usage=("digital_signature",)), {"purpose"}),
    "EC leaf need not encipher keys": (_leaf(usage=("digital_signature",), key=other_key("ec")), set()),
    "client certificate on the server": (_leaf(purposes=(CLIENT,)), {"purpose"}),
    "for both sides": (_leaf(purposes=(CLIENT, SERVER)), set()),
    "without extendedKeyUsage": (_leaf(purposes=()), set()),
    "without keyUsage": (_leaf(usage=()), set()),
    "for another name": (_leaf(names=("hv9", "10.77.0.1")), {"name"}),
    "without the address": (_leaf(names=("hv1",)), {"address"}),
    "names in the common name only": (_leaf(names=()), {"address"}),
    "common name does not count beside DNS names": (_leaf(names=("hv9", "10.77.0.1"), common="hv1"), {"name"}),
    "common name counts beside addresses": (_leaf(names=("10.77.0.1",), common="hv1"), set()),
    "address in the common name": (_leaf(names=("hv1",), common="10.77.0.1"), {"address"}),
    "short key": (_leaf(key=rsa_key("weak", 1024)), {"strong"}),
    "signed with SHA-1": (_recorded("signed_with_sha1"), {"strong", "chain"}),
    "CA with a short key": (_root(key=rsa_key("weak", 1024)), {"ca strong"}),
    "Ed25519": (_leaf(key=other_key("ed25519")), set()),
    "another key": (_another_key, {"key"}),
}


@pytest.mark.parametrize("case", CASES)
def test_one_fault_is_reported_once(case: str) -> None:
    made, departs = CASES[case]
    snapshot = looked(*made())
    assert {what for what, fine in JUDGES.items() if not fine(snapshot)} == departs


@pytest.mark.parametrize(
    ("days", "says"),
    [
        ((-400, -1), "valid 2025-11-27 to 2026-12-31: expired"),
        ((-1, 29.5), "valid 2026-12-31 to 2027-01-31: 29 days left"),
        ((1, 400), "valid 2027-01-02 to 2028-02-05: not yet"),
    ],
)
def test_validity_in_words(days: tuple[float, float], says: str) -> None:
    snapshot = looked(b"", server(authority(), days=days).pem)
    (reading,) = certificates.validity(snapshot, CERT)
    assert str(reading.value) == says


def test_validity_is_judged_when_it_was_looked_at() -> None:
    snapshot = looked(b"", server(authority(), days=(-1, 365)).pem)
    later = Snapshot("hv1", TAKEN + timedelta(days=340), snapshot.answers)
    assert JUDGES["valid"](snapshot)
    assert not JUDGES["valid"](later)


@pytest.mark.parametrize(
    ("pattern", "reached", "covers"),
    [
        ("hv1.example.com", "HV1.example.com", True),
        ("*.example.com", "hv1.example.com", True),
        ("*.example.com", "a.hv1.example.com", False),
        ("*.example.com", "example.com", False),
        ("*.com", "example.com", False),
        ("*.77.0.1", "10.77.0.1", False),
        ("h*.example.com", "hv1.example.com", False),
    ],
)
def test_wildcards(pattern: str, reached: str, covers: bool) -> None:
    assert certificates.Covers(reached).matches((pattern,)) is covers


def test_words_of_a_broken_chain_name_the_issuer() -> None:
    assert certificates.chain(looked(*_of_a_foreign_ca()[:2]), CERT, CA).value == (
        "signed by CN=foreign, which is not in the CA file"
    )
    assert "no valid signature" in certificates.chain(looked(*_signed_by_a_ca_of_the_same_name()[:2]), CERT, CA).value


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (Completed(0, b"", b""), "holds no PEM certificate"),
        (Completed(2, b"", b"awk: cannot open /c (No such file or directory)\nmore"), "cannot open /c"),
        (Completed(2, b"", b""), "cannot be read"),
        (Completed(0, b"-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n", b""), "is no certificate"),
        (Completed(0, b"-----BEGIN CERTIFICATE-----\n", b""), "is no certificate"),
        (Completed(0, b"\xff\xfe\x00garbage", b""), "is no certificate"),
        (Absent(), "does not exist"),
    ],
)
def test_what_cannot_be_looked_at_is_an_error(content: Answer, reason: str) -> None:
    snapshot = Snapshot("hv1", TAKEN, {certificates.pem(CERT): content})
    with pytest.raises(CannotLook, match=reason):
        list(certificates.validity(snapshot, CERT))


@pytest.mark.parametrize("public", [Completed(0, b"", b""), Completed(1, b"", b"Could not read key"), Absent()])
def test_a_key_that_cannot_be_looked_at_is_an_error(public: Answer) -> None:
    answers = {
        certificates.pem(CERT): Completed(0, server(authority()).pem, b""),
        certificates.public_half(KEY): public,
    }
    with pytest.raises(CannotLook):
        certificates.key(Snapshot("hv1", TAKEN, answers), KEY, CERT)


# --- revocation


@pytest.mark.parametrize(
    ("crl", "value"),
    [
        (lambda: revocations(authority()), certificates.CURRENT),
        (lambda: revocations(authority(), days=-3), "out of date since 2026-12-29"),
        (lambda: revocations(authority("foreign")), "issued by CN=foreign, which is not in the CA file"),
        (lambda: revocations(authority(), sign_as=authority("foreign")), "not signed by the CA it names"),
    ],
)
def test_revocation_list(crl: Callable[[], bytes], value: str) -> None:
    snapshot = looked(authority().pem, b"", crl=crl())
    assert certificates.revocations(snapshot, CRL, CA).value == value


def test_revoked_certificate() -> None:
    leaf = server(authority())
    listed = revocations(authority(), [leaf.certificate.serial_number])
    free = looked(authority().pem, leaf.pem, crl=revocations(authority(), [4711]))
    assert certificates.revoked(free, CERT, CRL).value == certificates.NOT_REVOKED
    caught = looked(authority().pem, leaf.pem, crl=listed)
    assert certificates.revoked(caught, CERT, CRL).value == "revoked since 2026-09-23"


@pytest.mark.parametrize("crl", [b"", b"-----BEGIN X509 CRL-----\nMIIC\n-----END X509 CRL-----\n"])
def test_unreadable_revocation_list_is_an_error(crl: bytes) -> None:
    with pytest.raises(CannotLook):
        certificates.revocations(looked(authority().pem, b"", crl=crl), CRL, CA)


# --- the commands, for real


def run(argv: tuple[str, ...], path: str | None = None) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | ({"PATH": path} if path else {})
    return subprocess.run(argv, capture_output=True, check=False, env=environment, stdin=subprocess.DEVNULL)


def test_private_keys_beside_certificates_stay_on_the_host(tmp_path: Path) -> None:
    leaf, ca = server(authority()), authority()
    cut_off = b"-----BEGIN CERTIFICATE-----\nMIIC\n"
    mixed = tmp_path / "mixed one.pem"
    mixed.write_bytes(leaf.key_pem + b"a note\n" + leaf.pem + ca.pem + cut_off + leaf.key_pem)
    said = run(certificates.pem(str(mixed)).argv)
    assert said.stdout == leaf.pem + ca.pem + cut_off
    assert said.returncode == 0


def test_revocation_lists_are_taken_alone(tmp_path: Path) -> None:
    crl, leaf = revocations(authority()), server(authority())
    (tmp_path / "crl.pem").write_bytes(leaf.pem + crl + leaf.key_pem)
    assert run(certificates.crl_pem(str(tmp_path / "crl.pem")).argv).stdout == crl


def test_missing_file_is_no_empty_file(tmp_path: Path) -> None:
    said = run(certificates.pem(str(tmp_path / "none.pem")).argv)
    assert said.returncode != 0
    assert said.stderr


@pytest.fixture
def only(tmp_path: Path) -> Callable[..., str]:
    """A PATH with nothing but these tools."""

    def path(*tools: str) -> str:
        folder = tmp_path / "-".join(("bin", *tools))
        folder.mkdir()
        for tool in ("sh", *tools):
            found = subprocess.run(["which", tool], capture_output=True, text=True, check=False).stdout.strip()
            if not found:
                pytest.skip(f"no {tool} here")
            (folder / tool).symlink_to(found)
        return str(folder)

    return path


@pytest.mark.parametrize("tool", ["openssl", "certtool"])
def test_only_the_public_half_leaves(tool: str, tmp_path: Path, only: Callable[..., str]) -> None:
    leaf = server(authority())
    key = tmp_path / "the key $(id).pem"
    key.write_bytes(leaf.key_pem)
    said = run(certificates.public_half(str(key)).argv, only(tool))
    assert b"PRIVATE" not in said.stdout + said.stderr
    snapshot = looked(b"", leaf.pem, public=said.stdout)
    assert certificates.key(snapshot, KEY, CERT).value == certificates.OWN_KEY


def test_no_tool_for_the_public_half(tmp_path: Path, only: Callable[..., str]) -> None:
    said = run(certificates.public_half(str(tmp_path / "key.pem")).argv, only())
    assert (said.returncode, said.stdout) == (69, b"")
    assert said.stderr == b"neither openssl nor certtool is installed\n"
