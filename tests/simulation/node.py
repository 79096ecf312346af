"""One machine: an EC2 instance, a kernel, the agent on it, and the Node that its kubelet has registered."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from cloudroute.adapters.kube.agents import KubeAgents
from cloudroute.agent.process import Agent
from cloudroute.config import AgentSettings
from cloudroute.core.cluster.notices import STOPPED
from cloudroute.dataplane import Host, Kind, packed
from cloudroute.lab.aws.scene import Machine
from cloudroute.telemetry import AgentTelemetry
from tests.agent.world import MemoryKernel
from tests.simulation.api import Pool
from tests.simulation.fault_plan import LONGEST_STOP
from tests.simulation.network import Link
from tests.simulation.scheduler import Group, VirtualClock

if TYPE_CHECKING:
    from tests.simulation.world import World


class WatchedKernel(MemoryKernel):
    """A kernel in memory that runs the checks after each written entry."""

    def __init__(self, host: Host, node: SimNode) -> None:
        super().__init__(host)
        self._node = node

    def count(self, kind: Kind, key: Any) -> None:
        super().count(kind, key)
        self._node.world.checks.pairs.kernel(self._node)


class SimNode:
    """A machine with a name in the cluster."""

    def __init__(self, world: World, machine: Machine, name: str) -> None:
        self.world, self.machine, self.name = world, machine, name
        self.lives = 0
        self.running = True
        """Whether the instance runs."""
        self.registered = False
        self.disturbed = world.scheduler.now
        """Time at which the last fault of this machine or its agent that may cost packets ends."""
        networks = [ipaddress.ip_network(cidr) for cidr in machine.zone.cidrs]
        addresses = tuple(
            (packed(address), network.prefixlen) for address, network in zip(machine.addresses, networks, strict=True)
        )
        gateways = tuple(
            packed(str(network[1])) if network.version == 4 else packed(f"fe80::{machine.zone.subnet_id[-4:]}")
            for network in networks
        )
        self.host = Host("eth0", 9001, addresses, gateways)
        self.agent: Agent | None = None
        self.kernel = WatchedKernel(self.host, self)
        self.group = Group(f"{name}@{machine.id[-4:]}")
        self.link = Link(world.scheduler, self.group, 0.005)

    def start(self) -> None:
        """Start the agent, for the first time or again."""
        self.lives += 1
        self.group = Group(f"{self.name}@{self.machine.id[-4:]}.{self.lives}")
        self.link = Link(self.world.scheduler, self.group, 0.005)
        self.world.pools[self.group.name] = Pool(self.world.api, self.link)
        self.world.scheduler.spawn(self.group, "main", self._main)

    def disturb(self, seconds: float) -> None:
        """Note a fault that may cost packets, now and for `seconds`."""
        self.disturbed = max(self.disturbed, self.world.scheduler.now + seconds)

    def end(self) -> None:
        """Kill the agent (SIGKILL)."""
        if self.group.alive:
            self.world.scheduler.kill(self.group)
            self.world.api.cut(self.link)
        self.disturb(0)

    def stop(self) -> None:
        """Stop the agent (SIGTERM)."""
        if self.agent and self.group.alive:
            self.agent.stop.set()

    def _main(self) -> None:
        """Build and run the agent as `cloudroute.commands.agent` does."""
        clock = VirtualClock(self.world.scheduler, self.group)
        settings = AgentSettings(node_name=self.name, cluster_cidr=self.world.settings.cluster_cidr)
        telemetry = AgentTelemetry(self.kernel.peer_bytes, clock.monotonic)
        agents = KubeAgents(self.group.name, self.name)
        self.agent = Agent(settings, agents, self.kernel, clock, telemetry)
        self.agent.run()
        if self.world.checks.node_routes().get(self.name, {}).get("status", {}).get("reason") != STOPPED:
            self.disturb(LONGEST_STOP)  # it could not report that it stops
        self.world.scheduler.kill(self.group)
        self.world.api.cut(self.link)
