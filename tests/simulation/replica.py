"""One replica of the controller: whole processes, built as the command builds them, that pause, crash and restart."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import boto3

from cloudroute.adapters.ec2.client import Ec2Client
from cloudroute.adapters.kube.client import KubeClient
from cloudroute.adapters.kube.cluster import Gateways, KubeCluster
from cloudroute.adapters.kube.leases import KubeLeases
from cloudroute.config import ControllerSettings
from cloudroute.controller.lease import Lease
from cloudroute.controller.loop import Loop
from cloudroute.controller.process import Controller
from cloudroute.errors import CloudrouteError, UsageError
from cloudroute.telemetry import ControllerTelemetry
from tests.simulation.api import Pool
from tests.simulation.cloud import WRITE_SECONDS, Ec2Requests
from tests.simulation.network import Link
from tests.simulation.scheduler import Group, VirtualClock
from tests.simulation.violation import Violation

if TYPE_CHECKING:
    from tests.simulation.cluster import SimCluster


class Replica:
    """One pod of the Deployment: `start` starts a process, and the kubelet starts the next one after it has ended."""

    def __init__(self, sim: SimCluster, slot: int) -> None:
        self.sim, self.slot = sim, slot
        self.settings = sim.settings
        self.lives = 0
        self.stopped = False
        """Whether it must not be started again."""
        self.started: dict[str, float] = {}
        """Name of each process -> its start."""
        self.flags: dict[str, ControllerSettings] = {}
        """Name of each process -> the settings it was started with; the Deployment's may have changed since."""
        self.start()

    @property
    def name(self) -> str:
        return self.group.name

    @property
    def may_write(self) -> bool:
        """Whether its fence is open."""
        return self.lease is not None and self.lease.held

    def start(self) -> None:
        """Start a process with an empty memory."""
        sim = self.sim
        scheduler = sim.scheduler
        self.lives += 1
        self.group = Group(f"r{self.slot}.{self.lives}", scheduler.random.uniform(0, 10_000))
        self.flags[self.name], self.started[self.name] = self.settings, scheduler.now
        self.clock = VirtualClock(scheduler, self.group)
        self.kube = Link(scheduler, self.group, 0.004, kill_at_write=self._dies_at_write)
        self.ec2 = Link(scheduler, self.group, 0.03, kill_at_write=self._dies_at_write)
        self.killed_at_write = 0
        """The write, counted from now, at which the process is killed; 0 for none."""
        self.killed_before_sending = False
        self.requests = Ec2Requests(
            sim.cloud, self.ec2, sim.checks.ec2, on_confirmed=sim.repeats.confirm, describes=sim.describes
        )
        self.requests.lookup = sim.lookup
        self.lease: Lease | None = None
        self.loop: Loop | None = None
        self.controller: Controller | None = None
        sim.pools[self.name] = Pool(sim.api, self.kube)
        sim.processes[self.name] = self
        scheduler.spawn(self.group, "main", self._main)

    def end(self) -> None:
        """Kill the process (SIGKILL); the kubelet starts the next one."""
        if self.group.alive:
            self.sim.scheduler.kill(self.group)
            self.sim.api.cut(self.kube)
        self._come_back()

    def stop(self) -> None:
        """Stop the process (SIGTERM)."""
        if self.controller:
            self.controller.stop.set()

    def _dies_at_write(self) -> bool | None:
        if not self.killed_at_write:
            return None
        self.killed_at_write -= 1
        if self.killed_at_write:
            return None
        self._come_back()
        return self.killed_before_sending

    def _come_back(self) -> None:
        if not self.stopped:
            mine = self.lives
            self.sim.scheduler.after(
                self.sim.scheduler.random.uniform(0.5, 4), lambda: self.start() if self.lives == mine else None
            )

    def _main(self) -> None:
        """Build and run the controller as `cloudroute.wiring.controller` does."""
        sim, settings, clock = self.sim, self.flags[self.name], self.clock
        telemetry = ControllerTelemetry(clock.monotonic)
        gateways = Gateways(settings.gateway_nodes, settings.namespace, settings.gateway_lease_seconds)
        cluster = KubeCluster(self.name, clock, gateways=gateways)
        leases = KubeLeases(cluster.transport, settings.namespace, "cloudroute", settings.renew_deadline / 3)
        lease = self.lease = Lease(
            leases, clock, self.name, settings.lease_duration, settings.renew_deadline, settings.retry_period
        )
        kube = KubeClient(cluster.transport, cluster, WRITE_SECONDS)
        session = cast(boto3.Session, self.requests)

        def make_loop() -> Loop:
            region = sim.cloud.aws.region
            found = replace(settings, vpc_id=sim.cloud.vpc.id)
            self.loop = Loop(
                settings=found,
                cluster=cluster,
                kube=kube,
                ec2=Ec2Client(session, region, lease, clock, WRITE_SECONDS, telemetry.ec2_request),
                fence=lease,
                clock=clock,
                telemetry=telemetry,
            )
            return self.loop

        self.controller = Controller(settings, cluster, lease, make_loop, telemetry)
        try:
            self.controller.run()
            sim.scheduler.record(f"{self.name} has stopped")
        except UsageError as error:
            if settings.cluster_cidr == sim.settings.cluster_cidr:
                raise Violation(f"invariant 7: {self.name} ends with 2, though its flags fit: {error}") from error
            sim.scheduler.record(f"{self.name} ends with 2: {error}")
        except CloudrouteError as error:
            sim.scheduler.record(f"{self.name} ends: {error}")
        self.end()
