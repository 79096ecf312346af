"""The parts of `threading`, `queue` and `concurrent.futures` that cloudroute uses, on virtual time.

They replace those modules in the modules of cloudroute that wait. A module that holds locks only for a moment keeps the
real ones.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.simulation.scheduler import Scheduler, Task


class VirtualTime:
    """Holds the scheduler of this process, which runs one scenario."""

    scheduler: Scheduler


def _wake_all(waiters: list[Task]) -> None:
    for task in waiters:
        VirtualTime.scheduler.wake(task)


class Event:
    """threading.Event."""

    def __init__(self) -> None:
        self._set = False
        self._waiters: list[Task] = []

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        _wake_all(self._waiters)

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self._set:
            me = VirtualTime.scheduler.me
            self._waiters.append(me)
            try:
                VirtualTime.scheduler.park(timeout)
            finally:
                self._waiters.remove(me)
        return self._set


class Lock:
    """threading.Lock."""

    def __init__(self) -> None:
        self._held = False
        self._waiters: list[Task] = []

    def acquire(self) -> bool:
        while self._held:
            me = VirtualTime.scheduler.me
            self._waiters.append(me)
            try:
                VirtualTime.scheduler.park()
            finally:
                self._waiters.remove(me)
        self._held = True
        return True

    def release(self) -> None:
        self._held = False
        _wake_all(self._waiters)

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Condition(Lock):
    """threading.Condition with a lock of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._sleepers: list[Task] = []

    def wait(self, timeout: float | None = None) -> bool:
        me = VirtualTime.scheduler.me
        self._sleepers.append(me)
        self.release()
        try:
            return VirtualTime.scheduler.park(timeout)
        finally:
            self._sleepers.remove(me)
            if me.group.alive:
                self.acquire()

    def wait_for(self, true: Callable[[], bool], timeout: float | None = None) -> bool:
        end = VirtualTime.scheduler.now + timeout if timeout is not None else float("inf")
        while not true() and VirtualTime.scheduler.now < end:
            self.wait(None if timeout is None else end - VirtualTime.scheduler.now)
        return true()

    def notify_all(self) -> None:
        _wake_all(self._sleepers)


class Thread:
    """threading.Thread: a task of the group whose task starts it."""

    def __init__(self, *, target: Callable[..., None], name: str = "thread", daemon: bool = True) -> None:
        self._target, self.name, self.daemon = target, name, daemon
        self.ident: int | None = None
        self._task: Task | None = None
        self._ended = Event()

    def start(self) -> None:
        self.ident = id(self)
        scheduler = VirtualTime.scheduler
        self._task = scheduler.spawn(scheduler.me.group, self.name, self._target)
        self._task.ended.append(self._ended.set)

    def is_alive(self) -> bool:
        return self._task is not None and self._task.alive

    def join(self, timeout: float | None = None) -> None:
        self._ended.wait(timeout)


class SimpleQueue:
    """queue.SimpleQueue."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._filled = Event()

    def put(self, item: Any) -> None:
        self._items.append(item)
        self._filled.set()

    def get(self, timeout: float | None = None) -> Any:
        while not self._items:
            self._filled.clear()
            if not self._filled.wait(timeout):
                raise queue.Empty
        return self._items.popleft()


class Queue(SimpleQueue):
    """queue.Queue."""

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__()
        self._maxsize = maxsize
        self.unfinished_tasks = 0

    def full(self) -> bool:
        return 0 < self._maxsize <= len(self._items)

    def put_nowait(self, item: Any) -> None:
        self.unfinished_tasks += 1
        self.put(item)

    def task_done(self) -> None:
        self.unfinished_tasks -= 1


class ThreadPoolExecutor:
    """concurrent.futures.ThreadPoolExecutor: up to `max_workers` tasks at once, of the group whose task submits."""

    def __init__(self, max_workers: int, thread_name_prefix: str = "pool") -> None:
        self._free = max_workers
        self._name = thread_name_prefix
        self._waiting: deque[Callable[[], None]] = deque()

    def submit(self, work: Callable[[], None]) -> None:
        if not self._free:
            self._waiting.append(work)
            return
        self._free -= 1
        scheduler = VirtualTime.scheduler
        scheduler.spawn(scheduler.me.group, self._name, lambda: self._serve(work))

    def map(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        ended = SimpleQueue()

        def do(index: int, item: Any) -> None:
            try:
                ended.put((index, work(item), None))
            except Exception as error:  # noqa: BLE001 - raised where the result is taken
                ended.put((index, None, error))

        count = 0
        for index, item in enumerate(items):
            self.submit(lambda index=index, item=item: do(index, item))  # type: ignore[misc] # as above
            count += 1
        found = sorted((ended.get() for _ in range(count)), key=lambda one: int(one[0]))
        for _, result, error in found:
            if error:
                raise error
            yield result

    def __enter__(self) -> ThreadPoolExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def _serve(self, work: Callable[[], None]) -> None:
        work()
        while self._waiting:
            self._waiting.popleft()()
        self._free += 1
