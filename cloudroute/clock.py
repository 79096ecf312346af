"""The machine's own time, as `ports.Clock`."""

from __future__ import annotations

import time

# Linux stops CLOCK_MONOTONIC while a machine is suspended: a lease would seem valid that others saw expire.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """`ports.Clock` on the machine's own time."""

    def monotonic(self) -> float:
        return time.clock_gettime(_CLOCK)

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
