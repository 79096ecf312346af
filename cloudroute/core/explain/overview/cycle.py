"""A cycle as it ended."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from cloudroute.core.cluster.model import Notice, Snapshot
from cloudroute.core.cluster.planner import Decision


class Cycle(NamedTuple):
    """What was seen, decided and done. The loop hands it over and keeps nothing of it."""

    snapshot: Snapshot
    """The world once the plan's steps were tried."""
    decision: Decision
    notices: tuple[Notice, ...]
    """What a person should know: the plan's, and the refusals of APIs."""
    did: str
    """The sentence of what was done; "" when nothing was."""
    left: int
    """Steps that failed or were not tried."""
    at: float
    """When it ended, seconds since the epoch; `snapshot.now` is the monotonic time of the same moment."""
    seconds: float
    """How long it took."""
    next_in: float
    """Seconds until the loop looks again without being told."""


def timestamp(seconds: float) -> str:
    """A moment as RFC 3339 in whole seconds; "" for one that no calendar has.

    >>> timestamp(1_790_000_000.7), timestamp(1e300)
    ('2026-09-21T14:13:20Z', '')
    """
    try:
        return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return ""
