"""What was answered in one look: an immutable mapping from source to answer.

Unreadable, absent, empty and too large are four different facts, and probes must say which they can live with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TypeVar, overload

from virtvet.errors import CannotLook, NotApplicable, Unreachable
from virtvet.snapshot.sources import (
    Command,
    Described,
    File,
    Glob,
    Handshake,
    Libvirt,
    Processes,
    Qmp,
    Source,
    Stat,
    TlsLibvirt,
    Tree,
)


@dataclass(frozen=True, slots=True)
class Content:
    """A file that was read; `data` may be empty, which is a fact of its own."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no such file (ENOENT, ENOTDIR) or no such command."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """It is there, but could not be read: the reason as the machine said it."""

    reason: str


@dataclass(frozen=True, slots=True)
class TooLarge:
    """More than the source's limit in bytes."""

    limit: int


@dataclass(frozen=True, slots=True)
class Status:
    """stat(1): kind is GNU stat's %F ("regular file", "directory", "socket"), mode the permission bits (0o644)."""

    kind: str
    mode: int
    owner: str
    group: str
    uid: int
    gid: int
    size: int


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended."""

    returncode: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Domain:
    """One libvirt domain. `live_xml` is None when it is not running. state: virDomainState as a word ("running")."""

    name: str
    uuid: str
    state: str
    persistent: bool
    live_xml: str | None
    config_xml: str | None
    addresses: tuple[str, ...] = ()
    """IP addresses, by lease then by ARP; only filled for guests whose inventory asks for it."""


@dataclass(frozen=True, slots=True)
class LibvirtAnswer:
    """Versions are integers as virConnectGetLibVersion has them: major * 1000000 + minor * 1000 + release."""

    uri: str
    hostname: str
    libvirt_version: int
    qemu_version: int
    capabilities_xml: str
    domains: Mapping[str, Domain]


@dataclass(frozen=True, slots=True)
class Hostname:
    """virConnectGetHostname."""

    name: str


@dataclass(frozen=True, slots=True)
class Shake:
    """A TLS handshake and its end. accepted: libvirt's server sent its one byte \\x01 after it had looked at our
    certificate (virNetServerClientCheckAccess); else it refused, by an alert or the end of the stream. protocol:
    "TLSv1.3", "" if there was none; peer: DER chain, the server's own certificate first."""

    accepted: bool
    protocol: str
    peer: tuple[bytes, ...]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The question could not be answered (no route, deadline, libvirt error): the reason."""

    reason: str


FileAnswer = Content | Absent | Unreadable | TooLarge
Files = Mapping[str, FileAnswer]
Answer = FileAnswer | Files | Status | Completed | LibvirtAnswer | Hostname | Shake | Failed

T = TypeVar("T")


@dataclass(frozen=True)
class Snapshot:
    """One look at one machine. `unreachable` is why nothing could be asked at all, or None."""

    machine: str
    taken: datetime
    answers: Mapping[Source, Answer] = field(default_factory=dict)
    guests: Mapping[str, Snapshot] = field(default_factory=dict)
    unreachable: str | None = None
    tools: str = ""
    by_hand: Mapping[str, int] = field(default_factory=dict)
    """Guests that run without libvirt: the process id of each by its name."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "answers", MappingProxyType(dict(self.answers)))
        object.__setattr__(self, "guests", MappingProxyType(dict(self.guests)))
        object.__setattr__(self, "by_hand", MappingProxyType(dict(self.by_hand)))

    # --- reading, strictly: each raises CannotLook rather than return half an answer

    def answer(self, source: Source) -> Answer:
        """The raw answer. Raises Unreachable, or CannotLook when nobody asked (a check forgot to declare a source)."""
        if self.unreachable:
            raise Unreachable(self.machine, self.unreachable, "guest" if "/" in self.machine else "host")
        try:
            return self.answers[source]
        except KeyError:
            raise CannotLook(
                source, "was not asked for in this look (undeclared source, or an older snapshot)"
            ) from None

    @overload
    def read(self, source: File | Qmp | Described) -> bytes: ...
    @overload
    def read(self, source: Stat) -> Status: ...
    @overload
    def read(self, source: Glob | Tree | Processes) -> Files: ...
    @overload
    def read(self, source: Command) -> Completed: ...
    @overload
    def read(self, source: Libvirt) -> LibvirtAnswer: ...
    @overload
    def read(self, source: TlsLibvirt) -> Hostname: ...
    @overload
    def read(self, source: Handshake) -> Shake: ...
    def read(self, source: Source) -> object:
        """What the source says. Raises CannotLook when it is absent, unreadable or too large."""
        found = self.answer(source)
        if isinstance(found, Content):
            return found.data
        if isinstance(source, Libvirt) and isinstance(found, Failed):
            raise Unreachable(f"libvirt on {self.machine}", found.reason, "libvirt")
        return solid(source, found)

    def maybe(self, source: File | Described) -> bytes | None:
        """As `read`, but None when there is no such file, device or network."""
        return None if isinstance(self.answer(source), Absent) else self.read(source)

    def maybe_stat(self, source: Stat) -> Status | None:
        """As `read`, but None when there is no such path."""
        return None if isinstance(self.answer(source), Absent) else self.read(source)

    def guest(self, name: str) -> Snapshot:
        """The look inside a guest. Raises NotApplicable when it is not running, Unreachable when nobody could look."""
        if name not in self.by_hand and (state := self.domain(name).state) != "running":
            raise NotApplicable(f"guest is {state}")
        try:
            return self.guests[name]
        except KeyError:
            raise Unreachable(f"{self.machine}/{name}", "nobody looked inside this guest", "guest") from None

    def domain(self, name: str) -> Domain:
        """What libvirt says of a guest. Raises NotApplicable when it was started without libvirt, CannotLook when
        nobody knows it."""
        if name in self.by_hand:
            raise NotApplicable("the guest was started by hand: libvirt does not know it")
        try:
            return self.read(Libvirt()).domains[name]
        except KeyError:
            raise CannotLook(f"{self.machine}/{name}", "libvirt knows no such domain") from None


def solid(source: object, found: T | Absent | Unreadable | TooLarge | Failed) -> T:
    """The answer itself, or CannotLook with the reason in words."""
    match found:
        case Absent():
            raise CannotLook(source, "does not exist")
        case Unreadable(reason) | Failed(reason):
            raise CannotLook(source, reason)
        case TooLarge(limit):
            raise CannotLook(source, f"is larger than {limit} bytes")
    return found


def text_of(path: str, found: FileAnswer) -> str:
    """A file out of a `Files` answer as text (UTF-8, undecodable bytes kept visible). Raises CannotLook."""
    content = solid(path, found)
    assert isinstance(content, Content)
    return content.data.decode("utf-8", "backslashreplace")
