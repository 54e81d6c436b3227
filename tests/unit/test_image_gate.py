"""The gate's own mistakes are lines and exit codes, before anything boots; and how it waits until it may look."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.unit.loopback_sshd import needs_sshd, running
from tests.unit.test_image_firmware import CODE, gpt
from virtvet.cli import main
from virtvet.errors import BadInput, ExitCode, Unreachable
from virtvet.image import firmware, gate, login
from virtvet.image.console import Console
from virtvet.image.interrupts import held, stoppable
from virtvet.image.login import Account, NoAnswer
from virtvet.image.machine import Machine
from virtvet.image.progress import Progress
from virtvet.inventory import load_inventory
from virtvet.snapshot.model import Completed
from virtvet.snapshot.side_by_side import Deadline, background


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "Hyper visor.raw"
    path.write_bytes(gpt(firmware.BIOS_BOOT, code=CODE))
    return path


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ([], ExitCode.USAGE, "Missing option '--profile'"),
        (["--profile=kvm-baseline", "--initrd=/etc/hostname"], ExitCode.USAGE, "go with --direct-kernel"),
        (["--profile=kvm-baseline", "--memory=lots"], ExitCode.USAGE, '"lots" is no size'),
        (["--profile=kvm-baseline", "--memory=1 MiB"], ExitCode.USAGE, "at least 256 MiB"),
        (["--profile=kvm-baselin"], ExitCode.BAD_INPUT, "kvm-baselin"),
        (
            ["--profile=kvm-baseline", "--direct-kernel=/etc/hostname", "--firmware=uefi"],
            ExitCode.USAGE,
            "without UEFI",
        ),
    ],
)
def test_a_mistake_is_told_before_anything_boots(disk: Path, options: list[str], code: int, said: str) -> None:
    done = CliRunner().invoke(main, ["image", str(disk), *options])
    assert done.exit_code == code, done.output
    assert said in done.output


def test_an_image_without_a_boot_loader_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "root.raw"
    path.write_bytes(bytes(4096))
    done = CliRunner().invoke(main, ["image", str(path), "--profile=kvm-baseline"])
    assert done.exit_code == ExitCode.BAD_INPUT
    assert "holds no boot loader" in done.output


def test_the_inventory_is_made_on_the_fly(disk: Path, tmp_path: Path) -> None:
    for name in ("key", "known_hosts"):
        (tmp_path / name).touch()
    order = gate.Order(disk, "kvm-baseline", lambda *_: [], pki=tmp_path)
    account = Account("127.64.1.2", tmp_path / "key", tmp_path / "known_hosts")
    written = tmp_path / "inventory.yaml"
    written.write_text(gate._inventory(order, account, ("hv9.example.com",)))
    (access,) = load_inventory(written).hosts.values()
    assert (access.name, access.names) == ("Hyper-visor", ("hv9.example.com",))
    assert access.libvirt.pki == tmp_path
    assert str(access.ssh) == "ssh://root@127.64.1.2:2222"
    assert json.loads(gate._inventory(order, account, ()))["hosts"]["Hyper-visor"]["names"] == ["Hyper-visor"]


@pytest.mark.parametrize(
    ("file", "name"), [("hypervisor-12.qcow2", "hypervisor-12"), ("ä ö.raw", "image"), ("../.x.raw", "x")]
)
def test_a_host_has_the_name_of_its_image(file: str, name: str) -> None:
    assert gate._host_name(Path(file)) == name


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A process that runs, with something on its console."""
    ours, theirs = socket.socketpair()
    (tmp_path / "log").write_text("qemu-system-x86_64: warning: x\nqemu-system-x86_64: it broke\n")
    with subprocess.Popen(["sleep", "60"]) as process, theirs:
        theirs.sendall(b"Kernel panic\n")
        made = Machine(process, Console(ours), tmp_path / "log")
        yield made
        made.kill()
        made.console.close()


def test_what_ends_by_itself_is_told_in_qemus_words(machine: Machine, tmp_path: Path) -> None:
    machine.kill()
    account = Account("127.0.0.1", tmp_path / "key", tmp_path / "known_hosts", port=1)
    with pytest.raises(NoAnswer, match="QEMU ended: it broke"):
        login.wait(machine, account, Deadline(5), Progress(StringIO()))
    (tmp_path / "log").write_text("")
    with pytest.raises(NoAnswer, match="switched itself off"):
        login.wait(machine, account, Deadline(5), Progress(StringIO()))


def test_what_does_not_speak_ssh_is_told(machine: Machine, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        account = Account("127.0.0.1", tmp_path / "key", tmp_path / "known_hosts", port=server.getsockname()[1])
        speaker = socket.socket()

        def speak() -> None:
            nonlocal speaker
            speaker, _address = server.accept()
            speaker.sendall(b"HTTP/1.1 400\r\n")

        background(speak)
        with pytest.raises(NoAnswer, match=r"within 0.5 s: nothing speaks SSH on port 22"):
            login.wait(machine, account, Deadline(0.5), Progress(StringIO()))
        speaker.close()
    assert gate._tail(machine) == "\n  the last 1 lines of its console:\n  | Kernel panic"


class Answering:
    """An image's end of SSH: each command's answer, as hostile as may be."""

    def __init__(self, *said: bytes | Unreachable) -> None:
        self.said = list(said)

    def run(self, *_command: object) -> Completed:
        answer = self.said.pop(0)
        if isinstance(answer, Unreachable):
            raise answer
        return Completed(0, answer, b"")

    def close(self) -> None:
        pass


def test_what_an_image_says_is_no_escape_sequence_here() -> None:
    out = StringIO()
    ssh = Answering(b"\x1b]0;x\x07.service loaded failed failed x\n" * 99)
    Progress(out).say(f"degraded:\n {login.failed_units(ssh, Deadline(5))[0]}")  # type: ignore[arg-type]
    assert out.getvalue() == "virtvet: degraded:\n \\x1b]0;x\\x07.service\n"


def test_jobs_that_are_no_jobs_are_left_out() -> None:
    assert login._jobs(Answering(b"122 ssh.service start running\n running\n")) == ", it waits for ssh.service"  # type: ignore[arg-type]


def test_an_image_that_goes_away_after_its_boot_is_told(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = Unreachable("the image", "closed the SSH connection in the middle of its answer")
    monkeypatch.setattr(login, "wait", lambda *_: Answering(b"degraded\n", lost))
    account = Account("127.0.0.1", tmp_path / "key", tmp_path / "known_hosts")
    order = gate.Order(tmp_path / "x.raw", "kvm-baseline", lambda *_: ())
    with pytest.raises(NoAnswer, match="closed the SSH connection"):
        gate._booted(order, machine, account, Progress(StringIO()))


def test_checks_that_do_not_end_when_interrupted_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "ENDING_SECONDS", 0.2)
    deaf = "import os, signal, time; signal.signal(2, signal.SIG_IGN); os.kill(os.getppid(), 15); time.sleep(60)"
    with pytest.raises(KeyboardInterrupt), stoppable():
        gate._child([sys.executable, "-c", deaf])


@pytest.mark.parametrize(("folder", "said"), [("gone", "No such file"), ("x" * 100, "too long")])
def test_a_folder_that_cannot_be_used_is_told(
    folder: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if folder != "gone":
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / folder))
    with pytest.raises(BadInput, match=said), gate._folder(keep=False):
        pass
    assert not any(tmp_path.rglob("virtvet-image-*"))


def test_no_room_left_is_told(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    order = gate.Order(disk, "kvm-baseline", lambda *_: (), accel="tcg", firmware="bios")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(BadInput, match=f"nothing can be kept in {tmp_path}: File too large"):
            gate.run(order, Progress(StringIO()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not any(tmp_path.glob("virtvet-image-*"))


@pytest.fixture
def heeded() -> Iterator[None]:
    """Ctrl-C, also where tests run in the background and it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupt_waits_until_what_is_made_is_known(number: int) -> None:
    made = []

    def make() -> None:
        with held():
            os.kill(os.getpid(), number)
            made.append(1)

    with pytest.raises(KeyboardInterrupt), stoppable():
        make()
    assert made == [1]


def test_teardown_is_not_interrupted() -> None:
    with stoppable() as ending:
        ending()
        os.kill(os.getpid(), signal.SIGTERM)


def test_an_image_that_is_taken_away_has_changed(disk: Path) -> None:
    before = gate._stamp(disk)
    disk.unlink()
    assert gate._stamp(disk) != before


def test_commands_to_paste_name_one_folder(machine: Machine, tmp_path: Path) -> None:
    account = Account("127.0.0.1", tmp_path / "a key", tmp_path / "known_hosts")
    told = gate._how_to_go_on(tmp_path / "my dir", account, machine)
    assert f"rm -rf '{tmp_path}/my dir'" in told
    assert f"ssh -i '{tmp_path}/a key' " in told


@needs_sshd
def test_the_host_key_of_the_first_login_is_pinned(machine: Machine, tmp_path: Path) -> None:
    """One that the file has from before (a key that cloud-init made anew at this boot) is no hindrance."""
    known = tmp_path / "pinned"
    known.write_text("[127.0.0.1]:22 ssh-ed25519 AAAA\n")
    with running(tmp_path) as there:
        assert there.key
        account = Account(there.address, there.key, known, there.port, there.user)
        ssh = login.wait(machine, account, Deadline(20), Progress(StringIO()))
        try:
            assert known.read_text().split()[:2] == [f"[127.0.0.1]:{there.port}", "ssh-ed25519"]
            assert login.hostname(ssh, Deadline(20)) == socket.gethostname()
        finally:
            ssh.close()
