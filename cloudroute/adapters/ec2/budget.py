"""One token bucket per EC2 action, kept so that AWS's own bucket never runs dry.

The idea: size and refill rate of AWS's bucket are known, so a model of it on this side, a margin lower, tells before a
request is sent whether it would be throttled. Other users of the account show as a throttling answer, which tells the
level of AWS's bucket at this moment: empty.

Sources: "Request throttling for the Amazon EC2 API" (Amazon EC2 Developer Guide) for the EC2 actions, "Service quotas
for Service Quotas" for the last two.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import NamedTuple

from cloudroute.ports import Clock


class Bucket(NamedTuple):
    """A bucket as AWS publishes it: `capacity` in calls, `refill` in calls per second."""

    capacity: int
    refill: int

    @property
    def margin(self) -> int:
        """Tokens by which our model stays below AWS's bucket.

        AWS refills "every second", at an instant that we do not know, so our smooth refill may be one second's tokens
        ahead of it. One more is for the network: requests sent at even intervals may arrive closer together.
        """
        return self.refill + 1


_READ = Bucket(100, 20)
"""Non-mutating actions, provided they are filtered or paginated: all of ours are both."""
_ROUTE = Bucket(50, 5)
_QUOTA = Bucket(10, 5)
"""Five a second and five more in one burst."""

BUCKETS: Mapping[str, Bucket] = {
    "DescribeRouteTables": _READ,
    "DescribeInstances": _READ,
    "DescribeSubnets": _READ,
    "DescribeManagedPrefixLists": _READ,
    "CreateRoute": _ROUTE,
    "ReplaceRoute": _ROUTE,
    "DeleteRoute": _ROUTE,
    "ModifyNetworkInterfaceAttribute": Bucket(100, 5),
    "GetServiceQuota": _QUOTA,
    "GetAWSDefaultServiceQuota": _QUOTA,
}


class Budget:
    """The buckets of one account and region. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        now = clock.monotonic()
        self._levels = {action: (float(bucket.capacity - bucket.margin), now) for action, bucket in BUCKETS.items()}

    def take(self, action: str, *, wait: bool) -> float:
        """Take one token. Returns 0 when it was taken, else the seconds until there is one.

        With `wait` it sleeps until it has taken one.
        """
        while True:
            seconds = self._try(action)
            if not seconds or not wait:
                return seconds
            self._clock.sleep(seconds)

    def throttled(self, action: str) -> None:
        """Set our bucket a margin below empty, because AWS has throttled the action: its own bucket is empty."""
        with self._lock:
            level, now = self._refilled(action)
            self._levels[action] = (min(level, -BUCKETS[action].margin), now)

    def _try(self, action: str) -> float:
        with self._lock:
            level, now = self._refilled(action)
            missing = 1 - level
            # Rounding: fractions of a second that add up to a whole token sum to slightly less.
            if missing < 1e-6:
                self._levels[action] = (level - 1, now)
                return 0
            self._levels[action] = (level, now)
            return missing / BUCKETS[action].refill

    def _refilled(self, action: str) -> tuple[float, float]:
        bucket = BUCKETS[action]
        level, since = self._levels[action]
        now = self._clock.monotonic()
        return min(level + (now - since) * bucket.refill, bucket.capacity - bucket.margin), now
