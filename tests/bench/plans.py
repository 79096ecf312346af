"""One plan of 5,000 nodes and 10 tables that are settled: nothing is to be done, and all of it must be looked at."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from statistics import median

from cloudroute.core.cluster.model import Policy, Snapshot
from cloudroute.core.cluster.planner import decide
from tests.core.world import settled_world
from tests.measure.rows import Row, say

NODES, TABLES = 5_000, 10
ROUNDS = 11
TARGET_MS = 50.0


def measure() -> Iterator[Row]:
    """Medians by limit and families.

    Each is of a process of its own, since a controller holds one cluster: the objects of three others in its memory
    make each plan a third dearer.
    """
    say(f"plans of {NODES} nodes by {TABLES} tables")
    for dual_stack in (False, True):
        for limit in (50, 1000):
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                took = process.submit(_settled, limit, dual_stack=dual_stack).result()
            words = f"limit {limit}{', dual stack' if dual_stack else ''}"
            yield Row(f"plan of {NODES:,} nodes by {TABLES} tables, {words}", took, TARGET_MS, "ms")


def _settled(limit: int, *, dual_stack: bool) -> float:
    world = settled_world(NODES, TABLES, limit, dual_stack=dual_stack)
    return milliseconds(world.snapshot(), world.policy)


def milliseconds(snapshot: Snapshot, policy: Policy) -> float:
    """Median of several plans, each of a snapshot of its own and without a search for garbage, as the loop makes them.

    CPU time, since a plan waits for nothing: so it does not matter what else the machine does.
    """
    times = []
    for _ in range(ROUNDS):
        gc.collect()
        gc.disable()
        own = replace(snapshot, instances=dict(snapshot.instances), tables=dict(snapshot.tables))
        start = time.thread_time()
        empty = decide(own, policy).plan.empty  # whether anything is to be said, too
        times.append((time.thread_time() - start) * 1000)
        gc.enable()
        assert empty, "something was left to do: this is no plan of a settled cluster"
    say(f"{min(times):.1f} to {max(times):.1f} ms")
    return median(times)
