"""Where a lab keeps its things, and who may have one: there is one lab at a time on a machine."""

import contextlib
import fcntl
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from lab.errors import LabError

TOP = Path("/run/virtvet-lab")
ROOT = TOP / "lab"
LOCK = TOP / "lock"


def cache() -> Path:
    """The folder of what is built once: ``~/.cache/virtvet-lab``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "virtvet-lab"


def default_logs() -> Path:
    """``build/lab/<time>-<pid>`` in the checkout."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return Path(__file__).resolve().parent.parent / "build" / "lab" / f"{stamp}-{os.getpid()}"


@dataclass
class State:
    """What a later command must know: who started the lab, whether it is whole, and where its logs are."""

    owner: int
    command: str
    logs: str
    phase: str = "starting"  # then "up"
    kept: bool = False  # left up on purpose: outlives its starter

    @property
    def in_hands(self) -> bool:
        """Whether somebody will take it down: who started it, or who had it left up."""
        return self.kept or Path(f"/proc/{self.owner}").exists()

    def save(self) -> None:
        """Write it where :func:`load` finds it, whole or not at all."""
        draft = ROOT / "state.json.new"
        draft.write_text(json.dumps(asdict(self)))
        draft.rename(ROOT / "state.json")


def load() -> State | None:
    """The state of the lab that is there, if any."""
    try:
        return State(**json.loads((ROOT / "state.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


class Lock:
    """An advisory lock that the kernel gives back when its holder ends, however it ends."""

    def __init__(self) -> None:
        self.stream: TextIO | None = None

    def acquire(self, wait: float = 0) -> None:
        """Take the lock, within ``wait`` seconds, or name who has it."""
        end = time.monotonic() + wait
        while not (stream := _try_lock()):
            if time.monotonic() > end:
                raise LabError(f"the lab is in use by {_holder()}; wait for its end (--wait SECONDS) or end it")
            time.sleep(0.2)
        stream.truncate(0)
        stream.write(f"process {os.getpid()} ({own_command()})\n")
        stream.flush()
        self.stream = stream

    def release(self) -> None:
        """Give the lock back; without a lab its file goes too."""
        if self.stream is None:
            return
        if not ROOT.exists():
            LOCK.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # somebody else waits for the lock already
                TOP.rmdir()
        self.stream.close()
        self.stream = None


def _try_lock() -> TextIO | None:
    """The lock file, locked; nothing where another has it, or has just removed the one we opened."""
    TOP.mkdir(mode=0o700, parents=True, exist_ok=True)
    stream = LOCK.open("a")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(stream.fileno()).st_ino == LOCK.stat().st_ino:
            return stream
    except (BlockingIOError, FileNotFoundError):
        pass
    stream.close()
    return None


def _holder() -> str:
    try:
        return LOCK.read_text().strip() or "another process"
    except FileNotFoundError:
        return "another process"


def own_command() -> str:
    """This process and its time, as a person would name it: ``python -m lab up, since 22:47:03``."""
    program = Path(sys.argv[0])
    name = f"python -m {program.parent.name}" if program.name == "__main__.py" else program.name
    return " ".join([name, *sys.argv[1:]])[:120] + time.strftime(", since %H:%M:%S")
