"""The open connections of a run, for looking and mending: one by SSH a machine, one to libvirt a host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self, TypeVar

from virtvet.errors import Unreachable
from virtvet.inventory import GuestSsh, HostAccess
from virtvet.snapshot.agent import Agent
from virtvet.snapshot.libvirt_look import LibvirtLink
from virtvet.snapshot.model import Completed
from virtvet.snapshot.side_by_side import Deadline, background, side_by_side
from virtvet.snapshot.ssh import Ssh
from virtvet.snapshot.transport import Local, Transport, late

CLOSING_AT_ONCE = 32

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Counts:
    """What a run cost in round trips."""

    connections: int
    channels: int
    libvirt_calls: int


@dataclass(frozen=True, slots=True)
class Account:
    """Where to log in and as whom (see ssh.Login)."""

    address: str
    port: int
    user: str
    key: Path | None
    known_hosts: Path | None


def in_time(job: Callable[[], T], machine: str, deadline: Deadline) -> T:
    """What the job returns, if it does so by the deadline; else it is left behind. Raises Unreachable."""
    return result_of(background(job), machine, deadline)


def result_of(future: Future[T], machine: str, deadline: Deadline) -> T:
    """The result, if it is there by the deadline. Raises Unreachable."""
    try:
        return future.result(timeout=deadline.patience)
    except TimeoutError:
        raise Unreachable(machine, late(deadline)) from None
    except Exception as error:
        if isinstance(error, Unreachable):
            raise
        raise Unreachable(machine, strange(error)) from None


def strange(error: Exception) -> str:
    """What a library raised at an answer that nobody foresaw: a machine may say anything, the others go on."""
    return f"not understood: {type(error).__name__}: {error}"


class Connections:
    """Every machine's links; a context manager that closes them all."""

    def __init__(self, deadline: float = 30.0) -> None:
        self.seconds = deadline
        """How long one `run` or `libvirt` may take."""
        self._hosts: dict[str, HostLinks] = {}
        self._jumps: dict[Account, Ssh] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def know(self, access: HostAccess) -> HostLinks:
        """The links to a host, not yet connected. A host must be known before anything is run on it."""
        if access.name not in self._hosts:
            self._hosts[access.name] = HostLinks(access, self._transport(access))
        return self._hosts[access.name]

    def _transport(self, access: HostAccess) -> Transport:
        if access.ssh is None:
            return Local(access.name)
        jump = access.ssh.jump
        if jump is None:
            return Ssh(access.name, access.ssh, sudo=access.ssh.sudo)
        key, known_hosts = jump.key or access.ssh.key, jump.known_hosts or access.ssh.known_hosts
        account = Account(jump.address, jump.port, jump.user, key, known_hosts)
        through = self._jumps.setdefault(account, Ssh(str(jump), account))
        return Ssh(access.name, access.ssh, through, access.ssh.sudo)

    def run(self, machine: str, argv: Sequence[str], stdin: bytes = b"") -> Completed:
        """Run one command as root on "hv1" or in its guest "hv1/web1", all words literally. Raises Unreachable."""
        host, _slash, guest = machine.partition("/")
        links, deadline = self._known(host), Deadline(self.seconds)
        transport = links.guest(guest, deadline) if guest else links.transport
        try:
            return transport.run(argv, stdin, deadline)
        except Unreachable:
            links.forget(guest)
            raise

    def libvirt(self, host: str) -> Any:
        """The host's open libvirt.virConnect. Raises Unreachable."""
        links, deadline = self._known(host), Deadline(self.seconds)
        return in_time(lambda: links.libvirt.open(deadline), host, deadline)

    def _known(self, host: str) -> HostLinks:
        if host not in self._hosts:
            raise Unreachable(host, "nobody has said how to reach this host")
        return self._hosts[host]

    @property
    def counts(self) -> Counts:
        """SSH connections and channels (libvirt's bridge included) and libvirt calls, since the beginning."""
        shells = [*self._jumps.values(), *(shell for links in self._hosts.values() for shell in links.shells)]
        calls = sum(links.libvirt.calls for links in self._hosts.values())
        return Counts(sum(shell.connections for shell in shells), sum(shell.channels for shell in shells), calls)

    def close(self) -> None:
        """Close everything; what is asked afterwards connects again."""
        for future in side_by_side([links.close for links in self._hosts.values()], CLOSING_AT_ONCE):
            future.result()
        for jump in self._jumps.values():
            jump.close()


class HostLinks:
    """The ways to one host, its libvirt and its guests."""

    def __init__(self, access: HostAccess, transport: Transport) -> None:
        self.access, self.transport = access, transport
        self._ssh = transport if isinstance(transport, Ssh) else None
        self.libvirt = LibvirtLink(access, self._ssh)
        self.addresses: dict[str, tuple[str, ...]] = {}
        """What libvirt said when a guest's address was asked for, by guest."""
        self.shells: list[Ssh] = [self._ssh] if self._ssh else []
        """Every SSH connection there has been to this host and its guests."""
        self._guests: dict[str, Transport] = {}
        self._making = Lock()

    def connect(self, deadline: Deadline) -> None:
        """Raises Unreachable."""
        if self._ssh:
            self._ssh.connect(deadline)

    def guest(self, name: str, deadline: Deadline) -> Transport:
        """The way into a guest, not yet connected. Raises Unreachable when there is none."""
        if name not in self._guests:
            made = self._guest(name, deadline)
            with self._making:
                self._guests[name] = made
                self.shells += [made] if isinstance(made, Ssh) else []
        return self._guests[name]

    def _guest(self, name: str, deadline: Deadline) -> Transport:
        machine, access = f"{self.access.name}/{name}", self.access.guest(name)
        if access and access.agent:
            return Agent(machine, partial(self.libvirt.agent, name))
        if access is None or access.ssh is None:
            way = "guests: {NAME: {ssh: …}}, or {agent: true} where it has no network"
            raise Unreachable(machine, f"the inventory does not say how to reach it ({way})")
        return self._guest_ssh(name, machine, access.ssh, deadline)

    def _guest_ssh(self, name: str, machine: str, login: GuestSsh, deadline: Deadline) -> Ssh:
        address = self._address(name, login, deadline)
        through = self._ssh if login.via == "host" else None
        return Ssh(machine, Account(address, login.port, login.user, login.key, login.known_hosts), through)

    def _address(self, name: str, login: GuestSsh, deadline: Deadline) -> str:
        """IPv4 before IPv6: a link-local address needs an interface that only the host knows."""
        if login.address not in ("lease", "arp"):
            return login.address
        machine = f"{self.access.name}/{name}"
        found = in_time(lambda: self.libvirt.addresses(name, login.address, deadline), machine, deadline)
        self.addresses[name] = found
        if not found:
            where = "libvirt's DHCP leases" if login.address == "lease" else "the host's ARP table"
            raise Unreachable(machine, f"has no address in {where}")
        return min(found, key=lambda address: ":" in address)

    def forget(self, guest: str) -> None:
        """A guest that did not answer may have another address next time."""
        if (lost := self._guests.pop(guest, None)) is not None:
            lost.close()

    def close(self) -> None:
        """Guests first: they travel through the host."""
        self.libvirt.close()
        for guest in list(self._guests.values()):  # one that was given up may still be on its way in
            guest.close()
        self.transport.close()
