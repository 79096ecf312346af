"""The controller's metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cloudroute.telemetry.health import Health
from cloudroute.types import NodePath, Path


@dataclass(frozen=True, slots=True)
class _World:
    routes: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    limits: Mapping[tuple[str, str], int] = field(default_factory=dict)
    nodes: Mapping[NodePath, int] = field(default_factory=dict)
    pairs: Mapping[Path, int] = field(default_factory=dict)
    ipam_free: Mapping[str, int] = field(default_factory=dict)


class Telemetry(Health, Collector):
    """Health of the controller, with its metrics. No method blocks."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(monotonic)
        self._world = _World()
        self._ec2_requests = Counter(
            "cloudroute_ec2_requests",
            "Attempts to call EC2 or Service Quotas, by action and AWS's code; OK is success.",
            ["action", "code"],
            registry=self.registry,
        )
        self._ec2_seconds = Histogram(
            "cloudroute_ec2_request_seconds", "Duration of these attempts.", ["action"], registry=self.registry
        )
        self._leader = Gauge("cloudroute_leader", "1 while this process holds the lease.", registry=self.registry)
        self._reconcile = Histogram(
            "cloudroute_reconcile_seconds", "Duration of a cycle, from snapshot to publish.", registry=self.registry
        )
        self.registry.register(self)

    # --- metrics ----------------------------------------------------------------------------------

    def ec2_request(self, action: str, code: str, seconds: float) -> None:
        """Count one attempt of an AWS call, which is progress of the loop; `code` is "OK" or the error's."""
        self.progress("loop")
        self._ec2_requests.labels(action, code).inc()
        self._ec2_seconds.labels(action).observe(seconds)

    def leader(self, leads: bool) -> None:
        """Set whether this process holds the lease."""
        self._leader.set(leads)

    def reconcile(self, seconds: float) -> None:
        """Count one cycle of the loop."""
        self._reconcile.observe(seconds)

    def world(
        self,
        routes: Mapping[tuple[str, str, str], int],
        limits: Mapping[tuple[str, str], int],
        nodes: Mapping[NodePath, int],
        pairs: Mapping[Path, int],
        ipam_free: Mapping[str, int],
    ) -> None:
        """Replace the gauges of EC2 and the cluster.

        Keys: `routes` (table, family, state ours|foreign|blackhole), `limits` (table, family), `nodes` and
        `pairs` path, `ipam_free` cluster CIDR.
        """
        self._world = _World(dict(routes), dict(limits), dict(nodes), dict(pairs), dict(ipam_free))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield these gauges (prometheus_client's Collector)."""
        world = self._world
        yield _family("routes", "Entries of a route table.", ("table", "family", "state"), world.routes)
        yield _family("route_limit", "Entries a route table may have.", ("table", "family"), world.limits)
        yield _family("nodes", "Nodes by path.", ("path",), {(path,): n for path, n in world.nodes.items()})
        pairs = {(path,): n for path, n in world.pairs.items()}
        yield _family("pairs", "Pairs of nodes by the path between them.", ("path",), pairs)
        free = {(cidr,): n for cidr, n in world.ipam_free.items()}
        yield _family("ipam_free", "Pod CIDRs left in a cluster CIDR.", ("cidr",), free)


def _family(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"cloudroute_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
