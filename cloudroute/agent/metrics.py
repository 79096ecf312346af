"""Metrics of an agent: its work, entries that are not in place, its peers by path, and the bytes sent to each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cloudroute.agent.sync import Done
from cloudroute.core.node.desired import DesiredState
from cloudroute.dataplane import Kind, PeerBytes
from cloudroute.telemetry import Health
from cloudroute.types import PATHS, Cidr, Path


class AgentTelemetry(Health, Collector):
    """Metrics and health of an agent. `counters` reads the kernel's byte counters, at each scrape."""

    def __init__(
        self,
        counters: Callable[[], Sequence[PeerBytes]] = lambda: (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(monotonic)
        self._wanted: DesiredState | None = None
        self._failures: Mapping[Kind, int] = {}
        self._bytes = _Bytes(counters)
        self._sync = Histogram(
            "cloudroute_agent_sync_seconds", "Duration of a turn that changed the kernel.", registry=self.registry
        )
        self._changes = Counter(
            "cloudroute_agent_changes",
            "Entries put into the kernel or removed; cause is cluster, or repair of what others did.",
            ["kind", "cause"],
            registry=self.registry,
        )
        self._ready = Gauge("cloudroute_agent_ready", "1 while all is in place.", registry=self.registry)
        self.registry.register(self)

    def synced(self, seconds: float, done: Done, repair: bool) -> None:
        """Count a turn that changed the kernel."""
        self._sync.observe(seconds)
        for kind, count in (done.put + done.dropped).items():
            self._changes.labels(kind, "repair" if repair else "cluster").inc(count)

    def ready(self, ready: bool, why: str = "") -> None:
        """Set readiness in /readyz and in the metric."""
        super().ready(ready, why)
        self._ready.set(ready)

    def world(self, wanted: DesiredState, failures: Mapping[Kind, int]) -> None:
        """Replace the desired state and the number of entries by kind that are not in place (`failures`)."""
        self._wanted, self._failures = wanted, failures

    def collect(self) -> Iterator[Metric]:
        """Yield the series that are computed at each scrape (prometheus_client's Collector)."""
        wanted = self._wanted
        peers = GaugeMetricFamily("cloudroute_agent_peers", "Other nodes, by path to them.", labels=["path"])
        failed = GaugeMetricFamily("cloudroute_agent_failed", "Entries that are not in place.", labels=["kind"])
        unused = GaugeMetricFamily("cloudroute_agent_peer_problems", "NodeRoutes that can't be used as they are.")
        sent = CounterMetricFamily(
            "cloudroute_agent_peer_bytes", "Bytes sent to the pods of a node, by path.", labels=["peer", "path"]
        )
        if wanted is not None:
            for path in PATHS:
                peers.add_metric([path], wanted.paths.get(path, 0))
            for kind, count in self._failures.items():
                failed.add_metric([kind], count)
            unused.add_metric([], len(wanted.problems))
            for (name, taken), count in self._bytes.read(wanted).items():
                sent.add_metric([name, taken], count)
        yield from (peers, failed, unused, sent)


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

    def read(self, wanted: DesiredState) -> Mapping[tuple[str, Path], int]:
        """Return the totals by (node, path) of all present peers, without zeros."""
        with self._lock:
            found = {counted.cidr: counted for counted in self._counters()}
            before, self._last = self._last, {}
            for name, cidrs in wanted.peer_cidrs.items():
                for cidr in cidrs:
                    last = before.get(cidr, PeerBytes(cidr, 0, 0))
                    now = self._last[cidr] = found.get(cidr, last)
                    self._add(name, "overlay", _increase(last.overlay, now.overlay))
                    routed: Path = "direct" if wanted.peers[name].path == "direct" else "native"
                    self._add(name, routed, _increase(last.routed, now.routed))
            self._totals = {key: total for key, total in self._totals.items() if key[0] in wanted.peers}
            return self._totals

    def _add(self, name: str, path: Path, count: int) -> None:
        if count:
            self._totals[name, path] = self._totals.get((name, path), 0) + count


def _increase(last: int, now: int) -> int:
    return now - last if now >= last else now
