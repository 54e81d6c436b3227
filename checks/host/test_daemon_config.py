"""The daemon's configuration file says what the profile states, and its socket is as it must be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from virtvet.check import Case, Control, Severity, check
from virtvet.expect import OneOf
from virtvet.probes import daemon_config, files
from virtvet.profile.listeners import OWN
from virtvet.snapshot.sources import File, Source, Stat
from virtvet.target import HostTarget

REFERENCES = (
    "https://libvirt.org/remote.html",
    "https://libvirt.org/auth.html",
    "https://gitlab.com/libvirt/libvirt/-/blob/master/src/remote/libvirtd.conf.in",
)
EDIT = "vi {file} && systemctl restart {program}   # {subject}: {expected}"

LISTENING = frozenset({"listen_tls", "listen_tcp", "listen_addr", "tls_port", "tcp_port"})
ACCESS = frozenset(
    {
        *("auth_unix_ro", "auth_unix_rw", "auth_tcp", "auth_tls", "tcp_min_ssf", "access_drivers"),
        *("unix_sock_group", "unix_sock_ro_perms", "unix_sock_rw_perms", "unix_sock_admin_perms", "unix_sock_dir"),
        *("ca_file", "cert_file", "key_file", "crl_file", "tls_no_sanity_certificate", "tls_no_verify_certificate"),
        *("tls_allowed_dn_list", "tls_priority", "sasl_allowed_username_list"),
    }
)

LISTENING_KEYS = Control(
    id="DAEMON-CONF-1",
    title="The daemon is configured to listen where it should, and only there",
    area="daemon",
    severity=Severity.HIGH,
    requirement="R2",
    rationale="The file counts at the next start: a daemon that listens now may be silent, or open, after it.",
    hint=EDIT,
    references=REFERENCES,
)
ACCESS_KEYS = Control(
    id="DAEMON-CONF-2",
    title="The daemon is configured to let in whom it should, and no one else",
    area="daemon",
    severity=Severity.CRITICAL,
    requirement="R2",
    rationale="Who may talk to libvirt over a writable connection is root on this host.",
    hint=EDIT,
    references=REFERENCES,
)
OTHER_KEYS = Control(
    id="DAEMON-CONF-3",
    title="The daemon's limits, logging and identity are configured as stated",
    area="daemon",
    severity=Severity.MEDIUM,
    requirement="R2",
    rationale="Too few workers or clients stall management; two hosts of one UUID cannot migrate to each other.",
    hint=EDIT,
    references=REFERENCES,
)
SOCKET = Control(
    id="DAEMON-SOCK-1",
    title="The daemon's UNIX socket has the stated owner, group and mode",
    area="daemon",
    severity=Severity.CRITICAL,
    requirement="R2",
    rationale="The file says what the next start will do; the socket says who can connect now.",
    hint="ls -l {path}   # under systemd, SocketGroup= and SocketMode= of {program}.socket decide",
    references=REFERENCES,
)


def _listening_keys(host: HostTarget) -> Iterator[Case]:
    return (case for case in _stated(host) if case.subject in LISTENING)


def _access_keys(host: HostTarget) -> Iterator[Case]:
    return (case for case in _stated(host) if case.subject in ACCESS)


def _other_keys(host: HostTarget) -> Iterator[Case]:
    return (case for case in _stated(host) if case.subject not in LISTENING | ACCESS)


def _stated(host: HostTarget) -> Iterator[Case]:
    """Every key the profile names, also those that must be absent."""
    if (daemon := host.wants.daemon) is None:
        return
    words = {"file": daemon.config_file, "program": daemon.program}
    for key in sorted(daemon.config.model_fields_set):
        wanted = _wanted(host, key, getattr(daemon.config, key))
        yield Case(key, wanted, (daemon.config_file, key), words=words)


def _wanted(host: HostTarget, key: str, stated: Any) -> Any:
    if key == "listen_addr" and stated == OWN:
        return OneOf(host.names)
    return daemon_config.expected(key, stated)


def _sockets(host: HostTarget) -> Iterator[Case]:
    if (daemon := host.wants.daemon) is None or (socket := daemon.socket) is None:
        return
    wanted = files.Guard("socket", socket.owner, socket.group, socket.mode)
    yield Case(socket.path, wanted, (socket.path,), words={"path": socket.path, "program": daemon.program})


def _config_file(host: HostTarget) -> Iterator[Source]:
    if host.wants.daemon is not None:
        yield File(host.wants.daemon.config_file)


def _socket_stat(host: HostTarget) -> Iterator[Source]:
    return (Stat(case.args[0]) for case in _sockets(host))


@check(LISTENING_KEYS, cases=_listening_keys, sources=_config_file, config=daemon_config.setting)
def test_daemon_is_configured_to_listen(case: Case, observed: object) -> None:
    """Key by key."""
    assert observed == case.expected


@check(ACCESS_KEYS, cases=_access_keys, sources=_config_file, config=daemon_config.setting)
def test_daemon_is_configured_to_let_in(case: Case, observed: object) -> None:
    """Key by key."""
    assert observed == case.expected


@check(OTHER_KEYS, cases=_other_keys, sources=_config_file, config=daemon_config.setting)
def test_daemon_is_configured_as_stated(case: Case, observed: object) -> None:
    """Key by key."""
    assert observed == case.expected


@check(SOCKET, cases=_sockets, sources=_socket_stat, actual=files.guard)
def test_daemon_socket_is_guarded(case: Case, observed: object) -> None:
    """Exactly as _stated, neither more nor less."""
    assert observed == case.expected
