"""The time that tests own."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

START = 1_000.0
"""Monotonic seconds at which a FakeClock begins."""


class FakeClock:
    """`ports.Clock` that stands still but for who sleeps on it, in whatever thread, or sets `time`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.time = START

    def monotonic(self) -> float:
        return self.time

    def now(self) -> float:
        return self.time + 1_790_000_000

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.time += seconds

    def timestamp(self) -> str:
        """As in creationTimestamp."""
        return datetime.fromtimestamp(self.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
