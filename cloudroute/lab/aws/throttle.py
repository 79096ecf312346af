"""AWS's token buckets: one per action, in this account and region.

Source: "Request throttling for the Amazon EC2 API", its table of bucket sizes and refill rates. An empty bucket
answers RequestLimitExceeded with HTTP 503.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cloudroute.lab.aws.wire import AwsError, Request


@dataclass(slots=True)
class _Bucket:
    capacity: float
    refill: float
    """Refill rate, tokens per second."""
    tokens: float
    filled: float
    """Monotonic time of the last update of `tokens`."""


_READ = (100.0, 20.0)
_UNPAGINATED_READ = (50.0, 10.0)
_WRITE = (50.0, 5.0)
_OWN: Mapping[str, tuple[float, float]] = {"ModifyNetworkInterfaceAttribute": (100.0, 5.0)}
_ALWAYS_CHEAP = frozenset({"DescribeRouteTables"})


class Buckets:
    """All buckets; `monotonic` is the lab's clock."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._buckets: dict[str, _Bucket] = {}

    def take(self, request: Request) -> None:
        """Take a token. Raises AwsError when the bucket is empty."""
        name, capacity, refill = _size(request)
        now = self._monotonic()
        bucket = self._buckets.setdefault(name, _Bucket(capacity, refill, capacity, now))
        bucket.tokens = min(capacity, bucket.tokens + (now - bucket.filled) * refill)
        bucket.filled = now
        if bucket.tokens < 1:
            raise AwsError("RequestLimitExceeded", "Request limit exceeded.")
        bucket.tokens -= 1


def _size(request: Request) -> tuple[str, float, float]:
    """Return the bucket's name, its capacity and its refill rate."""
    action = request.action
    if not action.startswith(("Describe", "Get", "List")):
        return action, *_OWN.get(action, _WRITE)
    paginated = "MaxResults" in request.params or "NextToken" in request.params
    if action in _ALWAYS_CHEAP or paginated or any(name.startswith("Filter.") for name in request.params):
        return action, *_READ
    return f"{action} (unfiltered)", *_UNPAGINATED_READ
