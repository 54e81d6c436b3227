"""What libvirt says, by libvirt-python: a handful of bulk calls and two XML documents a domain, side by side.

libvirt has no deadline for connecting: everything here is called from a daemon thread that may be left behind.
A host whose inventory names no URI is reached over its own SSH connection: libvirt opens a UNIX socket of ours, and its
bytes travel on a channel to virt-ssh-helper (libvirt src/remote/remote_ssh_helper.c), which picks the daemon's socket.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from contextlib import suppress
from functools import partial
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import libvirt
import libvirt_qemu

from virtvet.errors import Unreachable
from virtvet.inventory import HostAccess
from virtvet.snapshot.model import Absent, Content, Domain, Failed, Hostname, LibvirtAnswer
from virtvet.snapshot.side_by_side import Deadline, background, side_by_side
from virtvet.snapshot.sources import MAX_FILE, Described, NodeDevice, Qmp
from virtvet.snapshot.ssh import Ssh

SYSTEM = "qemu:///system"
TLS_PORT = 16514
READ_ONLY = re.compile(r"query-[a-z0-9-]+|qom-get|qom-list")
"""QMP commands that change nothing in the guest or its QEMU."""
AT_ONCE = 4
"""Calls at once on one connection; libvirtd serves 5 of a client (libvirtd.conf: max_client_requests)."""

AGENT_SECONDS = 10
"""How long a guest's agent may take for one answer: to start a command, or to say whether it has ended."""

HELPER = """\
command -v virt-ssh-helper >/dev/null 2>&1 && exec virt-ssh-helper qemu:///system
for s in /run/libvirt/virtqemud-sock /run/libvirt/libvirt-sock; do
  [ -S "$s" ] || continue
  command -v nc >/dev/null 2>&1 && exec nc -U "$s"
  command -v socat >/dev/null 2>&1 && exec socat - "UNIX-CONNECT:$s"
  echo "neither virt-ssh-helper nor nc nor socat is installed" >&2; exit 1
done
echo "no libvirt daemon: neither virt-ssh-helper nor a socket in /run/libvirt" >&2; exit 1"""
"""libvirt < 6.8 has no virt-ssh-helper."""

STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: "no state",
    libvirt.VIR_DOMAIN_RUNNING: "running",
    libvirt.VIR_DOMAIN_BLOCKED: "running",
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_SHUTDOWN: "in shutdown",
    libvirt.VIR_DOMAIN_SHUTOFF: "shut off",
    libvirt.VIR_DOMAIN_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "pmsuspended",
}
"""virsh's words (tools/virsh-domain-monitor.c)."""

_WITHHELD = re.compile(r"<(sysinfo|qemu:commandline)\b[^>]*(?<!/)>.*?</\1>", re.DOTALL)

# Errors are raised; by default libvirt prints them to stderr as well.
libvirt.registerErrorHandler(lambda _context, _error: None, None)


class LibvirtLink:
    """One connection to a host's libvirt, opened when first needed. Every method may block: see the module."""

    def __init__(self, access: HostAccess, ssh: Ssh | None) -> None:
        self.access, self.ssh = access, ssh
        self.calls = 0
        """libvirt calls made, opening included. For the bench and the tests."""
        self._connection: Any = None
        self._bridge: Bridge | None = None
        self._opening = Lock()
        self._counting = Lock()

    @property
    def uri(self) -> str:
        """What a user would give to virsh -c, on the host itself if it names no address."""
        return _with_pki(self.access.libvirt.uri or SYSTEM, self.access.libvirt.pki)

    def open(self, deadline: Deadline) -> Any:
        """The libvirt.virConnect. Raises Unreachable."""
        with self._opening:
            if self._connection is None or not self._connection.isAlive():
                self._connection = self._opened(deadline)
        return self._connection

    def _opened(self, deadline: Deadline) -> Any:
        uri = self.uri
        if self.ssh and self.access.libvirt.uri is None:
            self._bridge = Bridge(self.ssh, deadline)
            uri = self._bridge.uri
        try:
            return self._call(libvirt.open, uri)
        except libvirt.libvirtError as error:
            complaint = self._bridge.words() if self._bridge else ""
            self.close()
            raise Unreachable(self.access.name, complaint or words(error)) from None

    def look(self, deadline: Deadline) -> LibvirtAnswer:
        """Identity, capabilities and every domain. Raises Unreachable."""
        connection = self.open(deadline)
        try:
            return self._answer(connection)
        except libvirt.libvirtError as error:
            raise Unreachable(self.access.name, words(error)) from None

    def _answer(self, connection: Any) -> LibvirtAnswer:
        """Two rounds: which domains there are; then what they are, together with what nothing else waits for.

        Without VIR_DOMAIN_XML_SECURE no password is in the XML.
        """
        stats, kept, hostname, capabilities = self._side_by_side(
            [
                partial(connection.getAllDomainStats, libvirt.VIR_DOMAIN_STATS_STATE),
                partial(connection.listAllDomains, libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT),
                connection.getHostname,
                connection.getCapabilities,
            ]
        )
        states = {domain: STATES.get(facts["state.state"], "unknown") for domain, facts in stats}
        persistent = {domain.UUIDString() for domain in kept}
        live = [domain for domain, state in states.items() if state != "shut off"]
        stored = [domain for domain in states if domain.UUIDString() in persistent]
        xml = [partial(_xml, domain, 0) for domain in live]
        xml += [partial(_xml, domain, libvirt.VIR_DOMAIN_XML_INACTIVE) for domain in stored]
        *texts, version, qemu = self._side_by_side([*xml, connection.getLibVersion, connection.getVersion])
        live_xml, config_xml = dict(zip(live, texts, strict=False)), dict(zip(stored, texts[len(live) :], strict=True))
        domains = [_domain(one, state, live_xml.get(one), config_xml.get(one)) for one, state in states.items()]
        found = {one.name: one for one in domains if one.live_xml or one.config_xml}
        return LibvirtAnswer(self.uri, hostname, version, qemu, capabilities, found)

    def monitor(self, guest: str, deadline: Deadline) -> Callable[[Qmp], Content | Failed]:
        """A way to ask a running guest's QEMU one question after the other. Raises Unreachable."""
        connection = self.open(deadline)
        try:
            domain = self._call(connection.lookupByName, guest)
        except libvirt.libvirtError as error:
            raise Unreachable(f"{self.access.name}/{guest}", words(error)) from None
        return partial(self._ask_monitor, domain)

    def _ask_monitor(self, domain: Any, source: Qmp) -> Content | Failed:
        if not READ_ONLY.fullmatch(source.execute):
            return Failed(f"{source.execute} is no command that only reads")
        command = json.dumps({"execute": source.execute, "arguments": dict(source.arguments)})
        try:
            return returned(self._call(libvirt_qemu.qemuMonitorCommand, domain, command, 0))
        except libvirt.libvirtError as error:
            return Failed(words(error))

    def description(self, source: Described, deadline: Deadline) -> Content | Absent | Failed:
        """The XML of one device of the host, or of a network. Raises Unreachable."""
        connection = self.open(deadline)
        of_device = isinstance(source, NodeDevice)
        by_name = connection.nodeDeviceLookupByName if of_device else connection.networkLookupByName
        try:
            found = self._call(by_name, source.name)
            return Content(str(self._call(found.XMLDesc, 0)).encode())
        except libvirt.libvirtError as error:
            unknown = error.get_error_code() in (libvirt.VIR_ERR_NO_NODE_DEVICE, libvirt.VIR_ERR_NO_NETWORK)
            return Absent() if unknown else Failed(words(error))

    def agent(self, guest: str, deadline: Deadline) -> Callable[[str], str]:
        """A way to have a guest's agent answer one command after the other, JSON to JSON. Both raise Unreachable."""
        connection, machine = self.open(deadline), f"{self.access.name}/{guest}"

        def ask(command: str) -> str:
            patience = min(ceil(deadline.left), AGENT_SECONDS) or 1
            return str(self._of_guest(machine, libvirt_qemu.qemuAgentCommand, domain, command, patience, 0))

        domain = self._of_guest(machine, connection.lookupByName, guest)
        return ask

    def _of_guest(self, machine: str, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return self._call(function, *arguments)
        except libvirt.libvirtError as error:
            raise Unreachable(machine, words(error)) from None

    def addresses(self, guest: str, source: str, deadline: Deadline) -> tuple[str, ...]:
        """A running guest's IP addresses, by "lease" or "arp" (virDomainInterfaceAddresses). Raises Unreachable."""
        sources = {
            "lease": libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE,
            "arp": libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP,
        }
        connection, machine = self.open(deadline), f"{self.access.name}/{guest}"
        domain = self._of_guest(machine, connection.lookupByName, guest)
        found = self._of_guest(machine, domain.interfaceAddresses, sources[source])
        return tuple(address["addr"] for interface in found.values() for address in interface["addrs"] or ())

    def close(self) -> None:
        """Close it, but never wait long: the daemon may be gone."""
        connection, self._connection = self._connection, None
        bridge, self._bridge = self._bridge, None
        if connection is not None:
            with suppress(TimeoutError, libvirt.libvirtError):
                background(connection.close).result(timeout=1)
        if bridge:
            bridge.close()

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        with self._counting:
            self.calls += 1
        return function(*arguments)

    def _side_by_side(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        return [future.result() for future in side_by_side([partial(self._call, call) for call in calls], AT_ONCE)]


def _domain(domain: Any, state: str, live_xml: str | None, config_xml: str | None) -> Domain:
    """A domain without any XML went away meanwhile; one that has an inactive XML is persistent."""
    return Domain(domain.name(), domain.UUIDString(), state, config_xml is not None, live_xml, config_xml)


def _xml(domain: Any, flags: int) -> str | None:
    """The XML, or None when there is no such domain any more."""
    try:
        return without_secrets(str(domain.XMLDesc(flags)))
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def without_secrets(xml: str) -> str:
    """A domain's XML without what may hold passwords that libvirt does not know to be any: what is handed to the guest
    (Ignition's configuration by fwcfg, systemd's credentials by SMBIOS), what somebody told QEMU past libvirt."""
    return _WITHHELD.sub("", xml)


def returned(said: str) -> Content | Failed:
    """`{"return":{"actual":201326592},"id":"libvirt-15"}` -> b'{"actual":201326592}'"""
    try:
        answer = json.loads(said) if len(said) <= MAX_FILE else {}
    except (ValueError, RecursionError):
        answer = {}
    if isinstance(answer, dict) and "return" in answer:
        return Content(json.dumps(answer["return"]).encode())
    refused = answer.get("error") if isinstance(answer, dict) else None
    reason = refused.get("desc") if isinstance(refused, dict) else said
    return Failed(f"QEMU answered: {' '.join(str(reason).split())[:300]}")


def ask_hostname(address: str, port: int, pki: Path | None) -> Hostname | Failed:
    """What `qemu+tls://address:port/system` calls itself, on a connection of its own."""
    host = f"[{address}]" if ":" in address else address
    try:
        connection = libvirt.open(_with_pki(f"qemu+tls://{host}:{port}/system", pki))
    except libvirt.libvirtError as error:
        return Failed(words(error))
    try:
        return Hostname(connection.getHostname())
    except libvirt.libvirtError as error:
        return Failed(words(error))
    finally:
        connection.close()


def tls_port(uri: str | None) -> int | None:
    """The port of a qemu+tls URI; None for every other: "qemu+tls://hv1/system" -> 16514."""
    parts = urlsplit(uri or "")
    return (parts.port or TLS_PORT) if parts.scheme.endswith("+tls") else None


def _with_pki(uri: str, pki: Path | None) -> str:
    """`pkipath` is libvirt's parameter for a directory with cacert.pem, clientcert.pem and clientkey.pem."""
    if pki is None or tls_port(uri) is None or "pkipath=" in uri:
        return uri
    return uri + ("&" if urlsplit(uri).query else "?") + urlencode({"pkipath": pki.resolve()}, quote_via=quote)


def words(error: libvirt.libvirtError) -> str:
    """libvirt's message in a line. A daemon too old for a call, and one not made for it, say the same."""
    said = " ".join((error.get_error_message() or str(error)).split())[:500]
    unknown = error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT
    return f"{said} (is the host's libvirt older than this?)" if unknown else said


class Bridge:
    """A UNIX socket here whose bytes travel on an SSH channel to the host's libvirt daemon."""

    def __init__(self, ssh: Ssh, deadline: Deadline) -> None:
        self._ssh, self._deadline = ssh, deadline
        self._folder = TemporaryDirectory(prefix="virtvet-")
        self._path = Path(self._folder.name, "libvirt")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen(1)
        self._said: list[str] = []
        background(self._serve)

    @property
    def uri(self) -> str:
        """What libvirt opens."""
        return f"qemu+unix:///system?{urlencode({'socket': self._path, 'mode': 'direct'}, quote_via=quote)}"

    def words(self) -> str:
        """What the other end complained about: why libvirt saw nothing but the end of the stream."""
        return " ".join("".join(self._said).split())[:500]

    def close(self) -> None:
        """The channel closes when libvirt has closed its end."""
        self._listener.close()
        self._folder.cleanup()

    def _serve(self) -> None:
        with suppress(OSError):
            client, _address = self._listener.accept()
            with client:
                self._carry(client)
                # Closing alone says nothing to libvirt while another thread still reads from it.
                client.shutdown(socket.SHUT_RDWR)

    def _carry(self, client: socket.socket) -> None:
        try:
            with self._ssh.stream(("sh", "-c", HELPER), self._deadline) as channel:
                complaints = background(lambda: _listen(channel.recv_stderr, self._said.append))
                background(lambda: _pump(client.recv, channel.sendall, channel.shutdown_write))
                _pump(channel.recv, client.sendall, lambda: None)
                wait([complaints], timeout=1)
        except Unreachable as error:
            self._said.append(error.reason)


def _pump(receive: Callable[[int], bytes], send: Callable[[bytes], object], end: Callable[[], object]) -> None:
    with suppress(OSError):
        while data := receive(1 << 16):
            send(data)
        end()


def _listen(receive: Callable[[int], bytes], tell: Callable[[str], object]) -> None:
    for _ in range(16):
        if not (data := receive(256)):
            return
        tell(data.decode(errors="backslashreplace"))
