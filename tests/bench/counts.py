"""Calls of a first sync, at rest, and past the limit: counted on a clock that only moves when told."""

from __future__ import annotations

from collections.abc import Iterator

from tests.controller.lab import Lab, lab
from tests.measure.rows import Row, say

NODES = 30
PAST_THE_LIMIT = 60
MINUTES = 10


def measure() -> Iterator[Row]:
    """First syncs with one table and with three, idle minutes, and minutes with more nodes than entries."""
    for tables in (1, 3):
        say(f"calls of a first sync, {NODES} nodes, {tables} table(s)")
        with lab(zones=tables) as one:
            one.join_many(NODES)
            one.run()
            calls = sum(one.calls().values())
            # 3 describes, a route per node and table, a source/dest check per node
            target = 3 + NODES * tables + NODES
            peers = {"gardener": 181} if tables == 3 else {"cloud provider": 92}
            yield Row(f"EC2 calls of a first sync, N={NODES}, T={tables}", calls, target, "", peers)
            if tables == 1:
                calls_a_minute, _ = _minutes(one)
                yield Row("EC2 calls a minute, idle", calls_a_minute, 2, "", {"cloud provider": 12})
    yield from _past_the_limit()


def _past_the_limit() -> Iterator[Row]:
    say(f"{PAST_THE_LIMIT} nodes on one table of 50 entries")
    with lab(zones=3, one_table=True) as full:
        full.join_many(PAST_THE_LIMIT)
        full.run()
        calls, writes = _minutes(full)
    what = f"a minute past the limit, {PAST_THE_LIMIT} nodes on 50 entries"
    yield Row(f"EC2 calls {what}", calls, 2, "", {"gardener": 61, "cloud provider": 198})
    yield Row(f"Kubernetes writes {what}", writes, 0, "", {"cloud provider": 60})


def _minutes(settled: Lab) -> tuple[float, float]:
    """EC2 calls and Kubernetes writes a minute, over ten minutes in which nothing happens."""
    settled.calls()
    settled.kube.reset_counts()
    settled.pass_seconds(60 * MINUTES)
    return sum(settled.calls().values()) / MINUTES, sum(settled.kube.changes.values()) / MINUTES
