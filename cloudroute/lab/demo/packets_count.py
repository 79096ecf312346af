"""Traffic between all pods of a lab, counted by pair of hosts, phase and path.

Flows of a terminated host end with it. Their losses from then on are expected, and are counted apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import combinations, permutations
from typing import NamedTuple

from cloudroute.adapters.kube import project
from cloudroute.core.paths import Class, pair_path
from cloudroute.lab.hosts.host import LabHost
from cloudroute.lab.hosts.lab import HostLab
from cloudroute.lab.hosts.traffic import Flow, Result, Traffic
from cloudroute.types import Path

INTERVAL_MS = 10.0
Pair = tuple[str, str]
"""Names of two hosts, from and to; sorted for paths, which are the same both ways."""


class Tally(NamedTuple):
    """Packet counts."""

    sent: int = 0
    lost: int = 0

    def plus(self, other: Tally) -> Tally:
        """Return the sum of both."""
        return Tally(self.sent + other.sent, self.lost + other.lost)

    def minus(self, other: Tally) -> Tally:
        """Return the packets counted since `other`."""
        return Tally(self.sent - other.sent, self.lost - other.lost)


@dataclass
class _Stream:
    """Flows that start and end together, in a process of their own."""

    traffic: Traffic
    pairs: Mapping[Flow, Pair]
    results: Mapping[Flow, Result] = field(default_factory=dict)


class Exchange:
    """All traffic of the demo. `look` updates all counts."""

    def __init__(self, lab: HostLab) -> None:
        self._lab = lab
        self._streams: list[_Stream] = []
        self._ending: _Stream | None = None
        self.pairs: dict[Pair, Tally] = {}
        """Packets between two hosts while both were alive."""
        self.by_path: Counter[Path] = Counter()
        """Packets sent, by the path of their pair."""
        self.after_termination = Tally()
        """Packets of flows with one host terminated."""
        self.paths: dict[Pair, Path] = {}
        self.switches = 0
        """Number of changes of a pair's path."""
        self.unknown_sources: set[str] = set()
        """Source addresses of received packets that are no pod's."""
        self.tool_lost = 0

    def start(self, sources: Collection[LabHost], targets: Collection[LabHost]) -> None:
        """Start flows between each of the sources and each of the targets, both ways and in both families."""
        wanted = [
            (a, b)
            for a, b in permutations({host.name: host for host in (*sources, *targets)}.values(), 2)
            if (a in sources and b in targets) or (a in targets and b in sources)
        ]
        pairs = {
            Flow(source.namespace.name, target.namespace.name, address): (a.name, b.name)
            for a, b in wanted
            for source in a.pods.values()
            for target in b.pods.values()
            for address in target.addresses
        }
        self._streams.append(_Stream(Traffic(pairs, INTERVAL_MS).__enter__(), pairs))

    def expect_termination(self) -> None:
        """Count the flows started last apart from now on: one of their hosts is about to be terminated."""
        self._ending = self._streams.pop()
        self._take(self._ending, self._ending.traffic.snapshot())

    def end_terminated(self) -> None:
        """Stop the flows of the terminated host."""
        if self._ending:
            before, after = self._ending.results.values(), self._ending.traffic.stop().values()
            self.after_termination = self.after_termination.plus(_sum(after).minus(_sum(before)))
            self._ending = None

    def close(self) -> None:
        """Stop all flows, and count them to the last packet."""
        for stream in self._streams:
            self._take(stream, stream.traffic.stop())

    def kill(self) -> None:
        """Stop all flows without counting."""
        for stream in filter(None, (*self._streams, self._ending)):
            stream.traffic.__exit__()

    @property
    def total(self) -> Tally:
        """Packets between hosts that were alive."""
        return Tally(*map(sum, zip(*self.pairs.values(), strict=True))) if self.pairs else Tally()

    def look(self) -> None:
        """Update the counts of packets and the paths."""
        self._look_at_paths()
        for stream in self._streams:
            self._take(stream, stream.traffic.snapshot())

    def _take(self, stream: _Stream, results: Mapping[Flow, Result]) -> None:
        pods = {pod.namespace.name: pod for host in list(self._lab.hosts.values()) for pod in host.pods.values()}
        for flow, result in results.items():
            a, b = stream.pairs[flow]
            more = _tally(result).minus(_tally(stream.results.get(flow, Result())))
            self.pairs[a, b] = self.pairs.get((a, b), Tally()).plus(more)
            if path := self.paths.get((min(a, b), max(a, b))):
                self.by_path[path] += more.sent
            if flow.source in pods:
                self.unknown_sources |= result.sources - set(pods[flow.source].addresses)
        self.tool_lost = max(self.tool_lost, *(result.tool_lost for result in results.values()))
        stream.results = results

    def _look_at_paths(self) -> None:
        routes = {item["metadata"]["name"]: project.node_route(item) for item in self._lab.node_routes()}
        paths = {
            (a, b): pair_path(Class.of(routes[a].spec), Class.of(routes[b].spec))
            for a, b in combinations(sorted(routes), 2)
        }
        self.switches += sum(1 for pair, path in paths.items() if self.paths.get(pair, path) != path)
        self.paths = paths


def _tally(result: Result) -> Tally:
    return Tally(result.sent, result.lost)


def _sum(results: Collection[Result]) -> Tally:
    return Tally(sum(result.sent for result in results), sum(result.lost for result in results))
