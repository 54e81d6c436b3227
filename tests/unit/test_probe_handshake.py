"""What handshakes and a libvirt connection over TLS say, and what they leave open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.certificate_maker import TAKEN, authority, server
from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.expect import matches
from virtvet.probes import certificates, handshake, listeners
from virtvet.snapshot.model import Absent, Answer, Completed, Content, Failed, Hostname, Shake, Snapshot
from virtvet.snapshot.sources import Handshake, Source, TlsLibvirt

PORT, CERT = 16514, "/etc/pki/libvirt/servercert.pem"
OURS, NONE, OLD = Handshake(), Handshake("none"), Handshake("ours", "1.1")
GOOD, RENEWED = server(authority()), server(authority())
HEAD = b"  sl  local_address rem_address   st\n"
LISTENING = b"   1: 01004D0A:4082 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 114773 1\n"

Probe = Callable[[Snapshot], Reading]

PROBES: dict[str, Probe] = {
    "protocol": lambda s: handshake.protocol(s, PORT),
    "verdict": lambda s: handshake.verdict(s, "none", "", PORT),
    "presented": lambda s: handshake.presented(s, CERT, PORT),
    "hostname": lambda s: handshake.hostname(s, PORT),
}


def looked(answers: dict[Source, Answer], listening: bool = True) -> Snapshot:
    tables: dict[Source, Answer] = {
        listeners.TCP4: Content(HEAD + (LISTENING if listening else b"")),
        listeners.TCP6: Absent(),
        certificates.pem(CERT): Completed(0, GOOD.pem, b""),
    }
    return Snapshot("hv1", TAKEN, tables | answers)


def accepted(protocol: str = "TLSv1.3", presented: bytes = GOOD.der) -> Shake:
    return Shake(True, protocol, (presented,))


REFUSED = Shake(False, "TLSv1.3", (GOOD.der,), "after the handshake: TLSV13_ALERT_CERTIFICATE_REQUIRED")


@pytest.mark.parametrize(
    ("shake", "value", "minimum", "enough"),
    [
        (accepted("TLSv1.3"), "TLSv1.3", "1.2", True),
        (accepted("TLSv1.2"), "TLSv1.2", "1.2", True),
        (accepted("TLSv1.2"), "TLSv1.2", "1.3", False),
        (accepted("TLSv1"), "TLSv1", "1.0", True),
        (accepted("TLSv1"), "TLSv1", "1.1", False),
        (REFUSED, "refused: after the handshake: TLSV13_ALERT_CERTIFICATE_REQUIRED", "1.0", False),
        (Shake(False, "", ()), "refused: no reason given", "1.2", False),
        (accepted("SSLv3"), "SSLv3", "1.0", False),
    ],
)
def test_protocol(shake: Shake, value: str, minimum: str, enough: bool) -> None:
    reading = handshake.protocol(looked({OURS: shake}), PORT)
    assert reading.value == value
    assert matches(handshake.SpeaksAtLeast(minimum), reading.value) is enough


@pytest.mark.parametrize(("shake", "value"), [(accepted(), "accepted"), (REFUSED, "refused")])
def test_verdict(shake: Shake, value: str) -> None:
    assert handshake.verdict(looked({NONE: shake}), "none", "", PORT).value == value
    assert handshake.verdict(looked({OLD: shake}), "ours", "1.1", PORT).value == value


def test_presented() -> None:
    assert PROBES["presented"](looked({OURS: accepted()})).value == handshake.on_disk(CERT)
    assert PROBES["presented"](looked({OURS: REFUSED})).value == handshake.on_disk(CERT)


def test_another_certificate_presented() -> None:
    """Same names, same key: only the fingerprint tells."""
    reading = PROBES["presented"](looked({OURS: accepted(presented=RENEWED.der)}))
    assert reading.value == "another one: CN=hv1, until 2028-01-01"


@pytest.mark.parametrize("peer", [(), (b"\x30\x03garbage",)])
def test_presented_is_no_certificate(peer: tuple[bytes, ...]) -> None:
    with pytest.raises(CannotLook, match="presented"):
        PROBES["presented"](looked({OURS: Shake(False, "TLSv1.3", peer)}))


def test_hostname() -> None:
    assert PROBES["hostname"](looked({TlsLibvirt(): Hostname("hv1")})).value == "hv1"


REFUSED_CONNECTION = Failed("nothing listens on 10.77.0.1 port 16514: connection refused")
EVERYWHERE: dict[Source, Answer] = dict.fromkeys((OURS, NONE, TlsLibvirt()), REFUSED_CONNECTION)


@pytest.mark.parametrize("probe", PROBES)
def test_unreachable_port_that_listens_is_an_error(probe: str) -> None:
    """A packet filter between us and the host, or a certificate of ours that cannot be used."""
    with pytest.raises(CannotLook, match="connection refused"):
        PROBES[probe](looked(EVERYWHERE))


@pytest.mark.parametrize(
    ("probe", "ends"), [("protocol", True), ("hostname", True), ("verdict", False), ("presented", False)]
)
def test_closed_port_departs_where_an_answer_was_wanted(probe: str, ends: bool) -> None:
    snapshot = looked(EVERYWHERE, listening=False)
    if ends:
        assert PROBES[probe](snapshot).value == "nothing listens on port 16514"
    else:
        with pytest.raises(NotApplicable, match="nothing listens on port 16514"):
            PROBES[probe](snapshot)


@pytest.mark.parametrize("value", ["", "TLSv9", None, 1.3, "refused: x"])
def test_what_is_no_version_is_never_enough(value: Any) -> None:
    assert not handshake.SpeaksAtLeast("1.0").matches(value)
