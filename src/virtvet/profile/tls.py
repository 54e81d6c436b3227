"""`host.tls`: certificates, keys, and what a TLS client meets. `tls: {}` alone asks for libvirt's own files, sound."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from virtvet.profile.base import Wants, worded
from virtvet.units import Days, Mode

AbsolutePath = Annotated[
    str, Field(pattern=r"^/[^\x00-\x1f\x7f]*$", max_length=4095), worded("absolute path: begin it with /")
]
"""A path on the host, from its root."""


def _dns_name_or_address(written: str) -> str:
    try:
        return str(ip_address(written))
    except ValueError:
        return written.lower()


Name = Annotated[
    str,
    Field(pattern=r"^[0-9A-Za-z_.:-]+$", max_length=253, examples=["hv1.example.com", "192.0.2.1"]),
    AfterValidator(_dns_name_or_address),
]
"""A DNS name or an IP address."""


class Guarded(Wants):
    """Who may own a certificate, and what its mode may allow at most."""

    owner: str = "root"
    group: str = "root"
    mode: Mode = 0o644
    """No permission beyond these; fewer are fine."""


class Authority(Guarded):
    """The CA certificate, or several of them in one file."""

    file: AbsolutePath = "/etc/pki/CA/cacert.pem"


class Pair(Guarded):
    """A certificate and its private key. The key has the certificate's owner and group."""

    certificate: AbsolutePath
    """The certificate, followed in the same file by those that sign it below the CA, if there are any."""
    key: AbsolutePath
    key_mode: Mode = 0o600
    """No permission beyond these; fewer are fine."""


class ServerPair(Pair):
    """What the daemon shows to its clients."""

    certificate: AbsolutePath = "/etc/pki/libvirt/servercert.pem"
    key: AbsolutePath = "/etc/pki/libvirt/private/serverkey.pem"


class ClientPair(Pair):
    """What this host shows to others, as in a migration from peer to peer."""

    certificate: AbsolutePath = "/etc/pki/libvirt/clientcert.pem"
    key: AbsolutePath = "/etc/pki/libvirt/private/clientkey.pem"


class Revocations(Guarded):
    """The list of revoked certificates that the daemon's `crl_file` names."""

    file: AbsolutePath = "/etc/pki/CA/cacrl.pem"


Role = Literal["ca", "server", "client"]
Protocol = Literal["1.0", "1.1", "1.2", "1.3"]
PROTOCOLS: tuple[Protocol, ...] = ("1.0", "1.1", "1.2", "1.3")
BadClient = Literal["none", "foreign", "expired"]


class Handshake(Wants):
    """What a handshake from the checking machine must come to."""

    minimum: Protocol = "1.2"
    """The oldest TLS version the daemon may speak."""
    refuse: list[BadClient] = Field(default=["none", "foreign"])
    """Clients that must be turned away: without a certificate, with one of a CA unknown to the host, with an expired
    one (the inventory must name such a one)."""

    @property
    def refused_protocol(self) -> Protocol | None:
        """The newest version that must be refused; None when even the oldest is allowed."""
        older = PROTOCOLS.index(self.minimum) - 1
        return PROTOCOLS[older] if older >= 0 else None


class Tls(Wants):
    """Certificates and keys; with `handshake` and `hostname` also what a client sees."""

    ca: Authority = Authority()
    server: ServerPair = ServerPair()
    client: ClientPair | None = None
    """The host's own client certificate, where it must have one."""
    crl: Revocations | None = None
    valid_days: Days = 30
    """Certificates are valid now and for so many days to come."""
    minimum_rsa_bits: Annotated[int, Field(ge=1024, le=16384)] = 2048
    names: Literal[True] | list[Name] = True
    """What the server certificate must cover: true for every name and address the inventory has for the host."""
    handshake: Handshake | None = None
    hostname: Literal[True] | Name | None = None
    """What `qemu+tls://host/system` must answer as its host name: true for any name the inventory has for the host."""

    @property
    def pairs(self) -> dict[Literal["server", "client"], Pair]:
        """The certificates that have a key on the host."""
        pairs: dict[Literal["server", "client"], Pair] = {"server": self.server}
        if self.client:
            pairs["client"] = self.client
        return pairs

    @property
    def certificates(self) -> dict[Role, str]:
        """The path of each certificate."""
        return {"ca": self.ca.file, **{role: pair.certificate for role, pair in self.pairs.items()}}
