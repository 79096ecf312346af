"""Messages on virtual time: a request is on its way, is served at the moment it arrives, and its answer comes back.

Who has sent it may be dead, frozen or out of patience by then: it is served all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tests.simulation.scheduler import Group, Killed, Scheduler
from tests.simulation.threads import Event

T = TypeVar("T")


class Lost(Exception):
    """No answer has come in time."""


@dataclass
class Link:
    """The way of one process to one server. Seconds; `slow` is added to each way."""

    scheduler: Scheduler
    group: Group
    base: float
    slow: float = 0.0
    parted_until: float = 0.0
    """Nothing comes through before."""
    lose_answers: int = 0
    """So many of the next answers are lost."""
    fuse: Callable[[], bool | None] = field(default=lambda: None)
    """Asked at each write: True kills the process before it is sent, False just after, None lets it be."""

    def delay(self) -> float:
        """How long the next message takes."""
        return self.base * self.scheduler.random.uniform(0.5, 3.0) + self.slow * self.scheduler.random.random()

    @property
    def parted(self) -> bool:
        """Whether nothing comes through now."""
        return self.scheduler.now < self.parted_until

    def ask(self, serve: Callable[[], T], timeout: float, write: bool) -> T:
        """Send a request whose answer is what `serve` gives on its arrival. Raises Lost after `timeout` seconds."""
        if not self.group.alive:
            raise Killed
        there = self.delay()
        doomed = self.fuse() if write else None
        if doomed:
            self._die()
        answers: list[T] = []
        answered = Event()

        def arrive() -> None:
            answer = serve()
            if self.lose_answers > 0:
                self.lose_answers -= 1
            elif not self.parted:
                self.scheduler.after(self.delay(), lambda: deliver(answer))

        def deliver(answer: T) -> None:
            answers.append(answer)
            answered.set()

        if not self.parted and there < timeout:
            self.scheduler.after(there, arrive)
        if doomed is False:
            self._die()
        answered.wait(timeout)
        if not answers:
            raise Lost
        return answers[0]

    def _die(self) -> None:
        self.scheduler.told(f"{self.group.name} is killed at a write")
        self.scheduler.kill(self.group)
        raise Killed
