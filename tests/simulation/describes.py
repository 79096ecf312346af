"""The state that EC2's describes show, which may be older than what EC2 has done.

Sources: "Eventual consistency in the Amazon EC2 API" (Amazon EC2 Developer Guide): the result of a command might not be
visible to the commands after it, for a couple of seconds up to minutes, and InvalidInstanceID.NotFound does not mean
that the instance does not exist. hashicorp/terraform#7463: the DescribeRouteTables after a CreateRoute did not list the
route, so it was created again and refused with RouteAlreadyExists. elifesciences/builder#432: a describe returned no
instance at all after earlier ones had returned all of them as running.

Describes of one resource go forward in time, on which the correction of describes by own writes relies; two resources
may be of different age. Only `leave_out` goes back, to a time before the instance existed.
"""

from __future__ import annotations

from collections.abc import Collection

from tests.simulation.scheduler import START, Scheduler

NEVER = 0.0
"""A time at which no resource existed."""


class Describes:
    """Times are the scheduler's, in seconds."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._frozen_at, self._lag = 0.0, 0.0
        self._spread = 0.0
        """Greatest age of a resource, drawn anew at each describe; 0 while EC2 is consistent."""
        self._left_out: Collection[str] = ()
        self._shown: dict[str, float] = {}

    def freeze(self, seconds: float, lag: float) -> None:
        """Show the state of now for up to `lag` seconds, and of `lag` seconds ago after that."""
        if not self._lag:
            self._frozen_at, self._lag = self._scheduler.now, lag
            self._scheduler.after(seconds, lambda: setattr(self, "_lag", 0.0))

    def spread(self, seconds: float, most: float) -> None:
        """Show each resource as it was at most `most` seconds ago, another age at each describe."""
        if not self._spread:
            self._spread = most
            self._scheduler.after(seconds, lambda: setattr(self, "_spread", 0.0))

    def leave_out(self, seconds: float, instance_ids: Collection[str]) -> None:
        """Show no instance of these."""
        if not self._left_out:
            self._left_out = frozenset(instance_ids)
            self._scheduler.after(seconds, lambda: setattr(self, "_left_out", ()))

    def as_of(self, resource_id: str) -> float:
        """Time of the state that a describe shows now of a resource."""
        if resource_id in self._left_out:
            return NEVER
        now = self._scheduler.now
        time = max(self._frozen_at, now - self._lag) if self._lag else now
        if self._spread:
            time = min(time, now - self._scheduler.random.uniform(0, self._spread))
        self._shown[resource_id] = max(time, self.shown(resource_id))
        return self._shown[resource_id]

    def shown(self, resource_id: str) -> float:
        """Time of the state of a resource that the last describe has shown."""
        return self._shown.get(resource_id, START)
