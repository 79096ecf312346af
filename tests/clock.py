"""A clock that tests set."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

START = 1_000.0
"""Monotonic seconds at which a FakeClock begins."""


class FakeClock:
    """`ports.Clock` that moves only when a thread sleeps on it or a test sets `time`."""

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
        """The time in the format of creationTimestamp."""
        return datetime.fromtimestamp(self.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
