"""The result of one cycle of the leader."""

from __future__ import annotations

from typing import NamedTuple

from cloudroute import types
from cloudroute.core.cluster.model import Snapshot
from cloudroute.core.cluster.planner import Decision
from cloudroute.types import Notice


class Cycle(NamedTuple):
    """Snapshot, decision and outcome of a cycle. The loop hands it over and keeps no reference."""

    snapshot: Snapshot
    """State after the plan's steps were tried."""
    decision: Decision
    notices: tuple[Notice, ...]
    """Notices for people: the plan's own, and refusals by APIs."""
    did: str
    """A sentence about the steps that were done; "" when there were none."""
    left: int
    """Steps that failed or were not tried."""
    at: float
    """End of the cycle, seconds since the epoch; `snapshot.now` is the monotonic time of the same moment."""
    seconds: float
    """Duration of the cycle."""
    next_in: float
    """Seconds until the next cycle if no event starts one earlier."""


def timestamp(seconds: float) -> str:
    """Format a time as RFC 3339 in whole seconds; "" for one outside the calendar's range.

    >>> timestamp(1_790_000_000.7), timestamp(1e300)
    ('2026-09-21T14:13:20Z', '')
    """
    try:
        return types.timestamp(int(seconds))
    except (ValueError, OverflowError, OSError):
        return ""
