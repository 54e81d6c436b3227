"""Handshakes with real TLS servers on the loopback, some of which behave as libvirt's does, some badly."""

from __future__ import annotations

import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from virtvet.snapshot.model import Failed, Shake
from virtvet.snapshot.side_by_side import Deadline
from virtvet.snapshot.sources import Handshake
from virtvet.snapshot.tls_look import foreign, shake

PEM = foreign()
"""A key, a certificate and its CA: as good for a server and its clients as any."""


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    for name in ("clientcert.pem", "clientkey.pem", "cacert.pem"):
        (folder / name).write_bytes(PEM)
    (folder / "cacert.pem").write_bytes(b"-----BEGIN CERT" + PEM.split(b"-----BEGIN CERT")[-1])
    return folder


def server_context(pki: Path, lowest: ssl.TLSVersion, highest: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "clientcert.pem")
    context.load_verify_locations(pki / "cacert.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = lowest, highest
    return context


@contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            with suppress(OSError):
                client, _address = server.accept()
                with client:
                    serve(client)

        threading.Thread(target=run, daemon=True).start()
        yield server.getsockname()[1]


@contextmanager
def libvirtd(
    pki: Path, lowest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2, highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> Iterator[int]:
    context = server_context(pki, lowest, highest)

    def serve(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as tls:
            tls.sendall(b"\x01")
            tls.recv(1)

    with serving(serve) as port:
        yield port


def ask(port: int, client: str = "ours", highest: str = "", pki: Path | None = None, seconds: float = 5) -> object:
    return shake(Handshake(client, highest, port), "127.0.0.1", pki, None, Deadline(seconds))


@pytest.mark.parametrize("highest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_our_certificate_is_accepted(pki: Path, highest: ssl.TLSVersion) -> None:
    with libvirtd(pki, highest=highest) as port:
        found = ask(port, pki=pki)
    assert isinstance(found, Shake)
    assert (found.accepted, found.protocol) == (True, f"TLSv{highest.name[-3:].replace('_', '.')}")
    assert ssl.DER_cert_to_PEM_cert(found.peer[0]).encode() in PEM


def test_a_foreign_certificate_is_made_once_and_never_the_same_again() -> None:
    assert foreign() is PEM
    assert foreign.__wrapped__() != PEM


@pytest.mark.parametrize("client", ["none", "foreign"])
@pytest.mark.parametrize("highest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_none_and_a_foreign_one_are_refused(pki: Path, client: str, highest: ssl.TLSVersion) -> None:
    foreign.cache_clear()
    with libvirtd(pki, highest=highest) as port:
        found = ask(port, client)
    assert isinstance(found, Shake)
    assert (found.accepted, bool(found.detail)) == (False, True)


def test_an_older_protocol_is_refused(pki: Path) -> None:
    with libvirtd(pki, lowest=ssl.TLSVersion.TLSv1_2) as port:
        found = ask(port, highest="1.1", pki=pki)
    assert isinstance(found, Shake)
    assert not found.accepted
    assert "TLSV1_ALERT_PROTOCOL_VERSION" in found.detail


def test_an_older_protocol_is_accepted(pki: Path) -> None:
    with libvirtd(pki, lowest=ssl.TLSVersion.TLSv1) as port:
        found = ask(port, highest="1.1", pki=pki)
    assert isinstance(found, Shake)
    assert (found.accepted, found.protocol) == (True, "TLSv1.1")


def test_a_port_that_does_not_speak_tls() -> None:
    with serving(lambda client: client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        assert ask(port, "none") == Failed("the port listens, but does not speak TLS")


def test_a_port_that_hangs_up() -> None:
    with serving(lambda client: None) as port:
        found = ask(port, "none")
    assert isinstance(found, Shake)
    assert (found.accepted, found.protocol) == (False, "")


def test_a_port_that_says_nothing() -> None:
    begun = time.monotonic()
    with serving(lambda client: time.sleep(9)) as port:
        assert ask(port, "none", seconds=0.2) == Failed(f"127.0.0.1 port {port} did not answer within 0.2 s")
    assert time.monotonic() - begun < 3


def test_tls_without_libvirts_word_is_no_acceptance(pki: Path) -> None:
    context = server_context(pki, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)

    def serve(client: socket.socket, says: bytes) -> None:
        with context.wrap_socket(client, server_side=True) as tls:
            tls.sendall(says)
            time.sleep(0.5)

    with serving(lambda client: serve(client, b"2")) as port:
        assert ask(port, pki=pki).detail == "the server said b'2', which is not libvirt's"
    with serving(lambda client: serve(client, b"")) as port:
        assert ask(port, pki=pki, seconds=0.2) == Failed(f"127.0.0.1 port {port} did not answer within 0.2 s")


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert ask(port, "none") == Failed(f"nothing listens on 127.0.0.1 port {port}: connection refused")


def test_certificates_that_are_not_there_or_cannot_be_used(tmp_path: Path) -> None:
    assert "there is no client certificate: state libvirt: {pki: …}" in str(ask(1))
    assert "there is no expired one: state libvirt: {expired_client: …}" in str(ask(1, "expired"))
    assert f"the client certificate in {tmp_path} cannot be used" in str(ask(1, pki=tmp_path))
