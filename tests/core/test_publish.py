"""Conditions and reports of nodes and tables: true at each moment, and written once."""

from __future__ import annotations

from dataclasses import replace

from cloudroute.core.cluster.model import SetCondition, Step
from cloudroute.core.cluster.planner import conclude, decide
from cloudroute.types import Condition, FamilyUse
from tests.core.invariants import check_settled
from tests.core.world import POLICY, World


def test_a_failed_route_is_never_reported_as_done() -> None:
    """A node whose first route can't be created has no condition, however often it fails."""
    world = World()
    bad = world.join()
    good = world.join("b")

    def fails(step: Step) -> bool:
        return step.key[0] == "route" and getattr(step, "node", "") == bad.name

    for _ in range(4):
        decision = world.cycle(fails)
        world.now += 5
    assert SetCondition(world.nodes[bad.name], decision.plan.publish[0].condition) in decision.plan.publish  # type: ignore[union-attr] # the plan itself says how it would be once done
    assert world.condition(bad.name) is None
    assert world.reason(good.name) == "RouteCreated"
    assert world.reports["rtb-a"].families["ipv4"].ours == 1


def test_an_api_error_never_makes_a_healthy_node_unavailable() -> None:
    """With every EC2 write failing for ever, conditions and native paths of settled nodes stay as they are."""
    world = World()
    names = [world.join("abc"[number % 3]).name for number in range(6)]
    world.settle()
    before = {name: (world.spec(name), world.condition(name)) for name in names}
    for number in range(6):
        world.join("abc"[number % 3])
        world.cycle(lambda step: step.key[0] in ("route", "check"))
        world.now += 20
    assert {name: (world.spec(name), world.condition(name)) for name in names} == before


def test_overlay_off_says_route_limit() -> None:
    """Without an overlay a node past the limit is unavailable, and available once promoted."""
    world = World(replace(POLICY, overlay=False), "ab", one_table=True, limit=3)
    names = [world.join("ab"[number % 2]).name for number in range(3)]
    world.settle()
    condition = world.condition(names[2])
    assert condition
    assert (condition.status, condition.reason) == ("True", "RouteLimit")
    del world.nodes[names[0]]
    world.settle()
    assert world.condition(names[2]) == world.condition(names[1])
    check_settled(world)


def test_a_direct_node_is_ready_once_its_check_is_off() -> None:
    """Without a route to wait for, the check is what must be there."""
    world = World(replace(POLICY, direct_routing="always"), "a")
    node = world.join()
    world.cycle(lambda step: step.key[0] == "check")
    assert world.condition(node.name) is None
    world.settle()
    assert world.reason(node.name) == "RouteCreated"


def test_a_plan_that_deletes_routes_foretells_the_tables_without_them() -> None:
    """`plan` prints the writes of a cycle in which nothing fails."""
    world = World()
    gone, *_ = [world.join("abc"[number % 3]) for number in range(4)]
    world.settle()
    del world.nodes[gone.name]
    for _ in range(2):
        world.cycle()
    world.now += POLICY.drain_seconds
    world.log.clear()
    decision = decide(world.snapshot(), POLICY)
    world.run(decision.plan.steps)
    assert world.counts() == {"delete": 3, "DeleteNodeRoute": 1}
    assert len(decision.plan.publish) == 3
    assert decision.plan.publish == conclude(decision, world.snapshot())


def test_nothing_is_said_of_a_node_recreated_in_the_middle_of_a_cycle() -> None:
    """The new Node of that name may be another instance: what was decided is not about it."""
    world = World()
    node = world.join()
    decision = decide(world.snapshot(), world.policy)
    world.run(decision.plan.steps)
    world.join("b", name=node.name)
    assert not [step for step in conclude(decision, world.snapshot()) if isinstance(step, SetCondition)]


def test_a_node_recreated_in_the_middle_of_a_cycle_is_not_refused_as_the_former_one() -> None:
    """The former Node claimed the CIDR of another one; the new Node claims none."""
    world = World()
    first = world.join()
    world.settle()
    twin = world.join(cidrs=world.spec(first.name).pod_cidrs)
    decision = decide(world.snapshot(), world.policy)
    assert [
        step.condition.reason for step in conclude(decision, world.snapshot()) if isinstance(step, SetCondition)
    ] == ["NoPodCIDR"]
    world.join("b", name=twin.name)
    assert not [step for step in conclude(decision, world.snapshot()) if isinstance(step, SetCondition)]


def test_a_condition_changed_by_others_is_put_right_once() -> None:
    """The cloud provider's NodeCreated gives way to ours; the words alone are no difference."""
    world = World()
    node = world.join()
    world.nodes[node.name] = replace(world.nodes[node.name], condition=Condition("True", "NodeCreated", "by others"))
    world.settle()
    assert world.reason(node.name) == "RouteCreated"
    said = world.condition(node.name)
    assert said
    world.nodes[node.name] = replace(world.nodes[node.name], condition=replace(said, message="other words"))
    world.log.clear()
    world.settle()
    assert not world.log


def test_a_report_says_how_full_a_table_is_and_who_sends_by_it() -> None:
    """Limit, use, ours, foreign, and its subnets, written once per change."""
    world = World(one_table=True)
    world.foreign("rtb-main", "172.16.0.0/16")
    for zone in "abc":
        world.join(zone)
    world.settle()
    report = world.reports["rtb-main"]
    assert report.families == {"ipv4": FamilyUse(50, None, 5, 3, 2)}
    assert [subnet.zone for subnet in report.subnets] == ["zone-a", "zone-b", "zone-c"]
    assert world.counts()["WriteRouteTableObject"] == 1


def test_without_the_overlay_a_node_is_not_ready_before_its_check_is_off() -> None:
    """Nothing else carries its traffic: routes alone make no network."""
    world = World(replace(POLICY, overlay=False))
    name = world.join().name
    world.join("b")
    for _ in range(4):
        world.cycle(lambda step: step.key[0] == "check")
        world.now += 5
    assert world.condition(name) is None
    world.settle()
    assert world.reason(name) == "RouteCreated"
