"""`host.listeners`: which of libvirt's ports listen, where, and whose they are."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from virtvet.profile.base import Wants

TLS_PORT = 16514
"""LIBVIRTD_TLS_PORT (src/remote/remote_driver.h)."""
TCP_PORT = 16509
"""LIBVIRTD_TCP_PORT."""


OWN = "own"
"""In place of an address, so that one profile fits many hosts: any that the inventory names for the host."""


def _canonical(written: str) -> str:
    if written == OWN:
        return written
    try:
        return str(ip_address(written))
    except ValueError:
        right = f'use {OWN}, or an address such as 0.0.0.0, "::" or 192.0.2.1'
        raise ValueError(f'"{written}" is no IP address: {right}') from None


Address = Annotated[str, AfterValidator(_canonical), Field(examples=[OWN, "::", "192.0.2.1"])]
"""An IP address as the kernel binds it (`0.0.0.0` and `::` stand for themselves, not for any address), or `own`."""
Port = Annotated[int, Field(ge=1, le=65535)]


class Listener(Wants):
    """A port that listens."""

    port: Port
    address: Address | list[Address] | None = None
    """Where it listens, and nowhere else; `own` for the host's addresses of the inventory; not asked when absent."""

    @property
    def addresses(self) -> frozenset[str]:
        """The stated addresses; none when any will do."""
        return frozenset([self.address] if isinstance(self.address, str) else self.address or ())


class TlsListener(Listener):
    """The port of `qemu+tls://`."""

    port: Port = TLS_PORT


class TcpListener(Listener):
    """The plaintext port of `qemu+tcp://`."""

    port: Port = TCP_PORT


class Listeners(Wants):
    """Ports by protocol: true or details where it must listen, false where it must not, any where it is not asked."""

    tls: bool | Literal["any"] | TlsListener = True
    tcp: bool | Literal["any"] | TcpListener = False

    @property
    def tls_port(self) -> int:
        """Where TLS listens, or must not."""
        return self.tls.port if isinstance(self.tls, Listener) else TLS_PORT

    @property
    def tcp_port(self) -> int:
        """Where plaintext listens, or must not."""
        return self.tcp.port if isinstance(self.tcp, Listener) else TCP_PORT
