"""One token bucket per EC2 action, kept so that AWS's own bucket never runs dry.

The idea: we know the size and the refill rate of AWS's bucket, so a model of it on this side, a margin lower, says
before a request leaves whether it would be throttled. Whatever else uses the account shows as a throttling answer,
and that tells the level of AWS's bucket at this moment: empty.

Sources: "Request throttling for the Amazon EC2 API" (Amazon EC2 Developer Guide) for the EC2 actions, "Service quotas
for Service Quotas" for the last two.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import NamedTuple

from cloudroute.ports import Clock


class Bucket(NamedTuple):
    """What AWS publishes: `capacity` in calls, `refill` in calls a second."""

    capacity: int
    refill: int

    @property
    def margin(self) -> int:
        """By how many tokens our model stays below AWS's bucket.

        AWS refills "every second", at an instant that we do not know, so our smooth refill may be one second's tokens
        ahead of it. One more is for the network: requests that left evenly may arrive closer together.
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
    """The buckets of one account and region. Safe to use from several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        now = clock.monotonic()
        self._levels = {action: (float(bucket.capacity - bucket.margin), now) for action, bucket in BUCKETS.items()}

    def take(self, action: str, *, wait: bool) -> float:
        """Take one token. Returns 0 when it was taken, else the seconds until there is one again.

        With `wait` it sleeps until a token was taken.
        """
        while True:
            seconds = self._try(action)
            if not seconds or not wait:
                return seconds
            self._clock.sleep(seconds)

    def throttled(self, action: str) -> None:
        """AWS has throttled the action: its bucket is empty, so ours is a margin below that."""
        with self._lock:
            level, now = self._refilled(action)
            self._levels[action] = (min(level, -BUCKETS[action].margin), now)

    def _try(self, action: str) -> float:
        with self._lock:
            level, now = self._refilled(action)
            missing = 1 - level
            # Sums of fractions of a second end a hair below the whole token that they add up to.
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
