"""The lease: it fences the leader's writes.

`valid_until` is monotonic time: the start of the request that renewed the lease, plus its duration, minus a margin.
No write to AWS starts after it, and one that started before ends within the margin, since AWS timeouts are shorter.
So two leaders never write at once, even if a process hangs or freezes or a wall clock is wrong: another process takes
the lease only after it has seen it unchanged for its whole duration, by its own monotonic clock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from random import Random

import structlog

from cloudroute.config.settings import JITTER
from cloudroute.errors import ApiError, LeaseLost, LostRace
from cloudroute.ports import Clock, Leases
from cloudroute.telemetry import ChangeLog
from cloudroute.types import LeaseRecord, micro_time

log = structlog.get_logger()
_chance = Random()

STANDBY_SECONDS = 0.75
"""Most seconds between two looks of a standby at the lease: an upgrade should not leave a gap of seconds."""


class Lease:
    """Acquires, renews and releases the lease: `turn` is one attempt, `run` the thread that repeats it.

    All times are in seconds. Other processes must wait for `duration`; a renewal counts here for `deadline`, which is
    shorter by the margin. No other process, past ones included, has the same `identity`: a lease that bears it is
    ours, even if the answer to our write was lost.
    """

    def __init__(
        self, leases: Leases, clock: Clock, identity: str, duration: int, deadline: float, period: float
    ) -> None:
        self._leases, self._clock, self._identity = leases, clock, identity
        self._duration, self._deadline, self._period = duration, deadline, period
        self._lock = threading.Lock()
        """Held while a request is under way: a renewal and the release must not race each other."""
        self._record: LeaseRecord | None = None
        """The lease as our last write left it; None when it must be read."""
        self._seen = LeaseRecord("", duration, "", "", -1)
        """The lease as last read while another process held it."""
        self._free_at = 0.0
        """Time when `_seen` will have been unchanged for its whole duration, monotonic seconds."""
        self._valid_until = 0.0
        self._released = False
        self._changes = ChangeLog()
        self.trouble = ""
        """Reason why the last attempt failed, in words; "" when it did not."""
        self.acquired = threading.Event()

    # --- the fence --------------------------------------------------------------------------

    @property
    def held(self) -> bool:
        """Whether a write may start now."""
        return self._clock.monotonic() < self._valid_until

    def check(self) -> None:
        """Raise LeaseLost unless a write may start now."""
        if not self.held:
            raise LeaseLost("the lease could not be renewed in time: this process may not write any more")

    @property
    def lost(self) -> bool:
        """Whether the lease ran out without a release. The clock alone decides: no answer of the API is needed."""
        return self.acquired.is_set() and not self._released and not self.held

    @property
    def identity(self) -> str:
        """Name of this process in the lease."""
        return self._identity

    @property
    def holder(self) -> str:
        """Last known holder of the lease; "" while it is not known, or nobody held it."""
        return self._identity if self.held else (self._record or self._seen).holder

    # --- one attempt ------------------------------------------------------------------------

    def turn(self) -> None:
        """Acquire or renew once; do nothing after the release. Raises no ApiError: `trouble` tells of it."""
        with self._lock:
            if self._released:
                return
            start = self._clock.monotonic()
            try:
                self._renew(start) if self.acquired.is_set() else self._try(start)
            except ApiError as error:
                self._record = None
                self.trouble = str(error)
                self._changes.say("trouble", "lease", warning=True, problem=self.trouble)
            else:
                self.trouble = ""
                self._changes.forget("trouble")

    def _renew(self, start: float) -> None:
        record = self._record or self._leases.read()
        if record is None or record.holder != self._identity:
            self._valid_until = 0.0
            log.error("lease", problem=f"it is {(record.holder if record else '') or 'nobody'}'s by now")
            return
        self._write(start, record)

    def _try(self, start: float) -> None:
        found = self._leases.read()
        if found and (found.holder, found.version) != (self._seen.holder, self._seen.version):
            # Counted from the end of the read, since the renewal that it shows may have begun after the read did.
            self._seen, self._free_at = found, self._clock.monotonic() + found.duration_seconds
        elif found is None and self._seen.version:
            # The Lease object was deleted. Its last holder does not know yet, and may just have renewed it.
            self._seen = replace(self._seen, version="")
            self._free_at = self._clock.monotonic() + self._seen.duration_seconds
        if self._seen.holder not in ("", self._identity) and start < self._free_at:
            return
        free = found or replace(self._seen, version="")
        taken = replace(free, holder=self._identity, acquire_time=self._time(), transitions=free.transitions + 1)
        try:
            self._write(start, taken)
        except LostRace:
            return  # another process was faster: stand by
        if self.held:  # else the answer came too late; the next turn finds the lease ours
            log.info("lease", did="acquired", identity=self._identity, transitions=taken.transitions)
            self.acquired.set()

    def _write(self, start: float, record: LeaseRecord) -> None:
        renewed = replace(record, renew_time=self._time(), duration_seconds=self._duration)
        self._record = self._leases.write(renewed)
        self._valid_until = start + self._deadline

    def _time(self) -> str:
        return micro_time(self._clock.now())

    # --- the thread -------------------------------------------------------------------------

    def run(self, beat: Callable[[], None]) -> None:
        """Repeat attempts until the lease is lost or released.

        An attempt begins each retry period, or when the last one ends if that took longer; on a standby more often, and
        at the moment the holder's lease expires. So a dead leader is replaced within its lease's duration and one retry
        period, and a leader that released its lease within a second.
        """
        while not self._released and not self.lost:
            period = self._period if self.acquired.is_set() else min(self._period, STANDBY_SECONDS)
            due = self._clock.monotonic() + period * _chance.uniform(1, JITTER)
            self.turn()
            beat()
            now = self._clock.monotonic()
            if not self.acquired.is_set() and self._free_at > now:
                due = min(due, self._free_at)
            self._clock.sleep(max(0.0, due - now))

    def release(self) -> None:
        """Release the lease for good, once the last write has ended: another process may lead at once."""
        with self._lock:
            self._released = True
            if not self.held:
                return
            self._valid_until = 0.0
            try:
                record = self._leases.read()  # the answer to the last renewal may have been lost
                if record and record.holder == self._identity:
                    self._leases.write(replace(record, holder="", duration_seconds=1, renew_time=self._time()))
                    log.info("lease", did="released")
            except ApiError as error:
                log.warning("lease", problem=f"not released, it will expire: {error}")


class NoLease:
    """The lease of a process that runs without leader election: always held, never lost."""

    held, lost = True, False
    identity = holder = trouble = ""

    def __init__(self) -> None:
        self.acquired = threading.Event()
        self.acquired.set()

    def check(self) -> None:
        """Nothing to check."""

    def run(self, beat: Callable[[], None]) -> None:
        """Nothing to renew."""

    def release(self) -> None:
        """Nothing to release."""
