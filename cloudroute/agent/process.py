"""The agent's process: its threads, and its shutdown.

Main thread: supervision. Loop thread: all decisions and all writes to the kernel. Two threads write to Kubernetes: one
the status, one the Lease of a gateway. Reflectors, and the threads that listen to the kernel, only mark kinds to read.
A thread that dies ends the process. The kernel always stays as it is: pods keep running, and the next process takes
over the entries it finds. On a signal the last status says that the agent has stopped: the controller then keeps the
routes that this node uses. A gateway's Lease is just renewed no more.
"""

from __future__ import annotations

import threading

from cloudroute.agent.gateway import Heartbeat
from cloudroute.agent.loop import Loop, Turn
from cloudroute.agent.report import Reporter
from cloudroute.config import AgentSettings
from cloudroute.core.node.startup import AgentState
from cloudroute.errors import CloudrouteError
from cloudroute.ports import Agents, Clock, Kernel
from cloudroute.telemetry import AgentTelemetry

GLANCE_SECONDS = 2.0
"""Seconds between two checks for dead threads. A check costs a tenth of a millisecond."""
END_SECONDS = 0.1
PATIENCE_SECONDS = 30.0
"""Longest run of `--once`."""
FLUSH_SECONDS = 5.0
"""Longest wait for the last status at the end: half of the DaemonSet's terminationGracePeriodSeconds."""


class Agent:
    """Joins kernel, cluster and loop. Only the main thread may call `run`; a signal handler may set `stop`."""

    def __init__(
        self, settings: AgentSettings, agents: Agents, kernel: Kernel, clock: Clock, telemetry: AgentTelemetry
    ) -> None:
        self._settings, self._agents, self._kernel = settings, agents, kernel
        self._clock, self._telemetry = clock, telemetry
        self._reporter = Reporter(agents, clock)
        self._heartbeat = Heartbeat(agents, clock)
        self._loop = Loop(settings, agents, kernel, clock, telemetry, self._reporter, self._heartbeat)
        self._failure: BaseException | None = None
        self._last: Turn | None = None
        self._ended = threading.Event()
        self.stop = threading.Event()

    def run(self) -> None:
        """Run until stopped, or with `--once` until all is in place. Raises CloudrouteError if `--once` times out."""
        self._telemetry.not_ready("the first lists of the API server have not arrived")
        self._kernel.listen(self._loop.wake)
        self._agents.start(self._loop.wake)
        self._reporter.start()
        if not self._settings.once:
            self._heartbeat.start()
        threading.Thread(target=self._work, name="loop", daemon=True).start()
        deadline = self._clock.monotonic() + PATIENCE_SECONDS if self._settings.once else float("inf")
        try:
            # A signal sets `stop`, and so does the end of the loop: neither waits for the next check.
            while not self.stop.wait(GLANCE_SECONDS) and self._clock.monotonic() < deadline:
                self._check_threads()
        finally:
            self.stop.set()
            self._loop.wake()
        while not self._ended.wait(END_SECONDS):
            self._check_threads()
        self._heartbeat.stop()
        if self._failure:
            raise self._failure
        if not self._settings.once and self._last:
            self._reporter.say(self._last.report.stopped())
        self._reporter.flush(FLUSH_SECONDS)
        self._reporter.stop()
        self._agents.stop()
        self._kernel.close()
        if self._settings.once:
            self._check_ready()

    def _check_ready(self) -> None:
        """Raise CloudrouteError unless all is in place."""
        if self._last is None or self._last.report.state is AgentState.LISTING:
            raise CloudrouteError(self._agents.trouble or "the API server has not given its lists")
        if not self._last.report.ready:
            raise CloudrouteError(self._last.report.why)

    def _check_threads(self) -> None:
        if thread := self._agents.dead() or self._kernel.dead():
            raise CloudrouteError(f"the thread {thread} has ended, its error is above: this process ends, too")
        for own in (self._reporter.thread, *([] if self._settings.once else [self._heartbeat.thread])):
            if not own.is_alive():
                raise CloudrouteError(f"the thread {own.name} has ended, its error is above: this process ends, too")

    def _work(self) -> None:
        def ended(turn: Turn) -> bool:
            return self._settings.once and turn.report.ready

        try:
            self._last = self._loop.run(self.stop, ended)
        except BaseException as error:  # noqa: BLE001 - on any error: without its loop the process must end
            self._failure = error
        finally:
            self._telemetry.forget("loop")
            self._ended.set()
            self.stop.set()
