"""Input and content of a plan: values only.

A plan is a set of steps with an order between them (`after`), so that "make before break" can be read in it: the
journal (NodeRoute) before the route, the withdrawal before the deletion, the deletion before the route that needs its
entry. A step whose predecessor failed is not tried in that cycle; all others are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

from cloudroute.types import (
    NO_PULSE,
    Cidr,
    Condition,
    Family,
    Instance,
    InterfaceOwner,
    Node,
    NodeRoute,
    NodeRouteSpec,
    Notice,
    Pulse,
    RouteTable,
    RouteTableObject,
    Subnet,
)

FALLBACK_LIMIT = 50
"""Routes per table where Service Quotas can't be asked: the quota that every account has always had."""

DirectRouting = Literal["auto", "always", "off"]
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's settings, as far as decisions depend on them. Durations in seconds."""

    cluster_name: str
    pools: tuple[Cidr, ...]
    """--cluster-cidr, in the order given: a node's first pod CIDR has the family of the first pool."""
    node_mask: Mapping[Family, int]
    reserved: tuple[Cidr, ...] = ()
    table_ids: tuple[str, ...] = ()
    """--route-table; () finds the tables by tag, else by the nodes' subnets."""
    route_reserve: int = 0
    direct_routing: DirectRouting = "auto"
    overlay: bool = True
    settle_seconds: float = 2
    drain_seconds: float = 10
    gateways: bool = False
    """Whether --gateway-nodes selects any nodes."""
    gateway_routes: int = 1
    """Number of equal parts of each pool that have an aggregate of their own."""
    leave: bool = False
    """Set by `cleanup`: no node gets a network, and every table is emptied of our routes."""

    @property
    def families(self) -> tuple[Family, ...]:
        """The families of a node's pod CIDRs, in order."""
        return tuple(dict.fromkeys(pool.family for pool in self.pools))

    @property
    def aggregates(self) -> tuple[Cidr, ...]:
        """Destinations that each managed table shall route to a gateway: every pool, or its equal parts."""
        if not self.gateways or self.leave:
            return ()
        parts, bits = self.gateway_routes, self.gateway_routes.bit_length() - 1
        return tuple(
            Cidr(pool.family, pool.base + part * (pool.size // parts), pool.length + bits)
            for pool in self.pools
            for part in range(parts)
        )

    @property
    def rounds(self) -> tuple[tuple[Cidr, ...], ...]:
        """Ranges that new nodes get their pod CIDRs from in turn: each aggregate, else all pools of a family as one."""
        if parts := self.aggregates:
            return tuple((part,) for part in parts)
        return tuple(tuple(pool for pool in self.pools if pool.family == family) for family in self.families)


@dataclass(frozen=True, slots=True)
class Carryover:
    """State that a plan hands to the next one. Losing it costs time (timers restart), never correctness."""

    given: tuple[Cidr, ...] = ()
    """The pod CIDRs given last (`Ipam.given`): the next search starts after them, so that a freed CIDR is not reused at
    once."""
    settling: Mapping[tuple[str, str], float] = field(default_factory=dict, hash=False)
    """(table id or "" for the source/dest check, instance id) -> monotonic second since which all is in place."""
    draining: Mapping[tuple[str, Cidr | str], float] = field(default_factory=dict, hash=False)
    """(table id, destination), ("", name) of a leaving NodeRoute, or ("gateway", name) of a former gateway -> monotonic
    second since which nobody is told to use it."""
    stopped: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Name of a NodeRoute whose agent has stopped -> monotonic second since which that is known."""
    learned: Mapping[tuple[str, Family], int] = field(default_factory=dict, hash=False)
    """(table id, family) -> the limit that a refusal showed, until the RouteTable object has it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """State of Kubernetes and EC2 at one moment, as far as it was read. Never changes afterwards."""

    now: float
    """Monotonic seconds."""
    nodes: Mapping[str, Node]
    node_routes: Mapping[str, NodeRoute]
    route_table_objects: Mapping[str, RouteTableObject]
    vpc_id: str
    instances: Mapping[str, Instance]
    tables: Mapping[str, RouteTable]
    """All route tables of the VPC, managed or not: a subnet without an association uses the main one."""
    subnets: Mapping[str, Subnet]
    limit: int
    """Routes per table and family: --route-limit, or the quota."""
    prefix_lists: Mapping[str, tuple[Family, int]] = field(default_factory=dict, hash=False)
    """Family of a routed prefix list, and the number of route table entries that it counts for."""
    refused: frozenset[tuple[str, Family]] = frozenset()
    """Tables and families refused by RouteLimitExceeded since the last plan; `tables` was read again after that."""
    held: frozenset[Key] = frozenset()
    """Keys of failed steps in back-off: other steps need not wait for them."""
    carryover: Carryover = Carryover()
    pulse: Pulse = NO_PULSE
    """The gateways that renew their Leases."""
    inherited: frozenset[tuple[str, Cidr]] = frozenset()
    """(table id, pod CIDR) of routes that the former leader may have deleted (`staleness`)."""
    inherited_until: float = 0.0
    """Monotonic second of the read of the tables that will show that."""
    unknown_owners: Mapping[str, InterfaceOwner] = field(default_factory=dict, hash=False)
    """By ENI: instances that are no nodes of ours, or have an owner that EC2 did not tell (`foreign_clusters`)."""


# --- steps --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AssignPodCidrs:
    """Write spec.podCIDRs of a Node that has none."""

    node: Node
    cidrs: tuple[Cidr, ...]
    after: tuple[Key, ...] = ()

    @property
    def key(self) -> Key:
        return ("cidrs", self.node.name)


@dataclass(frozen=True, slots=True)
class WriteNodeRoute:
    """Create a NodeRoute (`old` is None) or change its spec."""

    name: str
    old: NodeRoute | None
    spec: NodeRouteSpec
    after: tuple[Key, ...] = ()

    @property
    def key(self) -> Key:
        return ("noderoute", self.name)


@dataclass(frozen=True, slots=True)
class DeleteNodeRoute:
    """Delete the NodeRoute of a node that has left: the last step for it."""

    old: NodeRoute
    after: tuple[Key, ...] = ()

    @property
    def key(self) -> Key:
        return ("noderoute-gone", self.old.name)


@dataclass(frozen=True, slots=True)
class DisableSourceDestCheck:
    """Let an interface carry packets for addresses that are not its own. `table_id`: the table of its subnet."""

    interface_id: str
    instance_id: str
    node: str
    table_id: str
    after: tuple[Key, ...] = ()

    @property
    def key(self) -> Key:
        return ("check", self.interface_id)

    @property
    def lane(self) -> Key:
        return ("check", self.table_id)


@dataclass(frozen=True, slots=True)
class ChangeRoute:
    """Create, replace or delete one entry of a route table. `interface_id` is the target, "" for a deletion."""

    verb: Literal["create", "replace", "delete"]
    table_id: str
    destination: Cidr
    interface_id: str
    node: str
    """Name of the node with that pod CIDR, or of the gateway that an aggregate leads to; "" when there is none."""
    after: tuple[Key, ...] = ()

    @property
    def key(self) -> Key:
        return ("route", self.table_id, str(self.destination))

    @property
    def lane(self) -> Key:
        """Steps of one lane run one at a time: a full table then refuses once, not once for each request in flight."""
        return ("route", self.table_id)


@dataclass(frozen=True, slots=True)
class SetCondition:
    """Write a Node's NetworkUnavailable condition."""

    node: Node
    condition: Condition
    after: tuple[Key, ...] = ()

    @property
    def key(self) -> Key:
        return ("condition", self.node.name)


@dataclass(frozen=True, slots=True)
class WriteRouteTableObject:
    """Create or change a RouteTable object."""

    old: RouteTableObject | None
    report: RouteTableObject
    after: tuple[Key, ...] = ()

    @property
    def key(self) -> Key:
        return ("report", self.report.id)


@dataclass(frozen=True, slots=True)
class DeleteRouteTableObject:
    """Delete the RouteTable object of a table that is gone, or that is no longer managed and has no route of ours."""

    old: RouteTableObject
    after: tuple[Key, ...] = ()

    @property
    def key(self) -> Key:
        return ("report", self.old.id)


Step = (
    AssignPodCidrs
    | WriteNodeRoute
    | DeleteNodeRoute
    | DisableSourceDestCheck
    | ChangeRoute
    | SetCondition
    | WriteRouteTableObject
    | DeleteRouteTableObject
)


class Wait(NamedTuple):
    """Work that has to wait: until when (monotonic seconds), and its description for people."""

    until: float
    what: str


@dataclass(frozen=True)
class Plan:
    """Steps for now, work that has to wait, and notices for people."""

    steps: tuple[Step, ...]
    """Steps for pod CIDRs, NodeRoutes and EC2. Each stands behind all steps in its `after`."""
    waits: tuple[Wait, ...]
    notices: tuple[Notice, ...]
    carryover: Carryover
    expected_status: Callable[[], tuple[Step, ...]] = field(repr=False, compare=False)

    @cached_property
    def publish(self) -> tuple[Step, ...]:
        """Writes of conditions and RouteTable objects that will be right once all `steps` are done.

        Computed on demand: a caller that executes the steps reports the real outcome instead (`planner.conclude`).
        """
        return self.expected_status()

    @property
    def empty(self) -> bool:
        """Whether there is no step to do now."""
        return not self.steps and not self.publish
