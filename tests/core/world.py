"""A model of Kubernetes and EC2 that does exactly what a plan says: for properties of the pure core.

It holds nothing but values; every method changes the world the way the real APIs would. `do` checks what the APIs
check (a second NodeRoute of one name, and all that `ec2.py` does) and what must hold at each single step: nothing is
published before it works.
"""

from __future__ import annotations

import copy
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
    GatewayRole,
    Node,
    NodeRoute,
    NodeRouteSpec,
    Pulse,
    RouteTableObject,
)
from tests.core.ec2 import VPC, Ec2Model

POLICY = Policy("test", (Cidr.parse("100.64.0.0/16"),), {"ipv4": 24, "ipv6": 80})
DUAL = replace(POLICY, pools=(*POLICY.pools, Cidr.parse("fd00:64::/64")))
ROOMY = replace(POLICY, pools=(Cidr.parse("100.64.0.0/10"),))
"""For thousands of nodes."""


def none_fails(step: Step) -> bool:
    """Every step succeeds."""
    return False


@dataclass
class World(Ec2Model):
    """EC2, and a Kubernetes that takes what is written; the clock and the memory of a controller."""

    policy: Policy = POLICY
    now: float = 1000.0
    nodes: dict[str, Node] = field(default_factory=dict)
    records: dict[str, NodeRoute] = field(default_factory=dict)
    reports: dict[str, RouteTableObject] = field(default_factory=dict)
    carryover: Carryover = field(default_factory=Carryover)
    held: frozenset[Key] = frozenset()
    unreported: set[tuple[str, Cidr | str]] = field(default_factory=set)
    """Routes created in a table that had no RouteTable object, and had none as long as their node's NodeRoute was."""
    silent: set[str] = field(default_factory=set)
    """Names of gateways that do not renew their Leases."""
    log: list[Step] = field(default_factory=list)
    """Every step that was tried, in order."""
    watch: Callable[[Snapshot, Decision], None] = lambda _snapshot, _decision: None
    """Called with each plan whose steps may be done."""

    # --- what others do ---------------------------------------------------------------------

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
        told = {name: record.uid for name, record in self.records.items() if record.spec.gateway}
        fresh = {name: uid for name, uid in told.items() if name not in self.silent}
        return Pulse(fresh, judged=True, settled=True)

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
                self.disable_check(step.interface_id)
            case ChangeRoute():
                if not self.change_route(step):
                    return False
                if step.verb == "create" and step.table_id not in self.reports:
                    self.unreported.add((step.table_id, step.destination))
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
        """Check that each path newly promised to agents works at this very moment."""
        for table in set(spec.native_in) - set(before.native_in if before else ()):
            assert self.reaches(table, spec), f"published in {table} too early: {spec}"
        if spec.subnet_id and (before is None or before.subnet_id != spec.subnet_id):
            assert not self.checked(spec.network_interface_id), f"direct, but its check is on: {spec}"

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
        """Spec of a node's NodeRoute."""
        return self.records[name].spec

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
