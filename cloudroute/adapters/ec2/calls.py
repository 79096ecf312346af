"""One call to AWS: token, fence, one attempt, one observation, and for reads the retries.

The idea: a read may take its time, so it waits for its token and tries again; a write may not, because the lease that
allows it runs out, so it is sent at once or not at all, and only once. botocore's own retries are off: they know
neither the lease nor our budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import boto3
from botocore.client import BaseClient
from botocore.config import Config
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    wait_random_exponential,
)

from cloudroute import __version__
from cloudroute.adapters.ec2 import errors
from cloudroute.adapters.ec2.budget import Budget
from cloudroute.adapters.ec2.parse import Raw
from cloudroute.errors import Deferred, LeaseLost, Retryable, Throttled
from cloudroute.ports import EC2_WRITES, Clock, Fence

Method = Callable[..., Raw]
"""A method of a boto3 client."""

FILTER_VALUES = 200
"""Most values that one filter takes ("Filter" in the Amazon EC2 API Reference)."""
_CONNECTIONS = 24
"""Kept connections: enough for the controller's 16 writers and one large read."""
_CONNECT_SECONDS, _ANSWER_SECONDS = 5.0, 20.0
"""Timeouts of reads. Only writes must end within the lease's margin; a describe of a large cluster, or while EC2 is
slow, takes seconds, and without it no node can be served."""
_READ_ATTEMPTS = 5
_READ_SECONDS = 30.0
"""Latest start of a retry, counted from the first attempt: the loop should soon know that EC2 does not answer."""


def open_reader(session: boto3.Session, service: str, region: str) -> Any:
    """Return a boto3 client for calls that change nothing, with long timeouts: a slow answer is better than none."""
    return _open(session, service, region, _CONNECT_SECONDS, _ANSWER_SECONDS)


def open_writer(session: boto3.Session, region: str, timeout_seconds: float, fence: Fence) -> Any:
    """Return a boto3 client of EC2 with fenced writes; no answer is awaited for longer than `timeout_seconds`."""
    client = _open(session, "ec2", region, timeout_seconds / 3, timeout_seconds * 2 / 3)

    def check(**_: object) -> None:
        fence.check()

    for action in EC2_WRITES:
        # Checked just before a request is written to an open connection: signing may have fetched new credentials,
        # which takes seconds, and the lease may have run out meanwhile.
        client.meta.events.register_first(f"before-send.ec2.{action}", check)
    # Checked again after a new connection is open, since no timeout covers its name lookup. One dict serves direct and
    # proxied connections; botocore has no public access to it.
    pools = client._endpoint.http_session._pool_classes_by_scheme
    for scheme, pool in pools.items():
        pools[scheme] = type(pool.__name__, (pool,), {"ConnectionCls": _fenced(pool.ConnectionCls, fence)})
    return client


def _fenced(connection: Any, fence: Fence) -> type:
    """Return a class of urllib3 connections that check the fence once they are open, before the first byte is sent."""

    def connect(self: Any) -> None:
        connection.connect(self)
        fence.check()

    return type(connection.__name__, (connection,), {"connect": connect})


def _open(session: boto3.Session, service: str, region: str, connect: float, answer: float) -> Any:
    # boto3-stubs type a client by the literal name of its service, which is a variable here.
    client: BaseClient = session.client(  # type: ignore[call-overload]
        service,
        config=Config(
            region_name=region,
            connect_timeout=connect,
            read_timeout=answer,
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=_CONNECTIONS,
            tcp_keepalive=True,
            user_agent_extra=f"cloudroute/{__version__}",
        ),
    )
    return client


def chunks(ids: Iterable[str]) -> Iterator[Sequence[str]]:
    """Yield the distinct ids in order, as many at a time as one filter takes."""
    ordered = sorted(set(ids))
    for start in range(0, len(ordered), FILTER_VALUES):
        yield ordered[start : start + FILTER_VALUES]


class Calls:
    """Calls of one account and region, by any client."""

    def __init__(self, clock: Clock, observe: Callable[[str, str, float], None]) -> None:
        self._clock = clock
        self._observe = observe
        self._budget = Budget(clock)

    def write(self, action: str, resource: str, method: Method, params: Raw) -> None:
        """Make one attempt, now. Raises ApiError (Deferred when there is no token), and LeaseLost."""
        if seconds := self._budget.take(action, wait=False):
            raise Deferred(action, resource, seconds)
        self._attempt(action, resource, method, params)

    def read(self, action: str, resource: str, method: Method, params: Raw, attempts: int = _READ_ATTEMPTS) -> Raw:
        """Return the answer, after several attempts if needed."""
        give_up_at = self._clock.monotonic() + _READ_SECONDS

        def enough(state: RetryCallState) -> bool:
            too_late = self._clock.monotonic() + state.upcoming_sleep > give_up_at
            return too_late or state.attempt_number >= attempts

        def attempt() -> Raw:
            self._budget.take(action, wait=True)
            return self._attempt(action, resource, method, params)

        return Retrying(
            retry=retry_if_exception_type(Retryable),
            wait=wait_random_exponential(multiplier=0.5, max=8),
            stop=enough,
            sleep=self._clock.sleep,
            reraise=True,
        )(attempt)

    def pages(
        self, action: str, resource: str, method: Method, params: Raw, attempts: int = _READ_ATTEMPTS
    ) -> Iterator[Raw]:
        """Yield all pages of a read. Each takes a token and is retried on its own."""
        page = self.read(action, resource, method, params, attempts)
        yield page
        while token := page.get("NextToken"):
            page = self.read(action, resource, method, {**params, "NextToken": token}, attempts)
            yield page

    def _attempt(self, action: str, resource: str, method: Method, params: Raw) -> Raw:
        started = self._clock.monotonic()
        try:
            answer = method(**params)
        except errors.FAILURES as cause:
            if isinstance(cause.__context__, LeaseLost):  # botocore wraps all that a connection raises
                raise cause.__context__ from None
            error = errors.translate(action, resource, cause)
            self._observe(action, error.code or type(cause).__name__, self._clock.monotonic() - started)
            if isinstance(error, Throttled):
                self._budget.throttled(action)
            raise error from cause
        self._observe(action, "OK", self._clock.monotonic() - started)
        return answer
