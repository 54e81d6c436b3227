"""`./dev bench`: prints a table and writes build/bench.json."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench import facts, floor
from bench.delay import delayed
from lab import Lab
from lab.errors import LabError

TOP = Path(__file__).parents[1]
BUILD = TOP / "build" / "bench"
DELAYS_MS = (0, 10, 50)
VIRTVET_RUNS = 3
FLOOR_RUNS = 5


@dataclass(frozen=True)
class Row:
    """One delay's measurements, seconds: `look` is from the first connection to the last verdict, `answered` until
    everything was read."""

    delay_ms: int
    facts: int
    virtvet_look_s: float
    virtvet_total_s: float
    testinfra_look_s: float
    testinfra_total_s: float
    floor_s: float
    virtvet_answered_s: float
    virtvet_channels: int
    testinfra_channels: int
    virtvet_channels_10x: int


@dataclass(frozen=True)
class Suite:
    """One finished pytest run."""

    look: float
    answered: float
    total: float
    channels: int


def main() -> None:
    """Attach to the lab that is up, or bring one up, and measure."""
    BUILD.mkdir(parents=True, exist_ok=True)
    try:
        _measure(Lab.attach())
    except LabError:
        with Lab() as lab:
            _measure(lab)


def _measure(lab: Lab) -> None:
    known = facts.recorded(lab)
    (BUILD / "facts.json").write_text(json.dumps(known))
    rows = [_row(lab, delay, len(known)) for delay in DELAYS_MS]
    (TOP / "build" / "bench.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    _print(rows)


def _row(lab: Lab, delay_ms: int, count: int) -> Row:
    host = lab.hosts[facts.HOST]
    targets = {"ssh": (host.address, 22), "tls": (host.address, 16514)}
    with delayed(targets, delay_ms / 1000) as ports:
        inventory, uri = _inventory(lab, ports)
        ours = [_virtvet(inventory, 1) for _ in range(VIRTVET_RUNS)]
        tenfold = _virtvet(inventory, 10)
        least = median(floor.seconds(ports["ssh"], uri, lab.key, _size()) for _ in range(FLOOR_RUNS))
        theirs = _testinfra(lab, ports["ssh"])
    return Row(
        delay_ms,
        count,
        round(median(one.look for one in ours), 3),
        round(median(one.total for one in ours), 3),
        round(theirs.look, 3),
        round(theirs.total, 3),
        round(least, 3),
        round(median(one.answered for one in ours), 3),
        ours[0].channels,
        theirs.channels,
        tenfold.channels,
    )


def _inventory(lab: Lab, ports: dict[str, int]) -> tuple[Path, str]:
    """The host behind the proxy: its host key and certificate are the same, its address is ours."""
    keys = [
        line.split(" ", 1)[1]
        for line in lab.known_hosts.read_text().splitlines()
        if line.startswith(lab.hosts[facts.HOST].address)
    ]
    known = BUILD / "known_hosts"
    known.write_text("".join(f"[127.0.0.1]:{ports['ssh']} {key}\n" for key in keys))
    uri = f"qemu+tls://127.0.0.1:{ports['tls']}/system"
    pki = {"pki": str(lab.pki)}
    ssh = {"address": "127.0.0.1", "port": ports["ssh"], "user": "root", "key": str(lab.key), "known_hosts": str(known)}
    # the certificate is for the host's own address, which is not where the proxy listens
    entry = {"ssh": ssh, "libvirt": {"uri": f"{uri}?no_verify=1", **pki}, "names": [facts.HOST]}
    inventory = BUILD / "inventory.yaml"
    inventory.write_text(json.dumps({"virtvet": 1, "hosts": {facts.HOST: entry}}))
    return inventory, f"{uri}?no_verify=1&pkipath={lab.pki}"


def _virtvet(inventory: Path, repeat: int) -> Suite:
    snapshot = ("--save-snapshot", BUILD / "snapshot.json")
    asked = ("--profile", TOP / "bench" / "profile.yaml", "--inventory", inventory, "--reports", BUILD / "reports")
    settings = ("-c", TOP / "src" / "virtvet" / "checks.ini", f"--rootdir={TOP}")  # as `virtvet check` does
    return _pytest("bench/test_virtvet.py", *asked, *snapshot, *settings, repeat=repeat)


def _testinfra(lab: Lab, port: int) -> Suite:
    spec = f"--hosts=paramiko://root@127.0.0.1:{port}"
    return _pytest("bench/test_testinfra.py", spec, f"--ssh-identity-file={lab.key}", "-p", "no:virtvet.plugin")


def _pytest(*arguments: str | Path, repeat: int = 1) -> Suite:
    result = BUILD / "timing.json"
    environment = {**os.environ, "BENCH_FACTS": str(BUILD / "facts.json"), "BENCH_OUT": str(result)}
    environment["BENCH_REPEAT"] = str(repeat)
    quiet = ("-q", "--no-header", "--tb=short", "-p", "bench.timing", "-p", "no:cacheprovider")
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", *map(str, arguments), *quiet]
    done = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True, check=False)
    total = time.monotonic() - began
    seen = json.loads(result.read_text())
    if done.returncode or seen["passed"] != facts.COUNT * repeat:
        raise SystemExit(f"bench: {arguments[0]} did not pass:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    return Suite(seen["look_s"], seen["answered_s"], total, seen["channels"])


def _size() -> int:
    return (BUILD / "snapshot.json").stat().st_size


def _print(rows: list[Row]) -> None:
    names = ("round trip", "facts", "virtvet look", "testinfra look", "faster", "floor", "look/floor", "answered")
    table = Table(*names, "virtvet whole", "testinfra whole", "faster", "channels", "at 10x the facts", title="seconds")
    for row in rows:
        table.add_row(
            f"+{row.delay_ms} ms",
            str(row.facts),
            f"{row.virtvet_look_s:.2f}",
            f"{row.testinfra_look_s:.2f}",
            f"{row.testinfra_look_s / row.virtvet_look_s:.0f}x",
            f"{row.floor_s:.2f}",
            f"{row.virtvet_look_s / row.floor_s:.1f}",
            f"{row.virtvet_answered_s:.2f}",
            f"{row.virtvet_total_s:.2f}",
            f"{row.testinfra_total_s:.2f}",
            f"{row.testinfra_total_s / row.virtvet_total_s:.0f}x",
            f"{row.virtvet_channels} : {row.testinfra_channels}",
            str(row.virtvet_channels_10x),
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
