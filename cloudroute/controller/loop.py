"""The leader's loop: one cycle after the other, as often as needed and not more often than useful.

    reader      one snapshot of Kubernetes and EC2
    reconciler  one cycle: snapshot, plan, apply, sentence
    loop        pacing: when the next cycle starts

It is level-triggered. An event only says "look again"; every step follows from the snapshot alone.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cloudroute.config import ControllerSettings
from cloudroute.controller.announce import Announcer
from cloudroute.controller.reader import Reader
from cloudroute.controller.reconciler import BUDGET_SECONDS, Reconciler, Turn
from cloudroute.controller.status_page import StatusPage
from cloudroute.core.cluster.model import Snapshot
from cloudroute.ports import Clock, Cluster, Ec2, Fence, Kube
from cloudroute.telemetry import ControllerTelemetry
from cloudroute.types import Pulse

DEBOUNCE_SECONDS = 0.01
"""A Node and its first status come as two events: one cycle for both."""
PACE_SECONDS = 0.0004
"""The least time from one cycle's start to the next's, for each node and each step that is left. A cycle costs CPU for
each, and a burst lasts as long as it has steps, so without it their product is the square."""
MOST_PACE_SECONDS = 8.0
"""Meanwhile the call budget gets 40 tokens back and holds 44: none is lost."""
IDLE_SECONDS = 10.0
"""The longest the loop sleeps, so that its thread is seen to live."""
HANG_SECONDS = 120.0
"""Each cycle, EC2 call and step that ends is a beat of the loop's thread: a longer silence means that it hangs."""


class Loop:
    """The leader's work. `turn` is one cycle; `run` is the thread that repeats it.

    `leave` makes it remove everything that is ours. `own_vpc` returns the VPC of this machine, "" if none.
    """

    def __init__(
        self,
        *,
        settings: ControllerSettings,
        cluster: Cluster,
        kube: Kube,
        ec2: Ec2,
        fence: Fence,
        clock: Clock,
        telemetry: ControllerTelemetry,
        leave: bool = False,
        page: StatusPage | None = None,
        own_vpc: Callable[[], str] = lambda: "",
    ) -> None:
        self._cluster, self._clock, self._telemetry = cluster, clock, telemetry
        self._once = settings.once
        self.reader = Reader(
            settings=settings, cluster=cluster, kube=kube, ec2=ec2, clock=clock, leave=leave, own_vpc=own_vpc
        )
        self._reconciler = Reconciler(
            reader=self.reader,
            announcer=Announcer(cluster=cluster, kube=kube, clock=clock, telemetry=telemetry, page=page),
            cluster=cluster,
            kube=kube,
            ec2=ec2,
            fence=fence,
            clock=clock,
            resync_seconds=settings.resync_seconds,
            beat=self._beat,
        )
        self._dirty = threading.Event()
        self._last = Turn()
        self._pulse = Pulse()
        """The gateways that renewed their Leases when the last cycle started."""

    def wake(self) -> None:
        """Request a cycle because something changed."""
        self._dirty.set()

    def check(self) -> None:
        """Raise UsageError where a pod CIDR of the cluster lies in no pool. Needs the cluster's lists, but no lease."""
        self.reader.check()

    def snapshot(self) -> Snapshot:
        """Return what the next cycle would decide on, without a read of EC2."""
        return self._reconciler.snapshot()

    def run(self, stop: threading.Event) -> bool:
        """Run cycles until stopped, or with `--once` until all is done.

        Returns False only with `--once`: all remaining steps keep failing, or it was stopped before the end.
        """
        while not stop.is_set():
            self._dirty.clear()
            start = self._clock.monotonic()
            self._pulse = self._cluster.heartbeats.judge(start)
            turn = self.turn(stop)
            if self._once and (turn.settled or turn.stuck):
                return turn.settled
            self._rest(turn.next_at, start + self.pace(), stop)
        return not self._once

    def turn(self, stop: threading.Event) -> Turn:
        """Run one cycle. Raises LeaseLost, and UsageError where the settings contradict the VPC."""
        with _without_gc():
            self._last = self._reconciler.turn(stop)
        return self._last

    def pace(self) -> float:
        """Seconds from the start of the last cycle to that of the next, at least.

        What waits for the budget is not looked at for each write that shows, or each token would have its own cycle.
        """
        if self._last.urgent:
            return 0.0
        least = min(MOST_PACE_SECONDS, PACE_SECONDS * (len(self._cluster.nodes.items()) + self._last.left))
        return max(least, BUDGET_SECONDS) if self._last.deferred else least

    def _rest(self, until: float, soonest: float, stop: threading.Event) -> None:
        """Until a time, or until something has changed; in any case until `soonest`, a gateway's silence, or a stop."""
        while not stop.is_set() and not self._gateway_changed():
            self._beat()
            now = self._clock.monotonic()
            left = min(until, self._cluster.heartbeats.next_change(now)) - now
            if until <= now:
                break
            if self._dirty.wait(min(left, IDLE_SECONDS)):
                self._clock.sleep(DEBOUNCE_SECONDS)
                break
        while (now := self._clock.monotonic()) < soonest and not stop.is_set() and not self._gateway_changed():
            stop.wait(min(soonest, self._cluster.heartbeats.next_change(now)) - now)

    def _gateway_changed(self) -> bool:
        """Whether a gateway fell silent or was first heard since the last cycle started: a failover can't wait."""
        return self._cluster.heartbeats.judge(self._clock.monotonic()) != self._pulse

    def _beat(self) -> None:
        self._telemetry.beat("loop", HANG_SECONDS)


@contextmanager
def _without_gc() -> Iterator[None]:
    """Pause the search for reference cycles.

    The objects that a cycle of the loop makes for each node and step die at its end. Searching them meanwhile would
    take a third of its time with 10,000 nodes, and a larger share with more.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
