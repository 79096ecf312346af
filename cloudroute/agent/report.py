"""The result of a turn, and the NodeRoute status that reports it.

Every agent watches every NodeRoute, so a status that followed each change of a peer would cost N x N events. It is
written on the node's own transitions: readiness, reason, observed generation, MTU, and the node's path. The counts of
peers by path are written along with them and are as of that moment. A change of path alone, which many nodes may see at
one time, is written when it has lasted for some seconds, after a random delay that grows with the number of peers. So
two short changes cause no write: a joining node, whose NodeRoute has no subnet until its source/dest check is off, on
its neighbours; and the first node that sends by another table, on nodes that soon get a route there.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from cloudroute.core.node.desired import DesiredState
from cloudroute.core.node.startup import AgentState, Obstacle
from cloudroute.errors import ApiError
from cloudroute.ports import Agents, Clock
from cloudroute.telemetry import ChangeLog
from cloudroute.types import PATHS, STOPPED, NodePath, NodeRoute, Path, timestamp

_chance = Random()

LASTS_SECONDS = 5.0
"""Seconds that a change of path must last: more than `--settle-seconds`, during which a new node has no subnet."""
SPREAD_SECONDS = 0.01
"""Random delay per peer: 5,000 agents that see one change spread their writes over 50 s."""
FIRST_RETRY, LAST_RETRY = 0.5, 60.0
READY = "Ready"
"""Reason of a node on which all is in place."""
NO_POOL = "GatewayNoPool"
"""Reason of a gateway that does not know the pools: all is in place but transit, so it is ready."""
MOST_WORDS = 1024
"""Longest message in characters: the limit of the CRD."""
_TRANSITIONS = ("ready", "reason", "observedGeneration", "mtu", "path")


@dataclass(frozen=True, slots=True)
class Report:
    """Result of a turn."""

    state: AgentState
    own: NodeRoute | None
    reason: str = ""
    """One CamelCase word; "" in AgentState.LISTING."""
    message: str = ""
    """The problem and its remedy; "" for the reason Ready."""
    path: NodePath | None = None
    paths: Mapping[Path, int] = field(default_factory=dict)
    mtu: int = 0
    transit: bool = False
    """Whether the node forwards packets of the VPC to the pods of all other nodes."""

    @classmethod
    def of(
        cls,
        state: AgentState,
        own: NodeRoute,
        wanted: DesiredState,
        obstacle: Obstacle | None = None,
        *,
        transit: bool = False,
    ) -> Report:
        """Return the report of a node whose kernel was programmed; the message is the obstacle's first three words."""
        reason, words = obstacle or (READY, ())
        more = f" (and {len(words) - 3} more)" if len(words) > 3 else ""
        message = "; ".join(words[:3]) + more
        return cls(state, own, reason, message, wanted.path, wanted.paths, wanted.mtu, transit)

    @property
    def ready(self) -> bool:
        """Whether all is in place that pods need."""
        return self.reason in (READY, NO_POOL)

    @property
    def why(self) -> str:
        """Reason and message; "" while ready."""
        return "" if self.ready else f"{self.reason}: {self.message}"

    def stopped(self) -> Report:
        """Return this report as that of a node whose agent has ended."""
        words = (
            "the agent has ended: pods go on, but changes of paths are not taken up until an agent runs here again; if "
            "that lasts, see why the DaemonSet has no running pod on this node"
        )
        return replace(self, state=AgentState.STOPPED, reason=STOPPED, message=words)

    def status(self, old: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Return the object's status. `since` moves with readiness or path; `now` is in seconds since the epoch."""
        assert self.own is not None  # noqa: S101 - a node without a NodeRoute has no status
        same = old.get("path") == self.path and old.get("ready") == self.ready and isinstance(old.get("since"), str)
        since = old["since"] if same else timestamp(now)
        return {
            "ready": self.ready,
            "reason": self.reason,
            "message": self.message[:MOST_WORDS],
            "observedGeneration": self.own.generation,
            "mtu": self.mtu,
            "since": since,
            "path": self.path,  # None removes the field
            "paths": {path: self.paths.get(path, 0) for path in PATHS} if self.path else None,
        }

    def same(self, other: Report | None) -> bool:
        """Whether both describe the same state of the same object; counts and messages may differ."""
        return other is not None and self._transition == other._transition

    @property
    def _transition(self) -> tuple[object, ...]:
        own = self.own
        return own and (own.uid, own.generation), self.ready, self.reason, self.mtu, self.path


class Reporter:
    """A thread that writes the status, so that a hanging API server delays no repair of the kernel."""

    def __init__(self, agents: Agents, clock: Clock) -> None:
        self._agents, self._clock = agents, clock
        self._lock = threading.Condition()
        self._report: Report | None = None
        """The report to write, or being written."""
        self._said: Report | None = None
        """The last report, whether it needs a write or not."""
        self._not_before = 0.0
        self._stopping = False
        self._writing = False
        self._failures = 0
        """Writes that failed since the last one that did not."""
        self._changes = ChangeLog()
        self.thread = threading.Thread(target=self._run, name="status", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def say(self, report: Report) -> None:
        """Schedule a write, unless there is no object or it has this status already."""
        moved: list[str] = []
        if report.own:
            present = self._present(report.own)
            wanted = report.status(present, self._clock.now())
            moved = [key for key in _TRANSITIONS if wanted[key] != present.get(key)]
        with self._lock:
            self._said = report
            if not moved:
                self._report = None
                return
            due, self._report = self._report, report
            if report.same(due):
                return  # keep the time: turns must not shorten the back-off of a failing write
            delay = 0.0
            if moved == ["path"]:
                delay = LASTS_SECONDS + _chance.uniform(0, SPREAD_SECONDS * sum(report.paths.values()))
            if delay == 0.0 or due is None:
                self._not_before = self._clock.monotonic() + delay
            self._lock.notify_all()

    def _present(self, own: NodeRoute) -> Mapping[str, object]:
        """Return the status as it is now: our own last write may be later than what the turn has seen."""
        now = self._agents.node_routes.items().get(own.name)
        return now.status if now and now.uid == own.uid else own.status

    @property
    def due(self) -> float | None:
        """Monotonic time of the next write; None while there is nothing to write."""
        with self._lock:
            return self._not_before if self._report else None

    def flush(self, timeout: float) -> bool:
        """Write a pending report now; wait up to `timeout` seconds and return whether it is written."""
        with self._lock:
            self._not_before = 0.0
            self._lock.notify_all()
            return self._lock.wait_for(lambda: self._report is None and not self._writing, timeout)

    def stop(self) -> None:
        """Make the thread end."""
        with self._lock:
            self._stopping = True
            self._lock.notify_all()

    def write_next(self) -> bool:
        """Wait until a report is due, and write it. Returns False, without a write, once the thread must end."""
        report = self._next()
        if report is None:
            return False
        assert report.own is not None  # noqa: S101 - `say` drops reports without one
        pause = 0.0
        try:
            self._agents.write_status(report.own, report.status(report.own.status, self._clock.now()))
            self._failures = 0
            self._changes.forget("status")
        except ApiError as error:
            self._failures += 1
            self._changes.say("status", "can't write the status", warning=True, problem=str(error))
            pause = min(LAST_RETRY, FIRST_RETRY * 2 ** min(self._failures, 8)) * _chance.uniform(1, 1.5)
        if not pause and self._said and self._said is not report:
            self.say(self._said)  # it was compared with the status from before this write
        self._done(report, pause)
        return True

    def _run(self) -> None:
        while self.write_next():
            pass

    def _next(self) -> Report | None:
        """Wait for a due report and return it; None when the thread must end."""
        with self._lock:
            while not self._stopping:
                now = self._clock.monotonic()
                if self._report and now >= self._not_before:
                    self._writing = True
                    return self._report
                self._lock.wait(self._not_before - now if self._report else None)
        return None

    def _done(self, report: Report, pause: float) -> None:
        with self._lock:
            self._writing = False
            if pause:
                self._not_before = self._clock.monotonic() + pause
            elif report.same(self._report):
                self._report = None
            self._lock.notify_all()
