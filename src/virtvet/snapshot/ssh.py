"""SSH by paramiko: one connection a machine, strict host keys, an end to every wait, and words a user understands."""

from __future__ import annotations

import logging
import shlex
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Protocol

import paramiko

from virtvet.errors import Unreachable
from virtvet.snapshot.model import Completed
from virtvet.snapshot.side_by_side import Deadline, background
from virtvet.snapshot.transport import Overflow, drain, guarded, judged, late

AT_ONCE = 4
"""Channels at once on one connection; sshd's MaxSessions is 10 by default and others may use it too."""

CONNECT_FAILED = 2
"""SSH_OPEN_CONNECT_FAILED (RFC 4254, 5.1)."""

REUSED_SECONDS = 5
"""How long an old connection may take to open a channel before it is given up: its guest may have restarted."""

# What goes wrong is said once, in our words; paramiko's tracebacks are for nobody.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


class Login(Protocol):
    """Where to log in and as whom; `virtvet.inventory`'s Ssh and Jump are such."""

    @property
    def address(self) -> str: ...  # noqa: D102
    @property
    def port(self) -> int: ...  # noqa: D102
    @property
    def user(self) -> str: ...  # noqa: D102
    @property
    def key(self) -> Path | None: ...  # noqa: D102
    @property
    def known_hosts(self) -> Path | None: ...  # noqa: D102


class UnknownHostKey(paramiko.SSHException):
    """The host's key stands in no known_hosts file."""


class NeverSpoke(paramiko.SSHException):
    """It accepted the connection; logging in did not end in time."""


class _Refuse(paramiko.MissingHostKeyPolicy):
    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        raise UnknownHostKey(hostname, key)


class PromptSocket(socket.socket):
    """A TCP socket that neither waits for acknowledgements nor lets the server wait for ours.

    SSH is small packets that wait for each other. Without TCP_NODELAY a command takes 40 ms longer; without
    TCP_QUICKACK the first channel does, as sshd itself uses Nagle's algorithm until then (tcp(7)).
    """

    def __init__(self, made: socket.socket) -> None:
        timeout = made.gettimeout()
        super().__init__(fileno=made.detach())
        self.settimeout(timeout)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def recv(self, *arguments: int) -> bytes:
        """As socket.recv; the kernel forgets TCP_QUICKACK, so it is set again each time."""
        data = super().recv(*arguments)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data


class Ssh:
    """One SSH connection, made when first needed and again if it was lost; closed when done."""

    def __init__(self, machine: str, login: Login, through: Ssh | None = None, sudo: bool = False) -> None:
        self.machine, self.login, self.through, self.sudo = machine, login, through, sudo
        self.connections = 0
        """How many connections were made; `channels`: how many commands were run. For the bench and the tests."""
        self.channels = 0
        self._client: paramiko.SSHClient | None = None
        self._failed: tuple[Deadline | None, Exception | None] = (None, None)
        self._connecting = Lock()
        self._slots = BoundedSemaphore(AT_ONCE)

    # --- commands

    def run(self, argv: Sequence[str], stdin: bytes, deadline: Deadline) -> Completed:
        """Run one command on a channel of its own, every word taken literally. Raises Unreachable."""
        with self._words(deadline), self._slot(deadline), closing(self._session(deadline)) as channel:
            with deadline.ends(channel.close):
                done = self._converse(channel, argv, stdin, deadline)
            if done.returncode < 0 and not deadline.passed:
                raise Unreachable(self.machine, "closed the SSH connection in the middle of its answer")
            return judged(self.machine, done, deadline)

    def _converse(self, channel: paramiko.Channel, argv: Sequence[str], stdin: bytes, deadline: Deadline) -> Completed:
        channel.exec_command(shlex.join(guarded(argv, deadline, self.sudo)))
        out, err = background(lambda: drain(channel.recv)), background(lambda: drain(channel.recv_stderr))
        with suppress(OSError):  # a command that does not read its input is its own affair
            channel.sendall(stdin)
            channel.shutdown_write()
        stdout, stderr = out.result(), err.result()
        return Completed(channel.recv_exit_status(), stdout, stderr)

    @contextmanager
    def stream(self, argv: Sequence[str], deadline: Deadline) -> Iterator[paramiko.Channel]:
        """A command that goes on talking (libvirt's helper), as root if the login uses sudo. Raises Unreachable.

        `deadline` is for its beginning only.
        """
        with self._words(deadline), self._slot(deadline), closing(self._session(deadline)) as channel:
            with deadline.ends(channel.close):
                channel.exec_command(shlex.join((*(("sudo", "-n", "--") if self.sudo else ()), *argv)))
            yield channel

    @contextmanager
    def _slot(self, deadline: Deadline) -> Iterator[None]:
        if not self._slots.acquire(timeout=deadline.left):
            raise TimeoutError
        try:
            yield
        finally:
            self._slots.release()

    def _session(self, deadline: Deadline) -> paramiko.Channel:
        """A channel; a connection that was lost since it was last used is made again."""
        reused = self._client is not None
        try:
            patience = min(deadline.left, REUSED_SECONDS) if reused else deadline.left
            channel = self._transport(deadline).open_session(timeout=patience)
        except (paramiko.SSHException, OSError, EOFError):
            self.close()
            if not reused or deadline.passed:
                raise
            channel = self._transport(deadline).open_session(timeout=deadline.left)
        self.channels += 1
        return channel

    # --- the connection

    def connect(self, deadline: Deadline) -> None:
        """Be connected. Raises Unreachable."""
        with self._words(deadline):
            self._transport(deadline)

    def tunnel(self, address: str, port: int, deadline: Deadline) -> paramiko.Channel:
        """A TCP connection that begins on this machine (direct-tcpip)."""
        self.connect(deadline)
        transport = self._transport(deadline)
        return transport.open_channel("direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=deadline.left)

    def close(self) -> None:
        """Close the connection; the next command makes a new one."""
        client, self._client = self._client, None
        if client:
            _shut(client)

    def _transport(self, deadline: Deadline) -> paramiko.Transport:
        with self._connecting:
            transport = self._client.get_transport() if self._client else None
            if transport is None or not transport.is_active():
                self._client = self._connected_once(deadline)
                transport = self._client.get_transport()
        assert transport
        return transport

    def _connected_once(self, deadline: Deadline) -> paramiko.SSHClient:
        """Several jobs of one look share its deadline: what failed for one is not tried again for the next."""
        tried, error = self._failed
        if tried is deadline and error:
            raise error
        try:
            return self._connected(deadline)
        except Exception as error:
            self._failed = (deadline, error)
            raise

    def _connected(self, deadline: Deadline) -> paramiko.SSHClient:
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(_Refuse())
        if self.login.known_hosts:
            client.load_host_keys(str(self.login.known_hosts))
        else:
            client.load_system_host_keys()
        try:
            with deadline.ends(partial(_shut, client)):
                self._log_in(client, deadline)
        except BaseException:
            _shut(client)
            raise
        self.connections += 1
        return client

    def _log_in(self, client: paramiko.SSHClient, deadline: Deadline) -> None:
        """One key is offered where the inventory names one: every further key costs a round trip."""
        login, key, sock, left = self.login, self._key(), self._socket(deadline), deadline.left
        keys = {"pkey": key, "allow_agent": key is None, "look_for_keys": login.key is None}
        waits = dict.fromkeys(("timeout", "banner_timeout", "auth_timeout", "channel_timeout"), left)
        try:
            client.connect(login.address, login.port, login.user, sock=sock, **keys, **waits)  # type: ignore[arg-type]
        except (paramiko.SSHException, OSError, EOFError):
            if deadline.passed:
                raise NeverSpoke from None
            raise

    def _key(self) -> paramiko.PKey | None:
        """The key file's key; one with a passphrase must be in the agent."""
        if self.login.key is None:
            return None
        try:
            return paramiko.PKey.from_path(self.login.key)
        except (TypeError, paramiko.PasswordRequiredException):
            return None
        except (ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType):
            raise Unreachable(self.machine, f"{self.login.key} is no private key that paramiko can use") from None

    def _socket(self, deadline: Deadline) -> socket.socket | paramiko.Channel:
        if self.through:
            return self.through.tunnel(self.login.address, self.login.port, deadline)
        made = socket.create_connection((self.login.address, self.login.port), timeout=deadline.left)
        return PromptSocket(made)

    # --- what went wrong

    @contextmanager
    def _words(self, deadline: Deadline) -> Iterator[None]:
        try:
            yield
        except Unreachable as lost:
            if lost.source == self.machine:
                raise
            raise Unreachable(self.machine, f"through {lost.source}: {lost.reason}") from None
        except (paramiko.SSHException, OSError, EOFError, Overflow) as error:
            raise Unreachable(self.machine, self._reason(error, deadline)) from None

    def _reason(self, error: Exception, deadline: Deadline) -> str:
        place = f"{self.login.address} port {self.login.port}"
        match error:
            case UnknownHostKey():
                return self._unknown(*error.args)
            case paramiko.BadHostKeyException():
                return self._changed(error)
            case NeverSpoke():
                return f"{place} accepted the connection, but did not log us in within {deadline}"
            case paramiko.AuthenticationException():
                return (
                    f"{place} refused {self.login.user}'s key{f' {self.login.key}' if self.login.key else ''}: {error}"
                )
            case paramiko.ChannelException():
                return self._no_channel(error, place)
            case socket.gaierror():
                return f"there is no host {self.login.address}: {error.strerror}"
            case ConnectionRefusedError():
                return f"nothing listens on {place}: connection refused"
            case Overflow():
                return str(error)
        if deadline.passed or isinstance(error, TimeoutError):
            return f"{place} did not answer within {deadline}" if self._client is None else late(deadline)
        if "No authentication methods" in str(error):
            return self._no_key()
        return f"{place}: {_words(error)}"

    def _no_key(self) -> str:
        if self.login.key:
            return f"{self.login.key} has a passphrase: load it into an SSH agent (ssh-add)"
        return "there is no key to log in with: name one in the inventory, or load one into an SSH agent (ssh-add)"

    def _no_channel(self, error: paramiko.ChannelException, place: str) -> str:
        if self.through and error.code == CONNECT_FAILED:
            return f"{self.through.machine} cannot connect to {place}: {error.text}"
        return f"opened no channel: {error.text} (sshd_config: AllowTcpForwarding, MaxSessions)"

    def _unknown(self, name: str, key: paramiko.PKey) -> str:
        return (
            f"the host key of {name} is not known ({key.fingerprint}); if that is its fingerprint, add this line to "
            f"{self.login.known_hosts or '~/.ssh/known_hosts'}: {name} {key.get_name()} {key.get_base64()}"
        )

    def _changed(self, error: paramiko.BadHostKeyException) -> str:
        login = self.login
        name = login.address if login.port == 22 else f"[{login.address}]:{login.port}"
        return (
            f"the host key of {name} has changed: expected {error.expected_key.fingerprint}, "
            f"got {error.key.fingerprint}; if you know why, forget the old one: "
            f"ssh-keygen -R '{name}' -f {login.known_hosts or '~/.ssh/known_hosts'}"
        )


def _shut(client: paramiko.SSHClient) -> None:
    """Close it. It says goodbye through its jump host, whose connection may be lost by now."""
    with suppress(paramiko.SSHException, OSError, EOFError):
        client.close()


def _words(error: Exception) -> str:
    """An error of paramiko or the kernel in a line: "Error reading SSH protocol banner" is a server that is no sshd."""
    text = (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or "closed the connection"
    return "closed the connection before it spoke SSH" if "protocol banner" in text else text.split("\n")[0]
