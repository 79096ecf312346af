"""Health of one process, and the answers of its URLs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from cloudroute.core.words import one_line
from cloudroute.telemetry.server import Answer, Server


@dataclass(frozen=True, slots=True)
class _Beat:
    thread: threading.Thread
    at: float
    within: float


class Health:
    """Health of one process, and the URLs that show it with its metrics. Methods may be called from any thread.

    `monotonic` returns seconds that never go back. /metrics shows the collectors in `registry`.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # an unused second series per counter
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._beats: dict[str, _Beat] = {}
        self.trouble = "starting"
        """Reason why the process is not ready; "" while it is."""
        self._server: Server | None = None
        self.pages: dict[str, Callable[[], Answer]] = {}
        """Other answers by path. Called in the thread of the request."""
        self.registry = CollectorRegistry()

    # --- health -----------------------------------------------------------------------------------

    def beat(self, thread: str, within_seconds: float) -> None:
        """Report that the calling thread, known as `thread`, is alive; its next report is due `within_seconds`."""
        with self._lock:
            self._beats[thread] = _Beat(threading.current_thread(), self._monotonic(), within_seconds)

    def progress(self, thread: str) -> None:
        """Restart the time of `thread`, because the calling thread makes progress with work that it waits for."""
        with self._lock:
            if beat := self._beats.get(thread):
                self._beats[thread] = replace(beat, at=self._monotonic())

    def forget(self, thread: str) -> None:
        """Expect no more reports of `thread`: it has ended as planned."""
        with self._lock:
            self._beats.pop(thread, None)

    def stale(self) -> list[str]:
        """One sentence per thread that has died or is overdue; empty while the process is healthy."""
        now = self._monotonic()
        with self._lock:
            beats = dict(self._beats)
        wrong = []
        for name, beat in sorted(beats.items()):
            if not beat.thread.is_alive():
                wrong.append(f"thread {name} has ended")
            elif now - beat.at > beat.within:
                late = f"{now - beat.at:.0f} s ago, expected within {beat.within:g} s"
                wrong.append(f"thread {name} was last seen {late}")
        return wrong

    def ready(self) -> None:
        """Make /readyz answer 200."""
        self.trouble = ""

    def not_ready(self, why: str) -> None:
        """Make /readyz answer 503 with this reason."""
        self.trouble = why

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body of a GET."""
        text = "text/plain; charset=utf-8"
        match path.partition("?")[0]:
            case "/metrics":
                return 200, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self.registry)
            case "/healthz":
                wrong = self.stale()
                return (503 if wrong else 200), text, ("\n".join(wrong or ["ok"]) + "\n").encode()
            case "/readyz":
                why = self.trouble
                return (503 if why else 200), text, f"{one_line(why) or 'ok'}\n".encode()
        return 404, text, b"here are /metrics, /healthz and /readyz\n"

    def find(self, path: str) -> Answer:
        """The answer to a GET, pages included."""
        if page := self.pages.get(path.partition("?")[0]):
            return page()
        return Answer(*self.answer(path))

    # --- HTTP -------------------------------------------------------------------------------------

    def serve(self, host: str, port: int) -> int:
        """Listen and answer in a background thread. Returns the port (`port` 0 means any free one). Raises OSError.

        `host` "" means all addresses of both families.
        """
        self._server = Server(self.find, host.strip("[]"), port)
        threading.Thread(target=self._server.serve_forever, args=(1.0,), name="telemetry", daemon=True).start()
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
