"""One story's world: EC2, the API, controllers, machines, and what people do to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from botocore.exceptions import ClientError

from cloudroute.config import ControllerSettings
from cloudroute.crds import manifests
from cloudroute.types import Cidr
from tests.simulation.api import Api, Pool
from tests.simulation.checks import Checks
from tests.simulation.cloud import Cloud
from tests.simulation.node import SimNode
from tests.simulation.replica import Replica
from tests.simulation.scheduler import Scheduler, VirtualClock
from tests.simulation.setup import Setup
from tests.simulation.weather import Deed

CRDS = manifests()
POOL6 = "fd64::/64"


class World:
    """Everything that is not cloudroute, and the processes of cloudroute in it."""

    def __init__(self, setup: Setup, cloud: Cloud, seed: int) -> None:
        self.setup, self.cloud = setup, cloud
        self.scheduler = Scheduler(seed)
        self.api = Api()
        self.pools: dict[str, Pool] = {}
        self.processes: dict[str, Replica] = {}
        self.nodes: list[SimNode] = []
        self.foreign: dict[tuple[str, str], float] = {}
        """Routes of others, by table and destination, since when."""
        self.tampered: dict[tuple[str, str], float] = {}
        """Entries that others have touched, and when last."""
        self.switched_on: dict[str, float] = {}
        """Interfaces whose check others have switched on, and when last."""
        self.duplicates: dict[str, float] = {}
        """Nodes that claim what is not theirs, by name, and since when."""
        self.lease_deleted = 0.0
        """When somebody last deleted the Lease."""
        self.stale_since = 0.0
        self.lag = 0.0
        """How old what EC2 shows is, in seconds."""
        self.lookup = 0.0
        """Seconds that name lookups take."""
        self.slow_since, self.slow_until = float("inf"), 0.0
        """When EC2's describes were slow last."""
        self._names = 0
        pools = (setup.pool, POOL6) if setup.layout in ("dual", "mixed") else (setup.pool,)
        self.settings = replace(
            ControllerSettings(cluster_name="storm", cluster_cidr=tuple(map(Cidr.parse, pools))),
            route_limit=setup.limit,
            direct_routing=setup.direct,
            route_reserve=setup.reserve,
            resync_seconds=20.0,
        )
        self.checks = Checks(self)
        self.replicas: list[Replica] = []

    def begin(self) -> None:
        """Time begins: the API is there, and the controllers start."""
        clock = VirtualClock(self.scheduler)
        self.cloud.clock.monotonic, self.cloud.clock.now = clock.monotonic, clock.now
        self.cloud.aws.set_route_quota(self.setup.quota)
        self.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cloudroute"}})
        for definition in CRDS:
            self.api.create(definition)
        self.api.look = self.checks.kube
        self.replicas = [Replica(self, slot) for slot in range(self.setup.replicas)]

    def shown(self) -> float:
        """The moment of this world that EC2's describes show."""
        now = self.scheduler.now
        return max(self.stale_since, now - self.lag) if self.lag else now

    @property
    def tables(self) -> tuple[str, ...]:
        """Ids of the tables that nodes use."""
        return self.cloud.vpc.route_table_ids

    def calm(self) -> None:
        """What was to strike the next calls strikes none any more."""
        self.cloud.aws.faults.clear()
        for replica in self.replicas:
            replica.fuse = replica.kube.lose_answers = 0
            replica.line.freezes = None

    # --- machines ---------------------------------------------------------------------------

    def join(self, zone: int, name: str = "", *, spare: bool = False, pod_cidrs: tuple[str, ...] = ()) -> SimNode:
        """An instance starts (a `spare` one runs already), its kubelet registers, an agent comes up."""
        zones = self.cloud.vpc.zones
        machine = self.cloud.launch(zones[zone % len(zones)], spare)
        self._names += not name
        node = SimNode(self, machine, name or f"n{self._names}")
        self.nodes.append(node)
        after, random = self.scheduler.after, self.scheduler.random
        after(random.uniform(0, 2), lambda: self.register(node, pod_cidrs))
        after(random.uniform(0, 3), lambda: node.start() if node.running else None)
        return node

    def register(self, node: SimNode, pod_cidrs: tuple[str, ...] = ()) -> None:
        """The kubelet registers its Node, as often as it takes."""
        if not node.running:
            return
        spec: dict[str, Any] = {"providerID": node.machine.provider_id}
        if pod_cidrs:
            spec["podCIDRs"] = list(pod_cidrs)
        addresses = [{"type": "InternalIP", "address": address} for address in node.machine.addresses]
        item = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name}, "spec": spec}
        if any(one["metadata"]["name"] == node.name for one in self.api.list("nodes")):
            self.scheduler.after(1.0, lambda: self.register(node, pod_cidrs))
            return
        self.api.create({**item, "status": {"addresses": addresses}})
        self.api.pump()
        node.registered = True
        node.disturb(0)

    def unregister(self, node: SimNode) -> None:
        """The Node object goes, the instance may live."""
        if node.registered and any(one["metadata"]["name"] == node.name for one in self.api.list("nodes")):
            self.api.delete("nodes", node.name)
            self.api.pump()
        node.registered = False
        node.disturb(0)

    def die(self, node: SimNode) -> None:
        """The instance is terminated; the cloud provider deletes the Node when it sees that."""
        if not node.running:
            return
        node.running = False
        node.end()
        self.cloud.aws.scene.terminate(node.machine.id)
        node.disturb(0)
        self.scheduler.after(self.scheduler.random.uniform(0, 6), lambda: self._bury(node))

    def _bury(self, node: SimNode) -> None:
        self.unregister(node)
        self.nodes.remove(node)

    def rename(self, node: SimNode) -> None:
        """The same instance registers under another name."""
        self.unregister(node)
        node.end()
        self._names += 1
        node.name = f"n{self._names}"
        self.scheduler.after(self.scheduler.random.uniform(0, 14), lambda: self.register(node))
        self.scheduler.after(self.scheduler.random.uniform(0, 2), lambda: node.start() if node.running else None)

    def intrude(self, deed: Deed, cidrs: tuple[str, ...], provider_id: str) -> None:
        """Somebody makes a Node that claims what is another's: its CIDRs, or its instance. It goes after a while."""
        zones = self.cloud.vpc.zones
        machine = None if provider_id else self.cloud.launch(zones[deed.size % len(zones)], spare=True)
        self._names += 1
        name = f"x{self._names}"
        self.duplicates[name] = self.scheduler.now
        spec: dict[str, Any] = {"providerID": machine.provider_id if machine else provider_id}
        if cidrs:
            spec["podCIDRs"] = list(cidrs)
        addresses = [{"type": "InternalIP", "address": a} for a in (machine.addresses if machine else ("10.9.9.9",))]
        item = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec}
        self.api.create({**item, "status": {"addresses": addresses}})
        self.api.pump()

        def leave() -> None:
            self.api.delete("nodes", name)
            self.api.pump()
            if machine:
                self.cloud.aws.scene.terminate(machine.id)

        self.scheduler.after(deed.seconds, leave)

    # --- others -----------------------------------------------------------------------------

    def add_foreign(self, table_id: str, destination: str) -> None:
        """Somebody else adds a route, or takes one over."""
        key = "DestinationIpv6CidrBlock" if ":" in destination else "DestinationCidrBlock"
        ec2 = self.cloud.aws.scene.ec2
        there = destination in self.cloud.routes(table_id)
        call = ec2.replace_route if there else ec2.create_route
        try:
            call(RouteTableId=table_id, GatewayId=self.cloud.gateway, **{key: destination})
        except ClientError:
            return  # the table is full
        self.tampered[table_id, destination] = self.scheduler.now
        self.foreign[table_id, destination] = self.scheduler.now

    def lead_astray(self, table_id: str, destination: str, node: SimNode) -> None:
        """Somebody lets a route lead to another node."""
        key = "DestinationIpv6CidrBlock" if ":" in destination else "DestinationCidrBlock"
        to = {"NetworkInterfaceId": node.machine.interface_id, key: destination}
        self.cloud.aws.scene.ec2.replace_route(RouteTableId=table_id, **to)
        self.tampered[table_id, destination] = self.scheduler.now

    def remove_route(self, table_id: str, destination: str) -> None:
        """Somebody else removes a route, ours or theirs."""
        key = "DestinationIpv6CidrBlock" if ":" in destination else "DestinationCidrBlock"
        if destination in self.cloud.routes(table_id):
            self.cloud.aws.scene.ec2.delete_route(RouteTableId=table_id, **{key: destination})
        self.tampered[table_id, destination] = self.scheduler.now
        self.foreign.pop((table_id, destination), None)
