"""The one way in which tests wait, in real time, for other threads and processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.05
"""Seconds between two looks: each pause is twice as long as the one before."""


def eventually(
    condition: Callable[[], T], what: str, seconds: float = 60.0, diagnosis: Callable[[], object] = lambda: ""
) -> T:
    """Poll until the condition's result is true, and return it.

    Raises AssertionError after `seconds`, with `what` was to come true and the diagnosis of that moment.
    """
    deadline, pause = time.monotonic() + seconds, FIRST_PAUSE
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain: {what}\n{diagnosis()}"
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
    return result
