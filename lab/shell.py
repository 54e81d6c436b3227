"""Run a command on this machine and, when it fails, say which and why."""

import os
import subprocess
from collections.abc import Sequence

from lab.errors import LabError


def find_system_commands() -> None:
    """Let this process find libvirtd and its like where the user's PATH leaves out the administrator's folders."""
    present = os.environ.get("PATH", os.defpath).split(":")
    wanted = [folder for folder in ("/usr/sbin", "/sbin") if folder not in present]
    os.environ["PATH"] = ":".join([*present, *wanted])


def run(
    argv: Sequence[str],
    *,
    check: bool = True,
    input: str | None = None,
    timeout: float = 60,
    shown: Sequence[str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``argv`` to its end; a non-zero exit is a :class:`LabError` that shows the command's own words.

    ``shown`` is the command as messages name it, where ``argv`` is wrapped in another.
    """
    name = _shown(shown or argv)
    try:
        done = subprocess.run(
            argv, check=False, input=input or "", capture_output=True, text=True, errors="replace", timeout=timeout
        )
    except subprocess.TimeoutExpired as expired:
        raise LabError(f"{name}: no end after {timeout:g} s") from expired
    if check and done.returncode:
        raise LabError(f"{name}: exit {done.returncode}: {_last_lines(done.stderr or done.stdout)}")
    return done


def _shown(argv: Sequence[str]) -> str:
    text = " ".join(argv)
    return text if len(text) < 160 else text[:157] + "..."


def _last_lines(text: str, count: int = 6) -> str:
    return "\n".join(text.strip().splitlines()[-count:])
