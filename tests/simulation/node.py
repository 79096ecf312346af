"""One machine: an EC2 instance, a kernel, the agent on it, and the Node that its kubelet has registered."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from cloudroute.adapters.kube.agents import KubeAgents
from cloudroute.agent.process import Agent
from cloudroute.config import AgentSettings
from cloudroute.dataplane import Host, Kind, packed
from cloudroute.lab.aws.scene import Machine
from cloudroute.telemetry import AgentTelemetry
from cloudroute.types import STOPPED
from tests.agent.in_memory import MemoryKernel
from tests.simulation.api import Pool
from tests.simulation.fault_plan import LONGEST_STOP
from tests.simulation.network import Link
from tests.simulation.scheduler import Group, VirtualClock

if TYPE_CHECKING:
    from tests.simulation.cluster import SimCluster


class WatchedKernel(MemoryKernel):
    """A kernel in memory that runs the checks after each written entry."""

    def __init__(self, host: Host, node: SimNode) -> None:
        super().__init__(host)
        self._node = node

    def count(self, kind: Kind, key: Any) -> None:
        super().count(kind, key)
        self._node.sim.checks.pairs.kernel(self._node)
        self._node.sim.gateways.kernel(self._node)


class SimNode:
    """A machine with a name in the cluster."""

    def __init__(self, sim: SimCluster, machine: Machine, name: str) -> None:
        self.sim, self.machine, self.name = sim, machine, name
        self.lives = 0
        self.running = True
        """Whether the instance runs."""
        self.registered = False
        self.disturbed = sim.scheduler.now
        """Time at which the last fault of this machine or its agent that may cost packets ends."""
        number = int(name[1:])
        self.labelled = number <= 2 or number % 2 == 1
        """Whether its Node has the label of gateways."""
        self.forgot = 0.0
        """Time of the last reboot, after which the kernel has no entries."""
        self.silenced = sim.scheduler.now
        """Time at which the last reason ends for which this node may be replaced as a gateway."""
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
        self.link = Link(sim.scheduler, self.group, 0.005)

    def start(self) -> None:
        """Start the agent, for the first time or again."""
        self.lives += 1
        self.silence(0)
        self.group = Group(f"{self.name}@{self.machine.id[-4:]}.{self.lives}")
        self.link = Link(self.sim.scheduler, self.group, 0.005)
        self.sim.pools[self.group.name] = Pool(self.sim.api, self.link)
        self.sim.scheduler.spawn(self.group, "main", self._main)

    def disturb(self, seconds: float) -> None:
        """Note a fault that may cost packets, now and for `seconds`."""
        self.disturbed = max(self.disturbed, self.sim.scheduler.now + seconds)

    def silence(self, seconds: float) -> None:
        """Note a reason to replace this node as a gateway, now and for `seconds`."""
        self.silenced = max(self.silenced, self.sim.scheduler.now + seconds)

    def end(self) -> None:
        """Kill the agent (SIGKILL)."""
        if self.group.alive:
            self.sim.scheduler.kill(self.group)
            self.sim.api.cut(self.link)
        self.disturb(0)
        self.silence(0)

    def stop(self) -> None:
        """Stop the agent (SIGTERM)."""
        if self.agent and self.group.alive:
            self.agent.stop.set()
        self.silence(LONGEST_STOP)

    def come_back(self, lives: int) -> None:
        """Start the agent once its predecessor has ended, unless another fault has started it since its `lives`."""
        if self.lives != lives or not self.running:
            return
        if self.group.alive:
            self.sim.scheduler.after(1.0, lambda: self.come_back(lives))
        else:
            self.start()

    def _main(self) -> None:
        """Build and run the agent as `cloudroute.commands.agent` does."""
        clock = VirtualClock(self.sim.scheduler, self.group)
        settings = AgentSettings(node_name=self.name, cluster_cidr=self.sim.settings.cluster_cidr)
        telemetry = AgentTelemetry(self.kernel.peer_bytes, clock.monotonic)
        agents = KubeAgents(self.group.name, self.name)
        self.agent = Agent(settings, agents, self.kernel, clock, telemetry)
        self.agent.run()
        if self.sim.checks.node_routes().get(self.name, {}).get("status", {}).get("reason") != STOPPED:
            self.disturb(LONGEST_STOP)  # it could not report that it stops
        self.sim.scheduler.kill(self.group)
        self.sim.api.cut(self.link)
