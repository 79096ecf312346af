"""Steps that may not be tried now, and why.

Each step has its own back-off, so that one that always fails slows no other. A missing permission is different: it
fails every step with the same action on the same table, so the action is tried once per table and resync.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import NamedTuple

from cloudroute.core.cluster.model import (
    ChangeRoute,
    DisableSourceDestCheck,
    Key,
    SetCondition,
    Step,
    WriteNodeRoute,
    WriteRouteTableObject,
)
from cloudroute.errors import ApiError, Forbidden, LimitExceeded, LostRace, Refused, Throttled
from cloudroute.ports import EC2_WRITES, Clock
from cloudroute.telemetry import ChangeLog
from cloudroute.types import Notice

_chance = Random()

MAX_ATTEMPTS = 5
"""Attempts after which a failing step counts as one that keeps failing."""
FIRST_PAUSE, MAX_PAUSE = 0.5, 60.0
"""Seconds before a failed step is tried again; doubled each time, plus up to half of it at random."""
DOUBLINGS = 7
GLANCE_SECONDS = 0.1
UNDONE_SECONDS = 60.0
"""Seconds. Rewriting an equal value within this time means that another controller reverts it."""
TABLE_OBJECT_SECONDS = 2.0
"""Seconds between two writes of a RouteTable object: a burst changes it with each route, and every agent watches it."""
FORGET_SECONDS = 600.0
"""Seconds after the end of its pause at which a failure is forgotten: the next one counts as the first."""


class Failure(NamedTuple):
    """Consecutive failures, the end of the pause (monotonic seconds), and the last error."""

    attempts: int
    until: float
    error: ApiError


class BackOff:
    """Failures of an `Applier`'s steps. Not thread-safe."""

    def __init__(self, clock: Clock, resync_seconds: float) -> None:
        self._clock, self._resync_seconds = clock, resync_seconds
        self._failures: dict[Key, Failure] = {}
        self._refusals: dict[tuple[str, str], Failure] = {}
        """By `_scope`."""
        self._refused: set[Key] = set()
        """Steps that were forbidden at their last attempt: tried last in their lane, so that they starve none."""
        self._done: dict[Key, tuple[object, int, float]] = {}
        """Writes of conditions and NodeRoutes, by step: last value, its repetitions, and when (monotonic seconds)."""
        self._table_objects: dict[str, float] = {}
        """By route table: earliest time of the next write of its RouteTable object, monotonic seconds."""
        self._changes = ChangeLog()

    def failed(self, step: Step, error: ApiError) -> None:
        """Decide when to try the step again."""
        now = self._clock.monotonic()
        attempts = (f.attempts if (f := self._failures.get(step.key)) else 0) + 1
        if isinstance(error, Forbidden):
            self._refused.add(step.key)
            self._refusals[_scope(step)] = Failure(attempts, now + self._resync_seconds, error)
        elif isinstance(error, Refused):
            self._failures[step.key] = Failure(attempts, now + self._resync_seconds, error)
        elif not isinstance(error, LimitExceeded):  # the planner does not plan it again
            pause = _pause(attempts - 1) * _chance.uniform(1, 1.5)
            if isinstance(error, LostRace) and attempts == 1:
                pause = GLANCE_SECONDS  # the next plan starts from the present state
            if isinstance(error, Throttled):
                pause = max(pause, error.retry_after)
            self._failures[step.key] = Failure(attempts, now + pause, error)
        self._changes.say(step.key, "step", warning=True, failed=" ".join(step.key), problem=str(error))

    def succeeded(self, step: Step) -> None:
        """Forget earlier failures."""
        self._refusals.pop(_scope(step), None)
        self._refused.discard(step.key)
        if self._failures.pop(step.key, None):
            self._changes.forget(step.key)
        if isinstance(step, WriteRouteTableObject):
            self._table_objects[step.report.id] = self._clock.monotonic() + TABLE_OBJECT_SECONDS
        self._note_repetition(step)

    def was_refused(self, step: Step) -> bool:
        """Whether the step was forbidden when it was last tried."""
        return step.key in self._refused

    def _note_repetition(self, step: Step) -> None:
        """Slow down where another controller reverts our writes: the two must not fight at full speed."""
        if not isinstance(step, SetCondition | WriteNodeRoute):
            return
        now = self._clock.monotonic()
        # With the uid, since a recreated Node of the same name has not got the condition yet.
        value: object = (step.node.uid, step.condition) if isinstance(step, SetCondition) else step.spec
        last, times, at = self._done.get(step.key, (None, 0, now))
        times = times + 1 if last == value and now - at < UNDONE_SECONDS else 0
        self._done[step.key] = (value, times, now)
        if times:
            pause = _pause(times)
            error = LostRace(action_of(step), step.key[-1], "", "it was done, and somebody has undone it")
            self._failures[step.key] = Failure(times, now + pause, error)
            self._changes.say(step.key, "step", warning=True, failed=" ".join(step.key), problem=str(error))

    def forget_old(self) -> None:
        """Forget steps that have not been planned for a long time."""
        recent = self._clock.monotonic() - FORGET_SECONDS
        self._failures = {key: f for key, f in self._failures.items() if f.until > recent}
        self._refusals = {scope: f for scope, f in self._refusals.items() if f.until > recent}
        self._done = {key: done for key, done in self._done.items() if done[2] > recent}
        now = self._clock.monotonic()
        self._table_objects = {table_id: until for table_id, until in self._table_objects.items() if until > now}

    def holds(self, step: Step) -> bool:
        """Whether a step may not be tried now."""
        if (
            isinstance(step, WriteRouteTableObject)
            and self._table_objects.get(step.report.id, 0) > self._clock.monotonic()
        ):
            return True
        if not self._failures and not self._refusals:  # called for thousands of steps, and mostly nothing has failed
            return False
        now = self._clock.monotonic()
        return any(f.until > now for f in self._of(step))

    def hopeless(self, step: Step) -> bool:
        """Whether a step keeps failing: it was refused, or has failed MAX_ATTEMPTS times."""
        return any(f.attempts >= MAX_ATTEMPTS or isinstance(f.error, Refused) for f in self._of(step))

    def _of(self, step: Step) -> Iterable[Failure]:
        return filter(None, (self._failures.get(step.key), self._refusals.get(_scope(step))))

    def next_due(self) -> float:
        """End of the first pause, monotonic seconds; infinity when there is none."""
        now = self._clock.monotonic()
        times = [f.until for f in (*self._failures.values(), *self._refusals.values())]
        return min([at for at in (*times, *self._table_objects.values()) if at > now], default=float("inf"))

    def notices(self) -> list[Notice]:
        """Notices of refused EC2 actions, one per action and route table."""
        now = self._clock.monotonic()
        return [
            Notice(
                kind="RouteTable",
                name=table_id,
                uid="",
                reason=f"{action}Refused",
                message=str(failure.error),
            )
            for (action, table_id), failure in self._refusals.items()
            if failure.until > now and action in EC2_WRITES
        ]


def _pause(doublings: int) -> float:
    """Seconds to wait; the exponent is bounded, or it would overflow after a day."""
    return float(min(MAX_PAUSE, FIRST_PAUSE * 2 ** min(doublings, DOUBLINGS)))


def action_of(step: Step) -> str:
    """Key of budgets and refusals: the API's name of an EC2 action, else the kind of step."""
    if isinstance(step, ChangeRoute):
        return f"{step.verb.capitalize()}Route"
    return "ModifyNetworkInterfaceAttribute" if isinstance(step, DisableSourceDestCheck) else type(step).__name__


def _scope(step: Step) -> tuple[str, str]:
    """Scope of a refusal: an action and a table (for an interface, the table that its subnet uses)."""
    table_id = step.table_id if isinstance(step, ChangeRoute | DisableSourceDestCheck) else step.key[-1]
    return (action_of(step), table_id)
