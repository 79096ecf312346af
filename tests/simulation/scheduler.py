"""Virtual time and a deterministic scheduler: the seed decides which thread runs next.

Each task is a thread, but only one runs at any moment: it holds the baton. A task that waits takes the next event from
the heap: a callback is run at once in that thread, a task that is due gets the baton. Events of one moment come in an
order that the seed draws. So a scenario runs the same every time, and minutes of it take a tenth of a second.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from random import Random

START = 1_000.0
"""Virtual time at which every scenario begins, in seconds."""


class Killed(BaseException):
    """Raised in a task whose process was killed."""


class Group:
    """One process: its tasks pause and end together. `offset` is added to its monotonic clock, in seconds."""

    def __init__(self, name: str, offset: float = 0.0) -> None:
        self.name, self.offset = name, offset
        self.alive = True
        self.paused_until = 0.0
        self.tasks: list[Task] = []


class Task:
    """A thread of a group."""

    def __init__(self, group: Group, name: str) -> None:
        self.group, self.name = group, name
        self.baton = threading.Lock()
        self.baton.acquire()
        self.turn = 0
        """Number of times it has run: an event for an earlier turn is void."""
        self.woken = False
        self.alive = True
        self.ended: list[Callable[[], None]] = []


class _Worker:
    """A real thread, which runs one task after the other: starting a thread costs as much as ten events."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._go = threading.Lock()
        self._go.acquire()
        self._job: tuple[Task, Callable[[], None]] | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def give(self, task: Task, work: Callable[[], None]) -> None:
        self._job = (task, work)
        self._go.release()

    def _run(self) -> None:
        while True:
            self._go.acquire()
            assert self._job
            self._scheduler.live(*self._job, self)


class Scheduler:
    """The heap of events and the baton. `random` is the scenario's only source of randomness."""

    def __init__(self, seed: int) -> None:
        self.now = START
        self.random = Random(seed)
        self.failure: BaseException | None = None
        self.record: Callable[[str], None] = lambda _: None
        """Called with each line of the trace."""
        self.log: Callable[[str], None] = lambda _: None
        """Called with each log line of a process."""
        self._events: list[tuple[float, float, int, Task | Callable[[], None], int]] = []
        self._count = itertools.count()
        self._idle: list[_Worker] = []
        self._root = Task(Group("world"), "world")
        self.current: Task | None = self._root
        self.steps = 0
        """Number of events so far."""

    # --- events -----------------------------------------------------------------------------

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Call `act`, which must not wait, at that time."""
        self._push(when, act, 0)

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Call `act`, which must not wait, after so many seconds."""
        self._push(self.now + seconds, act, 0)

    def wake(self, task: Task) -> None:
        """Resume a task that waits."""
        task.woken = True
        self._push(self.now, task, task.turn)

    def _push(self, when: float, what: Task | Callable[[], None], turn: int) -> None:
        heapq.heappush(self._events, (when, self.random.random(), next(self._count), what, turn))

    # --- tasks ------------------------------------------------------------------------------

    @property
    def me(self) -> Task:
        """The task that runs."""
        assert self.current is not None, "a callback must not wait"
        return self.current

    def spawn(self, group: Group, name: str, work: Callable[[], None]) -> Task:
        """Start a task of a group."""
        task = Task(group, name)
        group.tasks.append(task)
        worker = self._idle.pop() if self._idle else _Worker(self)
        worker.give(task, work)
        self._push(self.now, task, task.turn)
        return task

    def live(self, task: Task, work: Callable[[], None], worker: _Worker) -> None:
        """Run a task in a worker: wait for the baton, do the work, pass the baton on."""
        task.baton.acquire()
        try:
            if task.group.alive:
                work()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - it ends the scenario
            self.fail(error)
        task.alive = False
        task.group.tasks.remove(task)
        for callback in task.ended:
            callback()
        self._idle.append(worker)
        self._pass_on(None)

    def kill(self, group: Group) -> None:
        """End a process (SIGKILL); requests that it has sent still arrive."""
        group.alive = False
        group.paused_until = 0.0
        for task in group.tasks:
            self._push(self.now, task, task.turn)

    def fail(self, error: BaseException) -> None:
        """End the scenario with this error."""
        self.failure = self.failure or error

    def park(self, timeout: float | None = None) -> bool:
        """Suspend the running task until it is woken (True) or the timeout in seconds is over. Raises Killed."""
        me = self.me
        if not me.group.alive:
            raise Killed
        me.woken = False
        if timeout is not None:
            self._push(self.now + max(timeout, 0.0), me, me.turn)
        self._pass_on(me)
        if not me.group.alive:
            raise Killed
        if me is self._root and self.failure:
            raise self.failure
        return me.woken

    def run(self, seconds: float) -> None:
        """Let so many seconds pass. Called by the main thread alone; raises the error that ended the scenario."""
        end = self.now + seconds
        while self.now < end:
            self.park(end - self.now)

    def _pass_on(self, me: Task | None) -> None:
        """Pass the baton on, and wait until it comes back to `me`; without `me`, return at once."""
        following = self._next()
        following.turn += 1
        self.current = following
        if following is me:
            return
        following.baton.release()
        if me is not None:
            me.baton.acquire()

    def _next(self) -> Task:
        """Run callbacks up to the next task that is due, and return it."""
        while self.failure is None:
            when, _, _, what, turn = heapq.heappop(self._events)
            self.now = max(self.now, when)
            self.steps += 1
            if not isinstance(what, Task):
                self.current = None
                try:
                    what()
                except BaseException as error:  # noqa: BLE001 - it ends the scenario
                    self.fail(error)
            elif what.alive and what.turn == turn:
                if what.group.paused_until > self.now:
                    self._push(what.group.paused_until, what, turn)
                else:
                    return what
        return self._root


class VirtualClock:
    """`ports.Clock` of one group. Its offset also shifts its date, so that no two processes agree on that."""

    def __init__(self, scheduler: Scheduler, group: Group | None = None) -> None:
        self._scheduler = scheduler
        self._offset = group.offset if group else 0.0

    def monotonic(self) -> float:
        return self._scheduler.now + self._offset

    def now(self) -> float:
        return self._scheduler.now + self._offset / 10 + 1_790_000_000

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            self._scheduler.park(seconds)
