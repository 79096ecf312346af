"""Heartbeats of gateways: renewals of their Leases, judged on the controller's own clock.

A gateway is silent when its Lease has not changed for its duration while others did. Time in which no Lease at all
changes counts for nobody: then the API server is away, or only one gateway is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cloudroute.types import NO_PULSE, Pulse, Renewal

QUIET_SECONDS = 1.5
"""Seconds without any renewal after which time counts for nobody: gateways renew their Leases each second."""


class Heard(NamedTuple):
    """A gateway that renews its Lease."""

    at: float
    """Time of its last renewal."""
    owner: str
    """As in `Renewal`."""


class Heartbeats:
    """Renewals heard so far, of Leases that last `seconds`. Times are monotonic seconds. Not thread-safe.

    A renewal costs the same however many gateways there are: N of them bring N renewals a second.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.heard: dict[str, Heard] = {}
        """By node, the longest silence first."""
        self._fresh: Mapping[str, str] | None = None
        """As in `Pulse`; None after a change of `heard`."""
        self._seen: dict[str, Renewal] | None = None
        """By node: the renewal last seen. None before the first list, which does not tell how old its times are."""
        self._start = 0.0
        """Time of the first list."""
        self._last = 0.0
        """Time of the last renewal of any gateway, or of the first list."""

    @property
    def listening(self) -> bool:
        """Whether the first list is there."""
        return self._seen is not None

    def see_all(self, renewals: Mapping[str, Renewal], now: float) -> bool:
        """Note all Leases as they are now, by node. Returns what `see` does."""
        if self._seen is None:
            self._seen, self._start, self._last = dict(renewals), now, now
            return True
        for name in self._seen.keys() - renewals.keys():
            self.forget(name)
        looks = [self.see(name, renewal, now) for name, renewal in renewals.items()]
        return any(looks)

    def see(self, name: str, renewal: Renewal, now: float) -> bool:
        """Note the Lease of a node as it is now. Returns whether a loop that rests must look again.

        It must when the gateway was silent or is new, and after a pause, which has moved the times of all silences.
        """
        if self._seen is None or self._seen.get(name) == renewal:
            return False
        self._seen[name] = renewal
        paused = self._end_pause(now)
        before = self.heard.pop(name, None)
        self.heard[name] = Heard(now, renewal.owner)
        if before and before.owner == renewal.owner:
            return paused
        self._fresh = None
        return True

    def forget(self, name: str) -> None:
        """Note that a node has no Lease any more."""
        if self._seen:
            self._seen.pop(name, None)
        self._silence(name)

    def judge(self, now: float) -> Pulse:
        """Say which gateways renew their Leases."""
        if self._seen is None:
            return NO_PULSE
        counted = min(now, self._last + QUIET_SECONDS)
        while self.heard and counted >= next(iter(self.heard.values())).at + self._seconds:
            self._silence(next(iter(self.heard)))
        if self._fresh is None:
            self._fresh = {name: heard.owner for name, heard in self.heard.items()}
        end = self._start + self._seconds
        return Pulse(self._fresh, judged=counted >= end, settled=now >= end)

    def next_change(self, now: float) -> float:
        """Earliest time at which a gateway may fall silent or be judged unless its Lease is renewed before.

        It holds however often others renew theirs, until a pause has moved all times.
        """
        ends = (heard.at + self._seconds for heard in self.heard.values())
        first = next((end for end in ends if now < end), float("inf"))
        judged = self._start + self._seconds
        return min(first, judged) if now < judged else first

    def _end_pause(self, now: float) -> bool:
        """Leave out the time without any renewal that ends now. Returns whether there was any."""
        pause, self._last = now - self._last - QUIET_SECONDS, now
        if pause <= 0:
            return False
        self._start += pause
        self.heard = {name: heard._replace(at=heard.at + pause) for name, heard in self.heard.items()}
        return True

    def _silence(self, name: str) -> None:
        if self.heard.pop(name, None):
            self._fresh = None
