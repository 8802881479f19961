"""A headless Chromium for tests, controlled through a pipe without a library."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_PATIENCE = 120


class BrowserError(Exception):
    """The browser does not answer."""


def program() -> str | None:
    """Return the path of a browser, if there is one."""
    return next((found for name in NAMES if (found := shutil.which(name)) is not None), None)


def obstacle() -> str | None:
    """Return why no browser can be started, or None."""
    return None if program() is not None else f"none of {', '.join(NAMES)} is on the path (Debian: chromium)"


class Page:
    """A tab of a browser, and its errors."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._buffer, self._number = b"", 0
        self._session: str | None = None
        self.errors: list[str] = []
        self._loaded = 0

    def attach(self) -> None:
        """Open the tab."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def open(self, path: Path, width: int, height: int, *, dark: bool = False, anchor: str = "") -> None:
        """Load a file in a window of that size, in pixels."""
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        before = self._loaded
        self.ask("Page.navigate", url="about:blank")
        while self._loaded == before:
            self._receive()
        before = self._loaded
        self.ask("Page.navigate", url=path.resolve().as_uri() + anchor)
        while self._loaded == before:
            self._receive()

    def value(self, expression: str) -> Any:
        """Evaluate an expression in JavaScript."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def picture(self) -> bytes:
        """Return a screenshot of the window as PNG."""
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command, wait for its answer."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                return answer["result"]

    def _receive(self) -> dict[str, Any]:
        end = time.monotonic() + _PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            chunk = os.read(self._read, 1 << 20) if ready else b""
            if not chunk:
                raise BrowserError("the browser is gone or does not answer")
            self._buffer += chunk
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, event: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded += 1
        elif (
            method == "Runtime.exceptionThrown"
            or (method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning"))
            or (method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"))
        ):
            self.errors.append(json.dumps(event))
        elif method == "Network.requestWillBeSent" and not event["request"]["url"].startswith(("file:", "about:")):
            self.errors.append(f"asks the network for {event['request']['url']}")


@contextlib.contextmanager
def running() -> Iterator[Page]:
    """Start a browser with one tab; end it with the block."""
    # The browser reads commands from its descriptor 3 and answers on 4.
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    given = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        flags += ["--no-first-run", "--remote-debugging-pipe", f"--user-data-dir={folder}"]
        script = f'exec "$@" 3<&{given[0]} 4>&{given[1]}'
        process = subprocess.Popen(
            ["bash", "-c", script, "bash", str(program()), *flags],
            pass_fds=given,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (theirs_in, theirs_out, *given):
            os.close(end)
        try:
            page = Page(ours_in, ours_out)
            page.attach()
            yield page
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(ours_in)
            os.close(ours_out)
