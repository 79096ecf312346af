"""All nodes at once, then ten minutes at rest, then one node more: each figure of one size of cluster."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from dataclasses import replace
from statistics import median

from cloudroute.adapters.ec2.budget import BUCKETS
from cloudroute.core.cluster.planner import decide
from tests.scale.world import World

PLANS = 5
REST_MINUTES = 10


def bound(calls: Mapping[str, int]) -> float:
    """Seconds that no client can beat: what AWS's buckets take to admit so many calls of each action."""
    return max((n - BUCKETS[action].capacity) / BUCKETS[action].refill for action, n in calls.items())


def measure(nodes: int, tables: int) -> dict[str, float]:
    """By name; times of the burst are virtual, those of CPU are not."""
    world = World(tables)
    start = world.clock.time
    world.join_many(nodes)
    world.run(lambda: world.cluster.conditions == nodes)
    conditions = world.clock.time - start
    world.rest()
    cluster = world.cluster
    assert not world.unreachable()
    figures = {
        "seconds": cluster.changed_at - start,
        "conditions": conditions,
        "routes": world.cloud.asked["CreateRoute"][1] - start,
        "bound": bound(world.calls()),
        "calls": sum(world.calls().values()),
        "creates": world.calls()["CreateRoute"],
        "throttled": world.throttled(),
        "unavailable": len(cluster.unavailable),
        "writes": sum(cluster.writes.values()),
        "node_writes": sum(n for (_, what), n in cluster.writes.items() if not what.startswith("routetables")),
        "bytes": cluster.told["controller"],
        "agents_bytes": cluster.told["agents"],
        "cycles": world.cycles,
        "cpu": world.cpu,
    }
    return {**figures, "plan": _plan_ms(world), **_rest(world), **_one_more(world)}


def _plan_ms(world: World) -> float:
    """Median of some plans of a settled cluster, CPU time; as the loop makes them, without a search for garbage."""
    snapshot = world.loop.reader.read()
    assert snapshot
    times = []
    for _ in range(PLANS):
        gc.collect()
        gc.disable()
        own = replace(snapshot, instances=dict(snapshot.instances), tables=dict(snapshot.tables))
        start = time.thread_time()
        empty = decide(own, world.loop.reader.policy).plan.empty  # whether anything is to be said, too
        times.append((time.thread_time() - start) * 1000)
        gc.enable()
        assert empty
    return median(times)


def _rest(world: World) -> dict[str, float]:
    """A minute of rest."""
    _forget(world)
    world.pass_seconds(60 * REST_MINUTES)
    return {
        "rest_calls": sum(world.calls().values()) / REST_MINUTES,
        "rest_writes": sum(world.cluster.writes.values()) / REST_MINUTES,
        "rest_cpu": world.cpu / REST_MINUTES,
    }


def _one_more(world: World) -> dict[str, float]:
    """One more node, up to its last write."""
    world.pass_seconds(1)  # not in step with the resync
    _forget(world)
    world.join(0)
    world.rest()
    changes = {action: n for action, n in world.calls().items() if not action.startswith("Describe")}
    return {"more_calls": sum(changes.values()), "more_writes": sum(world.cluster.writes.values())}


def _forget(world: World) -> None:
    world.cloud.calls.clear()
    world.cluster.writes.clear()
    world.cluster.told.clear()
    world.cpu = 0.0
