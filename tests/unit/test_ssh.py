"""SSH to a real sshd on the loopback: one connection, few channels, strict host keys, words a user understands."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.loopback_sshd import Account, free_port, needs_sshd, running
from virtvet.errors import Unreachable
from virtvet.snapshot.model import Completed
from virtvet.snapshot.side_by_side import Deadline, side_by_side
from virtvet.snapshot.ssh import AT_ONCE, Ssh
from virtvet.snapshot.transport import SHELL


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with running(tmp_path_factory.mktemp("sshd")) as account:
        yield account


@pytest.fixture(scope="module")
def ssh(account: Account) -> Iterator[Ssh]:
    made = Ssh("hv1", account)
    yield made
    made.close()


pytestmark = needs_sshd


def connected(account: Account, seconds: float = 10, through: Ssh | None = None) -> str:
    """Why it cannot be connected to, or ""."""
    ssh = Ssh("hv1", account, through)
    try:
        ssh.connect(Deadline(seconds))
    except Unreachable as lost:
        return str(lost).removeprefix("hv1: ")
    finally:
        ssh.close()
    return ""


def test_every_word_is_taken_literally_and_the_streams_stay_apart(ssh: Ssh) -> None:
    assert ssh.run(["printf", "%s|", "a b", "$(id)", "*", ""], b"", Deadline(9)) == Completed(0, b"a b|$(id)|*||", b"")
    script = b"cat; echo out; echo err >&2; exit 7"
    assert ssh.run(SHELL, script, Deadline(9)) == Completed(7, b"out\n", b"err\n")
    assert ssh.run(["sh", "-c", "kill -9 $$"], b"", Deadline(9)).returncode == 137


def test_both_streams_and_the_input_may_be_large(ssh: Ssh) -> None:
    data = os.urandom(3 << 20)
    done = ssh.run(["sh", "-c", "head -c 3000000 /dev/zero >&2; cat"], data, Deadline(20))
    assert (done.stdout == data, len(done.stderr)) == (True, 3000000)


def test_many_commands_share_one_connection_and_few_channels(account: Account, tmp_path: Path) -> None:
    ssh, script = (
        Ssh("hv1", account),
        f"echo >{tmp_path}/$$; sleep 0.2; ls {tmp_path} | wc -l; sleep 0.1; rm {tmp_path}/$$",
    )
    jobs = [lambda: ssh.run(["sh", "-c", script], b"", Deadline(20))] * 7
    counts = [int(future.result().stdout) for future in side_by_side(jobs, 10)]
    ssh.close()
    assert (ssh.connections, ssh.channels) == (1, 7)
    assert 1 < max(counts) <= AT_ONCE


def test_a_connection_that_was_lost_is_made_again(account: Account) -> None:
    ssh = Ssh("hv1", account)
    with pytest.raises(Unreachable, match="closed the SSH connection in the middle of its answer"):
        ssh.run(["sh", "-c", "kill $(ps -o ppid= -p $(ps -o ppid= -p $PPID))"], b"", Deadline(9))
    assert ssh.run(["echo", "again"], b"", Deadline(9)).stdout == b"again\n"
    assert ssh.connections == 2
    ssh.close()


def test_what_hangs_ends_on_both_sides(ssh: Ssh, tmp_path: Path) -> None:
    ssh.connect(Deadline(30))
    begun = time.monotonic()
    with pytest.raises(Unreachable, match="did not finish within"):
        ssh.run(["sh", "-c", f"echo $$ >{tmp_path}/pid; exec sleep 50"], b"", Deadline(3))
    assert time.monotonic() - begun < 10
    pid = (tmp_path / "pid").read_text().strip()
    for _ in range(150):
        if not Path(f"/proc/{pid}").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes():
            return
        time.sleep(0.02)
    pytest.fail("the command outlived its deadline")


def test_through_a_jump_host(account: Account) -> None:
    jump = Ssh("jump", account)
    behind = Ssh("hv1", account, jump)
    assert behind.run(["echo", "x"], b"", Deadline(9)).stdout == b"x\n"
    behind.close()
    jump.close()
    assert (jump.connections, jump.channels, behind.channels) == (1, 0, 1)


def test_what_goes_through_a_jump_host_that_is_lost_can_be_closed(account: Account) -> None:
    jump = Ssh("jump", account)
    behind = Ssh("hv1", account, jump)
    assert behind.run(["echo", "x"], b"", Deadline(9)).stdout == b"x\n"
    jump._transport(Deadline(9)).sock.close()
    behind.close()
    jump.close()
    assert behind.run(["echo", "y"], b"", Deadline(9)).stdout == b"y\n"
    behind.close()
    jump.close()


def test_what_is_wrong_behind_a_jump_host(account: Account, ssh: Ssh, tmp_path: Path) -> None:
    closed = free_port()
    assert connected(account.but(port=closed), through=ssh) == (
        f"hv1 cannot connect to 127.0.0.1 port {closed}: Connect failed"
    )
    bad = Ssh("ssh://ops@gateway", account.but(port=closed))
    assert connected(account, through=bad) == (
        f"through ssh://ops@gateway: nothing listens on 127.0.0.1 port {closed}: connection refused"
    )


def test_an_unknown_host_key_says_what_to_paste(account: Account, tmp_path: Path) -> None:
    empty = tmp_path / "known_hosts"
    empty.touch()
    reason = connected(account.but(known_hosts=empty))
    assert reason.startswith(f"the host key of [127.0.0.1]:{account.port} is not known (SHA256:")
    empty.write_text(reason.split("known_hosts: ")[1] + "\n")
    assert connected(account.but(known_hosts=empty)) == ""


def test_a_changed_host_key_says_what_to_forget(account: Account, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    (tmp_path / "known").write_text(f"[127.0.0.1]:{account.port} {(tmp_path / 'other.pub').read_text()}")
    reason = connected(account.but(known_hosts=tmp_path / "known"))
    assert reason.startswith(f"the host key of [127.0.0.1]:{account.port} has changed: expected SHA256:")
    assert reason.endswith(f"ssh-keygen -R '[127.0.0.1]:{account.port}' -f {tmp_path}/known")


def test_a_refused_key(account: Account, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", tmp_path / "other"], check=True)
    reason = connected(account.but(key=tmp_path / "other"))
    assert reason.startswith(f"127.0.0.1 port {account.port} refused {account.user}'s key {tmp_path}/other")


def test_keys_that_cannot_be_used(account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / "no key").write_text("hello")
    assert (
        connected(account.but(key=tmp_path / "no key")) == f"{tmp_path}/no key is no private key that paramiko can use"
    )
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", tmp_path / "locked"], check=True)
    assert connected(account.but(key=tmp_path / "locked")) == (
        f"{tmp_path}/locked has a passphrase: load it into an SSH agent (ssh-add)"
    )


def test_nobody_there(account: Account) -> None:
    port = free_port()
    assert connected(account.but(port=port)) == f"nothing listens on 127.0.0.1 port {port}: connection refused"
    reason = connected(account.but(address="no-such-host.invalid"))
    assert reason.startswith("there is no host no-such-host.invalid: ")


def listener(says: bytes, then_close: bool) -> socket.socket:
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        client, _address = server.accept()
        client.sendall(says)
        if then_close:
            client.shutdown(socket.SHUT_RDWR)
        server.accept()

    threading.Thread(target=lambda: side_by_side([serve], 1), daemon=True).start()
    return server


@pytest.mark.parametrize("banner", [b"", b"SSH-2.0-OpenSSH_9.2p1\r\n"])
def test_a_server_that_accepts_and_then_hangs(account: Account, banner: bytes) -> None:
    with listener(banner, then_close=False) as server:
        port, begun = server.getsockname()[1], time.monotonic()
        reason = connected(account.but(port=port), seconds=0.3)
    assert reason == f"127.0.0.1 port {port} accepted the connection, but did not log us in within 0.3 s"
    assert time.monotonic() - begun < 3


def test_a_server_that_is_no_sshd(account: Account) -> None:
    with listener(b"", then_close=True) as server:
        port = server.getsockname()[1]
        assert connected(account.but(port=port)) == f"127.0.0.1 port {port}: closed the connection before it spoke SSH"


def test_what_failed_is_tried_once_a_deadline(account: Account) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ssh, deadline = Ssh("hv1", account.but(port=server.getsockname()[1])), Deadline(0.2)
        for future in side_by_side([lambda: ssh.connect(deadline)] * 3, 3):
            with pytest.raises(Unreachable):
                future.result()
        server.settimeout(0.1)
        server.accept()
        with pytest.raises(TimeoutError):
            server.accept()


def test_no_thread_is_left_that_keeps_the_interpreter(account: Account) -> None:
    ssh = Ssh("hv1", account)
    ssh.run(["true"], b"", Deadline(9))
    assert all(thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())
    ssh.close()
