"""Heartbeat of a gateway: its Lease, renewed each second while packets of the VPC find their way here.

The controller routes to gateways that renew their Leases, and away from a silent one. So a renewal says that the last
turn left everything in place, and that the loop goes on taking turns. It has a thread of its own: an API server that
hangs must delay no repair of the kernel.
"""

from __future__ import annotations

import threading

from cloudroute.errors import ApiError
from cloudroute.ports import Agents, Clock
from cloudroute.telemetry import ChangeLog
from cloudroute.types import RENEW_SECONDS, NodeRoute


class Heartbeat:
    """A thread that renews the Lease of a gateway, and waits on any other node. Times are monotonic seconds."""

    def __init__(self, agents: Agents, clock: Clock) -> None:
        self._agents, self._clock = agents, clock
        self._lock = threading.Condition()
        self._own: NodeRoute | None = None
        """NodeRoute of this node while it forwards, else None."""
        self._until = 0.0
        """Time at which the loop is late, and the last turn's word no longer counts."""
        self._not_before = 0.0
        self._stopping = False
        self._changes = ChangeLog()
        self.thread = threading.Thread(target=self._run, name="gateway", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def say(self, own: NodeRoute | None, until: float) -> None:
        """Renew for this NodeRoute, and only until that time unless more is said before; for None: be silent."""
        with self._lock:
            concerned = self._own or own
            self._own, self._until = own, until
            if concerned:
                self._lock.notify_all()

    def expect(self, until: float) -> None:
        """A turn has begun, and will have its say before that time; be silent from then on if it has not."""
        with self._lock:
            self._until = until
            if self._own:
                self._lock.notify_all()

    @property
    def due(self) -> float | None:
        """Time of the next renewal; None while there is to be none."""
        with self._lock:
            return self._due()

    def stop(self) -> None:
        """Make the thread end."""
        with self._lock:
            self._stopping = True
            self._lock.notify_all()

    def renew_next(self) -> bool:
        """Wait until a renewal is due, and try it. Returns False, without one, once the thread must end."""
        own = self._next()
        if own is None:
            return False
        try:
            self._agents.renew_gateway_lease(own)
            self._changes.say("lease", "this gateway's Lease is renewed")
        except ApiError as error:
            self._changes.say("lease", "can't renew this gateway's Lease", warning=True, problem=str(error))
        return True

    def _run(self) -> None:
        while self.renew_next():
            pass

    def _due(self) -> float | None:
        late = max(self._not_before, self._clock.monotonic()) >= self._until
        return None if self._own is None or late else self._not_before

    def _next(self) -> NodeRoute | None:
        """Wait for a due renewal and return the NodeRoute to renew for; None when the thread must end."""
        with self._lock:
            while not self._stopping:
                now, due = self._clock.monotonic(), self._due()
                if due is not None and now >= due:
                    self._not_before = now + RENEW_SECONDS
                    return self._own
                self._lock.wait(None if due is None else due - now)
        return None
