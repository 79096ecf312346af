"""One controller: the whole process, put together as the command does it, that may pause, crash and come back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cloudroute.adapters.ec2.client import Ec2Client
from cloudroute.adapters.kube.client import KubeClient
from cloudroute.adapters.kube.cluster import KubeCluster
from cloudroute.adapters.kube.leases import KubeLeases
from cloudroute.config import ControllerSettings
from cloudroute.controller.lease import Lease
from cloudroute.controller.loop import Loop
from cloudroute.controller.process import Controller
from cloudroute.errors import CloudrouteError, UsageError
from cloudroute.telemetry import Telemetry
from tests.simulation.api import Pool
from tests.simulation.cloud import WRITE_SECONDS, Line
from tests.simulation.network import Link
from tests.simulation.scheduler import Group, VirtualClock

if TYPE_CHECKING:
    from tests.simulation.world import World


class Replica:
    """One seat of the Deployment: `start` makes a process, and after each end the kubelet makes another one."""

    def __init__(self, world: World, slot: int) -> None:
        self.world, self.slot = world, slot
        self.settings = world.settings
        self.lives = 0
        self.stopped = False
        """Not to be started again."""
        self.started: dict[str, float] = {}
        """When each process was started."""
        self.flags: dict[str, ControllerSettings] = {}
        """Of each process: those that it was started with, whatever the Deployment says by now."""
        self.start()

    @property
    def name(self) -> str:
        return self.group.name

    @property
    def may_write(self) -> bool:
        """Whether its fence is open."""
        return self.lease is not None and self.lease.held

    def start(self) -> None:
        """A fresh process, which knows nothing."""
        world = self.world
        scheduler = world.scheduler
        self.lives += 1
        self.group = Group(f"r{self.slot}.{self.lives}", scheduler.random.uniform(0, 10_000))
        self.flags[self.name], self.started[self.name] = self.settings, scheduler.now
        self.clock = VirtualClock(scheduler, self.group)
        self.kube = Link(scheduler, self.group, 0.004, fuse=self._burn)
        self.ec2 = Link(scheduler, self.group, 0.03, fuse=self._burn)
        self.fuse = 0
        """The write, counted from now, at which it dies; 0 for none."""
        self.fuse_before = False
        self.line = Line(world.cloud, world.cloud.seats[self.slot], self.ec2, world.checks.ec2, world.shown)
        self.line.lookup = world.lookup
        self.lease: Lease | None = None
        self.loop: Loop | None = None
        self.controller: Controller | None = None
        world.pools[self.name] = Pool(world.api, self.kube)
        world.processes[self.name] = self
        scheduler.spawn(self.group, "main", self._main)

    def end(self) -> None:
        """SIGKILL."""
        if self.group.alive:
            self.world.scheduler.kill(self.group)
            self.world.api.cut(self.kube)
        self._come_back()

    def stop(self) -> None:
        """SIGTERM."""
        if self.controller:
            self.controller.stop.set()

    def _burn(self) -> bool | None:
        if not self.fuse:
            return None
        self.fuse -= 1
        if self.fuse:
            return None
        self._come_back()
        return self.fuse_before

    def _come_back(self) -> None:
        if not self.stopped:
            mine = self.lives
            self.world.scheduler.after(
                self.world.scheduler.random.uniform(0.5, 4), lambda: self.start() if self.lives == mine else None
            )

    def _main(self) -> None:
        """As `cloudroute.commands.control.run_controller` does it."""
        world, settings, clock = self.world, self.flags[self.name], self.clock
        telemetry = Telemetry(clock.monotonic)
        cluster = KubeCluster(self.name, clock)
        leases = KubeLeases(cluster.transport, settings.namespace, "cloudroute", settings.renew_deadline / 3)
        lease = self.lease = Lease(
            leases, clock, self.name, settings.lease_duration, settings.renew_deadline, settings.retry_period
        )
        kube = KubeClient(cluster.transport, cluster, WRITE_SECONDS)
        seat = world.cloud.seats[self.slot]
        seat.answer, seat.clock.sleep = self.line.answer, clock.sleep
        seat.clock.monotonic, seat.clock.now = clock.monotonic, clock.now

        def make_loop() -> Loop:
            region = world.cloud.aws.region
            ec2 = Ec2Client(seat.session, region, lease, clock, WRITE_SECONDS, telemetry.ec2_request)
            found = replace(settings, vpc_id=world.cloud.vpc.id)
            self.loop = Loop(found, cluster, kube, ec2, lease, clock, telemetry)
            return self.loop

        self.controller = Controller(settings, cluster, lease, make_loop, telemetry)
        try:
            self.controller.run()
            world.scheduler.told(f"{self.name} has stopped")
        except UsageError as error:
            if settings.cluster_cidr == world.settings.cluster_cidr:
                raise
            world.scheduler.told(f"{self.name} ends with 2: {error}")
        except CloudrouteError as error:
            world.scheduler.told(f"{self.name} ends: {error}")
        self.end()
