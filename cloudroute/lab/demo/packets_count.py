"""Traffic between all pods of a lab, and where each packet went: counted by pair of hosts, phase and path.

A host that dies takes its flows with it. What they lose then is nobody's fault and is counted apart.
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
"""Two hosts by name, from and to; for paths, which are the same both ways, sorted."""


class Tally(NamedTuple):
    """Packets."""

    sent: int = 0
    lost: int = 0

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(self.sent + other.sent, self.lost + other.lost)

    def minus(self, other: Tally) -> Tally:
        """What has come since `other`."""
        return Tally(self.sent - other.sent, self.lost - other.lost)


@dataclass
class _Stream:
    """Flows that begin and end together, in a process of their own."""

    traffic: Traffic
    pairs: Mapping[Flow, Pair]
    results: Mapping[Flow, Result] = field(default_factory=dict)


class Exchange:
    """All traffic of the demo. `look` brings everything up to date."""

    def __init__(self, lab: HostLab) -> None:
        self._lab = lab
        self._streams: list[_Stream] = []
        self._dying: _Stream | None = None
        self.pairs: dict[Pair, Tally] = {}
        """Between hosts while both lived."""
        self.by_path: Counter[Path] = Counter()
        """Packets sent, by the path that their pair had."""
        self.at_death = Tally()
        """Of flows whose one end had just died."""
        self.paths: dict[Pair, Path] = {}
        self.switches = 0
        """How often a pair has got another path."""
        self.strangers: set[str] = set()
        """Addresses that packets came from and that are no pod's."""
        self.tool_lost = 0

    def start(self, sources: Collection[LabHost], targets: Collection[LabHost]) -> None:
        """Begin flows between each of the sources and each of the targets, both ways and in both families."""
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

    def expect_death(self) -> None:
        """One end of the flows that began last is about to die: what they send and lose from now on is apart."""
        self._dying = self._streams.pop()
        self._take(self._dying, self._dying.traffic.snapshot())

    def bury(self) -> None:
        """It has died: stop its flows."""
        if self._dying:
            before, after = self._dying.results.values(), self._dying.traffic.stop().values()
            self.at_death = self.at_death.plus(_sum(after).minus(_sum(before)))
            self._dying = None

    def close(self) -> None:
        """Stop everything, and count it to the last packet."""
        for stream in self._streams:
            self._take(stream, stream.traffic.stop())

    def kill(self) -> None:
        """Stop everything, and do not count."""
        for stream in filter(None, (*self._streams, self._dying)):
            stream.traffic.__exit__()

    @property
    def total(self) -> Tally:
        """Between living hosts."""
        return Tally(*map(sum, zip(*self.pairs.values(), strict=True))) if self.pairs else Tally()

    def look(self) -> None:
        """Count the packets and the paths."""
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
                self.strangers |= result.sources - set(pods[flow.source].addresses)
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
