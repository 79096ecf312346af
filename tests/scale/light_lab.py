"""The real loop on the light EC2 and the light cluster, in virtual time, one event after the other."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections.abc import Callable
from threading import Event
from typing import Any, cast
from unittest.mock import patch

from cloudroute.adapters.ec2.client import Ec2Client
from cloudroute.controller import Loop, NoLease
from cloudroute.controller.loop import DEBOUNCE_SECONDS
from cloudroute.selector import NOBODY, Selector
from cloudroute.telemetry import ControllerTelemetry
from cloudroute.types import GatewayRole, Renewal
from tests.clock import FakeClock
from tests.controller.lab import settings_of
from tests.scale.agents import Agents
from tests.scale.light_cluster import LightCluster
from tests.scale.light_ec2 import LightEc2, Machine, zone_name

POOL = "10.128.0.0/9"
"""32,768 pod CIDRs."""


class LightLab:
    """A cluster without nodes, and its leader. `tables` is 1, for three zones, or as many as zones.

    `with_agents` lets the agents say of themselves what they do.
    """

    def __init__(
        self,
        tables: int,
        *,
        limit: int = 1000,
        with_agents: bool = True,
        pool: str = POOL,
        gateway_nodes: Selector = NOBODY,
        gateway_routes: int = 1,
    ) -> None:
        random.seed(0)  # the jitter of retries: a run is like the other
        self.clock = FakeClock()
        self.ec2 = LightEc2(self.clock, max(3, tables), tables == 1, limit)
        self.cluster = LightCluster(self.clock)
        self.cluster.heartbeats.see_all({}, self.clock.time)
        self.agents = Agents(self.cluster, 0) if with_agents else None
        self.machines: dict[str, Machine] = {}
        """By Node."""
        self.cpu = 0.0
        """Seconds of CPU that the loop has taken, what it calls included."""
        self.cycles = 0
        self.settled = False
        self.watch: Callable[[], None] = lambda: None
        """Called after each cycle."""
        self._names = itertools.count(1)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._next_turn = self._soonest = 0.0
        telemetry, fence = ControllerTelemetry(self.clock.monotonic), NoLease()
        settings = settings_of(
            cluster_cidr=(pool,), route_limit=limit, gateway_nodes=gateway_nodes, gateway_routes=gateway_routes
        )
        session = cast(Any, self.ec2)
        ec2 = Ec2Client(session, "eu-central-1", fence, self.clock, 3.0, telemetry.ec2_request)
        with patch("cloudroute.controller.apply.ThreadPoolExecutor", Inline):
            self.loop = Loop(
                settings=settings,
                cluster=self.cluster,
                kube=self.cluster,
                ec2=ec2,
                fence=fence,
                clock=self.clock,
                telemetry=telemetry,
            )
        self._pace: Callable[[], float] = self.loop.pace

    def join(self, zone: int, gateway: GatewayRole = "none") -> str:
        """An instance starts, and its kubelet registers; the Node's name."""
        name = f"node-{next(self._names):03}"
        machine = self.machines[name] = self.ec2.launch(zone)
        self.cluster.register(name, machine.id, zone_name(zone), machine.address, gateway)
        return name

    def join_many(self, count: int) -> list[str]:
        """Nodes join, in the zones by turns."""
        return [self.join(index % self.ec2.zones) for index in range(count)]

    def terminate(self, name: str) -> None:
        """The instance ends and its Node is deleted."""
        self.ec2.terminate(self.machines.pop(name))
        self.cluster.unregister(name)

    def at(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something in so many seconds."""
        heapq.heappush(self._due, (self.clock.time + seconds, next(self._names), do))

    def run(self, until: Callable[[], bool], seconds: float = 1e6) -> None:
        """Let time pass until something is so, for so long at most. Raises AssertionError when it is not so then."""
        end = self.clock.time + seconds
        while not until():
            assert self.clock.time <= end, f"not within {seconds:g} s"
            self._step()

    def rest(self) -> None:
        """Until nothing is left to do or to say."""
        self.run(self.quiet)

    def quiet(self) -> bool:
        """Whether nothing is left to do, and nobody has anything to say."""
        waits = self.agents.next_at if self.agents else float("inf")
        return self.settled and not self.cluster.dirty and not self._due and waits == float("inf")

    def renew(self, seconds: int, *names: str) -> None:
        """Let so many seconds pass, in each of which these gateways renew their Leases."""
        for _ in range(seconds):
            self.pass_seconds(1)
            routes = self.cluster.node_routes.items()
            for name in names:
                renewal = Renewal(routes[name].uid, str(self.clock.time))
                self.cluster.heartbeats.see(name, renewal, self.clock.time)
            self.cluster.dirty = True  # also for a silence, of which the real loop's rest ends by itself

    def pass_seconds(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.clock.time + seconds
        self.at(seconds, lambda: None)
        self.run(lambda: self.clock.time >= end)

    def _step(self) -> None:
        # A change wakes the loop, which waits for others that come along with it.
        wanted = self.clock.time + DEBOUNCE_SECONDS if self.cluster.dirty else self._next_turn
        next_turn = max(self._soonest, min(wanted, self._next_turn))
        times = [next_turn]
        if self.agents:
            times.append(self.agents.next_at)
        if self._due:
            times.append(self._due[0][0])
        self.clock.time = max(self.clock.time, min(times))
        while self._due and self._due[0][0] <= self.clock.time:
            heapq.heappop(self._due)[2]()
        if self.clock.time >= next_turn:
            self._turn()
        if self.agents:
            self.agents.look()
        self.watch()

    def _turn(self) -> None:
        self.cluster.dirty = False
        began = self.clock.time
        start = time.process_time()
        turn = self.loop.turn(Event())
        self.cpu += time.process_time() - start
        self.cycles += 1
        self.settled, self._next_turn = turn.settled, turn.next_at
        self._soonest = began + self._pace()

    # --- what a test asks -------------------------------------------------------------------

    def calls(self) -> dict[str, int]:
        """EC2 calls so far, by action, whatever came of them."""
        counts: dict[str, int] = {}
        for (action, _), number in self.ec2.calls.items():
            counts[action] = counts.get(action, 0) + number
        return counts

    def throttled(self) -> int:
        """Calls that AWS's buckets refused."""
        return sum(number for (_, code), number in self.ec2.calls.items() if code == "RequestLimitExceeded")

    def unreachable(self) -> list[str]:
        """Nodes that are published as native in a table without an active route to them, of those that live."""
        return [
            name
            for name, route in self.cluster.routes.items()
            if (machine := self.machines.get(name)) and machine.id == route.spec.instance_id
            for table in route.spec.native_in
            if self.ec2.leads_to(table, str(route.spec.pod_cidrs[0])) != machine.interface_id
        ]


class Inline:
    """A pool without threads: the same steps in the same order each time, and their CPU is the caller's."""

    def __init__(self, *_: object) -> None:
        return

    def submit(self, work: Callable[[], None]) -> None:
        work()
