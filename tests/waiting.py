"""The one way in which tests wait, in real time, for other threads and processes: the lab's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cloudroute.lab.waiting import wait_for

T = TypeVar("T")

LONGEST_PAUSE = 0.05
"""Seconds between two looks, after the first few."""


def eventually(
    condition: Callable[[], T],
    what: str,
    seconds: float = 60.0,
    diagnosis: Callable[[], object] = lambda: "",
    pause: float = LONGEST_PAUSE,
) -> T:
    """Poll, at last each `pause` seconds, until the condition's result is true, and return it.

    Raises CloudrouteError after `seconds`, with `what` was to come true and the diagnosis of that moment.
    """
    return wait_for(condition, what, seconds, pause, lambda: str(diagnosis()).splitlines())
