"""The whole controller on the strict EC2 layer and the embedded Kubernetes API, with a clock that the test owns.

Time stands still but for `run` and `pass_seconds`, which turn the loop and move the clock to whatever it waits for.
Nothing is mocked but time: boto3 calls, HTTP to the API server, watches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from threading import Event
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

import boto3

from cloudroute.adapters.ec2.client import Ec2Client
from cloudroute.adapters.kube.client import KubeClient
from cloudroute.adapters.kube.cluster import Gateways, KubeCluster
from cloudroute.adapters.kube.selection import left_alone
from cloudroute.config import ControllerSettings
from cloudroute.controller import Loop, NoLease
from cloudroute.controller.reconciler import Turn
from cloudroute.controller.status_page import StatusPage
from cloudroute.crds import manifests
from cloudroute.lab.aws import Aws
from cloudroute.lab.aws.scene import Machine, Vpc, Zone
from cloudroute.lab.kube import KubeApi
from cloudroute.ports import Fence, Store
from cloudroute.telemetry import ControllerTelemetry
from cloudroute.types import Cidr, NodeRoute
from tests.clock import FakeClock
from tests.controller.traffic import Traffic
from tests.waiting import eventually

POOL = "100.64.0.0/16"
POOL6 = "fd64::/64"
PATIENCE = 20.0
NATIVE, OVERLAY = ("False", "RouteCreated"), ("False", "OverlayFallback")


class Lab:
    """A VPC, a cluster, and a loop that leads it; `beside` another one it is a second cluster in that one's VPC."""

    def __init__(
        self,
        zones: int = 3,
        *,
        one_table: bool = False,
        ipv6: bool = False,
        tagged: bool = False,
        aws: dict[str, Any] | None = None,
        beside: Lab | None = None,
        **settings: Any,
    ) -> None:
        self.clock: FakeClock = beside.clock if beside else FakeClock()
        # The age of objects must be a matter of this clock too.
        self._born = patch("cloudroute.lab.kube.objects.timestamp", self.clock.timestamp)
        self._born.start()
        self.aws: Aws = beside.aws if beside else Aws(clock=self.clock, **(aws or {}))
        tags = {"kubernetes.io/cluster/test": "shared"} if tagged else {}
        made: dict[str, Any] = {"zones": zones, "one_table": one_table, "ipv6": ipv6, "tags": tags}
        self.vpc: Vpc = beside.vpc if beside else self.aws.scene.vpc(**made)
        self.session: boto3.Session | None = None
        """The controllers' credentials; None is root's."""
        self.kube = KubeApi()
        for crd in manifests():
            self.kube.create(crd)
        self.server = self.kube.serve()
        self.settings = settings_of(**settings)
        self.clusters: list[KubeCluster] = []
        self.traffic: Traffic | None = None
        self._names = 0
        self.machines: dict[str, Machine] = {}
        """All instances that were launched, by id."""
        self.start()

    # --- controllers ------------------------------------------------------------------------

    def start(
        self,
        *,
        leave: bool = False,
        fence: Fence | None = None,
        beside: bool = False,
        own_vpc: str = "",
        page: StatusPage | None = None,
        **changed: Any,
    ) -> Loop:
        """A fresh controller, as after a restart, with `changed` settings; `leave` as for `cleanup`.

        `own_vpc` is where its own machine is, as the metadata service tells it; `page` shows its cycles.
        It becomes `self.loop`. The one before ends, unless this one is to run beside it.
        """
        if not beside:
            self.stop()
        self.settings = settings_of(self.settings, **changed)
        self.cluster = KubeCluster(
            str(self.server.kubeconfig()),
            self.clock,
            selector=self.settings.node_selector,
            gateways=Gateways(
                self.settings.gateway_nodes, self.settings.namespace, self.settings.gateway_lease_seconds
            ),
        )
        self.telemetry = ControllerTelemetry(self.clock.monotonic)
        fence = fence or NoLease()
        session = self.session or self.aws.session()
        ec2 = Ec2Client(session, self.aws.region, fence, self.clock, 3.0, self.telemetry.ec2_request)
        self.client = KubeClient(self.cluster.transport, self.cluster)
        self.loop = Loop(
            settings=self.settings,
            cluster=self.cluster,
            kube=self.client,
            ec2=ec2,
            fence=fence,
            clock=self.clock,
            telemetry=self.telemetry,
            leave=leave,
            page=page,
            own_vpc=lambda: own_vpc,
        )
        self.clusters.append(self.cluster)
        self.cluster.start(self.loop.wake)
        for store in (self.cluster.nodes, self.cluster.node_routes, self.cluster.route_table_objects):
            assert store.wait_synced(PATIENCE)
        return self.loop

    def stop(self) -> None:
        """No controller runs."""
        while self.clusters:
            self.clusters.pop().stop()

    def close(self) -> None:
        """The end."""
        self.stop()
        self.server.close()
        self._born.stop()

    # --- time -------------------------------------------------------------------------------

    def turn(self) -> Turn:
        """One cycle on a world whose every event has arrived."""
        self.sync()
        turn = self.loop.turn(Event())
        if self.traffic:
            self.traffic.look()
        return turn

    def run(self, rounds: int = 300) -> None:
        """Turn until settled; the clock moves to whatever the loop waits for."""
        for _ in range(rounds):
            turn = self.turn()
            if turn.settled:
                return
            self.clock.time = max(self.clock.time, turn.next_at)
        raise AssertionError(f"not settled after {rounds} cycles: {turn}")

    def pass_seconds(self, seconds: float) -> None:
        """Turn whenever the loop asks for it, for so long."""
        end = self.clock.time + seconds
        while True:
            turn = self.turn()
            self.clock.time = max(turn.next_at, self.clock.time + 0.001)
            if self.clock.time >= end:
                self.clock.time = end
                return

    def sync(self) -> None:
        """Wait until the watches have shown all that is in the API."""
        for plural, store in (
            ("nodes", self.cluster.nodes),
            ("noderoutes", self.cluster.node_routes),
            ("routetables", self.cluster.route_table_objects),
        ):
            want = {
                o["metadata"]["name"]: o["metadata"]["resourceVersion"]
                for o in self.kube.list(plural)
                if plural != "nodes" or not left_alone(o, self.settings.node_selector)
            }
            eventually(partial(_holds, store, want), f"the store of {plural} holds what the API server holds")

    # --- the world --------------------------------------------------------------------------

    def join(
        self,
        zone: Zone | int = 0,
        *,
        machine: Machine | None = None,
        name: str = "",
        provider_id: str | None = None,
        pod_cidrs: tuple[str, ...] = (),
        priority: str = "",
        labels: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """An instance starts, and its kubelet registers; the Node's name."""
        zone = self.vpc.zones[zone] if isinstance(zone, int) else zone
        machine = machine or self.aws.scene.launch(zone)[0]
        self.machines[machine.id] = machine
        self._names += 1
        name = name or f"node-{self._names:03}"
        annotations = {"cloudroute.io/priority": priority} if priority else {}
        provider_id = machine.provider_id if provider_id is None else provider_id
        spec: dict[str, Any] = {"providerID": provider_id} if provider_id else {}
        if pod_cidrs:
            spec["podCIDRs"] = list(pod_cidrs)
        addresses = [{"type": "InternalIP", "address": address} for address in machine.addresses]
        metadata: dict[str, Any] = {"name": name, "annotations": annotations, "labels": dict(labels)}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec}
        ready = [{"type": "Ready", "status": "True"}]
        self.kube.create({**node, "status": {"addresses": addresses, "conditions": ready}})
        return name

    def join_many(self, count: int) -> list[str]:
        """Nodes join, in the zones by turns."""
        zones = self.vpc.zones
        shares = [len(range(index, count, len(zones))) for index in range(len(zones))]
        waiting = [
            list(self.aws.scene.launch(zone, share)) if share else [] for zone, share in zip(zones, shares, strict=True)
        ]
        return [self.join(machine=waiting[index % len(zones)].pop(0)) for index in range(count)]

    def terminate(self, name: str) -> None:
        """The instance ends and its Node is deleted, as the cloud provider does it."""
        self.aws.scene.terminate(self.instance(name))
        self.kube.delete("nodes", name)

    def instance(self, name: str) -> str:
        """The instance of a Node."""
        return str(self.kube.get("nodes", name)["spec"]["providerID"]).rsplit("/", 1)[-1]

    def machine(self, name: str) -> Machine:
        """The instance of a Node as it was launched."""
        return self.machines[self.instance(name)]

    def condition(self, name: str) -> tuple[str, str] | None:
        """Status and reason of a Node's NetworkUnavailable."""
        for condition in self.kube.get("nodes", name).get("status", {}).get("conditions", []):
            if condition["type"] == "NetworkUnavailable":
                return condition["status"], condition["reason"]
        return None

    def conditions(self) -> dict[str, tuple[str, str] | None]:
        """Conditions of all Nodes."""
        return {o["metadata"]["name"]: self.condition(o["metadata"]["name"]) for o in self.kube.list("nodes")}

    def pod_cidrs(self, name: str) -> tuple[str, ...]:
        """spec.podCIDRs of a Node."""
        return tuple(self.kube.get("nodes", name)["spec"].get("podCIDRs", ()))

    def routes(self, table_id: str) -> dict[str, str]:
        """Destination -> target of every route but `local`. Not described: that takes longer than a cycle."""
        entries = [route.fields for route in self.aws.world.table_view(table_id).routes.values()]
        return {
            next(route[name] for name in _DESTINATIONS if name in route): str(
                next((route[name] for name in _TARGETS if name in route), "?")
            )
            for route in entries
            if route.get("gatewayId") != "local"
        }

    def tables(self) -> tuple[str, ...]:
        """Ids of the zones' tables."""
        return self.vpc.route_table_ids

    def table(self) -> str:
        """The one table's id."""
        (only,) = self.tables()
        return only

    def published(self) -> dict[str, NodeRoute]:
        """NodeRoutes by name."""
        self.sync()
        return dict(self.cluster.node_routes.items())

    def native(self, table_id: str) -> list[str]:
        """Names, sorted, of the nodes that are published as natively reachable from a table."""
        return sorted(name for name, route in self.published().items() if table_id in route.spec.native_in)

    def use(self, table_id: str, family: str = "ipv4") -> dict[str, int]:
        """A family's status in a RouteTable object."""
        return dict(self.kube.get("routetables", table_id)["status"][family])

    def gateway(self) -> str:
        """An internet gateway."""
        gateway = str(self.aws.scene.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"])
        self.aws.scene.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc.id)
        return gateway

    def prefix_list(self, entries: int, family: str = "IPv4") -> str:
        """A customer-managed prefix list that may hold so many entries."""
        made = {"PrefixListName": "offices", "MaxEntries": entries, "AddressFamily": family}
        return str(self.aws.scene.ec2.create_managed_prefix_list(**made)["PrefixList"]["PrefixListId"])

    def interface(self, zone: Zone | int = 0) -> str:
        """An interface that belongs to no instance."""
        zone = self.vpc.zones[zone] if isinstance(zone, int) else zone
        made = self.aws.scene.ec2.create_network_interface(SubnetId=zone.subnet_id)
        return str(made["NetworkInterface"]["NetworkInterfaceId"])

    def foreign(self, table_id: str, destination: str, **target: str) -> None:
        """Somebody else adds a route; `destination` may be a prefix list."""
        family = "Ipv6CidrBlock" if ":" in destination else "CidrBlock"
        key = "DestinationPrefixListId" if destination.startswith("pl-") else f"Destination{family}"
        self.aws.scene.ec2.create_route(RouteTableId=table_id, **{key: destination}, **target)

    # --- what was asked and said ------------------------------------------------------------

    def calls(self) -> dict[str, int]:
        """Count the requests of each EC2 action since the last look, whatever their result; counting starts anew."""
        counts: dict[str, int] = {}
        for (action, _), number in self.aws.calls.items():
            counts[action] = counts.get(action, 0) + number
        self.aws.reset_calls()
        return counts

    def changes(self) -> dict[str, int]:
        """`calls` without the describes."""
        return {action: number for action, number in self.calls().items() if not action.startswith("Describe")}

    def writes(self) -> dict[tuple[str, str], int]:
        """Count the requests of each Kubernetes write since the last look, Events and the lease aside."""
        asked = {
            key: number
            for key, number in self.kube.calls.items()
            if key[0] not in ("get", "list", "watch") and key[1].split("/")[0] not in ("events", "leases")
        }
        self.kube.reset_counts()
        return asked

    def events(self, reason: str = "") -> list[tuple[str, str, str, str]]:
        """Type, object, reason and note of all Events so far, or those with a reason; sorted."""
        eventually(lambda: self.client.events.flush(0), "the Events are written")
        return sorted(
            (event["type"], event["involvedObject"]["name"], event["reason"], event["message"])
            for event in self.kube.list("events", "default")
            if reason in ("", event["reason"])
        )


_DESTINATIONS = ("destinationCidrBlock", "destinationIpv6CidrBlock", "destinationPrefixListId")
_TARGETS = ("networkInterfaceId", "gatewayId", "vpcPeeringConnectionId", "natGatewayId", "egressOnlyInternetGatewayId")


def settings_of(old: ControllerSettings | None = None, **values: Any) -> ControllerSettings:
    """Settings with a pool, or `old` ones with changes; CIDRs are given as text."""
    old = old or ControllerSettings(cluster_name="test", cluster_cidr=(Cidr.parse(POOL),))
    for name in {"cluster_cidr", "reserved_cidr"} & values.keys():
        values[name] = tuple(map(Cidr.parse, values[name]))
    return replace(old, **values)


def _holds(store: Store[Any], versions: Mapping[str, str]) -> bool:
    return {name: one.version for name, one in store.items().items()} == versions


@contextmanager
def lab(*args: Any, traffic: bool = False, **kwargs: Any) -> Iterator[Lab]:
    """A Lab that is closed at the end. With `traffic` each cycle is checked for packets that would be lost."""
    made = Lab(*args, **kwargs)
    try:
        made.traffic = Traffic(made) if traffic else None
        yield made
    finally:
        made.close()
