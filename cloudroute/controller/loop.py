"""The loop: one snapshot, one plan, one apply, one sentence.

It is level-triggered. An event only says "look again"; every step follows from the snapshot alone.
"""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import structlog

from cloudroute.config import ControllerSettings, check_against_vpc, check_overlap
from cloudroute.controller.apply import Applier, Outcome
from cloudroute.controller.ec2_cache import Ec2Cache
from cloudroute.controller.status import Status
from cloudroute.core.cluster import foreign_clusters
from cloudroute.core.cluster.model import (
    Carryover,
    ChangeRoute,
    DisableSourceDestCheck,
    Key,
    Notice,
    Policy,
    SetCondition,
    Snapshot,
    Step,
)
from cloudroute.core.cluster.outside import outside_pools
from cloudroute.core.cluster.planner import Decision, conclude, decide, summary
from cloudroute.core.cluster.staleness import safe_on_old_tables
from cloudroute.core.explain.overview import Cycle
from cloudroute.core.paths import path_counts
from cloudroute.errors import ApiError, Forbidden, LimitExceeded, UsageError
from cloudroute.ports import Clock, Cluster, Ec2, Fence, Kube
from cloudroute.telemetry import ChangeLog, Telemetry

log = structlog.get_logger()

DEBOUNCE_SECONDS = 0.01
"""A Node and its first status come as two events: one cycle for both."""
BUDGET_SECONDS = 0.5
"""The least wait for the call budget, so that a burst of calls is one cycle and not one cycle per call."""
PACE_SECONDS = 0.0004
"""The least time from one cycle's start to the next's, for each node and each step that is left. A cycle costs CPU for
each, and a burst lasts as long as it has steps, so without it their product is the square."""
MOST_PACE_SECONDS = 8.0
"""Meanwhile the call budget gets 40 tokens back and holds 44: none is lost."""
FRESH_SECONDS = 5.0
"""How long ago the tables may have been read when a route in them is deleted or replaced."""
READ_RETRY_SECONDS = 5.0
BLIND = 5
"""Cycles in a row without a readable world, after which `--once` gives up."""
IDLE_SECONDS = 10.0
"""The longest the loop sleeps, so that its thread is seen to live."""


def policy_of(settings: ControllerSettings, leave: bool = False) -> Policy:
    """The settings that the planner uses; `leave` is set for `cleanup`."""
    return Policy(
        settings.cluster_name,
        settings.cluster_cidr,
        {family: settings.node_mask(family) for family in settings.families},
        settings.reserved_cidr,
        settings.route_table,
        settings.route_reserve,
        settings.direct_routing,
        settings.overlay,
        settings.settle_seconds,
        settings.drain_seconds,
        leave,
    )


class Turn(NamedTuple):
    """Result of one cycle."""

    sentence: str
    """Summary of the steps done; "" when there are none."""
    next_at: float
    """Time of the next cycle if nothing changes before, monotonic seconds."""
    settled: bool
    """Whether nothing is left to do, and nothing to wait for."""
    stuck: bool
    """Whether all remaining steps keep failing."""


class Loop:
    """The leader's work. `turn` is one cycle; `run` is the thread that repeats it."""

    def __init__(
        self,
        settings: ControllerSettings,
        cluster: Cluster,
        kube: Kube,
        ec2: Ec2,
        fence: Fence,
        clock: Clock,
        telemetry: Telemetry,
        leave: bool = False,
        status: Status | None = None,
        own_vpc: Callable[[], str] = lambda: "",
    ) -> None:
        self._settings, self._cluster, self._kube = settings, cluster, kube
        self._clock, self._telemetry, self.status = clock, telemetry, status
        self.policy = policy_of(settings, leave)
        limit = None if settings.route_limit == "auto" else settings.route_limit
        self.cache = Ec2Cache(ec2, clock, settings.vpc_id, limit, settings.resync_seconds, own_vpc)
        self._applier = Applier(kube, ec2, fence, clock, settings.resync_seconds, self._step_done, self._step_surprised)
        self._changes = ChangeLog()
        self._memory = Carryover()
        self._held: frozenset[Key] = frozenset()
        self._blind = 0
        """Consecutive cycles in which too little of EC2 could be read to decide anything."""
        self._dirty = threading.Event()
        self._deferred = False
        """Whether the last cycle left steps that wait for the call budget."""
        self._left = 0
        """Number of steps that the last cycle could not do."""
        self._checked = ""
        """The VPC that the settings were checked against."""
        self._owners_reading = 0
        """Table-read counter at the last lookup of owners."""

    def wake(self) -> None:
        """Request a cycle because something changed."""
        self._dirty.set()

    def check(self) -> None:
        """Raise UsageError where a pod CIDR of the cluster lies in no pool. Needs the cluster's lists, but no lease."""
        # `cleanup` checks NodeRoutes only: Nodes keep their CIDRs, but a NodeRoute outside of the pools would be
        # deleted without its routes, which would then stay.
        nodes = {} if self.policy.leave else self._cluster.nodes.items()
        if problems := outside_pools(nodes, self._cluster.node_routes.items(), self.policy):
            raise UsageError(problems)

    # --- the thread -------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> bool:
        """Run cycles until stopped, or with `--once` until all is done.

        Returns False only with `--once`: all remaining steps keep failing, or it was stopped before the end.
        """
        while not stop.is_set():
            self._dirty.clear()
            start = self._clock.monotonic()
            turn = self.turn(stop)
            if self._settings.once and (turn.settled or turn.stuck):
                return turn.settled
            self._rest(turn.next_at, start + self.pace(), stop)
        return not self._settings.once

    def pace(self) -> float:
        """Seconds from the start of the last cycle to that of the next, at least.

        What waits for the budget is not looked at for each write that shows, or each token would have its own cycle.
        """
        least = min(MOST_PACE_SECONDS, PACE_SECONDS * (len(self._cluster.nodes.items()) + self._left))
        return max(least, BUDGET_SECONDS) if self._deferred else least

    def _rest(self, until: float, soonest: float, stop: threading.Event) -> None:
        """Until a time, or until something has changed; in any case until `soonest`, or told to stop."""
        while not stop.is_set():
            self._beat()
            left = until - self._clock.monotonic()
            if left <= 0:
                break
            if self._dirty.wait(min(left, IDLE_SECONDS)):
                self._clock.sleep(DEBOUNCE_SECONDS)
                break
        while (left := soonest - self._clock.monotonic()) > 0 and not stop.is_set():
            stop.wait(left)

    def _beat(self) -> None:
        # Each EC2 call and each step that ends is a beat, too: a longer silence means that the loop hangs.
        self._telemetry.beat("loop", 120)

    # --- one cycle --------------------------------------------------------------------------

    def turn(self, stop: threading.Event) -> Turn:
        """Run one cycle. Raises LeaseLost, and UsageError where the settings contradict the VPC."""
        # The objects that a cycle makes for each node and step die at its end. Searching them for reference cycles
        # meanwhile would take a third of the cycle's time with 10,000 nodes, and a larger share with more.
        collects = gc.isenabled()
        gc.disable()
        try:
            return self._turn(stop)
        finally:
            if collects:
                gc.enable()

    def _turn(self, stop: threading.Event) -> Turn:
        start = self._clock.monotonic()
        self._beat()
        try:
            snapshot = self.look()
        except ApiError as error:
            return self._unreadable(error)
        if snapshot is None:
            return self._waiting()
        self._blind = 0
        decision = decide(snapshot, self.policy)
        steps = self._timely(decision.plan.steps)
        if postponed := len(decision.plan.steps) - len(steps):
            self.cache.surprise()
        self._memory = decision.plan.carryover
        self.cache.refused.clear()
        outcome = self._applier.run(steps, stop, self._beat)
        tried = self._snapshot()
        publish = conclude(decision, tried)
        published = self._applier.run(publish, stop, self._beat)
        self._held = self._applier.held((*decision.plan.steps, *publish))
        self._say(decision)
        turn = self._turned(decision, outcome, published, postponed, start)
        if self.status:
            now, spoken = self._clock.monotonic(), self._clock.now()
            notices = (*decision.plan.notices, *self._applier.refusals())
            self.status.cycle(
                Cycle(tried, decision, notices, turn.sentence, self._left, spoken, now - start, turn.next_at - now)
            )
        return turn

    def look(self) -> Snapshot | None:
        """Do the reads that are due and return a snapshot; None while there are nodes but no VPC is known.

        Raises ApiError and UsageError.
        """
        self.cache.doubt(self._replaced())
        self.cache.refresh(self._wanted(), self._cluster.route_table_objects.items().values())
        if not self.cache.complete and self._wanted():
            self._changes.say("waiting", "waiting", problem="no VPC is known yet: no node's instance was found in EC2")
            return None
        self._resolve_owners()
        if self.cache.complete and self._checked != self.cache.vpc_id and not self.policy.leave:
            self._check_settings()
        snapshot = self._snapshot()
        if problems := foreign_clusters.refusal(snapshot, self.policy):
            raise UsageError(problems)
        return snapshot

    def _resolve_owners(self) -> None:
        """Look up the owners of interfaces that no node of ours has, though routes in our pools lead to them.

        Done after each read of the tables, and in each cycle before the first NodeRoute, since new nodes bring new
        tables.
        """
        if self._owners_reading != self.cache.reading or not self._cluster.node_routes.items():
            self.cache.resolve_owners(foreign_clusters.unknown_interfaces(self._snapshot(), self.policy))
            self._owners_reading = self.cache.reading

    def _check_settings(self) -> None:
        """Raise UsageError where settings contradict cluster or VPC: pools that others use, tables that are missing."""
        services = check_overlap(self._settings, "the Services", self._kube.service_cidrs())
        tables = [
            f"--route-table {table_id}: expected a route table of {self.cache.vpc_id}, which has none of that id"
            for table_id in self._settings.route_table
            if table_id not in self.cache.tables
        ]
        if problems := [*check_against_vpc(self._settings, self.cache.local_cidrs()), *services, *tables]:
            raise UsageError(problems)
        self._checked = self.cache.vpc_id

    def _timely(self, steps: Sequence[Step]) -> Sequence[Step]:
        """Return the steps for which the last read of the tables is recent enough."""
        old = self._clock.monotonic() - self.cache.tables_read > FRESH_SECONDS
        return safe_on_old_tables(steps) if old else steps

    def _wanted(self) -> set[str]:
        """Ids of the instances of all Nodes and NodeRoutes."""
        wanted = {node.instance_id for node in self._cluster.nodes.items().values() if node.instance_id}
        return wanted | {record.spec.instance_id for record in self._cluster.node_routes.items().values()}

    def _replaced(self) -> list[str]:
        """Ids of instances in NodeRoutes whose Node is another instance by now."""
        nodes = self._cluster.nodes.items()
        return [
            record.spec.instance_id
            for name, record in self._cluster.node_routes.items().items()
            if (node := nodes.get(name)) and node.instance_id not in ("", record.spec.instance_id)
        ]

    def _snapshot(self) -> Snapshot:
        cache, cluster = self.cache, self._cluster
        return Snapshot(
            self._clock.monotonic(), cluster.nodes.items(), cluster.node_routes.items(),
            cluster.route_table_objects.items(), cache.vpc_id, dict(cache.instances), dict(cache.tables), cache.subnets,
            cache.limit, dict(cache.prefix_lists), frozenset(cache.refused), self._held, self._memory,
            dict(cache.unknown_owners),
        )  # fmt: skip

    def _waiting(self) -> Turn:
        """End a cycle in which no VPC is known, since EC2 shows no instance of a node."""
        self._blind += 1
        if self.status:
            self.status.trouble("no VPC is known yet: no node's instance was found in EC2", self._clock.now())
        return Turn("", self.cache.next_due, False, self._blind >= BLIND)

    def _unreadable(self, error: ApiError) -> Turn:
        """End a cycle whose reads failed. Nothing is decided without them, so working routes stay as they are."""
        self._blind += 1
        pause = min(READ_RETRY_SECONDS * self._blind, self._settings.resync_seconds)
        log.warning("read", problem=str(error), again_in_seconds=pause)
        if self.status:
            self.status.trouble(str(error), self._clock.now())
        stuck = self._blind >= BLIND or isinstance(error, Forbidden)
        return Turn("", self._clock.monotonic() + pause, False, stuck)

    def _turned(self, decision: Decision, outcome: Outcome, published: Outcome, postponed: int, start: float) -> Turn:
        """Sum up the cycle; `postponed` steps wait for the next read of the tables."""
        now = self._clock.monotonic()
        self._telemetry.reconcile(now - start)
        done = summary((*outcome.done, *published.done))
        waits = decision.plan.waits
        left = postponed + outcome.behind + published.behind + len(outcome.failed) + len(published.failed)
        self._left = left
        if done:
            log.info("cycle", did=done, left=left, waits=len(waits), seconds=round(now - start, 3))
        times = [self.cache.next_due, self._applier.next_due(), *(wait.until for wait in waits)]
        self._deferred = bool(outcome.deferred or published.deferred)
        if self._deferred:
            times.append(now + max(BUDGET_SECONDS, outcome.deferred, published.deferred))
        elif done or self.cache.surprised:
            times.append(now)  # to see the effects
        settled = not (left or waits or done)
        hopeful = postponed or waits or done or outcome.deferred or outcome.hopeful or published.hopeful
        stuck = bool(left) and not hopeful
        return Turn(done, min(times), settled, stuck)

    # --- effects of a step ------------------------------------------------------------------

    def _step_done(self, step: Step) -> None:
        self.cache.note(step)
        if isinstance(step, SetCondition) and step.condition.reason != "RouteCreated":
            warning = step.condition.status == "True"
            self._event(
                Notice("Node", step.node.name, step.node.uid, warning, step.condition.reason, step.condition.message)
            )

    def _step_surprised(self, step: Step, error: ApiError) -> None:
        if isinstance(error, LimitExceeded) and isinstance(step, ChangeRoute):
            self.cache.refuse(step.table_id, step.destination.family)
        elif isinstance(step, ChangeRoute | DisableSourceDestCheck):
            node = self._cluster.nodes.items().get(step.node)
            self.cache.surprise(node.instance_id if node else "")

    # --- notices and metrics ----------------------------------------------------------------

    def _say(self, decision: Decision) -> None:
        for notice in (*decision.plan.notices, *self._applier.refusals()):
            about = {notice.kind.lower(): notice.name, "reason": notice.reason, "message": notice.message}
            key = (notice.kind, notice.name, notice.reason, notice.occasion)
            self._changes.say(key, "notice", warning=notice.warning, **about)
            self._event(notice)
        paths = path_counts(route.spec for route in self._cluster.node_routes.items().values())
        self._telemetry.world(
            _route_counts(decision),
            {
                (table_id, family): use.limit(family)
                for table_id, use in decision.uses.items()
                for family in use.families
            },
            paths.nodes,
            paths.pairs,
            {str(pool): free for pool, free in decision.free.items()},
        )

    def _event(self, notice: Notice) -> None:
        self._kube.event(*notice)


def _route_counts(decision: Decision) -> Mapping[tuple[str, str, str], int]:
    """Entries by table, family and state; our blackholes are counted apart from our other routes."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for table_id, use in decision.uses.items():
        for family, fill in use.families.items():
            counts[table_id, family, "ours"] += fill.ours
            counts[table_id, family, "foreign"] += fill.foreign
            counts[table_id, family, "blackhole"] += 0
        for cidr, route in use.ours.items():
            if route.blackhole:
                counts[table_id, cidr.family, "ours"] -= 1
                counts[table_id, cidr.family, "blackhole"] += 1
    return counts
