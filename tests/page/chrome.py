"""Headless Chromium, driven over two pipes by its DevTools protocol: no port, no library, no network."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.required import lacking
from tests.waiting import eventually

FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--no-sandbox",
    "--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", "--hide-scrollbars", "--force-color-profile=srgb", "--lang=en-GB",
)  # fmt: skip
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36, "PageDown": 34, "ArrowDown": 40, "ArrowUp": 38}


class Tab:
    """A page in the browser. `requests` and `complaints` (console, exceptions, violations) record its activity."""

    def __init__(self, send: Any, receive: Any) -> None:
        self._send, self._receive = send, receive
        self._number = 0
        self._session = ""
        self._text = b""
        self.requests: list[str] = []
        self.statuses: list[int] = []
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the browser, and record the events that arrive meanwhile."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._send.write(json.dumps(message).encode() + b"\0")
        self._send.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
            self._note(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._text:
            more = os.read(self._receive.fileno(), 1 << 20)
            assert more, "the browser has ended"
            self._text += more
        line, _, self._text = self._text.partition(b"\0")
        return dict(json.loads(line))

    def _note(self, event: dict[str, Any]) -> None:
        about = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(about["request"]["url"])
            case "Network.responseReceived":
                self.statuses.append(about["response"]["status"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(about["exceptionDetails"]))
            case "Runtime.consoleAPICalled":
                self.complaints.append(str(about["args"]))
            case "Log.entryAdded":
                self.complaints.append(str(about["entry"]))

    def size(self, width: int, height: int, scale: float = 1) -> None:
        """The window, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def media(self, **features: str) -> None:
        """Set media features of the reader, as prefers_color_scheme="dark"."""
        chosen = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=chosen)

    def go(self, url: str) -> None:
        """Open a page, and wait until it shows the status of the leader or the standby."""
        self.leave(url)
        shown = "['lead', 'standby'].some((id) => document.getElementById(id)?.hidden === false)"
        self.until(lambda: self.run(shown) is True, "the page to draw itself")

    def leave(self, url: str = "about:blank") -> None:
        """Open an empty page, and wait until the former one is gone: it may send requests until then."""
        self.run("window.former = true")
        self.call("Page.navigate", url=url)
        self.until(lambda: self.run("window.former === undefined") is True, "the former page to go")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        """Text of an element."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def count(self, selector: str) -> int:
        """Number of matching elements."""
        return int(self.run(f"document.querySelectorAll({json.dumps(selector)}).length"))

    def press(self, *keys: str) -> None:
        """Press keys one after the other: names of KEYS, or characters."""
        for key in keys:
            code = KEYS.get(key, 0)
            text = {"text": key} if not code else {"text": "\r"} if key == "Enter" else {}
            about = {"key": key, "windowsVirtualKeyCode": code or ord(key.upper()), "code": key if code else ""}
            self.call("Input.dispatchKeyEvent", type="keyDown", **about, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def picture(self) -> bytes:
        """PNG of the whole page."""
        height = self.run("document.documentElement.scrollHeight")
        width = self.run("document.documentElement.clientWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        made = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(made["data"])

    def until(self, true: Callable[[], bool], what: str) -> None:
        """Wait for a change of the page."""
        eventually(true, what, diagnosis=lambda: f"the page complains: {self.complaints}")


@contextmanager
def chrome() -> Iterator[Tab]:
    """A browser with one empty page; skips the test without a browser."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        lacking("chromium")
    theirs, send = os.pipe()
    receive, theirs_too = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # The browser reads from descriptor 3 and writes to 4.
        placed = f'exec 8<&{theirs} 9>&{theirs_too}; exec 3<&8 4>&9 8<&- 9>&-; exec "$@"'
        process = subprocess.Popen(
            ["bash", "-c", placed, "bash", program, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(theirs, theirs_too),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TZ": "UTC"},
        )
        os.close(theirs)
        os.close(theirs_too)
        try:
            with os.fdopen(send, "wb") as to, os.fdopen(receive, "rb", buffering=0) as back:
                yield Tab(to, back)
        finally:
            process.terminate()
            process.wait()
