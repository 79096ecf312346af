"""Waiting for other threads and processes of a lab."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from cloudroute.errors import CloudrouteError

T = TypeVar("T")


def wait_for(
    condition: Callable[[], T], what: str, seconds: float, pause: float, diagnosis: Callable[[], Sequence[str]]
) -> T:
    """Poll, with pauses of `pause` seconds, until the condition's result is true, and return it.

    Raises CloudrouteError after `seconds`, naming `what`, with the lines of the diagnosis.
    """
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise CloudrouteError(f"waited {seconds:g} s for {what}", *diagnosis())
        time.sleep(pause)
    return result
