"""A model of Kubernetes and EC2 that does exactly what a plan says: for properties of the pure core.

It holds nothing but values; every method changes the world the way the real APIs would. `do` checks what the APIs
check (a taken destination, a full table, a second NodeRoute of one name) and what must hold at each single step
(foreign routes untouched, limits kept, nothing published before it works).
"""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from cloudroute.core.cluster.model import (
    AssignPodCidrs,
    Carryover,
    ChangeRoute,
    DeleteNodeRoute,
    DeleteRouteTableObject,
    DisableSourceDestCheck,
    Key,
    Policy,
    SetCondition,
    Snapshot,
    Step,
    WriteNodeRoute,
    WriteRouteTableObject,
)
from cloudroute.core.cluster.planner import Decision, conclude, decide
from cloudroute.types import (
    Cidr,
    Condition,
    Family,
    GatewayRole,
    Instance,
    InstanceState,
    Interface,
    Node,
    NodeRoute,
    NodeRouteSpec,
    Pulse,
    Route,
    RouteTable,
    RouteTableObject,
    Subnet,
)

VPC = "vpc-1"
LOCAL = Cidr.parse("10.0.0.0/8")
LOCAL6 = Cidr.parse("fd10::/56")
POLICY = Policy("test", (Cidr.parse("100.64.0.0/16"),), {"ipv4": 24, "ipv6": 80})
DUAL = replace(POLICY, pools=(*POLICY.pools, Cidr.parse("fd00:64::/64")))
ROOMY = replace(POLICY, pools=(Cidr.parse("100.64.0.0/10"),))
"""For thousands of nodes."""


def none_fails(step: Step) -> bool:
    """Every step succeeds."""
    return False


@dataclass
class World:
    """Zones are letters; each has a subnet and, unless `one_table`, a table of its own."""

    policy: Policy = POLICY
    zones: str = "abc"
    one_table: bool = False
    ipv6_only: str = ""
    """Zones whose subnets have no IPv4."""
    limit: int = 50
    real_limit: dict[tuple[str, Family], int] = field(default_factory=dict)
    """What AWS allows where that is less than anybody configured."""
    now: float = 1000.0
    nodes: dict[str, Node] = field(default_factory=dict)
    records: dict[str, NodeRoute] = field(default_factory=dict)
    reports: dict[str, RouteTableObject] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    tables: dict[str, RouteTable] = field(default_factory=dict)
    """Their `routes` are changed in place; a snapshot has copies."""
    subnets: dict[str, Subnet] = field(default_factory=dict)
    prefix_lists: dict[str, tuple[Family, int]] = field(default_factory=dict)
    carryover: Carryover = field(default_factory=Carryover)
    refused: set[tuple[str, Family]] = field(default_factory=set)
    held: frozenset[Key] = frozenset()
    foreigners: dict[tuple[str, Cidr | str], Route] = field(default_factory=dict)
    """What others have put into tables, and what must still be there."""
    entries: Counter[tuple[str, Family]] = field(default_factory=Counter)
    """How many entries each table holds now, as AWS counts them."""
    highest: Counter[tuple[str, Family]] = field(default_factory=Counter)
    """The most entries that a table ever held."""
    unreported: set[tuple[str, Cidr | str]] = field(default_factory=set)
    """Routes created in a table that had no RouteTable object, and had none as long as their node's NodeRoute was."""
    silent: set[str] = field(default_factory=set)
    """Names of gateways that do not renew their Leases."""
    log: list[Step] = field(default_factory=list)
    """Every step that was tried, in order."""
    asked: Counter[tuple[str, Family]] = field(default_factory=Counter)
    """Creates that were answered RouteLimitExceeded."""
    ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    watch: Callable[[Snapshot, Decision], None] = lambda _snapshot, _decision: None
    """Called with each plan whose steps may be done."""

    def __post_init__(self) -> None:
        names = ["rtb-main"] if self.one_table else [f"rtb-{zone}" for zone in self.zones]
        for name in names:
            subnets = () if self.one_table else (f"subnet-{name[-1]}",)
            self.tables[name] = RouteTable(name, VPC, subnets, {}, {}, main=self.one_table)
            for local in (LOCAL, LOCAL6):
                if local.family in self.policy.families:
                    self._foreign(name, Route(local, "local"))
        for number, zone in enumerate(self.zones):
            cidr = Cidr.parse(f"fd10:0:0:{number}::/64" if zone in self.ipv6_only else f"10.{number}.0.0/16")
            self.subnets[f"subnet-{zone}"] = Subnet(f"subnet-{zone}", VPC, f"zone-{zone}", (cidr,))

    # --- what others do ---------------------------------------------------------------------

    def launch(self, zone: str = "a", *, checked: bool = True, interfaces: int = 1) -> str:
        """Start an instance; its id."""
        number = next(self.ids)
        index = self.zones.index(zone)
        address = f"10.{index}.{number // 250}.{number % 250 + 4}"
        if zone in self.ipv6_only:
            address = f"fd10:0:0:{index}::{number + 4:x}"
        enis = tuple(
            Interface(f"eni-{number:04}{'x' * index}", index, f"subnet-{zone}", (address,), source_dest_check=checked)
            for index in range(interfaces)
        )
        self.instances[f"i-{number:04}"] = Instance(f"i-{number:04}", "running", VPC, f"zone-{zone}", enis)
        return f"i-{number:04}"

    def join(
        self,
        zone: str = "a",
        name: str = "",
        instance: str = "",
        cidrs: tuple[Cidr, ...] = (),
        priority: int = 0,
        gateway: GatewayRole = "none",
    ) -> Node:
        """Register a Node, on a new instance unless one is named."""
        instance = instance or self.launch(zone)
        number = next(self.ids)
        created = f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z"
        known = self.instances.get(instance)
        primary = known.primary if known else None
        ips = primary.addresses if primary else ()
        name = name or f"node-{number:04}"
        node = Node(name, f"uid-{number}", str(number), created, instance, cidrs, ips, priority, gateway=gateway)
        self.nodes[name] = node
        return node

    def state(self, instance: str, state: InstanceState) -> None:
        """Stop, start or terminate an instance; its routes follow."""
        old = self.instances[instance]
        gone = state in ("terminated", "shutting-down")
        self.instances[instance] = replace(old, state=state, interfaces=() if gone else old.interfaces)
        self._routes_follow({interface.id for interface in old.interfaces}, blackhole=state != "running")

    def replace_interface(self, instance: str, *, checked: bool = True) -> str:
        """Give an instance another primary ENI, as on a start from a template; the new id. The old ENI is gone."""
        old = self.instances[instance]
        primary = Interface(
            f"eni-{next(self.ids):04}",
            0,
            old.interfaces[0].subnet_id,
            old.interfaces[0].addresses,
            source_dest_check=checked,
        )
        self.instances[instance] = replace(old, interfaces=(primary, *old.interfaces[1:]))
        self._routes_follow({old.interfaces[0].id}, blackhole=True)
        return primary.id

    def _routes_follow(self, enis: set[str], *, blackhole: bool) -> None:
        for table in self.tables.values():
            for destination, route in table.routes.items():
                if route.target in enis:
                    after = route._replace(blackhole=blackhole)
                    self._routes(table.id)[destination] = after
                    if (table.id, destination) in self.foreigners:
                        self.foreigners[table.id, destination] = after

    def switch_check(self, instance: str, *, on: bool) -> None:
        """Switch the source/dest check of an instance's primary ENI."""
        old = self.instances[instance]
        primary = replace(old.interfaces[0], source_dest_check=on)
        self.instances[instance] = replace(old, interfaces=(primary, *old.interfaces[1:]))

    def foreign(self, table: str, destination: str, target: str = "igw-1", **flags: bool) -> None:
        """Somebody else adds a route; `pl-…` routes a prefix list. flags: blackhole, propagated."""
        to: Cidr | str = destination if destination.startswith("pl-") else Cidr.parse(destination)
        self._foreign(table, Route(to, target, **flags))

    def _foreign(self, table: str, route: Route) -> None:
        self._put(table, route)
        self.foreigners[table, route.destination] = route

    def remove(self, table: str, destination: str) -> None:
        """Somebody removes a route."""
        self._drop(table, Cidr.parse(destination))
        self.foreigners.pop((table, Cidr.parse(destination)), None)

    def _routes(self, table: str) -> dict[Cidr | str, Route]:
        routes = self.tables[table].routes
        assert isinstance(routes, dict)
        return routes

    def _put(self, table: str, route: Route) -> None:
        old = self._routes(table).get(route.destination)
        self._routes(table)[route.destination] = route
        self._count(table, route, 1)
        if old:
            self._count(table, old, -1)

    def _drop(self, table: str, destination: Cidr) -> None:
        self._count(table, self._routes(table).pop(destination), -1)

    def _count(self, table: str, route: Route, sign: int) -> None:
        destination = route.destination
        family, entries = self.prefix_lists[destination] if isinstance(destination, str) else (destination.family, 1)
        if not route.propagated:
            self.entries[table, family] += sign * entries
            self.highest[table, family] = max(self.entries[table, family], self.highest[table, family])

    def used(self, table: str, family: Family = "ipv4") -> int:
        """Entries of a family."""
        return self.entries[table, family]

    # --- what cloudroute does ---------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The world now."""
        tables = {name: replace(table, routes=dict(table.routes)) for name, table in self.tables.items()}
        return Snapshot(
            self.now, dict(self.nodes), dict(self.records), dict(self.reports), VPC, dict(self.instances),
            tables, dict(self.subnets), self.limit, dict(self.prefix_lists), frozenset(self.refused), self.held,
            self.carryover, self.pulse(),
        )  # fmt: skip

    def pulse(self) -> Pulse:
        """Gateways renew their Leases once they were told, unless they are silent."""
        told = {name for name, record in self.records.items() if record.spec.gateway}
        return Pulse(frozenset(told - self.silent), judged=True, settled=True)

    def copy(self) -> World:
        """Another world that is the same so far."""
        return copy.deepcopy(self)

    def restart(self) -> None:
        """Another process takes over: it knows what it reads, nothing else."""
        self.carryover, self.refused, self.held = Carryover(), set(), frozenset()

    def plan(self, snapshot: Snapshot | None = None) -> Decision:
        """Decide from what is there, or from what was seen of it."""
        snapshot = snapshot or self.snapshot()
        decision = decide(snapshot, self.policy)
        self.watch(snapshot, decision)
        return decision

    def cycle(self, fails: Callable[[Step], bool] = none_fails, snapshot: Snapshot | None = None) -> Decision:
        """One turn of the loop: plan (from what is there, or from what was seen of it), do, conclude."""
        decision = self.plan(snapshot)
        subjects = [(one.kind, one.uid or one.name, one.reason, one.occasion) for one in decision.plan.notices]
        assert len(set(subjects)) == len(subjects), "two notices are about one thing: they would take turns in the log"
        self.carryover, self.refused = decision.plan.carryover, set()
        failed = self.run(decision.plan.steps, fails)
        failed |= self.run(conclude(decision, self.snapshot()), fails)
        self.held = frozenset(failed)
        return decision

    def run(self, steps: tuple[Step, ...], fails: Callable[[Step], bool] = none_fails) -> set[Key]:
        """Do the steps in order, none whose predecessor failed; the keys of those that failed.

        A table that has answered RouteLimitExceeded is not asked for more in the same run.
        """
        assert len({step.key for step in steps}) == len(steps), "two steps have one key"
        seen: set[Key] = set()
        done: set[Key] = set()
        failed: set[Key] = set()
        for step in steps:
            assert seen.issuperset(step.after), f"{step} stands before what it comes after"
            seen.add(step.key)
            if not all(key in done for key in step.after) or self._is_full(step):
                continue
            if fails(step):
                failed.add(step.key)
            elif self.do(step):
                done.add(step.key)
        return failed

    def _is_full(self, step: Step) -> bool:
        return (
            isinstance(step, ChangeRoute)
            and step.verb == "create"
            and (step.table_id, step.destination.family) in self.refused
        )

    def do(self, step: Step) -> bool:
        """Do one step; False when the API would have refused it for the limit."""
        self.log.append(step)
        match step:
            case DisableSourceDestCheck():
                self._disable_check(step.interface_id)
            case ChangeRoute():
                return self._change_route(step)
            case WriteNodeRoute():
                self._write_record(step)
            case DeleteNodeRoute():
                del self.records[step.old.name]
            case WriteRouteTableObject():
                self.reports[step.report.id] = step.report
                held = {cidr for record in self.records.values() for cidr in record.spec.pod_cidrs}
                self.unreported = {(id_, to) for id_, to in self.unreported if id_ != step.report.id or to not in held}
            case DeleteRouteTableObject():
                del self.reports[step.old.id]
            case AssignPodCidrs() | SetCondition():
                self._write_node(step)
        return True

    def _write_node(self, step: AssignPodCidrs | SetCondition) -> None:
        node = self.nodes.get(step.node.name)
        if node is None or node.uid != step.node.uid:
            return
        if isinstance(step, SetCondition):
            self.nodes[node.name] = replace(node, condition=step.condition)
        else:
            assert not node.pod_cidrs, "spec.podCIDRs can't be changed"
            self.nodes[node.name] = replace(node, pod_cidrs=step.cidrs)

    def _write_record(self, step: WriteNodeRoute) -> None:
        old = self.records.get(step.name)
        assert (step.old is None) == (old is None), f"{step.name}: create what is there, or update what is not"
        if old:
            identity = (old.spec.pod_cidrs, old.spec.instance_id)
            assert (step.spec.pod_cidrs, step.spec.instance_id) == identity, "CEL: immutable"
        before = old or next((r for r in self.records.values() if r.spec.instance_id == step.spec.instance_id), None)
        self._check_published(before.spec if before else None, step.spec)
        version = f"{next(self.ids):08}"
        created = old.created if old else version
        self.records[step.name] = NodeRoute(step.name, "u" + step.name, version, created, step.spec)

    def _check_published(self, before: NodeRouteSpec | None, spec: NodeRouteSpec) -> None:
        """What is newly promised to agents works at this very moment."""
        for table in set(spec.native_in) - set(before.native_in if before else ()):
            assert self.reaches(table, spec), f"published in {table} too early: {spec}"
        if spec.subnet_id and (before is None or before.subnet_id != spec.subnet_id):
            assert not self.checked(spec.network_interface_id), f"direct, but its check is on: {spec}"

    def reaches(self, table: str, spec: NodeRouteSpec) -> bool:
        """Whether a packet by `table` reaches the node: an active route per family, and the check off."""
        routes = self.tables[table].routes
        return not self.checked(spec.network_interface_id) and all(
            routes.get(cidr) == Route(cidr, spec.network_interface_id) for cidr in self.routable(spec)
        )

    def routable(self, spec: NodeRouteSpec) -> tuple[Cidr, ...]:
        """The CIDRs whose packets its ENI can take: without an IPv4 address, no IPv4 ones."""
        found = self._interface(spec.network_interface_id)
        ipv6_only = found is not None and found[1].subnet_id[-1] in self.ipv6_only
        return tuple(cidr for cidr in spec.pod_cidrs if not ipv6_only or cidr.family == "ipv6")

    def checked(self, eni: str) -> bool:
        """Whether an ENI's source/dest check is on."""
        found = self._interface(eni)
        return found is not None and found[1].source_dest_check

    def _interface(self, eni: str) -> tuple[Instance, Interface] | None:
        likely = self.instances.get(f"i-{eni[4:8]}")
        for instance in ([likely] if likely else []) + list(self.instances.values()):
            for interface in instance.interfaces:
                if interface.id == eni:
                    return instance, interface
        return None

    def _disable_check(self, eni: str) -> None:
        found = self._interface(eni)
        assert found, f"{eni} does not exist"
        instance, interface = found
        assert interface is instance.primary, "a check is switched for the primary ENI alone"
        assert interface.source_dest_check, "a call for nothing"
        self.switch_check(instance.id, on=False)

    def _change_route(self, step: ChangeRoute) -> bool:
        routes, key = self._routes(step.table_id), (step.table_id, step.destination.family)
        assert (step.table_id, step.destination) not in self.foreigners, f"a foreign route: {step}"
        assert (step.destination in routes) == (step.verb != "create"), step
        if step.verb == "delete":
            self._drop(step.table_id, step.destination)
            return True
        if step.verb == "create":
            assert self.entries[key] < self.limit, f"above the limit: {step}"
            if self.entries[key] >= self.real_limit.get(key, self.limit):
                self.refused.add(key)
                self.asked[key] += 1
                return False
            if step.table_id not in self.reports:
                self.unreported.add((step.table_id, step.destination))
        found = self._interface(step.interface_id)
        running = found is not None and found[0].state == "running"
        self._put(step.table_id, Route(step.destination, step.interface_id, not running))
        return True

    def settle(self, rounds: int = 40) -> None:
        """Turn and let time pass until nothing is left to do and nothing to wait for."""
        decision = None
        for _ in range(rounds):
            decision = self.cycle()
            if decision.plan.empty and not decision.plan.waits:
                return
            if decision.plan.empty:
                self.now = max(self.now, min(wait.until for wait in decision.plan.waits))
        raise AssertionError(f"not settled: {decision.plan if decision else 'no rounds'}")

    # --- what a test asks -------------------------------------------------------------------

    def condition(self, name: str) -> Condition | None:
        """NetworkUnavailable of a Node."""
        return self.nodes[name].condition

    def reason(self, name: str) -> str:
        """The reason of a Node's condition, "" while it has none."""
        condition = self.nodes[name].condition
        return condition.reason if condition else ""

    def spec(self, name: str) -> NodeRouteSpec:
        """What is published of a node."""
        return self.records[name].spec

    def ours(self, table: str) -> set[str]:
        """Destinations that nobody else has put there."""
        return {str(d) for d in self.tables[table].routes if (table, d) not in self.foreigners}

    def counts(self) -> Counter[str]:
        """Steps tried since the log was cleared, by kind; routes by verb."""
        return Counter(s.verb if isinstance(s, ChangeRoute) else type(s).__name__ for s in self.log)


def settled_world(nodes: int, tables: int, limit: int, *, dual_stack: bool = False) -> World:
    """A world of `nodes` over `tables` zones (at most 26) with a table each, in which nothing is left to do.

    It takes some five cycles, whatever the size: seconds for 5,000 nodes.
    """
    world = joining_world(nodes, tables, limit, dual_stack=dual_stack)
    world.settle()
    world.log.clear()
    return world


def joining_world(nodes: int, tables: int, limit: int, *, dual_stack: bool = False) -> World:
    """The same before the first cycle: all Nodes have just registered, without pod CIDRs and with their checks on."""
    zones = "abcdefghijklmnopqrstuvwxyz"[:tables]
    policy = replace(ROOMY, pools=(*ROOMY.pools, *DUAL.pools[1:])) if dual_stack else ROOMY
    world = World(policy, zones, limit=limit)
    for number in range(nodes):
        world.join(zones[number % tables])
    return world
