"""The time that the lab's AWS lives in when no test owns it."""

from __future__ import annotations

import time


class SystemClock:
    """`cloudroute.ports.Clock` on the machine's own time."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
