"""300 nodes at once, with AWS's token buckets in force: how near to their bound, in virtual seconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.controller.lab import Lab, lab
from tests.measure.rows import Row, say

NODES = 300
CAPACITY, REFILL = 50, 5
"""AWS's bucket of CreateRoute ("Request throttling for the Amazon EC2 API")."""
BOUND = (NODES - CAPACITY) / REFILL
"""Seconds that no client can beat: one table, one call a node."""
WITHIN = 1.05
ROUNDS = 2_000


class Progress(NamedTuple):
    """Seconds until the last route was there and the last condition was set, and who was told to have no network."""

    routes: float
    conditions: float
    unavailable: frozenset[str]


def measure() -> Iterator[Row]:
    """Times against the bound, throttled calls, and nodes that were told to have no network."""
    say(f"{NODES} nodes at once under AWS's buckets (virtual time)")
    aws = {"throttle": True, "route_quota": 1000}
    with lab(zones=3, one_table=True, aws=aws, route_limit=1000, cluster_cidr=("100.64.0.0/15",)) as burst:
        burst.join_many(NODES)
        seen = _follow(burst)
        throttled = sum(n for (_, code), n in burst.aws.calls.items() if code == "RequestLimitExceeded")
    what = f"{NODES} nodes at once,"
    peers = {"gardener": 1.02, "cloud provider": 2.2}
    yield Row(f"{what} all routes there: times the bound of {BOUND:g} s", seen.routes / BOUND, WITHIN, "", peers)
    later = {"gardener": 1.02 + 58 / BOUND, "cloud provider": 2.2}  # gardener's conditions come 58 s after the routes
    yield Row(f"{what} all conditions set: times that bound", seen.conditions / BOUND, WITHIN, "", later)
    yield Row(f"{what} throttled calls", throttled, 0, "", {"gardener": 139, "cloud provider": 300})
    wrong = len(seen.unavailable)
    yield Row(f"{what} wrongly made unavailable", wrong, 0, "", {"gardener": 0, "cloud provider": 108})


def _follow(burst: Lab) -> Progress:
    """Turn until every node has its route and its condition. Raises AssertionError when that never comes."""
    start = burst.clock.time
    routes = 0.0
    unavailable: set[str] = set()
    for _ in range(ROUNDS):
        turn = burst.turn()
        if not routes and len(burst.routes(burst.table())) == NODES:
            routes = burst.clock.time - start
        conditions = burst.conditions()
        unavailable |= {name for name, condition in conditions.items() if condition and condition[0] == "True"}
        if routes and all(conditions.values()):
            return Progress(routes, burst.clock.time - start, frozenset(unavailable))
        if turn.settled:
            break
        burst.clock.time = max(burst.clock.time, turn.next_at)
    raise AssertionError(f"{NODES} nodes did not all get their route and condition: {turn}")
