"""However the gate ends, nothing of it stays: an image that lets nobody in, Ctrl-C, SIGTERM, even SIGKILL; and --keep.

The image is a boot sector that says a line on its console and halts: what matters here is what becomes of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("gated")  # images boot meanwhile
SAID = "no operating system, no sshd"
# xor ax, ax; mov ds, ax; cld; mov si, text; next: lodsb; test al, al; jz end; mov dx, 0x3f8; out dx, al; jmp next
CODE = bytes.fromhex("31c08ed8fcbe167cac84c07406baf803eeebf5f4ebfd")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SECTOR = (CODE + f"\n{SAID}\n\0".encode()).ljust(510, b"\0") + b"\x55\xaa"


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "silent.raw"
    path.write_bytes(SECTOR.ljust(1 << 20, b"\0"))
    return path


@pytest.fixture
def begin(disk: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the gate in a process of its own; its folder is made beside the image."""
    started: list[subprocess.Popen[str]] = []

    def begin(*options: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "virtvet", "image", str(disk), "--profile=kvm-baseline", "--accel=tcg", *options]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(disk.parent)}
        pipe = subprocess.PIPE
        started.append(
            subprocess.Popen(
                argv, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=env, cwd=disk.parent, preexec_fn=as_usual
            )
        )
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()
    for pid in machines(disk):
        os.kill(pid, signal.SIGKILL)


def as_usual() -> None:
    """Whoever runs the tests in the background may have had these ignored, and children inherit that."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def machines(disk: Path) -> list[int]:
    """The QEMUs that have this image."""
    return [
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if f"file={disk}".encode() in command_line(folder) and b"qemu" in command_line(folder)
    ]


def command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def left_over(disk: Path) -> list[Path]:
    return list(disk.parent.glob("virtvet-image-*"))


def booting(disk: Path) -> int:
    """The machine's process, once it runs."""
    wait_for(lambda: machines(disk))
    return machines(disk)[0]


def test_an_image_that_lets_nobody_in_is_one_error(disk: Path, begin: Callable[..., subprocess.Popen[str]]) -> None:
    before = disk.read_bytes()
    process = begin("--timeout=8")
    booting(disk)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 20, output
    assert "silent.raw: nobody was let in by SSH within 8 s: nothing answers on port 22" in output
    assert f"\n  | {SAID}\n" in output
    assert "Traceback" not in output
    assert (machines(disk), left_over(disk)) == ([], [])
    assert disk.read_bytes() == before


def test_an_image_that_lets_nobody_in_has_its_reports(disk: Path, begin: Callable[..., subprocess.Popen[str]]) -> None:
    output, _ = begin("--timeout=2").communicate(timeout=120)
    latest = disk.parent / "reports/latest"
    run = json.loads((latest / "run.json").read_bytes())
    (lost,) = (one for one in run["results"] if one["outcome"] not in ("skipped", "passed"))
    assert (lost["control"], lost["outcome"]) == ("HOST-REACH-1", "error")
    assert "nobody was let in by SSH within 2 s" in lost["layers"]["actual"]["error"]
    assert run["summary"]["passed"] == 0
    assert (run["exit_code"], [host["name"] for host in run["hosts"]]) == (20, ["silent"])
    assert run["image"]["sha256"] == hashlib.sha256(disk.read_bytes()).hexdigest()
    assert 'errors="1"' in (latest / "junit.xml").read_text()
    for name in ("report.html", "junit.xml", "run.json"):
        assert str(latest.resolve() / name) in output


def test_the_image_is_open_for_reading_only(disk: Path, begin: Callable[..., subprocess.Popen[str]]) -> None:
    begin()
    descriptors = Path(f"/proc/{booting(disk)}/fd")
    wait_for(lambda: opened(descriptors, disk))
    for descriptor in opened(descriptors, disk):
        flags = int(
            re.search(r"^flags:\s*([0-7]+)", Path(str(descriptor).replace("/fd/", "/fdinfo/")).read_text(), re.M)[1], 8
        )  # type: ignore[index]
        assert flags & os.O_ACCMODE == os.O_RDONLY


def opened(descriptors: Path, disk: Path) -> list[Path]:
    return [one for one in descriptors.iterdir() if one.exists() and one.resolve() == disk]


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupted_gate_leaves_nothing(
    number: signal.Signals, disk: Path, begin: Callable[..., subprocess.Popen[str]]
) -> None:
    process = begin()
    booting(disk)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert "interrupted; the machine is gone" in output
    assert (machines(disk), left_over(disk)) == ([], [])


def test_a_killed_gate_takes_its_machine_along(disk: Path, begin: Callable[..., subprocess.Popen[str]]) -> None:
    process = begin()
    booting(disk)
    process.kill()
    wait_for(lambda: not machines(disk))


def test_a_machine_is_kept_when_asked(disk: Path, begin: Callable[..., subprocess.Popen[str]]) -> None:
    process = begin("--timeout=2", "--keep")
    pid = booting(disk)
    output, _ = process.communicate(timeout=120)
    assert machines(disk) == [pid]
    ended = re.search(r"end it: (kill \d+; rm -rf \S+)$", output, re.MULTILINE)
    assert ended, output
    subprocess.run(["sh", "-c", ended[1]], check=True)
    wait_for(lambda: not machines(disk))
    assert left_over(disk) == []
