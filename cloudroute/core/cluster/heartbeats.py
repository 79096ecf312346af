"""Heartbeats of gateways: renewals of their Leases, judged on the controller's own clock.

A gateway is silent when its Lease has not changed for its duration while others did. Time in which no Lease at all
changes counts for nobody: then the API server is away, or only one gateway is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cloudroute.types import Pulse, Renewal

QUIET_SECONDS = 1.5
"""Seconds without any renewal after which time counts for nobody: gateways renew their Leases each second."""


@dataclass(frozen=True, slots=True)
class Heartbeats:
    """Renewals heard so far. Times are monotonic seconds."""

    seconds: float
    """Duration of a gateway's Lease."""
    seen: Mapping[str, Renewal] | None = field(default=None, hash=False)
    """By node: the renewal last seen. None before the first list, which does not tell how old its times are."""
    heard: Mapping[str, float] = field(default_factory=dict, hash=False)
    """By node: time of the last renewal."""
    start: float = 0.0
    """Time of the first list."""
    last: float = 0.0
    """Time of the last renewal of any gateway, or of the first list."""

    def see(self, renewals: Mapping[str, Renewal], now: float) -> Heartbeats:
        """Note the Leases as they are now: the last renewal by node."""
        if self.seen is None:
            return replace(self, seen=renewals, start=now, last=now)
        news = [name for name, renewal in renewals.items() if self.seen.get(name) != renewal]
        heard = {name: at for name, at in self.heard.items() if name in renewals}
        if not news:
            return replace(self, seen=renewals, heard=heard)
        pause = max(0.0, now - self.last - QUIET_SECONDS)
        heard = {name: at + pause for name, at in heard.items()} | dict.fromkeys(news, now)
        return replace(self, seen=renewals, heard=heard, start=self.start + pause, last=now)

    def judge(self, now: float) -> Pulse:
        """Say which gateways renew their Leases."""
        if self.seen is None:
            return Pulse()
        counted = min(now, self.last + QUIET_SECONDS)
        end = self.start + self.seconds
        fresh = {name: self.seen[name].owner for name, at in self.heard.items() if counted < at + self.seconds}
        return Pulse(fresh, judged=counted >= end, settled=now >= end)

    def next_change(self, now: float) -> float:
        """Earliest time at which a gateway may fall silent or be judged unless its Lease is renewed before.

        It holds however often others renew theirs, until `start` has moved: then a pause has moved all times.
        """
        ends = [at + self.seconds for at in (self.start, *self.heard.values())]
        return min([end for end in ends if now < end], default=float("inf"))
