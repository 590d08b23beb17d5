"""A headless Chromium steered over a pipe: load a page, wait for a claim about it, click, take a picture.

The DevTools protocol over file descriptors 3 (in) and 4 (out), messages ended by a zero byte; no port is opened.
"""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
DEADLINE_S = 30.0


def find_chromium() -> str | None:
    """The browser on this machine, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Tab:
    """One page of the browser."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._unread = b""
        self._n_calls = 0
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its result."""
        self._n_calls += 1
        message = {"id": self._n_calls, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next_message()
            if answer.get("id") == self._n_calls:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
            self._note(answer)

    def open(self, url: str, *, width: int, height: int, scheme: str) -> None:
        """Load a page in a window of this size and colour scheme."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        """What a JavaScript expression comes to."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """The first true value of an expression."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            value = self.value(expression)
            if value:
                return value
            time.sleep(0.02)
        raise AssertionError(f"not true within {DEADLINE_S} s: {expression}; complaints: {self.complaints}")

    def picture(self, path: Path) -> bytes:
        """What the window shows, as PNG; also written to `path`."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        path.write_bytes(data)
        return data

    def _note(self, message: dict[str, Any]) -> None:
        """Keep what the page complains about: exceptions, refused or failed requests, policy violations."""
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"])[:500])
        if message.get("method") == "Log.entryAdded" and params["entry"]["level"] in ("warning", "error"):
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def _next_message(self) -> dict[str, Any]:
        deadline = time.monotonic() + DEADLINE_S
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"the browser did not answer within {DEADLINE_S} s"
            chunk = os.read(self._from, 1 << 20)
            assert chunk, "the browser ended"
            self._unread += chunk
        raw, self._unread = self._unread.split(b"\0", 1)
        return dict(json.loads(raw))


@contextlib.contextmanager
def browsing(chromium: str, profile: Path) -> Iterator[Tab]:
    """A browser with a fresh profile, ended afterwards."""
    commands_out, commands_in = os.pipe()
    answers_out, answers_in = os.pipe()
    process = _start(chromium, profile, commands_out, answers_in)
    try:
        yield Tab(commands_in, answers_out)
    finally:
        os.close(commands_in)  # the end of its input ends the browser
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        os.close(answers_out)


def _start(chromium: str, profile: Path, commands_out: int, answers_in: int) -> "subprocess.Popen[bytes]":
    """The browser with the pipes at 3 and 4, which a shell puts there."""
    places = f'exec "$@" 3<&{commands_out} 4>&{answers_in}'
    command = [chromium, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    try:
        return subprocess.Popen(
            ["bash", "-c", places, "bash", *command],
            pass_fds=(commands_out, answers_in),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    finally:
        os.close(commands_out)
        os.close(answers_in)
