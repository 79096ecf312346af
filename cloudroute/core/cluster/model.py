"""What a plan is made from and what it consists of: values only.

A plan is a set of steps with an order between them (`after`), so that "make before break" is something one can
read: the journal before the route, the withdrawal before the deletion, the deletion before the route that needs its
entry. A step whose predecessor failed is not tried in that cycle; all others are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

from cloudroute.types import (
    Cidr,
    Condition,
    Family,
    Instance,
    InterfaceOwner,
    Node,
    NodeRoute,
    NodeRouteSpec,
    RouteTable,
    RouteTableObject,
    Subnet,
)

DirectRouting = Literal["auto", "always", "off"]
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator wants: the part of the settings that decides anything. Seconds are seconds."""

    cluster_name: str
    pools: tuple[Cidr, ...]
    """--cluster-cidr, in the order given: a node's first pod CIDR is of the first pool's family."""
    node_length: Mapping[Family, int]
    reserved: tuple[Cidr, ...] = ()
    table_ids: tuple[str, ...] = ()
    """--route-table; () finds the tables by tag, else by the nodes' subnets."""
    route_reserve: int = 0
    direct_routing: DirectRouting = "auto"
    overlay: bool = True
    settle_seconds: float = 2
    drain_seconds: float = 10
    leave: bool = False
    """`cleanup`: no node has a network any more; every table of ours is emptied."""

    @property
    def families(self) -> tuple[Family, ...]:
        """The families of a node's pod CIDRs, in order."""
        return tuple(dict.fromkeys(pool.family for pool in self.pools))


@dataclass(frozen=True, slots=True)
class Memory:
    """What a plan hands to the next one. Losing it costs time (timers start anew), never correctness."""

    cursors: Mapping[Family, Cidr] = field(default_factory=dict, hash=False)
    """The pod CIDR given last: the next search starts behind it, so that a freed one rests."""
    settling: Mapping[tuple[str, str], float] = field(default_factory=dict, hash=False)
    """(table id or "" for the source/dest check, instance id) -> since when all was in place, monotonic seconds."""
    draining: Mapping[tuple[str, Cidr | str], float] = field(default_factory=dict, hash=False)
    """(table id, destination), or ("", name) of a leaving NodeRoute -> since when nobody is told to use it."""
    stopped: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Name of a NodeRoute whose agent has stopped -> since when that is known, monotonic seconds."""
    learned: Mapping[tuple[str, Family], int] = field(default_factory=dict, hash=False)
    """(table id, family) -> the limit that a refusal showed, until the RouteTable object carries it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The world at one moment, as far as it was read. Nothing in it changes afterwards."""

    now: float
    """Monotonic seconds."""
    nodes: Mapping[str, Node]
    node_routes: Mapping[str, NodeRoute]
    route_table_objects: Mapping[str, RouteTableObject]
    vpc_id: str
    instances: Mapping[str, Instance]
    tables: Mapping[str, RouteTable]
    """All of the VPC, managed or not: a subnet without an association uses the main one."""
    subnets: Mapping[str, Subnet]
    limit: int
    """Routes per table and family: --route-limit, or the quota."""
    prefix_lists: Mapping[str, tuple[Family, int]] = field(default_factory=dict, hash=False)
    """Family of a routed prefix list, and the entries that it counts for."""
    refused: frozenset[tuple[str, Family]] = frozenset()
    """Tables that answered RouteLimitExceeded since the last plan; `tables` was read again after that."""
    held: frozenset[Key] = frozenset()
    """Steps that failed and wait for their back-off: others need not wait for them."""
    memory: Memory = Memory()
    unknown_owners: Mapping[str, InterfaceOwner] = field(default_factory=dict, hash=False)
    """By ENI: instances that are none of ours, or of an owner that EC2 did not tell (`core.cluster.rivals`)."""


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
    """Forget a node: the last step of its life."""

    old: NodeRoute
    after: tuple[Key, ...] = ()

    @property
    def key(self) -> Key:
        return ("noderoute-gone", self.old.name)


@dataclass(frozen=True, slots=True)
class DisableSourceDestCheck:
    """Let an interface carry packets that are not addressed to itself. `table_id`: the one its subnet uses."""

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
    """Whose route it is; "" when no node has that pod CIDR."""
    after: tuple[Key, ...] = ()

    @property
    def key(self) -> Key:
        return ("route", self.table_id, str(self.destination))

    @property
    def lane(self) -> Key:
        """One at a time per table: a full table then refuses once, not once for each request under way."""
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
    """Forget a table that is gone, or that is no longer ours to fill and holds nothing of ours."""

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


class Notice(NamedTuple):
    """Something a person should know about an object: becomes an Event, a log line and a warning in `status`."""

    kind: Literal["Node", "RouteTable"]
    name: str
    uid: str
    warning: bool
    reason: str
    message: str
    occasion: str = ""
    """Which time it is, of what may happen again: said once for each. What lasts has none, and is said once."""


class Wait(NamedTuple):
    """Something that is right to do later: when (monotonic seconds), and what it is, in words."""

    until: float
    what: str


@dataclass(frozen=True)
class Plan:
    """All that is to do now, what is to do later, and what a person should know."""

    steps: tuple[Step, ...]
    """Pod CIDRs, NodeRoutes and EC2. Each stands behind all that it comes `after`."""
    waits: tuple[Wait, ...]
    notices: tuple[Notice, ...]
    memory: Memory
    expected_status: Callable[[], tuple[Step, ...]] = field(repr=False, compare=False)

    @cached_property
    def publish(self) -> tuple[Step, ...]:
        """Conditions and RouteTable objects as they will be right once `steps` are done.

        Made when asked for: who does the steps says what has come of them (`planner.conclude`).
        """
        return self.expected_status()

    @property
    def empty(self) -> bool:
        """Whether nothing is to do now."""
        return not self.steps and not self.publish
