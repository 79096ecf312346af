"""One machine that does to a cluster whatever people, AWS and bad luck do, in any order."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import get_args

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cloudroute.core.cluster.model import DirectRouting, Step
from cloudroute.types import Cidr, GatewayRole, Node
from tests.core.history import History
from tests.core.invariants import check_always, check_settled
from tests.core.world import DUAL, POLICY, World

ZONES = st.sampled_from("ab")
TABLES = st.sampled_from(["rtb-a", "rtb-b"])
CHANCE = st.randoms(use_true_random=False)
DIRECT = st.sampled_from(["auto", "always", "off"])
PAUSES = st.sampled_from([0.0, 0.5, 1.9, 2.0, 5.0, 10.0, 30.0])
SMALL = Cidr.parse("100.64.0.0/20")
"""16 pod CIDRs: it runs out."""
FOREIGN = st.sampled_from(
    [
        "100.64.3.0/24",
        "100.64.5.0/24",
        "100.64.6.128/25",
        "100.64.0.0/10",
        "0.0.0.0/0",
        "100.64.8.0/22",
        "172.16.0.0/16",
    ]
)
TARGETS = st.sampled_from(["igw-1", "eni-9999", "pcx-1", "tgw-1"])


class ClusterMachine(RuleBasedStateMachine):
    """Rules are what may happen; invariants what must hold whatever did."""

    world: World

    @initialize(
        direct=DIRECT, dual=st.booleans(), overlay=st.booleans(), reserve=st.integers(0, 2), zones=st.lists(ZONES),
        ipv6_only=st.booleans(), parts=st.sampled_from([0, 1, 2]),
    )  # fmt: skip
    def start(
        self,
        *,
        direct: DirectRouting,
        dual: bool,
        overlay: bool,
        reserve: int,
        zones: list[str],
        ipv6_only: bool,
        parts: int,
    ) -> None:
        base = DUAL if dual else POLICY
        pools = (SMALL, *base.pools[1:])
        policy = replace(base, pools=pools, direct_routing=direct, overlay=overlay, route_reserve=reserve)
        policy = replace(policy, gateways=parts > 0, gateway_routes=parts or 1)
        self.world = World(policy, "ab", ipv6_only="b" if dual and ipv6_only else "", limit=7)
        self.world.watch = History().see
        self.names: list[str] = []
        for zone in zones:
            self.join(zone)
        self.world.settle()

    def pick(self, number: int) -> Node:
        names = sorted(self.world.nodes)
        return self.world.nodes[names[number % len(names)]]

    def some_nodes(self) -> bool:
        return bool(self.world.nodes)

    def join(self, zone: str = "a", name: str = "", instance: str = "", priority: int = 0) -> None:
        self.names.append(self.world.join(zone, name, instance, priority=priority).name)

    # --- people -----------------------------------------------------------------------------

    @rule(zone=ZONES, priority=st.integers(-1, 1), count=st.integers(1, 4))
    def nodes_join(self, zone: str, priority: int, count: int) -> None:
        for _ in range(count):
            self.join(zone, priority=priority)

    @precondition(some_nodes)
    @rule(number=st.integers(0, 99))
    def a_node_is_deleted(self, number: int) -> None:
        del self.world.nodes[self.pick(number).name]

    @precondition(some_nodes)
    @rule(number=st.integers(0, 99))
    def a_kubelet_registers_again(self, number: int) -> None:
        node = self.pick(number)
        self.join(name=node.name, instance=node.instance_id)

    @precondition(some_nodes)
    @rule(number=st.integers(0, 99), other=st.integers(0, 99), old_goes=st.booleans())
    def an_instance_gets_another_name(self, number: int, other: int, *, old_goes: bool) -> None:
        node, name = self.pick(number), self.names[other % len(self.names)]
        if old_goes:
            del self.world.nodes[node.name]
        if name in self.world.nodes:
            name = ""
        self.join(name=name, instance=node.instance_id)

    @precondition(some_nodes)
    @rule(number=st.integers(0, 99), other=st.integers(0, 99))
    def two_nodes_swap_names(self, number: int, other: int) -> None:
        a, b = self.pick(number), self.pick(other)
        self.join(name=a.name, instance=b.instance_id)
        self.join(name=b.name, instance=a.instance_id)

    @precondition(some_nodes)
    @rule(number=st.integers(0, 99), zone=ZONES)
    def a_name_gets_another_instance(self, number: int, zone: str) -> None:
        self.join(zone, name=self.pick(number).name)

    @precondition(some_nodes)
    @rule(number=st.integers(0, 99), zone=ZONES)
    def a_node_claims_the_cidr_of_another(self, number: int, zone: str) -> None:
        if cidrs := self.pick(number).pod_cidrs:
            self.names.append(self.world.join(zone, cidrs=cidrs).name)

    @precondition(some_nodes)
    @rule(number=st.integers(0, 99), role=st.sampled_from(get_args(GatewayRole)))
    def a_node_may_be_a_gateway_or_not(self, number: int, role: GatewayRole) -> None:
        node = self.pick(number)
        if self.world.policy.gateways:  # else its projection says "none"
            self.world.nodes[node.name] = replace(node, gateway=role)

    @precondition(some_nodes)
    @rule(number=st.integers(0, 99), silent=st.booleans())
    def a_gateway_falls_silent_or_is_heard(self, number: int, *, silent: bool) -> None:
        (self.world.silent.add if silent else self.world.silent.discard)(self.pick(number).name)

    # --- AWS --------------------------------------------------------------------------------

    @precondition(some_nodes)
    @rule(number=st.integers(0, 99), state=st.sampled_from(["running", "stopped", "terminated"]))
    def an_instance_changes_its_state(self, number: int, state: str) -> None:
        instance = self.world.instances[self.pick(number).instance_id]
        if instance.state != "terminated":
            self.world.state(instance.id, state)  # type: ignore[arg-type] # one of the three above

    @precondition(some_nodes)
    @rule(number=st.integers(0, 99))
    def an_interface_is_replaced(self, number: int) -> None:
        instance = self.world.instances[self.pick(number).instance_id]
        if instance.state == "running":
            self.world.replace_interface(instance.id)

    @precondition(some_nodes)
    @rule(number=st.integers(0, 99))
    def a_check_is_switched_on(self, number: int) -> None:
        instance = self.world.instances[self.pick(number).instance_id]
        if instance.interfaces:
            self.world.switch_check(instance.id, on=True)

    @rule(table=TABLES, destination=FOREIGN, to=TARGETS, blackhole=st.booleans())
    def somebody_adds_a_route(self, table: str, destination: str, to: str, *, blackhole: bool) -> None:
        if Cidr.parse(destination) not in self.world.tables[table].routes:
            self.world.foreign(table, destination, to, blackhole=blackhole and not to.startswith("eni"))

    @rule(table=TABLES, destination=FOREIGN)
    def somebody_removes_a_route(self, table: str, destination: str) -> None:
        if (table, Cidr.parse(destination)) in self.world.foreigners:
            self.world.remove(table, destination)

    @rule(table=TABLES, chance=CHANCE)
    def somebody_removes_a_route_of_ours(self, table: str, chance: random.Random) -> None:
        if ours := sorted(self.world.ours(table)):
            self.world.remove(table, chance.choice(ours))

    @rule(table=TABLES, limit=st.integers(4, 8))
    def aws_allows_less_than_configured(self, table: str, limit: int) -> None:
        self.world.real_limit[table, "ipv4"] = limit

    # --- the operator and the controller ----------------------------------------------------

    @rule(limit=st.integers(3, 9))
    def the_limit_changes(self, limit: int) -> None:
        self.world.limit = limit

    @rule(direct=DIRECT, overlay=st.booleans(), reserve=st.integers(0, 2), tables=st.sampled_from([(), ("rtb-a",)]))
    def another_policy(self, *, direct: DirectRouting, overlay: bool, reserve: int, tables: tuple[str, ...]) -> None:
        policy = replace(self.world.policy, direct_routing=direct, route_reserve=reserve, table_ids=tables)
        if overlay:  # switched off it would turn nodes unavailable at once: another test
            policy = replace(policy, overlay=True)
        self.world.policy = policy
        self.world.restart()

    @rule(seconds=PAUSES)
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    @rule(chance=CHANCE, share=st.sampled_from([0.0, 0.0, 0.2, 0.5, 0.9]), turns=st.integers(1, 6), pause=PAUSES)
    def the_loop_turns_and_steps_fail(self, chance: random.Random, share: float, turns: int, pause: float) -> None:
        for _ in range(turns):
            self.world.cycle(lambda step: chance.random() < share)
            self.world.now += pause
            check_always(self.world)

    @rule(kind=st.sampled_from(["route", "noderoute", "noderoute-gone", "check", "condition", "report", "cidrs"]))
    def a_cycle_in_which_one_api_refuses(self, kind: str) -> None:
        self.world.cycle(lambda step: step.key[0] == kind)

    @rule(done=st.integers(0, 12))
    def a_crash_in_the_middle_of_a_plan(self, done: int) -> None:
        steps: tuple[Step, ...] = self.world.plan().plan.steps[:done]
        self.world.run(steps)
        self.world.restart()

    @rule(chance=CHANCE)
    def a_cycle_in_which_ec2_does_not_know_some_instances(self, chance: random.Random) -> None:
        known = self.world.instances
        self.world.instances = {id_: instance for id_, instance in known.items() if chance.random() < 0.7}
        snapshot = self.world.snapshot()
        self.world.instances = known
        self.world.cycle(snapshot=snapshot)

    @rule()
    def a_restart(self) -> None:
        self.world.restart()

    @rule()
    def it_settles(self) -> None:
        self.world.settle()
        check_settled(self.world)

    @invariant()
    def nothing_is_broken(self) -> None:
        check_always(self.world)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.settle()
            check_settled(self.world)


TestClusterMachine = ClusterMachine.TestCase
