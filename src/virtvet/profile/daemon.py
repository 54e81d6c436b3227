"""`host.daemon`: the daemon's configuration file key by key, its socket, and how it is started."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from virtvet.profile.base import Wants
from virtvet.profile.listeners import Port
from virtvet.profile.tls import AbsolutePath
from virtvet.units import Mode

Program = Literal["libvirtd", "virtproxyd"]
Auth = Literal["none", "sasl", "polkit"]
Count = Annotated[int, Field(ge=0, le=2**32 - 1)]


class DaemonConfig(Wants):
    """Keys of libvirtd.conf and virtproxyd.conf (src/remote/libvirtd.conf.in). A key stated as null must be absent."""

    listen_tls: bool | None = None
    listen_tcp: bool | None = None
    listen_addr: str | None = None
    """`own` for an address or name that the inventory has for the host."""
    tls_port: Port | str | None = None
    """A port, or the name of a service."""
    tcp_port: Port | str | None = None
    unix_sock_group: str | None = None
    unix_sock_ro_perms: Mode | None = None
    unix_sock_rw_perms: Mode | None = None
    unix_sock_admin_perms: Mode | None = None
    unix_sock_dir: AbsolutePath | None = None
    auth_unix_ro: Auth | None = None
    auth_unix_rw: Auth | None = None
    auth_tcp: Auth | None = None
    auth_tls: Auth | None = None
    tcp_min_ssf: Count | None = None
    access_drivers: list[str] | None = None
    ca_file: AbsolutePath | None = None
    cert_file: AbsolutePath | None = None
    key_file: AbsolutePath | None = None
    crl_file: AbsolutePath | None = None
    tls_no_sanity_certificate: bool | None = None
    tls_no_verify_certificate: bool | None = None
    tls_allowed_dn_list: list[str] | None = None
    """Distinguished names with `*`, in any order; an empty list shuts every client out."""
    tls_priority: str | None = None
    """GnuTLS priority string."""
    sasl_allowed_username_list: list[str] | None = None
    max_clients: Count | None = None
    max_queued_clients: Count | None = None
    max_anonymous_clients: Count | None = None
    max_client_requests: Count | None = None
    min_workers: Count | None = None
    max_workers: Count | None = None
    prio_workers: Count | None = None
    admin_min_workers: Count | None = None
    admin_max_workers: Count | None = None
    admin_max_clients: Count | None = None
    admin_max_queued_clients: Count | None = None
    admin_max_client_requests: Count | None = None
    log_level: Annotated[int, Field(ge=1, le=4)] | None = None
    log_filters: str | None = None
    log_outputs: str | None = None
    audit_level: Annotated[int, Field(ge=0, le=2)] | None = None
    audit_logging: bool | None = None
    host_uuid: str | None = None
    host_uuid_source: Literal["smbios", "machine-id"] | None = None
    keepalive_interval: Annotated[int, Field(ge=-1)] | None = None
    keepalive_count: Count | None = None
    admin_keepalive_interval: Annotated[int, Field(ge=-1)] | None = None
    admin_keepalive_count: Count | None = None
    ovs_timeout: Count | None = None


class Socket(Wants):
    """The UNIX socket of `qemu:///system`: exactly this owner, group and mode."""

    path: AbsolutePath = "/run/libvirt/libvirt-sock"
    owner: str = "root"
    group: str = "root"
    mode: Mode


class Daemon(Wants):
    """The daemon that answers remote clients."""

    program: Program = "libvirtd"
    """virtproxyd where libvirt runs as modular daemons."""
    file: AbsolutePath | None = None
    """Its configuration; /etc/libvirt/PROGRAM.conf when absent."""
    config: DaemonConfig = DaemonConfig()
    socket: Socket | None = None
    start: Literal["listen-argument", "socket-activation"] | None = None
    """What makes it listen for TLS: `--listen` in its arguments, or systemd's PROGRAM-tls.socket."""

    @model_validator(mode="after")
    def _can_be_started(self) -> Self:
        if self.program == "virtproxyd" and self.start == "listen-argument":
            raise ValueError("virtproxyd has no --listen: use start: socket-activation")
        return self

    @property
    def config_file(self) -> str:
        """The path of its configuration."""
        return self.file or f"/etc/libvirt/{self.program}.conf"
