"""Waiting for other threads and processes of a lab."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from cloudroute.errors import CloudrouteError

T = TypeVar("T")

FIRST_PAUSE = 0.002


def wait_for(
    condition: Callable[[], T], what: str, seconds: float, pause: float, diagnosis: Callable[[], Sequence[str]]
) -> T:
    """Poll until the condition's result is true, and return it. Pauses double up to `pause` seconds.

    Raises CloudrouteError after `seconds`, naming `what`, with the lines of the diagnosis.
    """
    deadline, next_pause = time.monotonic() + seconds, min(FIRST_PAUSE, pause)
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise CloudrouteError(f"waited {seconds:g} s for {what}", *diagnosis())
        time.sleep(next_pause)
        next_pause = min(2 * next_pause, pause)
    return result
