"""Run a command in a guest through its agent, on its host: ``python -I -S agent.py GUEST CMD ARGUMENT…``.

For guests without network. The guest's streams and exit code are this process's own; 255, as of ssh, where the agent
could not be asked.
"""

import base64
import json
import subprocess
import sys
import time
from typing import Any


def main() -> int:
    """Start it, wait for it, pass on what it said."""
    guest, path, *arguments = sys.argv[1:]
    data = b"" if sys.stdin.isatty() else sys.stdin.buffer.read()
    command = {"path": path, "arg": arguments, "input-data": base64.b64encode(data).decode(), "capture-output": True}
    pid = ask(guest, "guest-exec", command)["pid"]
    while not (status := ask(guest, "guest-exec-status", {"pid": pid}))["exited"]:
        time.sleep(0.05)
    for stream, key in ((sys.stdout, "out-data"), (sys.stderr, "err-data")):
        stream.buffer.write(base64.b64decode(status.get(key, "")))
        stream.flush()
    return int(status.get("exitcode", 128 + status.get("signal", 0)))


def ask(guest: str, execute: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """What the agent returns; without an answer this process ends."""
    asked = json.dumps({"execute": execute, "arguments": arguments})
    done = subprocess.run(
        ["virsh", "-q", "qemu-agent-command", guest, asked], check=False, capture_output=True, text=True
    )
    if done.returncode:
        sys.stderr.write(done.stderr)
        sys.exit(255)
    answer: dict[str, Any] = json.loads(done.stdout)["return"]
    return answer


if __name__ == "__main__":
    sys.exit(main())
