"""One cycle: one snapshot, one plan, one apply, one sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Event
from typing import NamedTuple

import structlog

from cloudroute.controller.announce import Announcer
from cloudroute.controller.apply import Applier, Outcome
from cloudroute.controller.reader import NO_VPC, Reader
from cloudroute.core.cluster.model import (
    Carryover,
    ChangeRoute,
    DisableSourceDestCheck,
    Key,
    Plan,
    SetCondition,
    Snapshot,
    Step,
)
from cloudroute.core.cluster.planner import conclude, decide, summary
from cloudroute.core.cluster.staleness import safe_on_old_tables
from cloudroute.core.explain.overview import Cycle
from cloudroute.errors import ApiError, Forbidden
from cloudroute.ports import Clock, Cluster, Ec2, Fence, Kube

log = structlog.get_logger()

BUDGET_SECONDS = 0.5
"""The least wait for the call budget, so that a burst of calls is one cycle and not one cycle per call."""
FRESH_SECONDS = 5.0
"""Largest age of a read of the tables by which a route is deleted or replaced."""
READ_RETRY_SECONDS = 5.0
BLIND = 5
"""Cycles in a row without a snapshot, after which `--once` gives up."""


class Turn(NamedTuple):
    """Result of one cycle."""

    sentence: str = ""
    """Summary of the steps done; "" when there are none."""
    next_at: float = 0.0
    """Time of the next cycle if nothing changes before, monotonic seconds."""
    settled: bool = False
    """Whether nothing is left to do, and nothing to wait for."""
    stuck: bool = False
    """Whether all remaining steps keep failing."""
    left: int = 0
    """Number of steps that could not be done."""
    deferred: bool = False
    """Whether steps wait for the call budget."""
    urgent: bool = False
    """Whether a gateway's failover waits for the next read of the tables."""


class Reconciler:
    """Runs cycles. `beat` is called as a cycle starts and as each step ends."""

    def __init__(
        self,
        *,
        reader: Reader,
        announcer: Announcer,
        cluster: Cluster,
        kube: Kube,
        ec2: Ec2,
        fence: Fence,
        clock: Clock,
        resync_seconds: float,
        beat: Callable[[], None],
    ) -> None:
        self._reader, self._announcer, self._cluster, self._clock = reader, announcer, cluster, clock
        self._resync_seconds, self._beat = resync_seconds, beat
        self._applier = Applier(
            kube=kube,
            ec2=ec2,
            fence=fence,
            clock=clock,
            resync_seconds=resync_seconds,
            done=self._step_done,
            surprised=self._step_surprised,
        )
        self._carryover = Carryover()
        """State that the last plan hands to the next one."""
        self._held: frozenset[Key] = frozenset()
        """Steps of the last plan that may not be tried yet."""
        self._blind = 0
        """Cycles in a row in which too little of EC2 could be read to decide anything."""
        self._last = Turn()

    def read(self) -> Snapshot | None:
        """Do the reads that are due; see `Reader.read`."""
        snapshot = self._reader.read()
        return snapshot and self._with_carryover(snapshot)

    def snapshot(self) -> Snapshot:
        """Return what is known now, without a read of EC2."""
        return self._with_carryover(self._reader.snapshot())

    def turn(self, stop: Event) -> Turn:
        """Run one cycle. Raises LeaseLost, and UsageError where the settings contradict the VPC."""
        start = self._clock.monotonic()
        self._beat()
        try:
            snapshot = self.read()
        except ApiError as error:
            return self._unreadable(error)
        if snapshot is None:
            return self._undecided(NO_VPC, self._reader.cache.next_due)
        self._blind = 0
        decision = decide(snapshot, self._reader.policy)
        steps = self._timely(decision.plan.steps)
        postponed = len(decision.plan.steps) - len(steps)
        if postponed:
            self._reader.cache.tables_stale = True
        self._carryover = decision.plan.carryover
        self._reader.cache.refused.clear()
        outcome = self._applier.run(steps, stop, self._beat)
        tried = self.snapshot()
        published = conclude(decision, tried)
        outcome += self._applier.run(published, stop, self._beat)
        self._held = self._applier.held((*decision.plan.steps, *published))
        self._last = turn = self._turn(outcome, decision.plan, postponed)
        now = self._clock.monotonic()
        self._announcer.cycle(
            Cycle(
                snapshot=tried,
                decision=decision,
                notices=(*decision.plan.notices, *self._applier.refusals()),
                did=turn.sentence,
                left=turn.left,
                at=self._clock.now(),
                seconds=now - start,
                next_in=turn.next_at - now,
            )
        )
        return turn

    def _with_carryover(self, snapshot: Snapshot) -> Snapshot:
        return replace(snapshot, carryover=self._carryover, held=self._held)

    def _timely(self, steps: Sequence[Step]) -> Sequence[Step]:
        """Return the steps for which the last read of the tables is recent enough."""
        old = self._clock.monotonic() - self._reader.cache.tables_read > FRESH_SECONDS
        return safe_on_old_tables(steps) if old else steps

    def _fails_over(self, steps: Sequence[Step]) -> bool:
        """Return whether a gateway is replaced, whose routes lead to nowhere until then."""
        aggregates = self._reader.policy.aggregates
        return any(
            isinstance(step, ChangeRoute) and step.verb == "replace" and step.destination in aggregates
            for step in steps
        )

    def _turn(self, outcome: Outcome, plan: Plan, postponed: int) -> Turn:
        """Sum up a cycle; `postponed` steps of the plan wait for the next read of the tables."""
        now, waits = self._clock.monotonic(), plan.waits
        done = bool(outcome.done)
        left = postponed + outcome.left
        times = [self._reader.cache.next_due, self._applier.next_due(), *(wait.until for wait in waits)]
        if outcome.deferred:
            times.append(now + max(BUDGET_SECONDS, outcome.deferred))
        elif done or self._reader.cache.tables_stale:
            times.append(now)  # to see the effects
        hopeful = postponed or waits or done or outcome.deferred or outcome.hopeful
        return Turn(
            sentence=summary(tuple(outcome.done)),
            next_at=min(times),
            settled=not (left or waits or done),
            stuck=bool(left) and not hopeful,
            left=left,
            deferred=bool(outcome.deferred),
            urgent=bool(postponed) and self._fails_over(plan.steps),
        )

    # --- cycles without a snapshot ----------------------------------------------------------

    def _unreadable(self, error: ApiError) -> Turn:
        """End a cycle whose reads failed. Nothing is decided without them, so working routes stay as they are."""
        pause = min(READ_RETRY_SECONDS * (self._blind + 1), self._resync_seconds)
        log.warning("read", problem=str(error), again_in_seconds=pause)
        turn = self._undecided(str(error), self._clock.monotonic() + pause)
        return turn._replace(stuck=turn.stuck or isinstance(error, Forbidden))

    def _undecided(self, why: str, next_at: float) -> Turn:
        self._blind += 1
        self._announcer.trouble(why)
        return self._last._replace(sentence="", next_at=next_at, settled=False, stuck=self._blind >= BLIND)

    # --- effects of a step ------------------------------------------------------------------

    def _step_done(self, step: Step) -> None:
        self._reader.cache.succeeded(step)
        if isinstance(step, SetCondition):
            self._announcer.condition(step)

    def _step_surprised(self, step: Step, error: ApiError) -> None:
        if isinstance(step, ChangeRoute | DisableSourceDestCheck):
            node = self._cluster.nodes.items().get(step.node)
            self._reader.cache.failed(step, error, node.instance_id if node else "")
