"""Shared by the tests of this folder: a clock of their own, a lease of their own, and a client on the strict lab."""

from __future__ import annotations

from collections import Counter

from cloudroute.adapters.ec2.client import Ec2Client
from cloudroute.errors import LeaseLost
from cloudroute.lab.aws import Aws
from cloudroute.types import RouteTable
from tests.clock import FakeClock


class FakeFence:
    """A lease that is held until a test takes it away."""

    held = True

    def check(self) -> None:
        if not self.held:
            raise LeaseLost("the lease is another's")


class Observed(Counter[tuple[str, str]]):
    """The attempts that were observed, by action and code."""

    def __call__(self, action: str, code: str, seconds: float) -> None:
        assert seconds >= 0
        self[action, code] += 1


class Kit:
    """The strict EC2 in one region, and our client of it, both on one clock."""

    def __init__(self, *, throttle: bool = False, route_quota: int = 1000) -> None:
        self.clock = FakeClock()
        self.fence = FakeFence()
        self.observed = Observed()
        self.aws = Aws(clock=self.clock, throttle=throttle, route_quota=route_quota)
        self.ec2 = Ec2Client(self.aws.session(), self.aws.region, self.fence, self.clock, 3.0, self.observed)

    def table(self, vpc_id: str, table_id: str) -> RouteTable:
        """One table of a VPC, as our client reads it."""
        return next(table for table in self.ec2.route_tables(vpc_id) if table.id == table_id)

    def calls(self) -> dict[str, int]:
        """Count the requests of each action since the last call of this."""
        asked: Counter[str] = Counter()
        for (action, _), count in self.aws.calls.items():
            asked[action] += count
        self.aws.reset_calls()
        return dict(asked)
