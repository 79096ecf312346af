"""The duration of each part of a cold start."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from cloudroute.errors import CloudrouteError

LOOK_SECONDS = 0.2


class Phases:
    """A stopwatch that names what it has seen. `say` gets a line for each."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._began = self._last = time.monotonic()

    def done(self, what: str) -> None:
        """Record that a part ends now."""
        now = time.monotonic()
        self._say(f"  {now - self._began:6.1f} s  +{now - self._last:5.1f} s  {what}")
        self._last = now

    def wait(self, what: str, until: Callable[[], bool], seconds: float, diagnose: Callable[[], str]) -> None:
        """Wait for one thing."""
        self.wait_all({what: until}, seconds, diagnose)

    def wait_all(
        self, milestones: Mapping[str, Callable[[], bool]], seconds: float, diagnose: Callable[[], str]
    ) -> None:
        """Wait for several, in whatever order they come. Raises CloudrouteError, with a diagnosis, after `seconds`."""
        left = dict(milestones)
        deadline = time.monotonic() + seconds
        while left:
            for what in [what for what, until in left.items() if until()]:
                self.done(what)
                del left[what]
            if left and time.monotonic() > deadline:
                raise CloudrouteError(f"waited {seconds:g} s for: {', '.join(left)}\n{diagnose()}")
            time.sleep(LOOK_SECONDS)
