"""Processes that compete for one lease, in simulated time.

Each process is a thread, but only one runs at any moment: whoever sleeps or waits for an answer hands over to the
event that comes next. So a schedule of delays, lost answers and pauses plays out the same every time, and thousands of
simulated seconds take one.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cloudroute.controller import Lease
from cloudroute.errors import LostRace, Unreachable
from cloudroute.types import LeaseRecord

DURATION, DEADLINE, PERIOD = 15, 10.0, 2.0
"""Seconds, of every lease here."""
TIMEOUT = DEADLINE / 3


class Killed(BaseException):
    """The process is no more."""


@dataclass(frozen=True)
class Call:
    """Draw the fate of one request: seconds to the server and back, and whether the answer or the request is lost."""

    there: float = 0.01
    back: float = 0.01
    fate: Literal["answered", "answer lost", "request lost"] = "answered"


class Simulation:
    """Simulated time, and what happens in it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.shift = 0.0
        """Added to what every clock shows."""
        self.processes: list[Process] = []
        self.lease = LeaseRecord("", 0, "", "", -1)
        """Version "" while there is none."""
        self._versions = itertools.count(1)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, time: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), event))

    def play(self, seconds: float) -> Iterator[None]:
        """Let `seconds` pass; yields after each event."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            time, _, event = heapq.heappop(self._events)
            self.now = time
            event()
            yield
        self.now = end

    def commit(self, record: LeaseRecord) -> LeaseRecord | None:
        """A write arrives at the server; None is a conflict."""
        if record.version != self.lease.version:
            return None
        self.lease = replace(record, version=str(next(self._versions)))
        return self.lease

    def close(self) -> None:
        for process in self.processes:
            process.kill()


class Process:
    """One process with a lease: `ports.Clock` and `ports.Leases` for it, and the thread that runs it.

    `calls` are what becomes of its requests, in order, over and over. In `pauses`, (start, seconds), it does not run.
    """

    def __init__(
        self,
        simulation: Simulation,
        name: str,
        calls: Sequence[Call],
        pauses: Sequence[tuple[float, float]] = (),
        offset: float = 0.0,
    ) -> None:
        self.simulation, self._offset = simulation, offset
        self._pauses = [(simulation.now + start, simulation.now + start + seconds) for start, seconds in pauses]
        self._calls = itertools.cycle(calls or [Call()])
        self.lease = Lease(self, self, name, DURATION, DEADLINE, PERIOD)
        self.alive = True
        self._mine, self._theirs = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._live, daemon=True)
        simulation.processes.append(self)

    # --- life -------------------------------------------------------------------------------

    def start(self, life: Callable[[Process], None]) -> None:
        self._life = life
        self._thread.start()
        self.simulation.at(self.simulation.now, self._resume)

    def kill(self) -> None:
        """SIGKILL: what it has sent goes on, it does not."""
        if self.alive:
            self.alive = False
            self._hand_over()
            self._thread.join()

    def _live(self) -> None:
        self._mine.acquire()
        try:
            if self.alive:
                self._life(self)
        except Killed:
            pass
        finally:
            self.alive = False
            self._theirs.release()

    def _resume(self) -> None:
        for start, end in self._pauses:
            if start <= self.simulation.now < end:
                self.simulation.at(end, self._resume)
                return
        if self.alive:
            self._hand_over()

    def _hand_over(self) -> None:
        self._mine.release()
        self._theirs.acquire()

    def _wait(self, seconds: float) -> None:
        self.simulation.at(self.simulation.now + seconds, self._resume)
        self._theirs.release()
        self._mine.acquire()
        if not self.alive:
            raise Killed

    # --- ports.Clock ------------------------------------------------------------------------

    def monotonic(self) -> float:
        return self.simulation.now + self._offset + self.simulation.shift

    def now(self) -> float:
        return self.simulation.now + self._offset * 1000

    def sleep(self, seconds: float) -> None:
        self._wait(seconds)

    # --- ports.Leases -----------------------------------------------------------------------

    def read(self) -> LeaseRecord | None:
        answer = self._ask(lambda: self.simulation.lease)
        return answer if answer and answer.version else None

    def write(self, record: LeaseRecord) -> LeaseRecord:
        answer = self._ask(lambda: self.simulation.commit(record))
        if answer is None:
            raise LostRace("update leases", "lease", "409", "somebody was faster")
        return answer

    def _ask(self, serve: Callable[[], LeaseRecord | None]) -> LeaseRecord | None:
        """A request that arrives, or not, and is served at that moment even if nobody waits for the answer any more."""
        call = next(self._calls)
        answers: list[LeaseRecord | None] = []
        if call.fate != "request lost":
            self.simulation.at(self.simulation.now + call.there, lambda: answers.append(serve()))
        seconds = call.there + call.back
        if call.fate == "answered" and seconds < TIMEOUT:
            self._wait(seconds)
            return answers[0]
        self._wait(TIMEOUT)
        raise Unreachable("update leases", "lease", "", "timed out")
