"""A model of Kubernetes and EC2 that does exactly what a plan says: for properties of the pure core.

It holds nothing but values; every method changes the world the way the real APIs would, and checks what they check
(a taken destination, a full table, a second NodeRoute of one name).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from cloudroute.core.model import (
    AssignPodCidrs,
    ChangeRoute,
    DeleteNodeRoute,
    DeleteTableReport,
    DisableSourceDestCheck,
    Key,
    Memory,
    Policy,
    SetCondition,
    Snapshot,
    Step,
    WriteNodeRoute,
    WriteTableReport,
)
from cloudroute.core.planner import Decision, conclude, decide
from cloudroute.types import (
    Cidr,
    Family,
    Instance,
    Interface,
    Node,
    NodeRoute,
    Route,
    RouteTable,
    Subnet,
    TableReport,
)

VPC = "vpc-1"
POLICY = Policy(
    "test",
    (Cidr.parse("100.64.0.0/16"),),
    {"ipv4": 24, "ipv6": 80},
)


@dataclass
class World:
    """Zones are letters; each has a subnet and, unless `one_table`, a table of its own."""

    policy: Policy = POLICY
    zones: str = "abc"
    one_table: bool = False
    limit: int = 50
    real_limit: dict[tuple[str, Family], int] = field(default_factory=dict)
    now: float = 1000.0
    nodes: dict[str, Node] = field(default_factory=dict)
    records: dict[str, NodeRoute] = field(default_factory=dict)
    reports: dict[str, TableReport] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    tables: dict[str, RouteTable] = field(default_factory=dict)
    subnets: dict[str, Subnet] = field(default_factory=dict)
    memory: Memory = Memory()
    refused: set[tuple[str, Family]] = field(default_factory=set)
    highest: dict[tuple[str, Family], int] = field(default_factory=dict)
    log: list[Step] = field(default_factory=list)
    ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        local = Cidr.parse("10.0.0.0/16")
        names = ["rtb-main"] if self.one_table else [f"rtb-{zone}" for zone in self.zones]
        for name in names:
            subnets = () if self.one_table else (f"subnet-{name[-1]}",)
            self.tables[name] = RouteTable(name, VPC, self.one_table, subnets, {}, {local: Route(local, "local")})
        for number, zone in enumerate(self.zones):
            cidr = Cidr.parse(f"10.0.{number}.0/24")
            self.subnets[f"subnet-{zone}"] = Subnet(f"subnet-{zone}", VPC, f"zone-{zone}", (cidr,))

    # --- what others do ---------------------------------------------------------------------

    def launch(self, zone: str = "a", checked: bool = True) -> str:
        """Start an instance; its id."""
        number = next(self.ids)
        interface = Interface(f"eni-{number:04}", 0, f"subnet-{zone}", checked, (f"10.0.0.{number}",))
        self.instances[f"i-{number:04}"] = Instance(
            f"i-{number:04}", "running", VPC, f"zone-{zone}", (interface,)
        )
        return f"i-{number:04}"

    def join(self, zone: str = "a", name: str = "", instance: str = "", cidrs: tuple[Cidr, ...] = (), priority: int = 0) -> Node:
        """Register a Node, on a new instance unless one is named."""
        instance = instance or self.launch(zone)
        number = next(self.ids)
        created = f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z"
        node = Node(name or f"node-{number:04}", f"uid-{number}", str(number), created, instance, cidrs,
                    (f"10.0.0.{instance[2:].lstrip('0')}",), priority)  # fmt: skip
        self.nodes[node.name] = node
        return node

    def state(self, instance: str, state: str) -> None:
        """Stop, start or terminate an instance; its routes follow."""
        old = self.instances[instance]
        gone = state in ("terminated", "shutting-down")
        self.instances[instance] = replace(old, state=state, interfaces=() if gone else old.interfaces)  # type: ignore[arg-type] # a test's own literal
        enis = {interface.id for interface in old.interfaces}
        for table in self.tables.values():
            for destination, route in list(table.routes.items()):
                if route.target in enis:
                    self._put(table.id, destination, route._replace(blackhole=state != "running"))

    def foreign(self, table: str, destination: str, target: str = "igw-1") -> None:
        """Somebody else adds a route."""
        cidr = Cidr.parse(destination)
        self._put(table, cidr, Route(cidr, target))

    def remove(self, table: str, destination: str) -> None:
        """Somebody removes a route."""
        self._drop(table, Cidr.parse(destination))

    def _put(self, table: str, destination: Cidr | str, route: Route) -> None:
        old = self.tables[table]
        self.tables[table] = replace(old, routes={**old.routes, destination: route})
        for family in ("ipv4", "ipv6"):
            used = self.used(table, family)
            self.highest[table, family] = max(used, self.highest.get((table, family), 0))

    def _drop(self, table: str, destination: Cidr) -> None:
        old = self.tables[table]
        self.tables[table] = replace(old, routes={d: r for d, r in old.routes.items() if d != destination})

    def used(self, table: str, family: Family = "ipv4") -> int:
        """Entries of a family."""
        return sum(1 for d in self.tables[table].routes if isinstance(d, Cidr) and d.family == family)

    # --- what cloudroute does ---------------------------------------------------------------

    def snapshot(self, held: frozenset[Key] = frozenset()) -> Snapshot:
        """The world now."""
        return Snapshot(
            self.now, dict(self.nodes), dict(self.records), dict(self.reports), VPC, dict(self.instances),
            dict(self.tables), dict(self.subnets), self.limit, {}, frozenset(self.refused), held, self.memory,
        )  # fmt: skip

    def cycle(self, fails: Callable[[Step], bool] = lambda step: False) -> Decision:
        """One turn of the loop: plan, do what does not fail, conclude."""
        decision = decide(self.snapshot(), self.policy)
        self.memory, self.refused = decision.plan.memory, set()
        self.run(decision.plan.steps, fails)
        self.run(conclude(decision, self.snapshot()), fails)
        return decision

    def run(self, steps: tuple[Step, ...], fails: Callable[[Step], bool] = lambda step: False) -> None:
        """Do the steps in order, none whose predecessor failed."""
        keys = {step.key for step in steps}
        done: set[Key] = set()
        for step in steps:
            assert all(key in done or key in keys for key in step.after), f"{step} comes after something unknown"
            if all(key in done for key in step.after) and not fails(step) and self.do(step):
                done.add(step.key)

    def do(self, step: Step) -> bool:
        """Do one step; False when the API would have refused it for the limit."""
        self.log.append(step)
        match step:
            case AssignPodCidrs():
                assert not self.nodes[step.node.name].pod_cidrs
                self.nodes[step.node.name] = replace(self.nodes[step.node.name], pod_cidrs=step.cidrs)
            case WriteNodeRoute():
                assert (step.old is None) == (step.name not in self.records)
                version = str(next(self.ids))
                self.records[step.name] = NodeRoute(step.name, "u" + step.name, version, version, step.spec)
            case DeleteNodeRoute():
                del self.records[step.old.name]
            case DisableSourceDestCheck():
                for instance in self.instances.values():
                    if any(i.id == step.interface_id for i in instance.interfaces):
                        interfaces = tuple(
                            replace(i, source_dest_check=False) if i.id == step.interface_id else i
                            for i in instance.interfaces
                        )
                        self.instances[instance.id] = replace(instance, interfaces=interfaces)
            case ChangeRoute(verb="delete"):
                assert step.destination in self.tables[step.table_id].routes
                self._drop(step.table_id, step.destination)
            case ChangeRoute():
                present = step.destination in self.tables[step.table_id].routes
                assert present == (step.verb == "replace"), step
                key = (step.table_id, step.destination.family)
                if not present and self.used(*key) >= self.real_limit.get(key, 10**6):
                    self.refused.add(key)
                    return False
                self._put(step.table_id, step.destination, Route(step.destination, step.interface_id))
            case SetCondition():
                if step.node.name in self.nodes:
                    self.nodes[step.node.name] = replace(self.nodes[step.node.name], condition=step.condition)
            case WriteTableReport():
                self.reports[step.report.id] = step.report
            case DeleteTableReport():
                del self.reports[step.old.id]
        return True

    def settle(self, rounds: int = 12) -> None:
        """Turn and let time pass until nothing is left to do and nothing to wait for."""
        for _ in range(rounds):
            decision = self.cycle()
            if decision.plan.empty and not decision.plan.waits:
                return
            if decision.plan.empty:
                self.now = max(self.now, min(wait.until for wait in decision.plan.waits))
        raise AssertionError(f"not settled: {decision.plan.steps} {decision.plan.publish} {decision.plan.waits}")
