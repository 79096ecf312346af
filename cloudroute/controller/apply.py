"""Doing a plan: every step once its predecessors are done, many at a time, one at a time in each lane.

A step that fails holds up nothing but what comes after it.
"""

from __future__ import annotations

import heapq
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from cloudroute.controller.backoff import BackOff, action_of
from cloudroute.core.cluster.model import (
    AssignPodCidrs,
    ChangeRoute,
    DeleteNodeRoute,
    DeleteRouteTableObject,
    DisableSourceDestCheck,
    Key,
    Notice,
    SetCondition,
    Step,
    WriteNodeRoute,
    WriteRouteTableObject,
)
from cloudroute.errors import ApiError, Deferred, LeaseLost, LimitExceeded, LostRace, Unreachable
from cloudroute.ports import Clock, Ec2, Fence, Kube

WORKERS = 16


@dataclass
class Outcome:
    """What became of the steps of one apply."""

    done: list[Step] = field(default_factory=list)
    failed: list[tuple[Step, ApiError]] = field(default_factory=list)
    """Tried in vain."""
    deferred: float = 0.0
    """Seconds until the budget has a call for those not tried; 0 when there are none."""
    behind: int = 0
    """Steps not tried: a predecessor failed, or they wait for their back-off or the budget."""
    hopeful: bool = False
    """Whether a step that failed or waits for its back-off may succeed yet."""


class Applier:
    """Runs steps on a pool of threads, each write behind the fence.

    `done` is told of every step that succeeded, `surprised` of every one whose failure says that the world is other
    than it was read; both in the thread that runs the apply.
    """

    def __init__(
        self,
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
        """Do what can be done now; `beat` is called as each step ends. Once `stop` is set no step starts.

        Raises LeaseLost once all that was under way has ended.
        """
        self._back_off.forget_old()
        run = _Run(steps, self._back_off, stop, lambda work: self._pool.submit(work), self._perform)
        for step, error in run.results(beat):
            if error is None:
                self._done(step)
            elif isinstance(error, LostRace | LimitExceeded | Unreachable):
                self._surprised(step, error)
        return run.outcome

    def held(self, steps: Sequence[Step]) -> frozenset[Key]:
        """Keys of those steps that may not be tried now."""
        return frozenset(step.key for step in steps if self._back_off.holds(step))

    def next_due(self) -> float:
        """When the first back-off ends, monotonic seconds; infinity when nothing waits."""
        return self._back_off.next_due()

    def refusals(self) -> list[Notice]:
        """What a person should know: which action was refused, for which resource."""
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
    """One apply under way: which steps wait for what."""

    def __init__(
        self,
        steps: Sequence[Step],
        back_off: BackOff,
        stop: threading.Event,
        submit: Callable[[Callable[[], None]], object],
        perform: Callable[[Step], None],
    ) -> None:
        self._steps, self._back_off, self._stop = steps, back_off, stop
        self._submit, self._perform = submit, perform
        self.outcome = Outcome()
        self._place = {step.key: place for place, step in enumerate(steps)}
        self._unmet: dict[Key, set[Key]] = {}
        """Of steps that wait for others: for which."""
        self._followers: defaultdict[Key, list[Step]] = defaultdict(list)
        for step in steps:
            if unmet := {other for other in step.after if other in self._place}:
                self._unmet[step.key] = unmet
                for other in unmet:
                    self._followers[other].append(step)
        self._lanes: defaultdict[Key, list[tuple[bool, int, Step]]] = defaultdict(list)
        """A heap per lane: of the steps that are ready, the plan's first goes first, whoever got ready first."""
        self._busy: set[Key] = set()
        """Lanes with a step under way."""
        self._closed: set[Key] = set()
        """What no further step may ask for, as `_asks` names it: its budget is spent, or its table is full."""
        self._under_way = 0
        self._ended: queue.SimpleQueue[tuple[Step, Exception | None]] = queue.SimpleQueue()
        self._lost: LeaseLost | None = None

    def results(self, beat: Callable[[], None]) -> Iterator[tuple[Step, ApiError | None]]:
        """Run; each step that was tried, when it has ended, with its error if it failed."""
        for step in self._steps:
            if step.key not in self._unmet:
                self._ready(step, pump=False)
        for lane in list(self._lanes):
            self._pump(lane)
        while self._under_way:
            step, error = self._ended.get()
            beat()
            self._under_way -= 1
            if self._judge(step, error):
                yield step, error if isinstance(error, ApiError) else None
            self._go_on(step, error is None)
        if self._lost:
            raise self._lost
        self.outcome.behind = len(self._steps) - len(self.outcome.done) - len(self.outcome.failed)

    def _ready(self, step: Step, pump: bool = True) -> None:
        if lane := _lane(step):
            heapq.heappush(self._lanes[lane], (self._back_off.was_refused(step), self._place[step.key], step))
            if pump:
                self._pump(lane)
        else:
            self._start(step)

    def _pump(self, lane: Key) -> None:
        waiting = self._lanes[lane]
        while waiting and lane not in self._busy:
            if lane[0] == "check" and _CHECKS in self._closed:
                return  # thousands wait in a burst, and all for the same budget
            if self._start(heapq.heappop(waiting)[2]):
                self._busy.add(lane)

    def _start(self, step: Step) -> bool:
        if self._stop.is_set() or self._lost or not self._closed.isdisjoint(_asks(step)):
            return False
        if self._back_off.holds(step):
            self.outcome.hopeful |= not self._back_off.hopeless(step)
            return False
        self._under_way += 1
        self._submit(lambda: self._work(step))
        return True

    def _work(self, step: Step) -> None:
        """In a thread of the pool."""
        error: Exception | None = None
        try:
            if self._stop.is_set():  # it was set while this step waited for a thread
                raise _NotTried
            self._perform(step)
        except Exception as caught:  # noqa: BLE001 - `_judge` raises what it does not know
            error = caught
        self._ended.put((step, error))

    def _judge(self, step: Step, error: Exception | None) -> bool:
        """Note how a step ended; whether it was tried."""
        outcome = self.outcome
        match error:
            case None:
                outcome.done.append(step)
                self._back_off.succeeded(step)
                return True
            case LeaseLost():
                self._lost = error
            case Deferred():
                self._closed.add(_asks(step)[0])
                outcome.deferred = max(outcome.deferred, error.seconds)
            case ApiError():
                if isinstance(error, LimitExceeded):
                    self._closed.add(_asks(step)[1])
                outcome.failed.append((step, error))
                self._back_off.failed(step, error)
                outcome.hopeful |= not self._back_off.hopeless(step)
                return True
            case _NotTried():
                pass
            case _:
                raise error
        return False

    def _go_on(self, step: Step, done: bool) -> None:
        """Start what waited for the end of this step."""
        for follower in self._followers[step.key] if done else ():
            unmet = self._unmet[follower.key]
            unmet.discard(step.key)
            if not unmet:
                self._ready(follower)
        if lane := _lane(step):
            self._busy.discard(lane)
            self._pump(lane)


_CHECKS: Key = ("ModifyNetworkInterfaceAttribute",)
"""What steps in the lanes of source/dest checks ask for, as `_asks` says it."""


def _lane(step: Step) -> Key | None:
    return step.lane if isinstance(step, ChangeRoute | DisableSourceDestCheck) else None


def _asks(step: Step) -> tuple[Key, Key]:
    """What a step asks for: a call of an action, and an entry of a table."""
    action = action_of(step)
    entry = (action, step.table_id, step.destination.family) if isinstance(step, ChangeRoute) else step.key
    return (action,), entry
