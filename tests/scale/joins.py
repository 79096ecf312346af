"""All nodes at once, then ten minutes at rest, then one node more: each figure of one size of cluster."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from dataclasses import replace
from statistics import median

from cloudroute.adapters.ec2.budget import BUCKETS
from cloudroute.core.cluster.planner import decide
from tests.scale.light_lab import LightLab

PLANS = 5
REST_MINUTES = 10


def bound(calls: Mapping[str, int]) -> float:
    """Seconds that no client can beat: what AWS's buckets take to admit so many calls of each action."""
    return max((n - BUCKETS[action].capacity) / BUCKETS[action].refill for action, n in calls.items())


def measure(nodes: int, tables: int) -> dict[str, float]:
    """By name; times of the burst are virtual, those of CPU are not."""
    lab = LightLab(tables)
    start = lab.clock.time
    lab.join_many(nodes)
    lab.run(lambda: lab.cluster.conditions == nodes)
    conditions = lab.clock.time - start
    lab.rest()
    cluster = lab.cluster
    assert not lab.unreachable()
    figures = {
        "seconds": cluster.changed_at - start,
        "conditions": conditions,
        "routes": lab.ec2.asked["CreateRoute"][1] - start,
        "bound": bound(lab.calls()),
        "calls": sum(lab.calls().values()),
        "creates": lab.calls()["CreateRoute"],
        "throttled": lab.throttled(),
        "unavailable": len(cluster.unavailable),
        "writes": sum(cluster.writes.values()),
        "node_writes": sum(n for (_, what), n in cluster.writes.items() if not what.startswith("routetables")),
        "bytes": cluster.told["controller"],
        "agents_bytes": cluster.told["agents"],
        "cycles": lab.cycles,
        "cpu": lab.cpu,
    }
    return {**figures, "plan": _plan_ms(lab), **_rest(lab), **_one_more(lab)}


def _plan_ms(lab: LightLab) -> float:
    """Median of some plans of a settled cluster, CPU time; as the loop makes them, without a search for garbage."""
    snapshot = lab.loop.reader.read()
    assert snapshot
    times = []
    for _ in range(PLANS):
        gc.collect()
        gc.disable()
        own = replace(snapshot, instances=dict(snapshot.instances), tables=dict(snapshot.tables))
        start = time.thread_time()
        empty = decide(own, lab.loop.reader.policy).plan.empty  # whether anything is to be said, too
        times.append((time.thread_time() - start) * 1000)
        gc.enable()
        assert empty
    return median(times)


def _rest(lab: LightLab) -> dict[str, float]:
    """A minute of rest."""
    _forget(lab)
    lab.pass_seconds(60 * REST_MINUTES)
    return {
        "rest_calls": sum(lab.calls().values()) / REST_MINUTES,
        "rest_writes": sum(lab.cluster.writes.values()) / REST_MINUTES,
        "rest_cpu": lab.cpu / REST_MINUTES,
    }


def _one_more(lab: LightLab) -> dict[str, float]:
    """One more node, up to its last write."""
    lab.pass_seconds(1)  # not in step with the resync
    _forget(lab)
    lab.join(0)
    lab.rest()
    changes = {action: n for action, n in lab.calls().items() if not action.startswith("Describe")}
    return {"more_calls": sum(changes.values()), "more_writes": sum(lab.cluster.writes.values())}


def _forget(lab: LightLab) -> None:
    lab.ec2.calls.clear()
    lab.cluster.writes.clear()
    lab.cluster.told.clear()
    lab.cpu = 0.0
