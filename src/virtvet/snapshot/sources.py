"""What can be asked of a machine in one look.

Probe modules declare the sources they read beside the functions that read them; the look fetches the union of what the
selected checks need. A source is a value: hashable, comparable, written to the snapshot file as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_FILE = 1 << 20
"""Bytes of one file that are kept; more is the fact `TooLarge`."""
MAX_OUTPUT = 16 << 20
"""Bytes of each stream of one command. QEMU's arguments of a guest with many disks are more than 10 KiB."""


@dataclass(frozen=True, slots=True)
class File:
    """A whole file, at most `limit` bytes. (One NUL at its very end is not kept, here and in all that reads files.)

    Answer: Content | Absent | Unreadable | TooLarge.
    """

    path: str
    limit: int = MAX_FILE

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class Stat:
    """Type, owner and mode of a path, links followed. Answer: Status | Absent | Unreadable."""

    path: str

    def __str__(self) -> str:
        return f"stat {self.path}"


@dataclass(frozen=True, slots=True)
class Glob:
    """Small files whose path matches a shell pattern written in our code (never in a profile).

    `containing`: only the lines that contain this fixed text are taken (so that secrets beside them never travel).
    Answer: Files, a mapping of path to Content | Unreadable | TooLarge; empty when nothing matches.
    """

    pattern: str
    containing: str = ""

    def __str__(self) -> str:
        return self.pattern


@dataclass(frozen=True, slots=True)
class Tree:
    """Small files with one of `names` anywhere below `root`, in directories whose path matches the find(1) pattern
    `within`.

    Answer: Files | Absent (no such root). Meant for kernel trees (cgroup): thousands of files at the cost of two
    processes.
    """

    root: str
    names: tuple[str, ...]
    within: str = "*"

    def __str__(self) -> str:
        return f"{self.root}/**/{{{','.join(self.names)}}}"


@dataclass(frozen=True, slots=True)
class Processes:
    """/proc files of every process whose comm matches the shell pattern, and of each of its threads.

    Answer: Files, keyed "/proc/PID/cmdline", "/proc/PID/task/TID/status" …
    """

    comm: str
    files: tuple[str, ...]
    task_files: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"/proc/*/ of {self.comm}"


@dataclass(frozen=True, slots=True)
class Command:
    """A read-only command, by argv. Answer: Completed | Absent (no such command) | Unreadable (deadline).

    about: names that stand behind argv. Commands that differ in nothing else are run once, with the names of them all,
    and have the same answer: what reads it looks for its own names, and does not mind others.
    """

    argv: tuple[str, ...]
    about: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join((*self.argv, *self.about))


@dataclass(frozen=True, slots=True)
class Libvirt:
    """What libvirt says: identity, capabilities, every domain's two XML documents. Answer: LibvirtAnswer | Failed."""

    def __str__(self) -> str:
        return "libvirt"


FORBIDDEN = "the inventory says libvirt: {monitor: false}"
"""Why a Qmp source failed that nobody wanted to be asked."""


@dataclass(frozen=True, slots=True)
class Qmp:
    """What a running guest's QEMU answers to one read-only monitor command, by libvirt's qemuMonitorCommand.

    A check's `sources` name it for each guest; it is sent once the guests' names are known. libvirt marks a domain
    whose monitor others used as tainted (custom-monitor) until it stops: ask only what nothing else tells. `arguments`
    are texts: (("path", "/machine"), ("property", "type")).
    Answer: Content (the JSON text of what the command returned) | Failed | Absent (the guest does not run).
    """

    guest: str
    execute: str
    arguments: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return " ".join([self.execute, *(f"{key}={value}" for key, value in self.arguments), f"of {self.guest}'s QEMU"])


@dataclass(frozen=True, slots=True)
class NodeDevice:
    """What libvirt says of one device of the host (virNodeDeviceGetXMLDesc), by its name there: "pci_0000_01_00_0".

    Answer: Content (the XML) | Absent (libvirt knows no such device) | Failed.
    """

    name: str

    def __str__(self) -> str:
        return f"virsh nodedev-dumpxml {self.name}"


@dataclass(frozen=True, slots=True)
class Network:
    """What libvirt says of one of its networks (virNetworkGetXMLDesc), as it runs.

    Answer: Content (the XML) | Absent (libvirt knows no such network) | Failed.
    """

    name: str

    def __str__(self) -> str:
        return f"virsh net-dumpxml {self.name}"


Described = NodeDevice | Network
"""What libvirt has an XML of, beside domains."""


@dataclass(frozen=True, slots=True)
class TlsLibvirt:
    """The host name that `qemu+tls://address/system` answers to the checking machine. Answer: Hostname | Failed."""

    port: int = 16514

    def __str__(self) -> str:
        return f"qemu+tls on port {self.port}"


@dataclass(frozen=True, slots=True)
class Handshake:
    """A TLS handshake from the checking machine with the host's libvirt port.

    client: which certificate we show: "ours" (the inventory's pki), "none", "foreign" (a CA made up for this look),
    "expired" (the inventory's expired client certificate).
    highest: offer at most this protocol version ("1.0" … "1.3"), "" offers all.
    Answer: Shake | Failed.
    """

    client: str = "ours"
    highest: str = ""
    port: int = 16514

    def __str__(self) -> str:
        return f"TLS handshake on port {self.port}, client certificate: {self.client}" + (
            f", at most TLS {self.highest}" if self.highest else ""
        )


HostSource = File | Stat | Glob | Tree | Processes | Command
"""What the collector script asks on the machine itself; a guest can be asked these too."""

Source = HostSource | Libvirt | Qmp | Described | TlsLibvirt | Handshake
