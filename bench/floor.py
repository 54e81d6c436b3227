"""The least it can cost: one bare SSH connection with one exec that returns as many bytes, beside one bare libvirt
connection that gives the same answers. Nothing is checked."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import libvirt
import paramiko


def seconds(ssh_port: int, uri: str, key: Path, size: int) -> float:
    """From the first connection to the last byte."""
    began = time.monotonic()
    beside = threading.Thread(target=_libvirt, args=(uri,))
    beside.start()
    _ssh(ssh_port, key, size)
    beside.join()
    return time.monotonic() - began


def _ssh(port: int, key: Path, size: int) -> None:
    wire = socket.create_connection(("127.0.0.1", port))
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())  # a port of our own proxy
    client.connect("127.0.0.1", port, "root", key_filename=str(key), sock=wire, look_for_keys=False, allow_agent=False)
    _stdin, stdout, _stderr = client.exec_command(f"head -c {size} /dev/zero")
    assert len(stdout.read()) == size
    client.close()


def _libvirt(uri: str) -> None:
    connection = libvirt.open(uri)
    connection.getHostname(), connection.getLibVersion(), connection.getVersion(), connection.getCapabilities()
    for domain in connection.listAllDomains():
        domain.state(), domain.isPersistent()
        domain.XMLDesc(), domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    connection.close()
