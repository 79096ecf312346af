"""Execution of a plan: each step starts once its predecessors are done; many run at once, but one per lane.

A failed step holds up only the steps that depend on it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from cloudroute.controller.backoff import BackOff, action_of
from cloudroute.controller.order import Order
from cloudroute.core.cluster.model import (
    AssignPodCidrs,
    ChangeRoute,
    DeleteNodeRoute,
    DeleteRouteTableObject,
    DisableSourceDestCheck,
    Key,
    SetCondition,
    Step,
    WriteNodeRoute,
    WriteRouteTableObject,
)
from cloudroute.errors import ApiError, Deferred, LeaseLost, LimitExceeded, LostRace, Unreachable
from cloudroute.ports import Clock, Ec2, Fence, Kube
from cloudroute.types import Notice

WORKERS = 16


@dataclass
class Outcome:
    """Results of one apply."""

    done: list[Step] = field(default_factory=list)
    failed: list[tuple[Step, ApiError]] = field(default_factory=list)
    """Steps that were tried and failed, each with its error."""
    deferred: float = 0.0
    """Seconds until the call budget has a token for the steps that it deferred; 0 when it deferred none."""
    behind: int = 0
    """Number of steps not tried: a predecessor failed, or they wait for their back-off or the budget."""
    hopeful: bool = False
    """Whether a step that failed or waits for its back-off may still succeed."""

    @property
    def left(self) -> int:
        """Number of steps that could not be done."""
        return len(self.failed) + self.behind

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            done=[*self.done, *other.done],
            failed=[*self.failed, *other.failed],
            deferred=max(self.deferred, other.deferred),
            behind=self.behind + other.behind,
            hopeful=self.hopeful or other.hopeful,
        )


class Applier:
    """Runs steps on a pool of threads, each write behind the fence.

    `done` is called with every step that succeeded, `surprised` with every step whose failure shows that EC2 or the
    cluster differs from our last read. Both are called in the thread that runs the apply.
    """

    def __init__(
        self,
        *,
        kube: Kube,
        ec2: Ec2,
        fence: Fence,
        clock: Clock,
        resync_seconds: float,
        done: Callable[[Step], None],
        surprised: Callable[[Step, ApiError], None],
    ) -> None:
        self._kube, self._ec2, self._fence = kube, ec2, fence
        self._done, self._surprised = done, surprised
        self._pool = ThreadPoolExecutor(WORKERS, "apply")
        self._back_off = BackOff(clock, resync_seconds)

    def run(self, steps: Sequence[Step], stop: threading.Event, beat: Callable[[], None]) -> Outcome:
        """Run the steps that can run now; `beat` is called as each step ends. Once `stop` is set no step starts.

        Raises LeaseLost once all steps under way have ended.
        """
        self._back_off.forget_old()
        run = _Run(steps, self._back_off, stop, submit=lambda work: self._pool.submit(work), perform=self._perform)
        for step, error in run.results():
            beat()
            if error is None:
                self._done(step)
            elif isinstance(error, LostRace | LimitExceeded | Unreachable):
                self._surprised(step, error)
        return run.outcome

    def held(self, steps: Sequence[Step]) -> frozenset[Key]:
        """Keys of the steps that may not be tried now."""
        return frozenset(step.key for step in steps if self._back_off.holds(step))

    def next_due(self) -> float:
        """End of the first back-off, monotonic seconds; infinity when no step waits."""
        return self._back_off.next_due()

    def refusals(self) -> list[Notice]:
        """Notices of refused EC2 actions, one per action and route table."""
        return self._back_off.notices()

    # --- one step ---------------------------------------------------------------------------

    def _perform(self, step: Step) -> None:
        """Call the API. Raises ApiError or LeaseLost."""
        self._fence.check()
        if isinstance(step, ChangeRoute | DisableSourceDestCheck):
            self._call_ec2(step)
        else:
            self._call_kube(step)

    def _call_ec2(self, step: ChangeRoute | DisableSourceDestCheck) -> None:
        match step:
            case DisableSourceDestCheck():
                self._ec2.disable_source_dest_check(step.interface_id)
            case ChangeRoute(verb="create"):
                self._ec2.create_route(step.table_id, step.destination, step.interface_id)
            case ChangeRoute(verb="replace"):
                self._ec2.replace_route(step.table_id, step.destination, step.interface_id)
            case ChangeRoute():
                self._ec2.delete_route(step.table_id, step.destination)

    def _call_kube(self, step: Step) -> None:
        kube = self._kube
        match step:
            case AssignPodCidrs():
                kube.assign_pod_cidrs(step.node, step.cidrs)
            case WriteNodeRoute():
                if step.old is None:
                    kube.create_node_route(step.name, step.spec)
                else:
                    kube.update_node_route(step.old, step.spec)
            case DeleteNodeRoute():
                kube.delete_node_route(step.old)
            case SetCondition():
                kube.set_condition(step.node, step.condition)
            case WriteRouteTableObject():
                kube.write_route_table_object(step.old, step.report)
            case DeleteRouteTableObject():
                kube.delete_route_table_object(step.old)


class _NotTried(Exception):
    """The process is stopping: the step did not start."""


class _Run:
    """One apply under way."""

    def __init__(
        self,
        steps: Sequence[Step],
        back_off: BackOff,
        stop: threading.Event,
        *,
        submit: Callable[[Callable[[], None]], object],
        perform: Callable[[Step], None],
    ) -> None:
        self._steps, self._back_off, self._stop = steps, back_off, stop
        self._submit, self._perform = submit, perform
        self.outcome = Outcome()
        self._order = Order(steps, last=back_off.was_refused)
        self._closed: set[Key] = set()
        """Calls and table entries, as in `_needs`, that no further step gets: a budget is spent, or a table is full."""
        self._under_way = 0
        self._ended: queue.SimpleQueue[tuple[Step, Exception | None]] = queue.SimpleQueue()
        self._lost: LeaseLost | None = None

    def results(self) -> Iterator[tuple[Step, Exception | None]]:
        """Run the steps; yield each one as it ends, with its error or None. Raises LeaseLost once all have ended."""
        self._start_ready()
        while self._under_way:
            step, error = self._ended.get()
            self._under_way -= 1
            self._record(step, error)
            yield step, error
            self._order.ended(step, done=error is None)
            self._start_ready()
        if self._lost:
            raise self._lost
        self.outcome.behind = len(self._steps) - len(self.outcome.done) - len(self.outcome.failed)

    def _start_ready(self) -> None:
        while step := self._order.take():
            if self._may_start(step):
                self._under_way += 1
                self._start(step)
            elif not (isinstance(step, DisableSourceDestCheck) and _CHECKS in self._closed):
                self._order.skip(step)
            # else its lane stays shut: in a burst thousands wait in it, all for the same budget

    def _may_start(self, step: Step) -> bool:
        if self._stop.is_set() or self._lost or not self._closed.isdisjoint(_needs(step)):
            return False
        if self._back_off.holds(step):
            self.outcome.hopeful |= not self._back_off.hopeless(step)
            return False
        return True

    def _start(self, step: Step) -> None:
        """Perform one step in a thread of the pool."""

        def work() -> None:
            error: Exception | None = None
            try:
                if self._stop.is_set():  # set while this step waited for a thread
                    raise _NotTried
                self._perform(step)
            except Exception as caught:  # noqa: BLE001 - `_record` raises unknown errors again
                error = caught
            self._ended.put((step, error))

        self._submit(work)

    def _record(self, step: Step, error: Exception | None) -> None:
        """Record how a step ended. Raises an error that is a defect."""
        match error:
            case None:
                self.outcome.done.append(step)
                self._back_off.succeeded(step)
            case LeaseLost():
                self._lost = error
            case Deferred():
                self._closed.add(_needs(step)[0])
                self.outcome.deferred = max(self.outcome.deferred, error.seconds)
            case ApiError():
                if isinstance(error, LimitExceeded):
                    self._closed.add(_needs(step)[1])
                self.outcome.failed.append((step, error))
                self._back_off.failed(step, error)
                self.outcome.hopeful |= not self._back_off.hopeless(step)
            case _NotTried():
                pass
            case _:
                raise error


_CHECKS: Key = ("ModifyNetworkInterfaceAttribute",)
"""The call that steps in the lanes of source/dest checks need, as in `_needs`."""


def _needs(step: Step) -> tuple[Key, Key]:
    """The call of an EC2 action and the table entry that a step needs."""
    action = action_of(step)
    entry = (action, step.table_id, step.destination.family) if isinstance(step, ChangeRoute) else step.key
    return (action,), entry
