"""The daemon is started so that it listens for TLS, now and at its next start."""

from __future__ import annotations

from collections.abc import Iterator

from virtvet.check import Case, Control, PerLayer, Severity, check
from virtvet.probes import daemon_start, systemd
from virtvet.probes.systemd import Units
from virtvet.snapshot.sources import Source
from virtvet.target import HostTarget

REFERENCES = ("https://libvirt.org/manpages/libvirtd.html", "https://libvirt.org/manpages/virtproxyd.html")

LISTEN_ARGUMENT = Control(
    id="DAEMON-START-1",
    title="libvirtd is started with --listen",
    area="daemon",
    severity=Severity.HIGH,
    requirement="R3",
    rationale="Without it libvirtd opens no port, whatever listen_tls says.",
    hint="systemctl mask 'libvirtd*.socket'; systemctl restart libvirtd   "
    '# first: LIBVIRTD_ARGS="--listen" in /etc/default/libvirtd or /etc/sysconfig/libvirtd',
    references=REFERENCES,
)
SOCKET_ACTIVATION = Control(
    id="DAEMON-START-2",
    title="systemd listens for TLS on the daemon's behalf",
    area="daemon",
    severity=Severity.HIGH,
    requirement="R3",
    rationale="Under socket activation listen_tls is ignored: the port is open only while the TLS socket is active.",
    hint="systemctl stop {program}.service; systemctl enable --now {program}-tls.socket",
    references=REFERENCES,
)


def _by_argument(host: HostTarget) -> Iterator[Case]:
    if host.wants.daemon is not None and host.wants.daemon.start == "listen-argument":
        yield Case(host.wants.daemon.program, daemon_start.LISTENS, (host.wants.daemon.program,))


def _by_socket(host: HostTarget) -> Iterator[Case]:
    if host.wants.daemon is not None and host.wants.daemon.start == "socket-activation":
        program = host.wants.daemon.program
        socket = f"{program}-tls.socket"
        expected = PerLayer(config="enabled", live="active")
        yield Case(socket, expected, (Units.of([socket]), socket), words={"program": program})


def _argument_sources(host: HostTarget) -> Iterator[Source]:
    for case in _by_argument(host):
        program = case.args[0]
        yield from (*daemon_start.ARGUMENT_FILES, daemon_start.pid_file(program), daemon_start.processes(program))


def _socket_sources(host: HostTarget) -> Iterator[Source]:
    for case in _by_socket(host):
        yield from case.args[0].sources


@check(
    LISTEN_ARGUMENT,
    cases=_by_argument,
    sources=_argument_sources,
    config=daemon_start.listen_configured,
    live=daemon_start.listen_live,
)
def test_daemon_is_started_to_listen(case: Case, observed: object) -> None:
    """The arguments file for the next start, the process for now."""
    assert observed == case.expected


@check(
    SOCKET_ACTIVATION,
    cases=_by_socket,
    sources=_socket_sources,
    config=systemd.enabled,
    live=systemd.active,
)
def test_systemd_listens_for_the_daemon(case: Case, observed: object) -> None:
    """Enabled for the next boot, active now."""
    assert observed == case.expected
