"""From power-on to a machine that has booted: SSH answers, lets this run's key in, and systemd has done its jobs."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep

import paramiko

from virtvet.errors import Unreachable
from virtvet.image.machine import SSH_PORT, Machine
from virtvet.image.progress import Progress
from virtvet.snapshot.model import Completed
from virtvet.snapshot.side_by_side import Deadline
from virtvet.snapshot.ssh import Ssh

EVERY_SECONDS = 1.0
BANNER_SECONDS = 10.0
"""For sshd's first line, once something listens."""
ATTEMPT_SECONDS = 60.0
"""For two key exchanges and a command: on a busy machine without KVM they take many seconds."""
ANSWER_SECONDS = 60.0
"""For one small command, on a machine that is still busy booting."""
BOOTED = ("running", "degraded")
"""What systemd says once no job is left (systemctl(1), is-system-running)."""


class NoAnswer(Exception):
    """The image cannot be checked: it does not boot, or lets nobody in."""


@dataclass(frozen=True, slots=True)
class Account:
    """Where to log in and as whom (see ssh.Login)."""

    address: str
    key: Path
    known_hosts: Path
    port: int = SSH_PORT
    user: str = "root"


def wait(machine: Machine, account: Account, deadline: Deadline, progress: Progress) -> Ssh:
    """A connection to the machine once it lets us in. Raises NoAnswer."""
    reason = "nothing was tried"
    while not deadline.passed:
        if machine.ended:
            raise NoAnswer(_ended(machine))
        progress.waiting(f"waiting for SSH; the console says: {_last(machine)}")
        try:
            _await_banner(account)
            return _logged_in(account, Deadline(ATTEMPT_SECONDS))
        except Unreachable as lost:
            reason = lost.reason
        except (OSError, EOFError, paramiko.SSHException) as error:
            reason = str(error).split("\n")[0] or type(error).__name__
        sleep(EVERY_SECONDS)
    raise NoAnswer(f"nobody was let in by SSH within {deadline}: {reason}")


def _ended(machine: Machine) -> str:
    machine.console.settle()
    if complaint := machine.complaint():
        return f"QEMU ended: {complaint}"
    return "the image switched itself off before anybody could log in"


def _last(machine: Machine) -> str:
    return next(iter(machine.console.tail(1)), "nothing yet")


def _await_banner(account: Account) -> None:
    """sshd's first line. QEMU's user network accepts every connection, and lets go of it where nothing listens inside.

    Raises Unreachable.
    """
    try:
        with socket.create_connection((account.address, account.port), timeout=BANNER_SECONDS) as plain:
            said = plain.recv(4)
    except OSError:
        said = b""
    if said != b"SSH-":
        what = "speaks SSH" if said else "answers"
        raise Unreachable("the image", f"nothing {what} on port 22 of its first network card")


def _logged_in(account: Account, deadline: Deadline) -> Ssh:
    """A connection that ran a command. The host key that comes with the first login is pinned for the rest of the run:
    nobody can know it beforehand, and between us and the machine there is only the loopback interface."""
    key = _host_key(account, deadline)
    account.known_hosts.write_text(f"[{account.address}]:{account.port} {key.get_name()} {key.get_base64()}\n")
    ssh = Ssh("the image", account)
    try:
        ssh.run(("true",), b"", deadline)
    except BaseException:
        ssh.close()
        raise
    return ssh


def _host_key(account: Account, deadline: Deadline) -> paramiko.PKey:
    with socket.create_connection((account.address, account.port), timeout=deadline.left) as plain:
        transport = paramiko.Transport(plain)
        transport.banner_timeout = transport.handshake_timeout = deadline.left
        try:
            with deadline.ends(transport.close):
                transport.start_client(timeout=deadline.left)
            return transport.get_remote_server_key()
        finally:
            transport.close()


def wait_until_booted(ssh: Ssh, machine: Machine, deadline: Deadline, progress: Progress) -> str:
    """systemd's word once all its jobs have ended: "running" or "degraded"; "" without systemd. Raises NoAnswer.

    Before that a unit that is not active may just not have been started yet.
    """
    state = "nothing"
    while not deadline.passed:
        if machine.ended:
            raise NoAnswer(_ended(machine))
        progress.waiting(f"waiting until it has booted; systemd says: {state}")
        try:
            done = _asked(ssh, ("systemctl", "is-system-running"), deadline)
        except Unreachable as lost:
            state = lost.reason
        else:
            if done.returncode == 127:
                return ""
            state = _word(done)
            if state in BOOTED:
                return state
        sleep(EVERY_SECONDS)
    raise NoAnswer(f"has not booted within {deadline}: systemd says {state}{_jobs(ssh)}")


def _asked(ssh: Ssh, argv: tuple[str, ...], deadline: Deadline) -> Completed:
    return ssh.run(argv, b"", Deadline(min(ANSWER_SECONDS, max(deadline.left, 1))))


def _word(done: Completed) -> str:
    said = done.stdout.decode("utf-8", "replace").strip()
    return said if re.fullmatch(r"[a-z-]{1,40}", said) else "nothing we understand"


def _jobs(ssh: Ssh) -> str:
    """The jobs it still waits for."""
    with suppress(Unreachable):
        listed = _asked(ssh, ("systemctl", "list-jobs", "--no-legend", "--plain"), Deadline(ANSWER_SECONDS))
        jobs = map(str.split, listed.stdout.decode("utf-8", "replace").splitlines())
        units = [words[1] for words in jobs if len(words) == 4 and words[3] == "running"]
        return f", it waits for {', '.join(units[:5])}" if units else ""
    return ""


def failed_units(ssh: Ssh, deadline: Deadline) -> list[str]:
    """The units by which systemd calls itself degraded."""
    listed = _asked(ssh, ("systemctl", "list-units", "--failed", "--no-legend", "--plain"), deadline)
    return [line.split()[0] for line in listed.stdout.decode("utf-8", "replace").splitlines() if line.strip()]


def hostname(ssh: Ssh, deadline: Deadline) -> str:
    """What the machine calls itself; "" where that is no name."""
    said = _asked(ssh, ("uname", "-n"), deadline).stdout.decode("utf-8", "replace").strip()
    return said if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}", said) else ""
