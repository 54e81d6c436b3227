"""Certificates that tests ask the lab for."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from lab import keys


@pytest.fixture(scope="module")
def key_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def authority(key_cache):
    return keys.Authority.create("lab", key_cache)


def names(pair):
    extension = x509.load_pem_x509_certificate(pair.cert).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    return [str(name.value) for name in extension.value]


def test_server_certificate_carries_names_and_addresses(authority):
    assert names(authority.server(["hv1", "10.77.0.1"])) == ["hv1", "10.77.0.1"]


def test_certificate_is_issued_by_its_authority_only(authority, key_cache):
    foreign = keys.Authority.create("foreign", key_cache)
    leaf = x509.load_pem_x509_certificate(authority.client().cert)
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.cert))
    with pytest.raises(ValueError, match="does not match"):
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(foreign.cert))


def test_expired_certificate_is_expired(authority):
    expired = x509.load_pem_x509_certificate(authority.server(["hv1"], valid=(-10, -1)).cert)
    assert expired.not_valid_after_utc < datetime.datetime.now(datetime.UTC)


def test_key_fits_its_certificate(authority):
    pair = authority.server(["hv1"])
    public = load_pem_private_key(pair.key, None).public_key()
    assert public == x509.load_pem_x509_certificate(pair.cert).public_key()


def test_keys_are_made_once(authority, key_cache):
    before = (key_cache / "lab.pem").stat().st_mtime_ns
    keys.Authority.create("lab", key_cache)
    assert (key_cache / "lab.pem").stat().st_mtime_ns == before


def test_private_keys_are_private(authority, tmp_path):
    folder = keys.write_client(authority, tmp_path / "pki")
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == {
        "cacert.pem": "0o644",
        "clientcert.pem": "0o644",
        "clientkey.pem": "0o600",
    }


def test_saved_authority_issues_again(authority, key_cache, tmp_path):
    authority.save(tmp_path)
    again = keys.Authority.load(tmp_path, key_cache)
    leaf = x509.load_pem_x509_certificate(again.client().cert)
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.cert))


def test_revocation_list_names_what_is_revoked(authority):
    good, bad = (x509.load_pem_x509_certificate(authority.client().cert) for _ in range(2))
    listed = x509.load_pem_x509_crl(authority.revocations(bad.public_bytes(Encoding.PEM)))
    assert listed.is_signature_valid(x509.load_pem_x509_certificate(authority.cert).public_key())
    assert [entry.serial_number for entry in listed] == [bad.serial_number] != [good.serial_number]
