"""A controller as a process of its own, with Nodes of 10 KB over HTTP: what it takes until all have their condition."""

from __future__ import annotations

from collections.abc import Mapping

from tests.bench import memory
from tests.measure.process import cpu_seconds, memory_mb
from tests.measure.stage import Stage

SIZES = (100, 300, 1_000, 3_000, 10_000)
"""The EC2 and the API behind it are the lab's: they, and not the controller, take most of the time."""


def measure(nodes: int) -> Mapping[str, float]:
    """By name; memory in bytes, of the process alone."""
    with Stage(zones=memory.ZONES, route_limit=memory.LIMIT) as stage:
        memory.fill(stage, nodes)
        replica = stage.start()
        stage.until(lambda: stage.settled(nodes, memory.LIMIT - 1), "the first sync", pause=1.0, patience=1_200)
        return {
            "rss": memory_mb(replica.pid, "VmRSS") * 1e6,
            "most_rss": memory_mb(replica.pid, "VmHWM") * 1e6,
            "process_cpu": cpu_seconds(replica.pid),
        }
