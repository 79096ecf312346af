"""The outcome of each cycle, for people and programs: log lines, Events, metrics, the status page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import structlog

from cloudroute.controller.status_page import StatusPage
from cloudroute.core.cluster.model import SetCondition
from cloudroute.core.cluster.planner import Decision
from cloudroute.core.explain.overview import Cycle
from cloudroute.core.paths import path_counts
from cloudroute.ports import Clock, Cluster, Kube
from cloudroute.telemetry import ChangeLog, ControllerTelemetry
from cloudroute.types import Notice

log = structlog.get_logger()


class Announcer:
    """Announces cycles; `page` is None without a status page."""

    def __init__(
        self, *, cluster: Cluster, kube: Kube, clock: Clock, telemetry: ControllerTelemetry, page: StatusPage | None
    ) -> None:
        self._cluster, self._kube, self._clock = cluster, kube, clock
        self._telemetry, self._page = telemetry, page
        self._changes = ChangeLog()

    def condition(self, step: SetCondition) -> None:
        """Announce a condition that was written, unless it only says that the node is routed."""
        node, condition = step.node, step.condition
        if condition.reason != "RouteCreated":
            warning = condition.status == "True"
            self._kube.event(Notice("Node", node.name, node.uid, condition.reason, condition.message, warning=warning))

    def cycle(self, cycle: Cycle) -> None:
        """Announce a cycle that has ended."""
        for notice in cycle.notices:
            about = {notice.kind.lower(): notice.name, "reason": notice.reason, "message": notice.message}
            key = (notice.kind, notice.name, notice.reason, notice.occasion)
            self._changes.say(key, "notice", warning=notice.warning, **about)
            self._kube.event(notice)
        if cycle.did:
            waits = len(cycle.decision.plan.waits)
            log.info("cycle", did=cycle.did, left=cycle.left, waits=waits, seconds=round(cycle.seconds, 3))
        self._telemetry.reconcile(cycle.seconds)
        self._measure(cycle.decision)
        if self._page:
            self._page.cycle(cycle)

    def trouble(self, words: str) -> None:
        """Announce on the status page that nothing was decided, and why."""
        if self._page:
            self._page.trouble(words, self._clock.now())

    def _measure(self, decision: Decision) -> None:
        paths = path_counts(route.spec for route in self._cluster.node_routes.items().values())
        limits: Mapping[tuple[str, str], int] = {
            (table_id, family): use.limit(family) for table_id, use in decision.uses.items() for family in use.families
        }
        self._telemetry.set_gauges(
            routes=_route_counts(decision),
            limits=limits,
            nodes=paths.nodes,
            pairs=paths.pairs,
            ipam_free={str(pool): free for pool, free in decision.free.items()},
        )


def _route_counts(decision: Decision) -> Mapping[tuple[str, str, str], int]:
    """Entries by table, family and state; our blackholes are counted apart from our other routes."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for table_id, use in decision.uses.items():
        for family, fill in use.families.items():
            counts[table_id, family, "ours"] += fill.ours
            counts[table_id, family, "foreign"] += fill.foreign
            counts[table_id, family, "blackhole"] += 0
        for cidr, route in (*use.ours.items(), *use.aggregates.items()):
            if route and route.blackhole:
                counts[table_id, cidr.family, "ours"] -= 1
                counts[table_id, cidr.family, "blackhole"] += 1
    return counts
