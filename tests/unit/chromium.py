"""A headless Chromium over its debugging pipe (Chrome DevTools Protocol): a page as a reader's browser shows it."""

import json
import os
import shutil
import subprocess
import tempfile
from base64 import b64decode
from pathlib import Path
from types import TracebackType
from typing import Any, Self

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-extensions --hide-scrollbars --remote-debugging-pipe"
).split()
PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Chromium:
    """One page. Events (console, exceptions, requests) that came in are kept in `events`."""

    def __init__(self, width: int = 1400, height: int = 1000) -> None:
        self.events: list[dict[str, Any]] = []
        self._size = width, height
        self._number = 0
        self._buffer = b""

    def __enter__(self) -> Self:
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        asked, self._ask = os.pipe()
        self._told, told = os.pipe()
        # Chromium reads commands from descriptor 3 and writes answers to 4
        command = f'exec "$0" "$@" 3<&{asked} 4>&{told}'
        flags = [*FLAGS, f"--user-data-dir={self._profile}", "--window-size={},{}".format(*self._size), "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", command, str(PROGRAM), *flags], pass_fds=(asked, told), stderr=subprocess.DEVNULL
        )
        os.close(asked), os.close(told)
        target = self.ask("Target.getTargets")["targetInfos"][0]["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._ask)
        self._process.terminate()
        self._process.wait(10)
        os.close(self._told)
        shutil.rmtree(self._profile, ignore_errors=True)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if hasattr(self, "_session"):
            message["sessionId"] = self._session
        os.write(self._ask, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            got = os.read(self._told, 1 << 16)
            assert got, "Chromium ended"
            self._buffer += got
        first, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(first)

    def open(self, path: Path) -> None:
        """Load a file and wait for its load event."""
        self.events.clear()
        self.ask("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, promises awaited."""
        answer = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def shoot(self, path: Path) -> None:
        path.write_bytes(b64decode(self.ask("Page.captureScreenshot")["data"]))

    def complaints(self) -> list[Any]:
        """Exceptions, console messages and log entries (policy violations), and what was fetched beside the page."""
        wanted = (
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
            "Log.entryAdded",
            "Page.javascriptDialogOpening",
        )
        said = [event["params"] for event in self.events if event.get("method") in wanted]
        asked = [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        return said + [url for url in asked if not url.startswith(("file:", "data:"))]
