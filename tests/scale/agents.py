"""The agents' reports: a status for each version of their own NodeRoute, and when their path has changed.

Every agent watches every NodeRoute, so each report reaches all of them. Reports and their delays are those of
`cloudroute.agent.report`; a kernel is programmed in no time here.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping
from random import Random

from cloudroute.agent.report import LASTS_SECONDS, READY, SPREAD_SECONDS, Report
from cloudroute.core.node.startup import AgentState
from cloudroute.core.paths import Class, node_path, pair_path, senders_tables
from cloudroute.types import NodePath, NodeRoute, Path
from tests.scale.light_cluster import LightCluster

MTU = 8951


class Agents:
    """One for each node that is there. `look` lets those speak who have something to say by now."""

    def __init__(self, cluster: LightCluster, seed: int) -> None:
        self._cluster, self._chance = cluster, Random(seed)
        self._members: defaultdict[Class, set[str]] = defaultdict(set)
        self._class: dict[str, Class] = {}
        self._said: dict[str, NodePath] = {}
        self._paths: dict[Class, NodePath] = {}
        self._changed: set[str] = set()
        """Nodes with another version of their own NodeRoute."""
        self._due: dict[str, float] = {}
        self._queue: list[tuple[float, str]] = []
        self._moved = False
        cluster.wrote = self._wrote

    def _wrote(self, old: NodeRoute | None, new: NodeRoute | None) -> None:
        name = (new or old).name  # type: ignore[union-attr] # one of them is there
        self._moved = True
        if old:
            self._members[self._class[name]].discard(name)
            if not self._members[self._class[name]]:
                del self._members[self._class[name]]
        if new:
            self._class[name] = Class.of(new.spec)
            self._members[self._class[name]].add(name)
            self._changed.add(name)
        else:
            for book in (self._class, self._said, self._due):
                book.pop(name, None)
            self._changed.discard(name)

    @property
    def next_at(self) -> float:
        """Time of the next report, monotonic seconds."""
        while self._queue and self._due.get(self._queue[0][1]) != self._queue[0][0]:
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else float("inf")

    def look(self) -> None:
        """See what was written, and say what is due."""
        now = self._cluster.clock.monotonic()
        if self._moved:
            self._moved = False
            self._see(now)
        for name in sorted(self._changed):
            self._say(name)
        self._changed.clear()
        while self.next_at <= now:
            self._say(heapq.heappop(self._queue)[1])

    def _see(self, now: float) -> None:
        """Schedule a report, after a pause, for each agent whose path differs from the reported one."""
        spread = SPREAD_SECONDS * len(self._class)
        tables = senders_tables({of_class: len(names) for of_class, names in self._members.items()})
        for mine in self._members:
            path = node_path(mine, tables[mine])
            if self._paths.get(mine) == path and not self._changed:
                continue
            self._paths[mine] = path
            for name in self._members[mine]:
                if self._said.get(name) == path:
                    self._due.pop(name, None)
                elif name not in self._due:
                    self._due[name] = now + LASTS_SECONDS + self._chance.uniform(0, spread)
                    heapq.heappush(self._queue, (self._due[name], name))

    def _counts(self, mine: Class) -> Mapping[Path, int]:
        counts: Counter[Path] = Counter()
        for other, names in self._members.items():
            if others := len(names) - (other == mine):
                counts[pair_path(mine, other)] += others
        return counts

    def _say(self, name: str) -> None:
        self._due.pop(name, None)
        mine, route = self._class[name], self._cluster.route(name)
        self._said[name] = path = self._paths[mine]
        report = Report(AgentState.SERVING, route, READY, "", path, self._counts(mine), MTU)
        self._cluster.agent_says(name, report.status(route.status, self._cluster.clock.now()))
