"""The cluster of one scenario: EC2, the API, controllers, machines, and other people's changes to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from botocore.exceptions import ClientError

from cloudroute.config import ControllerSettings
from cloudroute.crds import manifests
from cloudroute.selector import NOBODY, Selector
from cloudroute.types import Cidr
from tests.simulation.api import Api, Pool
from tests.simulation.checks import Checks
from tests.simulation.cloud import Cloud
from tests.simulation.describes import Describes
from tests.simulation.fault_plan import PlannedFault
from tests.simulation.gateways import Gateways
from tests.simulation.node import SimNode
from tests.simulation.repeats import Repeats
from tests.simulation.replica import Replica
from tests.simulation.scheduler import Scheduler, VirtualClock
from tests.simulation.setup import Setup

CRDS = manifests()
POOL6 = "fd64::/64"
LABEL = {"role": "gateway"}
"""Label of the nodes that --gateway-nodes selects; some nodes have it without that setting, too."""


class SimCluster:
    """Everything around cloudroute, and the processes of cloudroute in it. Times are the scheduler's, in seconds."""

    def __init__(self, setup: Setup, cloud: Cloud, seed: int) -> None:
        self.setup, self.cloud = setup, cloud
        self.scheduler = Scheduler(seed)
        self.api = Api()
        self.pools: dict[str, Pool] = {}
        self.processes: dict[str, Replica] = {}
        self.nodes: list[SimNode] = []
        self.foreign: dict[tuple[str, str], float] = {}
        """(table, destination) -> since when the route is foreign."""
        self.tampered: dict[tuple[str, str], float] = {}
        """(table, destination) -> when somebody else last changed the entry."""
        self.switched_on: dict[str, float] = {}
        """Interface -> when somebody else last switched its source/dest check on."""
        self.duplicates: dict[str, float] = {}
        """Name of a Node with the pod CIDRs or the instance of another -> since when."""
        self.lease_deleted = 0.0
        """Time of the last deletion of the Lease by others."""
        self.lookup = 0.0
        """Duration of name lookups in seconds."""
        self.slow_since, self.slow_until = float("inf"), 0.0
        """Time in which describes are slow: from the first such fault to the end of the last."""
        self._names = 0
        pools = (setup.pool, POOL6) if setup.layout in ("dual", "mixed") else (setup.pool,)
        self.settings = replace(
            ControllerSettings(cluster_name="storm", cluster_cidr=tuple(map(Cidr.parse, pools))),
            route_limit=setup.limit,
            direct_routing=setup.direct,
            route_reserve=setup.reserve,
            resync_seconds=20.0,
            gateway_nodes=Selector.parse("role=gateway") if setup.gateway_routes else NOBODY,
            gateway_routes=setup.gateway_routes or 1,
        )
        self.describes = Describes(self.scheduler)
        self.checks, self.repeats, self.gateways = Checks(self), Repeats(self), Gateways(self)
        self.replicas: list[Replica] = []

    def begin(self) -> None:
        """Create the API's first objects and start the controllers."""
        clock = VirtualClock(self.scheduler)
        self.cloud.clock.monotonic, self.cloud.clock.now = clock.monotonic, clock.now
        self.cloud.aws.set_route_quota(self.setup.quota)
        self.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cloudroute"}})
        for definition in CRDS:
            self.api.create(definition)
        self.api.on_write = self.checks.kube
        self.replicas = [Replica(self, slot) for slot in range(self.setup.replicas)]
        if self.setup.gateway_routes:
            self.gateways.watch()

    @property
    def tables(self) -> tuple[str, ...]:
        """Ids of the nodes' route tables."""
        return self.cloud.vpc.route_table_ids

    def calm(self) -> None:
        """Cancel the faults that wait for a next call."""
        self.cloud.aws.faults.clear()
        for replica in self.replicas:
            replica.killed_at_write = replica.kube.lose_answers = 0
            replica.requests.freezes = None
            self.pools[replica.name].freeze_seconds = 0.0
        self.api.renewals_lag = 0.0

    # --- machines ---------------------------------------------------------------------------

    def join(self, zone: int, name: str = "", *, spare: bool = False, pod_cidrs: tuple[str, ...] = ()) -> SimNode:
        """Start an instance (a `spare` one runs already), its kubelet, which registers a Node, and its agent."""
        zones = self.cloud.vpc.zones
        machine = self.cloud.launch(zones[zone % len(zones)], spare=spare)
        self._names += not name
        node = SimNode(self, machine, name or f"n{self._names}")
        self.nodes.append(node)
        after, random = self.scheduler.after, self.scheduler.random
        after(random.uniform(0, 2), lambda: self.register(node, pod_cidrs))
        after(random.uniform(0, 3), lambda: node.start() if node.running else None)
        return node

    def register(self, node: SimNode, pod_cidrs: tuple[str, ...] = ()) -> None:
        """Create the Node, as its kubelet does; retried while the name is taken."""
        if not node.running:
            return
        spec: dict[str, Any] = {"providerID": node.machine.provider_id}
        if pod_cidrs:
            spec["podCIDRs"] = list(pod_cidrs)
        addresses = [{"type": "InternalIP", "address": address} for address in node.machine.addresses]
        about = {"name": node.name, "labels": LABEL if node.labelled else {}}
        item = {"apiVersion": "v1", "kind": "Node", "metadata": about, "spec": spec}
        if any(one["metadata"]["name"] == node.name for one in self.api.list("nodes")):
            self.scheduler.after(1.0, lambda: self.register(node, pod_cidrs))
            return
        ready = {"type": "Ready", "status": "True"}
        self.api.create({**item, "status": {"addresses": addresses, "conditions": [ready]}})
        self.api.pump()
        node.registered = True
        node.disturb(0)
        node.silence(0)

    def unregister(self, node: SimNode) -> None:
        """Delete the Node; the instance may go on running."""
        if node.registered and any(one["metadata"]["name"] == node.name for one in self.api.list("nodes")):
            self.api.delete("nodes", node.name)
            self.api.pump()
        node.registered = False
        node.disturb(0)
        node.silence(0)

    def die(self, node: SimNode) -> None:
        """Terminate the instance; the cloud provider deletes the Node within 6 s."""
        if not node.running:
            return
        node.running = False
        node.end()
        self.cloud.aws.scene.terminate(node.machine.id)
        node.disturb(0)
        self.scheduler.after(self.scheduler.random.uniform(0, 6), lambda: self._remove(node))

    def _remove(self, node: SimNode) -> None:
        self.unregister(node)
        self.nodes.remove(node)

    def rename(self, node: SimNode) -> None:
        """Delete the Node and register the same instance under another name."""
        self.unregister(node)
        node.end()
        self._names += 1
        node.name = f"n{self._names}"
        self.scheduler.after(self.scheduler.random.uniform(0, 14), lambda: self.register(node))
        self.scheduler.after(self.scheduler.random.uniform(0, 2), lambda: node.start() if node.running else None)

    def intrude(self, fault: PlannedFault, cidrs: tuple[str, ...], provider_id: str) -> None:
        """Create a Node with the pod CIDRs or the instance of another, and delete it when the fault ends."""
        zones = self.cloud.vpc.zones
        machine = None if provider_id else self.cloud.launch(zones[fault.size % len(zones)], spare=True)
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

        self.scheduler.after(fault.seconds, leave)

    # --- others -----------------------------------------------------------------------------

    def add_foreign(self, table_id: str, destination: str, interface_id: str = "") -> None:
        """Create a foreign route, or replace the target of one that is there; without an ENI, to the Internet."""
        key = "DestinationIpv6CidrBlock" if ":" in destination else "DestinationCidrBlock"
        ec2 = self.cloud.aws.scene.ec2
        there = destination in self.cloud.routes(table_id)
        call = ec2.replace_route if there else ec2.create_route
        try:
            to = {"NetworkInterfaceId": interface_id} if interface_id else {"GatewayId": self.cloud.gateway}
            call(RouteTableId=table_id, **to, **{key: destination})
        except ClientError:
            return  # the table is full
        self.tampered[table_id, destination] = self.scheduler.now
        self.foreign[table_id, destination] = self.scheduler.now

    def misdirect(self, table_id: str, destination: str, node: SimNode) -> None:
        """Point a route at another node, as somebody else would."""
        key = "DestinationIpv6CidrBlock" if ":" in destination else "DestinationCidrBlock"
        to = {"NetworkInterfaceId": node.machine.interface_id, key: destination}
        self.cloud.aws.scene.ec2.replace_route(RouteTableId=table_id, **to)
        self.tampered[table_id, destination] = self.scheduler.now
        self.foreign.pop((table_id, destination), None)

    def remove_route(self, table_id: str, destination: str) -> None:
        """Delete a route of ours or a foreign one, as somebody else would."""
        key = "DestinationIpv6CidrBlock" if ":" in destination else "DestinationCidrBlock"
        if destination in self.cloud.routes(table_id):
            self.cloud.aws.scene.ec2.delete_route(RouteTableId=table_id, **{key: destination})
        self.tampered[table_id, destination] = self.scheduler.now
        self.foreign.pop((table_id, destination), None)
