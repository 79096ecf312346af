"""Reading: one snapshot of Kubernetes and EC2, refused where the settings contradict it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from cloudroute.config import ControllerSettings, check_against_vpc, check_overlap
from cloudroute.controller.ec2_cache import Ec2Cache
from cloudroute.core.cluster import foreign_clusters
from cloudroute.core.cluster.model import Policy, Snapshot
from cloudroute.core.cluster.outside import left_out_nodes, outside_pools
from cloudroute.core.cluster.staleness import INHERITED_SECONDS, unpublished
from cloudroute.errors import UsageError
from cloudroute.ports import Clock, Cluster, Ec2, Kube
from cloudroute.telemetry import ChangeLog
from cloudroute.types import Cidr, Node, NodeRoute

NO_VPC = "no VPC is known yet: no node's instance was found in EC2"


def policy_of(settings: ControllerSettings, *, leave: bool = False) -> Policy:
    """The settings that the planner uses; `leave` is set for `cleanup`."""
    return Policy(
        cluster_name=settings.cluster_name,
        pools=settings.cluster_cidr,
        node_mask={family: settings.node_mask(family) for family in settings.families},
        reserved=settings.reserved_cidr,
        table_ids=settings.route_table,
        route_reserve=settings.route_reserve,
        direct_routing=settings.direct_routing,
        overlay=settings.overlay,
        settle_seconds=settings.settle_seconds,
        drain_seconds=settings.drain_seconds,
        gateways=settings.has_gateways,
        gateway_routes=settings.gateway_routes,
        leave=leave,
    )


class Reader:
    """Reads the cluster's stores, and EC2 as far as reads are due. `own_vpc` returns the VPC of this machine."""

    def __init__(
        self,
        *,
        settings: ControllerSettings,
        cluster: Cluster,
        kube: Kube,
        ec2: Ec2,
        clock: Clock,
        leave: bool = False,
        own_vpc: Callable[[], str] = lambda: "",
    ) -> None:
        self._settings, self._cluster, self._kube, self._clock = settings, cluster, kube, clock
        self.policy = policy_of(settings, leave=leave)
        self.cache = Ec2Cache(
            ec2,
            clock,
            vpc_id=settings.vpc_id,
            limit=None if settings.route_limit == "auto" else settings.route_limit,
            resync_seconds=settings.resync_seconds,
            own_vpc=own_vpc,
        )
        self._changes = ChangeLog()
        self._checked_vpc = ""
        """The VPC that the settings were checked against."""
        self._owners_reading = 0
        """Table-read counter at the last lookup of owners."""
        self._inherited: frozenset[tuple[str, Cidr]] | None = None
        """As in `Snapshot`; None before the first read of the tables."""
        self._inherited_until = 0.0

    def check(self) -> None:
        """Raise UsageError where pod CIDRs lie in no pool, or the selection leaves out most Nodes with routes.

        Needs the cluster's lists, but no lease.
        """
        # `cleanup` checks NodeRoutes only: Nodes keep their CIDRs, but a NodeRoute outside of the pools would be
        # deleted without its routes, which would then stay.
        nodes = {} if self.policy.leave else self._cluster.nodes.items()
        records = self._cluster.node_routes.items()
        problems = outside_pools(nodes, records, self.policy)
        if not self.policy.leave:
            problems += left_out_nodes(nodes, self._cluster.left_out.items(), records, self._settings.node_selector)
        if problems:
            raise UsageError(problems)

    def read(self) -> Snapshot | None:
        """Do the reads that are due and return a snapshot; None while there are nodes but no VPC is known.

        Raises ApiError and UsageError.
        """
        nodes, node_routes = self._cluster.nodes.items(), self._cluster.node_routes.items()
        wanted = _instance_ids(nodes, node_routes)
        self.cache.doubt(_replaced_instances(nodes, node_routes))
        late = bool(self._inherited) and self._clock.monotonic() >= self._inherited_until
        self.cache.tables_stale = self.cache.tables_stale or late
        self.cache.refresh(wanted, self._cluster.route_table_objects.items().values())
        self._inherit(node_routes.values(), late=late)
        if not self.cache.complete and wanted:
            self._changes.say("waiting", "waiting", problem=NO_VPC)
            return None
        self._resolve_owners()
        if self.cache.complete and self._checked_vpc != self.cache.vpc_id and not self.policy.leave:
            self._check_against_vpc()
        snapshot = self.snapshot()
        if problems := foreign_clusters.refusal(snapshot, self.policy):
            raise UsageError(problems)
        return snapshot

    def snapshot(self) -> Snapshot:
        """Return what is known now, without a read of EC2."""
        cache, cluster = self.cache, self._cluster
        return Snapshot(
            now=self._clock.monotonic(),
            nodes=cluster.nodes.items(),
            node_routes=cluster.node_routes.items(),
            route_table_objects=cluster.route_table_objects.items(),
            vpc_id=cache.vpc_id,
            instances=dict(cache.instances),
            tables=dict(cache.tables),
            subnets=cache.subnets,
            limit=cache.limit,
            prefix_lists=dict(cache.prefix_lists),
            refused=frozenset(cache.refused),
            pulse=cluster.heartbeats.judge(self._clock.monotonic()),
            inherited=self._inherited or frozenset(),
            inherited_until=self._inherited_until,
            unknown_owners=dict(cache.unknown_owners),
        )

    def _inherit(self, records: Collection[NodeRoute], *, late: bool) -> None:
        """Note the routes that the former leader may have deleted: none after a `late` read of the tables."""
        if late:
            self._inherited = frozenset()
        elif self._inherited is None and self.cache.complete:
            self._inherited_until = self.cache.tables_read + INHERITED_SECONDS
            self._inherited = unpublished(records, self.cache.tables)

    def _resolve_owners(self) -> None:
        """Look up the owners of interfaces that no node of ours has, though routes in our pools lead to them.

        Done after each read of the tables, and in each cycle before the first NodeRoute, since new nodes bring new
        tables.
        """
        if self._owners_reading != self.cache.reading or not self._cluster.node_routes.items():
            self.cache.resolve_owners(foreign_clusters.unknown_interfaces(self.snapshot(), self.policy))
            self._owners_reading = self.cache.reading

    def _check_against_vpc(self) -> None:
        """Raise UsageError where settings contradict cluster or VPC: pools that others use, tables that are missing."""
        services = check_overlap(self._settings, "the Services", self._kube.service_cidrs())
        tables = [
            f"--route-table {table_id}: expected a route table of {self.cache.vpc_id}, which has none of that id"
            for table_id in self._settings.route_table
            if table_id not in self.cache.tables
        ]
        if problems := [*check_against_vpc(self._settings, self.cache.local_cidrs()), *services, *tables]:
            raise UsageError(problems)
        self._checked_vpc = self.cache.vpc_id


def _instance_ids(nodes: Mapping[str, Node], node_routes: Mapping[str, NodeRoute]) -> set[str]:
    """Ids of the instances of all Nodes and NodeRoutes."""
    wanted = {node.instance_id for node in nodes.values() if node.instance_id}
    return wanted | {record.spec.instance_id for record in node_routes.values()}


def _replaced_instances(nodes: Mapping[str, Node], node_routes: Mapping[str, NodeRoute]) -> list[str]:
    """Ids of instances in NodeRoutes whose Node is another instance by now."""
    return [
        record.spec.instance_id
        for name, record in node_routes.items()
        if (node := nodes.get(name)) and node.instance_id not in ("", record.spec.instance_id)
    ]
