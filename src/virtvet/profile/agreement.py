"""What `tls`, `daemon` and `listeners` say of the same thing must be the same: else no host could ever match."""

from __future__ import annotations

from collections.abc import Iterator

from virtvet.profile.daemon import Daemon
from virtvet.profile.listeners import Listeners
from virtvet.profile.tls import Tls


def of_daemon(daemon: Daemon | None, tls: Tls | None) -> None:
    """Raises ValueError where the daemon's configuration contradicts the certificates asked for."""
    if daemon and tls:
        _refuse(_daemon(daemon, tls))


def of_listeners(listeners: Listeners | None, daemon: Daemon | None, tls: Tls | None) -> None:
    """Raises ValueError where a port must be open and closed, or two ports, at once."""
    if listeners and daemon and daemon.start != "socket-activation":
        _refuse(_listeners(listeners, daemon))
    if listeners and listeners.tls is False and tls and (tls.handshake or tls.hostname):
        raise ValueError("tls: false, but tls: handshake: and hostname: want an answer on that port")


def _refuse(contradictions: Iterator[str]) -> None:
    if found := list(contradictions):
        raise ValueError("; ".join(found))


def _daemon(daemon: Daemon, tls: Tls) -> Iterator[str]:
    config = daemon.config
    files = {
        "ca_file": (config.ca_file, tls.ca.file),
        "cert_file": (config.cert_file, tls.server.certificate),
        "key_file": (config.key_file, tls.server.key),
        "crl_file": (config.crl_file, tls.crl and tls.crl.file),
    }
    for key, (configured, judged) in files.items():
        if configured and judged and configured != judged:
            yield f"config: {key}: is {configured}, but tls: names {judged}"
    if config.tls_no_verify_certificate and tls.handshake and tls.handshake.refuse:
        yield "config: tls_no_verify_certificate: true lets in the clients that tls: handshake: refuse: turns away"


def _listeners(listeners: Listeners, daemon: Daemon) -> Iterator[str]:
    config = daemon.config
    ports = {
        "tls": (listeners.tls, config.listen_tls, listeners.tls_port, config.tls_port),
        "tcp": (listeners.tcp, config.listen_tcp, listeners.tcp_port, config.tcp_port),
    }
    for name, (listens, configured, port, configured_port) in ports.items():
        if configured is not None and configured != (listens is not False):
            stated = f"daemon: config: says listen_{name}: {str(configured).lower()}"
            yield f"{name} must {'not ' * configured}listen, but {stated}"
        if listens is not False and isinstance(configured_port, int) and configured_port != port:
            yield f"{name} listens on port {port}, but daemon: config: says {name}_port: {configured_port}"
