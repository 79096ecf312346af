"""The controller's process: its threads, and how it ends.

Main thread: supervision. Reflectors: from the start, so that a standby knows the cluster when it takes over. Loop
thread: checks the settings against the first lists, waits for the lease, then leads. Lease thread: from that check on,
one attempt each retry period, so that no large decode ever delays a renewal.
A thread that dies ends the process; so does a lost lease, at once, since another process may lead by now.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from cloudroute.config import ControllerSettings
from cloudroute.controller.lease import Lease, NoLease
from cloudroute.controller.loop import Loop
from cloudroute.errors import CloudrouteError, LeaseLost, UsageError
from cloudroute.ports import Cluster
from cloudroute.telemetry import ControllerTelemetry

GLANCE_SECONDS = 0.1
PATIENCE_SECONDS = 10.0
"""Seconds that `--once` waits for the first lists while the API server fails to serve them."""
_HELD = "another process holds and renews the lease: stop it, or let it do the work"


class Controller:
    """Joins cluster, lease and loop. Call `run` in the main thread; a signal handler may set `stop`."""

    def __init__(
        self,
        settings: ControllerSettings,
        cluster: Cluster,
        lease: Lease | NoLease,
        make_loop: Callable[[], Loop],
        telemetry: ControllerTelemetry,
    ) -> None:
        self._settings, self._cluster, self._lease = settings, cluster, lease
        self._make_loop, self._telemetry = make_loop, telemetry
        self._loop: Loop | None = None
        self._failure: BaseException | None = None
        self._ended = threading.Event()
        """The loop thread has ended, or another thread has failed: `_failure`, if any, is set before."""
        self._complete = not settings.once
        self.stop = threading.Event()

    def run(self) -> bool:
        """Run until stopped, or with `--once` until done. Returns True, with `--once` only if nothing was left to do.

        When stopped, it lets the steps under way end, releases the lease and returns. Raises LeaseLost, or the error
        that ended a thread, at once: a call may still hang then, so the caller must end the process without waiting
        for threads.
        """
        self._telemetry.leader(leads=False)
        self._cluster.start(self._wake)
        try:
            self._start("loop", self._lead)
            while not self._ended.wait(GLANCE_SECONDS):
                self._look_after()
                if self.stop.is_set():
                    self._wake()
        finally:
            self.stop.set()
        if self._failure and not isinstance(self._failure, UsageError):
            # The lease is not released: steps may still be under way.
            raise self._failure
        self._look_after()
        self._lease.release()
        self._telemetry.leader(leads=False)
        self._cluster.stop()
        if self._failure:
            raise self._failure  # the settings contradict the cluster or the VPC: found before the first step
        return self._complete

    def _look_after(self) -> None:
        if self._lease.lost:
            raise LeaseLost("the lease is lost: this process ends, another leads")
        if thread := self._cluster.dead():
            raise CloudrouteError(f"the thread {thread} has ended, its error is above: this process ends, too")

    def _wake(self) -> None:
        if self._loop:
            self._loop.wake()

    # --- threads ----------------------------------------------------------------------------

    def _start(self, name: str, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - any error: the process can't go on without this thread
                self._failure = self._failure or error
                self._ended.set()

        threading.Thread(target=run, name=name, daemon=True).start()

    def _keep_lease(self) -> None:
        within = 2 * self._settings.lease_duration
        self._lease.run(lambda: self._telemetry.beat("lease", within))
        self._telemetry.forget("lease")

    def _lead(self) -> None:
        # A standby opens its clients before it leads, since that takes half a second.
        self._telemetry.not_ready("the first lists of the API server have not arrived")
        if self._await_cluster():
            self._telemetry.not_ready("the clients of AWS are not there yet")
            loop = self._make_loop()
            # Checked before asking for the lease, so that a leader with the former settings goes on.
            loop.check()
            self._loop = loop
            self._telemetry.ready()
            self._start("lease", self._keep_lease)
            if self._await_lease():
                loop.check()  # again: a leader with one more pool may have assigned CIDRs of it meanwhile
                self._complete = loop.run(self.stop)
        self._telemetry.forget("loop")
        self._ended.set()

    def _await_lease(self) -> bool:
        self._telemetry.forget("loop")
        patience = self._settings.lease_duration + 2 * self._settings.retry_period
        waited = 0.0
        while not self._lease.acquired.wait(GLANCE_SECONDS):
            if self.stop.is_set():
                return False
            waited += GLANCE_SECONDS
            if self._settings.once and waited > patience:
                raise CloudrouteError(self._lease.trouble or _HELD)
        self._telemetry.leader(leads=True)
        return True

    def _await_cluster(self) -> bool:
        stores = (self._cluster.nodes, self._cluster.node_routes, self._cluster.route_table_objects)
        troubled = 0.0
        while not self.stop.is_set():
            self._telemetry.beat("loop", 120)
            if all(store.wait_synced(GLANCE_SECONDS) for store in stores):
                return True
            troubled = troubled + GLANCE_SECONDS if self._cluster.trouble else 0.0
            if self._settings.once and troubled > PATIENCE_SECONDS:
                raise CloudrouteError(self._cluster.trouble)
        return False
