"""Metrics of both processes, each with the health of its process.

Gauges are computed at each scrape from the last values that a loop has set, so that a scrape never sees half a cycle,
and the series of a route table or a peer end with it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cloudroute.core.node.desired import DesiredState
from cloudroute.dataplane import Kind, PeerBytes, TransitSource
from cloudroute.telemetry.health import Health
from cloudroute.types import PATHS, Cidr, NodePath, Path

# --- the controller -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Gauges:
    routes: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    limits: Mapping[tuple[str, str], int] = field(default_factory=dict)
    nodes: Mapping[NodePath, int] = field(default_factory=dict)
    pairs: Mapping[Path, int] = field(default_factory=dict)
    ipam_free: Mapping[str, int] = field(default_factory=dict)


class ControllerTelemetry(Health, Collector):
    """Metrics and health of the controller. No method blocks."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(monotonic)
        self._gauges = _Gauges()
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

    def ec2_request(self, action: str, code: str, seconds: float) -> None:
        """Count one attempt of an AWS call, which is progress of the loop; `code` is "OK" or the error's."""
        self.progress("loop")
        self._ec2_requests.labels(action, code).inc()
        self._ec2_seconds.labels(action).observe(seconds)

    def leader(self, *, leads: bool) -> None:
        """Set whether this process holds the lease."""
        self._leader.set(leads)

    def reconcile(self, seconds: float) -> None:
        """Count one cycle of the loop."""
        self._reconcile.observe(seconds)

    def set_gauges(
        self,
        *,
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
        self._gauges = _Gauges(dict(routes), dict(limits), dict(nodes), dict(pairs), dict(ipam_free))

    def collect(self) -> Iterator[Metric]:
        """Yield these gauges (prometheus_client's Collector)."""
        now = self._gauges
        yield _family("routes", "Entries of a route table.", ("table", "family", "state"), now.routes)
        yield _family("route_limit", "Entries a route table may have.", ("table", "family"), now.limits)
        yield _family("nodes", "Published nodes by path.", ("path",), now.nodes)
        yield _family("pairs", "Pairs of nodes by the path between them.", ("path",), now.pairs)
        yield _family("ipam_free", "Pod CIDRs left in a cluster CIDR.", ("cidr",), now.ipam_free)


# --- an agent -----------------------------------------------------------------------------------


class AgentTelemetry(Health, Collector):
    """Metrics and health of an agent.

    `counters` and `transit` read the kernel's counters of bytes by peer and of packets in transit, at each scrape.
    """

    def __init__(
        self,
        counters: Callable[[], Sequence[PeerBytes]] = lambda: (),
        monotonic: Callable[[], float] = time.monotonic,
        transit: Callable[[], Mapping[TransitSource, int]] = dict,
    ) -> None:
        super().__init__(monotonic)
        self._desired: DesiredState | None = None
        self._failures: Mapping[Kind, int] = {}
        self._bytes = _Bytes(counters)
        self._transit = _Transit(transit)
        self._sync = Histogram(
            "cloudroute_agent_sync_seconds", "Duration of a turn that changed the kernel.", registry=self.registry
        )
        self._changes = Counter(
            "cloudroute_agent_changes",
            "Entries put into the kernel or removed; cause is cluster, or repair of what others did.",
            ["kind", "cause"],
            registry=self.registry,
        )
        ready = Gauge("cloudroute_agent_ready", "1 while all is in place.", registry=self.registry)
        ready.set_function(lambda: not self.trouble)
        self.registry.register(self)

    def synced(self, seconds: float, changes: Mapping[Kind, int], *, repair: bool) -> None:
        """Count a turn that changed the kernel. `changes`: entries put or removed, by kind."""
        self._sync.observe(seconds)
        for kind, count in changes.items():
            self._changes.labels(kind, "repair" if repair else "cluster").inc(count)

    def set_gauges(self, desired: DesiredState, failures: Mapping[Kind, int]) -> None:
        """Replace the desired state and the number of entries by kind that are not in place (`failures`)."""
        self._desired, self._failures = desired, failures

    def collect(self) -> Iterator[Metric]:
        """Yield the series that are computed at each scrape (prometheus_client's Collector)."""
        desired = self._desired
        peers: Mapping[Path, int] = {}
        problems: Mapping[tuple[()], int] = {}
        sent = CounterMetricFamily(
            "cloudroute_agent_peer_bytes", "Bytes sent to the pods of a node, by path.", labels=["peer", "path"]
        )
        if desired is not None:
            peers = {path: desired.paths.get(path, 0) for path in PATHS}
            problems = {(): len(desired.problems)}
            for key, count in self._bytes.read(desired).items():
                sent.add_metric(key, count)
        yield _family("agent_peers", "Other nodes, by path to them.", ("path",), peers)
        yield _family("agent_failed", "Entries that are not in place.", ("kind",), self._failures)
        yield _family("agent_peer_problems", "NodeRoutes that can't be used as they are.", (), problems)
        yield sent
        forwarded = CounterMetricFamily(
            "cloudroute_gateway_transit_packets",
            "Packets that this node forwarded as a gateway; source is pod where a native route is missing, else vpc.",
            labels=["source"],
        )
        for source, packets in self._transit.read().items():
            forwarded.add_metric((source,), packets)
        yield forwarded


class _Transit:
    """Counters of packets in transit that only grow, though the kernel's restart from 0 when the table is redefined."""

    def __init__(self, counters: Callable[[], Mapping[TransitSource, int]]) -> None:
        self._counters = counters
        self._lock = threading.Lock()
        """Each scrape runs in a thread of its own; two at once would count the same packets twice."""
        self._last: dict[TransitSource, int] = {}
        self._totals: dict[TransitSource, int] = {}

    def read(self) -> Mapping[TransitSource, int]:
        """Return the totals by source; {} on a node that has been no gateway since this process started."""
        with self._lock:
            for source, now in self._counters().items():
                self._totals[source] = self._totals.get(source, 0) + _increase(self._last.get(source, 0), now)
                self._last[source] = now
            return dict(self._totals)


class _Bytes:
    """Byte counters by peer and path that only grow, though the kernel's restart from 0 when it loses an entry.

    The kernel counts bytes by the tunnel and by the NIC. Bytes by the NIC count as native or direct by the peer's
    path at the time of the scrape.
    """

    def __init__(self, counters: Callable[[], Sequence[PeerBytes]]) -> None:
        self._counters = counters
        self._lock = threading.Lock()
        """Each scrape runs in a thread of its own; two at once would count the same bytes twice."""
        self._last: dict[Cidr, PeerBytes] = {}
        """Last counters of each present peer; kept while the kernel's can't be read."""
        self._totals: dict[tuple[str, Path], int] = {}

    def read(self, desired: DesiredState) -> Mapping[tuple[str, Path], int]:
        """Return the totals by (node, path) of all present peers, without zeros."""
        with self._lock:
            found = {counted.cidr: counted for counted in self._counters()}
            before, self._last = self._last, {}
            for name, cidrs in desired.peer_cidrs.items():
                for cidr in cidrs:
                    last = before.get(cidr, PeerBytes(cidr, 0, 0))
                    now = self._last[cidr] = found.get(cidr, last)
                    self._add(name, "overlay", _increase(last.overlay, now.overlay))
                    routed: Path = "direct" if desired.peers[name].path == "direct" else "native"
                    self._add(name, routed, _increase(last.routed, now.routed))
            self._totals = {key: total for key, total in self._totals.items() if key[0] in desired.peers}
            return self._totals

    def _add(self, name: str, path: Path, count: int) -> None:
        if count:
            self._totals[name, path] = self._totals.get((name, path), 0) + count


def _increase(last: int, now: int) -> int:
    return now - last if now >= last else now


def _family(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, int]) -> GaugeMetricFamily:
    """Return a gauge. Keys of `values` are label values: a tuple, or the value itself where there is one label."""
    family = GaugeMetricFamily(f"cloudroute_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key if isinstance(key, tuple) else (key,), value)
    return family
