"""Requests on virtual time: each is served when it arrives, and its answer takes time to come back.

A request in flight is served even if its sender has died, is frozen or has timed out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tests.simulation.scheduler import Group, Killed, Scheduler
from tests.simulation.threads import Event

T = TypeVar("T")


class Lost(Exception):
    """No answer came within the timeout."""


@dataclass
class Link:
    """The network between one process and one server. Times are in seconds."""

    scheduler: Scheduler
    group: Group
    base: float
    """Delay of a message; each draws a factor from 0.5 to 3."""
    slow: float = 0.0
    """Upper bound of the time that is added to a message's delay at random."""
    partitioned_until: float = 0.0
    """End of a partition, in which no message arrives."""
    lose_answers: int = 0
    """Number of the next answers that are lost."""
    kill_at_write: Callable[[], bool | None] = field(default=lambda: None)
    """Called at each write: True kills the process before sending it, False just after, None does not kill it."""

    def delay(self) -> float:
        """Draw the delay of the next message."""
        return self.base * self.scheduler.random.uniform(0.5, 3.0) + self.slow * self.scheduler.random.random()

    @property
    def partitioned(self) -> bool:
        """Whether no message arrives now."""
        return self.scheduler.now < self.partitioned_until

    def ask(self, serve: Callable[[], T], timeout: float, *, write: bool) -> T:
        """Send a request; `serve` is called on its arrival and returns the answer. Raises Lost after `timeout` s."""
        if not self.group.alive:
            raise Killed
        there = self.delay()
        doomed = self.kill_at_write() if write else None
        if doomed:
            self._die()
        answers: list[T] = []
        answered = Event()

        def arrive() -> None:
            answer = serve()
            if self.lose_answers > 0:
                self.lose_answers -= 1
            elif not self.partitioned:
                self.scheduler.after(self.delay(), lambda: deliver(answer))

        def deliver(answer: T) -> None:
            answers.append(answer)
            answered.set()

        if not self.partitioned and there < timeout:
            self.scheduler.after(there, arrive)
        if doomed is False:
            self._die()
        answered.wait(timeout)
        if not answers:
            raise Lost
        return answers[0]

    def _die(self) -> None:
        self.scheduler.record(f"{self.group.name} is killed at a write")
        self.scheduler.kill(self.group)
        raise Killed
