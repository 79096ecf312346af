"""How a node stands, and its NodeRoute's status that says so.

Every agent watches every NodeRoute, so a status that followed each change of a peer would cost N x N events. It is
written on the node's own transitions: readiness, reason, the generation that it speaks of, the MTU, and the node's
path. The counts of peers by path go along and are as of then. A change of path alone, which many nodes may see at one
time, is told when it has lasted for some seconds, after a random delay that grows with the number of peers: of a node
that joins, which is on nobody's subnet until its source/dest check is off, its neighbours say nothing; and of the first
that sends by another table, nobody whose own NodeRoute soon says that it is routed there.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import Any

from cloudroute.core.cluster.notices import STOPPED
from cloudroute.core.node.desired import DesiredState
from cloudroute.errors import ApiError
from cloudroute.ports import Agents, Clock
from cloudroute.telemetry import ChangeLog
from cloudroute.types import PATHS, NodePath, NodeRoute, Path

_chance = Random()

LASTS_SECONDS = 5.0
"""How long a change of path must last: longer than `--settle-seconds`, for which a new node is on nobody's subnet."""
SPREAD_SECONDS = 0.01
"""Per peer: 5,000 agents that see one change spread their words over 50 s."""
FIRST_RETRY, LAST_RETRY = 0.5, 60.0
MOST_WORDS = 1024
"""Characters of a message, as the CRD limits it."""
_TRANSITIONS = ("ready", "reason", "observedGeneration", "mtu", "path")


@dataclass(frozen=True, slots=True)
class Report:
    """What is to say of a node at one moment."""

    own: NodeRoute | None
    ready: bool
    reason: str
    """One word."""
    message: str
    """What is wrong and what to do; "" while all is well."""
    serves: bool
    """Whether all that the node's own pods stand on is in place."""
    path: NodePath | None = None
    paths: Mapping[Path, int] = field(default_factory=dict)
    mtu: int = 0

    @classmethod
    def of(cls, own: NodeRoute, wanted: DesiredState) -> Report:
        """All is as it is wanted."""
        return cls(own, True, "Ready", "", True, wanted.path, wanted.paths, wanted.mtu)

    @classmethod
    def bad(cls, own: NodeRoute | None, reason: str, message: str) -> Report:
        """Nothing could be programmed."""
        return cls(own, False, reason, message, False)

    def failing(self, reason: str, words: Sequence[str], serves: bool = False) -> Report:
        """The same, with what is wrong."""
        more = f" (and {len(words) - 3} more)" if len(words) > 3 else ""
        return replace(self, ready=False, reason=reason, message="; ".join(words[:3]) + more, serves=serves)

    def stopped(self) -> Report:
        """The same node once its agent has ended."""
        words = (
            "the agent has ended: pods go on, but changes of paths are not taken up until an agent runs here again; if "
            "that lasts, see why the DaemonSet has no running pod on this node"
        )
        return replace(self, ready=False, reason=STOPPED, message=words)

    def status(self, old: Mapping[str, Any], now: float) -> dict[str, Any]:
        """The object's status. `since` moves when readiness or path do; `now` is seconds since the epoch."""
        assert self.own is not None  # noqa: S101 - who has no NodeRoute has no status
        same = old.get("path") == self.path and old.get("ready") == self.ready and isinstance(old.get("since"), str)
        since = old["since"] if same else datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "ready": self.ready,
            "reason": self.reason,
            "message": self.message[:MOST_WORDS],
            "observedGeneration": self.own.generation,
            "mtu": self.mtu,
            "since": since,
            "path": self.path,  # None takes away what was said before
            "paths": {path: self.paths.get(path, 0) for path in PATHS} if self.path else None,
        }

    def same(self, other: Report | None) -> bool:
        """Whether both have the same to say of the same object, but for counts and words."""
        return other is not None and self._transition == other._transition

    @property
    def _transition(self) -> tuple[object, ...]:
        own = self.own
        return own and (own.uid, own.generation), self.ready, self.reason, self.mtu, self.path


class Reporter:
    """A thread that writes the status, so that an API server which hangs delays no repair."""

    def __init__(self, agents: Agents, clock: Clock) -> None:
        self._agents, self._clock = agents, clock
        self._lock = threading.Condition()
        self._report: Report | None = None
        """What is to be written, or just being written."""
        self._not_before = 0.0
        self._stopping = False
        self._writing = False
        self._changes = ChangeLog()
        self.thread = threading.Thread(target=self._run, name="status", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def say(self, report: Report) -> None:
        """Write it, unless the object says so already, or there is none."""
        moved: list[str] = []
        if report.own:
            present = report.own.status
            wanted = report.status(present, self._clock.now())
            moved = [key for key in _TRANSITIONS if wanted[key] != present.get(key)]
        with self._lock:
            if not moved:
                self._report = None
                return
            due, self._report = self._report, report
            if report.same(due):
                return  # its time stands: a write that fails backs off, however many turns there are
            delay = 0.0
            if moved == ["path"]:
                delay = LASTS_SECONDS + _chance.uniform(0, SPREAD_SECONDS * sum(report.paths.values()))
            if delay == 0.0 or due is None:
                self._not_before = self._clock.monotonic() + delay
            self._lock.notify_all()

    def flush(self, timeout: float) -> bool:
        """Write what is to be said at once, and wait until it is written; whether it is."""
        with self._lock:
            self._not_before = 0.0
            self._lock.notify_all()
            return self._lock.wait_for(lambda: self._report is None and not self._writing, timeout)

    def stop(self) -> None:
        """Let the thread end."""
        with self._lock:
            self._stopping = True
            self._lock.notify_all()

    def _run(self) -> None:
        failures = 0
        while report := self._next():
            assert report.own is not None  # noqa: S101 - `say` is given one
            pause = 0.0
            try:
                self._agents.write_status(report.own, report.status(report.own.status, self._clock.now()))
                failures = 0
                self._changes.forget("status")
            except ApiError as error:
                failures += 1
                self._changes.say("status", "can't write the status", warning=True, problem=str(error))
                pause = min(LAST_RETRY, FIRST_RETRY * 2 ** min(failures, 8)) * _chance.uniform(1, 1.5)
            self._done(report, pause)

    def _next(self) -> Report | None:
        """The report that is due; None when the thread is to end."""
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
