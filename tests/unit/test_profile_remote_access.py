"""Keys of `tls`, `daemon` and `listeners`: short profiles say much, impossible ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtvet.errors import BadInput
from virtvet.profile import HostWants
from virtvet.profile.load import load_profile
from virtvet.profile.tls import Handshake


def host(tmp_path: Path, text: str) -> HostWants:
    path = tmp_path / "p.yaml"
    path.write_text(f"virtvet: 1\nhost: {text}\n")
    return load_profile(str(path)).host


def test_nothing_stated_means_libvirts_own_files(tmp_path: Path) -> None:
    wants = host(tmp_path, "{tls: {}, daemon: {}, listeners: {}}")
    assert wants.tls
    assert wants.daemon
    assert wants.listeners
    assert wants.tls.certificates == {"ca": "/etc/pki/CA/cacert.pem", "server": "/etc/pki/libvirt/servercert.pem"}
    assert wants.tls.server.key_mode == 0o600
    assert wants.daemon.config_file == "/etc/libvirt/libvirtd.conf"
    assert (wants.listeners.tls_port, wants.listeners.tcp, wants.listeners.tcp_port) == (16514, False, 16509)


def test_virtproxyd_has_a_file_of_its_own(tmp_path: Path) -> None:
    wants = host(tmp_path, "{daemon: {program: virtproxyd, start: socket-activation}}")
    assert wants.daemon
    assert wants.daemon.config_file == "/etc/libvirt/virtproxyd.conf"


@pytest.mark.parametrize(("minimum", "refused"), [("1.0", None), ("1.1", "1.0"), ("1.2", "1.1"), ("1.3", "1.2")])
def test_version_to_refuse(minimum: str, refused: str | None) -> None:
    assert Handshake.model_validate({"minimum": minimum}).refused_protocol == refused


@pytest.mark.parametrize(
    ("text", "at", "says"),
    [
        ("{tls: {ca: {file: cacert.pem}}}", "tls", "cacert.pem"),
        ("{tls: {server: {key_mode: 600}}}", "key_mode", "digits in quotes"),
        ("{tls: {minimum_rsa_bits: 512}}", "minimum_rsa_bits", "1024"),
        ("{tls: {handshake: {minimum: 1.2}}}", "minimum", "1.2"),
        ("{tls: {handshake: {refuse: [nobody]}}}", "refuse", "none"),
        ("{tls: {names: [hv 1]}}", "names", "hv 1"),
        ("{daemon: {config: {listen_tsl: true}}}", "listen_tsl", "listen_tls"),
        ("{daemon: {config: {listen_tls: 1}}}", "listen_tls", "true or false"),
        ("{daemon: {config: {auth_tls: password}}}", "auth_tls", "sasl"),
        ("{daemon: {socket: {group: libvirt}}}", "socket", "mode"),
        ("{daemon: {program: virtproxyd, start: listen-argument}}", "daemon", "virtproxyd has no --listen"),
        ("{listeners: {tls: {port: 0}}}", "port", "1"),
        ("{listeners: {tls: {address: everywhere}}}", "address", "is no IP address: use own"),
        ("{tls: {}, daemon: {config: {cert_file: /x.pem}}}", "daemon", "cert_file: is /x.pem, but tls: names /etc/pki"),
        (
            "{tls: {crl: {}}, daemon: {config: {crl_file: /x.pem}}}",
            "daemon",
            "crl_file: is /x.pem, but tls: names /etc/pki/CA/cacrl.pem",
        ),
        (
            "{tls: {handshake: {}}, daemon: {config: {tls_no_verify_certificate: true}}}",
            "daemon",
            "lets in the clients",
        ),
        ("{tls: {hostname: true}, listeners: {tls: false}}", "listeners", "want an answer"),
        ("{daemon: {config: {listen_tls: false}}, listeners: {tls: true}}", "listeners", "tls must listen, but"),
        ("{daemon: {config: {listen_tcp: true}}, listeners: {}}", "listeners", "listen_tcp: true"),
        ("{daemon: {config: {tls_port: 16515}}, listeners: {}}", "listeners", "tls_port: 16515"),
    ],
)
def test_refused(tmp_path: Path, text: str, at: str, says: str) -> None:
    with pytest.raises(BadInput) as error:
        host(tmp_path, text)
    assert all(problem.at and problem.at.line == 2 and at in str(problem) for problem in error.value.problems)
    assert says in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "{daemon: {start: socket-activation, config: {listen_tls: false}}, listeners: {tls: true}}",
        "{daemon: {config: {listen_tls: true, tls_port: 16515}}, listeners: {tls: {port: 16515, address: own}}}",
        "{daemon: {config: {tls_port: libvirt-tls}}, listeners: {}}",
        '{listeners: {tls: {address: ["0.0.0.0", "::"]}}}',
        "{tls: {}, daemon: {config: {crl_file: null, tls_no_verify_certificate: true}}}",
    ],
)
def test_taken(tmp_path: Path, text: str) -> None:
    assert host(tmp_path, text)
