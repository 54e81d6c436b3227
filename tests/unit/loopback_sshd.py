"""A real sshd on the loopback, with keys and known_hosts of its own, for the tests of what talks to one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from getpass import getuser
from pathlib import Path

import pytest

SSHD = "/usr/sbin/sshd"
OWN_RUN = 'mount -t tmpfs none /run && mkdir /run/sshd && exec "$@"'
"""As root sshd wants /run/sshd, which is not ours to make."""

needs_sshd = pytest.mark.skipif(not Path(SSHD).exists() or not shutil.which("unshare"), reason="there is no sshd")


@dataclass(frozen=True)
class Account:
    address: str
    port: int
    user: str
    key: Path | None
    known_hosts: Path | None

    def but(self, **changes: object) -> Account:
        return replace(self, **changes)


@contextmanager
def running(folder: Path) -> Iterator[Account]:
    """The way to log in as whoever runs the tests."""
    port = free_port()
    for name in ("host", "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/id.pub\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nMaxSessions 10\n"
    )
    command = [SSHD, "-D", "-e", "-f", str(folder / "config")]
    if os.getuid() == 0:
        command = ["unshare", "-m", "sh", "-c", OWN_RUN, "sh", *command]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as server:
        try:
            wait_for(port, folder / "log")
            yield Account("127.0.0.1", port, getuser(), folder / "id", folder / "known_hosts")
        finally:
            server.terminate()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for(port: int, log: Path) -> None:
    for _ in range(100):
        with socket.socket() as knocking:
            if knocking.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"sshd does not listen: {log.read_text()}")
