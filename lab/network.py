"""A bridge in a namespace of its own, a veth from it to each host, and one to the machine itself."""

import socket
from pathlib import Path

from lab import shell
from lab.spec import ROOT_ADDRESS, ROOT_INTERFACE, HostSpec

SWITCH = ["unshare", "--net", "sleep", "infinity"]


def make_switch(switch: int) -> None:
    """The bridge in the namespace of process ``switch``, with this machine plugged in."""
    _batch(switch, ["link set lo up", "link add switch type bridge", "link set switch up"])
    shell.run(["ip", "link", "add", ROOT_INTERFACE, "type", "veth", "peer", "name", "checker", "netns", str(switch)])
    _batch(switch, ["link set checker master switch up"])
    shell.run(["ip", "address", "add", str(ROOT_ADDRESS), "dev", ROOT_INTERFACE])
    shell.run(["ip", "link", "set", ROOT_INTERFACE, "up"])


def plug_in(host: HostSpec, init: int, switch: int) -> None:
    """``eth0`` of the host whose first process is ``init``, at the switch."""
    ends = ["eth0", "netns", str(init), "type", "veth", "peer", "name", host.name, "netns", str(switch)]
    shell.run(["ip", "link", "add", *ends])
    _batch(switch, [f"link set {host.name} master switch up"])
    _batch(init, [f"address add {host.address} dev eth0", "link set lo up", "link set eth0 up"])


def _batch(pid: int, lines: list[str]) -> None:
    shell.run(["nsenter", "-t", str(pid), "-n", "ip", "-batch", "-"], input="\n".join(lines) + "\n")


def exists() -> bool:
    """Whether this machine has the lab's interface."""
    return Path("/sys/class/net", ROOT_INTERFACE).exists()


def remove() -> None:
    """Take away the machine's end; the other ends go with their namespaces, a moment after the last process."""
    if exists():
        shell.run(["ip", "link", "delete", ROOT_INTERFACE], check=False)


def listens(address: str, port: int, timeout: float = 0.5) -> bool:
    """Whether a TCP connection to ``address`` succeeds now."""
    try:
        socket.create_connection((address, port), timeout=timeout).close()
    except OSError:
        return False
    return True
