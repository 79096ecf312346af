"""The cost of a plan, in calls and in time: exactly."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from cloudroute.core.cluster.model import AssignPodCidrs, DeleteNodeRoute, Policy, SetCondition, WriteNodeRoute
from cloudroute.core.cluster.planner import decide, summary
from tests.core.world import DUAL, POLICY, World, joining_world, settled_world

KUBERNETES = (AssignPodCidrs, WriteNodeRoute, DeleteNodeRoute, SetCondition)


def filled(nodes: int, policy: Policy = POLICY, **options: int) -> World:
    """A settled world of three zones, its log as it was written."""
    world = World(policy, limit=options.get("limit", 50))
    for number in range(nodes):
        world.join("abc"[number % 3])
    world.settle()
    return world


@pytest.mark.parametrize("policy", [POLICY, DUAL], ids=["ipv4", "dual"])
def test_a_first_sync_is_one_create_per_node_table_and_family_and_one_check_per_interface(policy: Policy) -> None:
    """12 nodes, 3 tables; at most four Kubernetes writes per node and one report per table and cycle."""
    world = filled(12, policy)
    counts = world.counts()
    assert counts["create"] == 12 * 3 * len(policy.families)
    assert counts["DisableSourceDestCheck"] == 12
    assert sum(isinstance(step, KUBERNETES) for step in world.log) == 4 * 12
    assert counts["WriteRouteTableObject"] == 3
    assert counts["replace"] == counts["delete"] == 0


def test_a_check_that_is_off_already_costs_nothing() -> None:
    """M counts interfaces whose check is on."""
    world = World()
    world.join(instance=world.launch("a", checked=False))
    world.settle()
    assert world.counts()["DisableSourceDestCheck"] == 0


def test_one_node_more_costs_its_creates_and_one_check() -> None:
    """T creates and one modify; of Kubernetes its four writes and a report per table."""
    world = filled(12)
    world.log.clear()
    world.join()
    world.settle()
    assert world.counts() == {
        "AssignPodCidrs": 1, "WriteNodeRoute": 2, "SetCondition": 1, "create": 3, "DisableSourceDestCheck": 1,
        "WriteRouteTableObject": 3,
    }  # fmt: skip


def test_always_with_a_table_per_zone_saves_a_create_per_node() -> None:
    """N(T-1)."""
    world = filled(12, replace(POLICY, direct_routing="always"))
    assert world.counts()["create"] == 12 * 2


@pytest.mark.parametrize("limit", [5, 50])
@pytest.mark.parametrize("policy", [POLICY, DUAL], ids=["ipv4", "dual"])
def test_a_restart_of_a_settled_world_gives_an_empty_plan(policy: Policy, limit: int) -> None:
    """Full or not: nothing to do, nothing to wait for."""
    world = filled(12, policy, limit=limit)
    world.restart()
    plan = decide(world.snapshot(), world.policy).plan
    assert plan.empty
    assert not plan.waits


def test_past_the_limit_nothing_is_asked_for() -> None:
    """70 nodes too many cost no call to EC2, however often the loop turns."""
    world = World(zones="a", one_table=True)
    for _ in range(120):
        world.join(cidrs=())
    world.settle()
    assert world.counts()["create"] == 49
    world.log.clear()
    for _ in range(10):
        world.now += 60
        world.cycle()
    assert not world.log


def test_a_removed_node_costs_its_deletions() -> None:
    """T deletions; one write withdraws it, one forgets it."""
    world = filled(12)
    world.log.clear()
    del world.nodes[min(world.nodes)]
    world.settle()
    assert world.counts() == {"WriteNodeRoute": 1, "delete": 3, "DeleteNodeRoute": 1, "WriteRouteTableObject": 3}


def test_a_large_world_settles_with_the_same_counts() -> None:
    """200 nodes over 10 tables at limit 50: every table full, and no more creates than entries."""
    world = settled_world(200, 10, 50)
    assert all(len(world.ours(table)) == 49 for table in world.tables)
    assert decide(world.snapshot(), world.policy).plan.empty


def test_a_plan_is_told_in_one_sentence() -> None:
    """Count the effects of each kind of step, in the order of the plan."""
    world = World()
    world.join()
    world.join("b")
    decision = decide(world.snapshot(), world.policy)
    assert summary(decision.plan.steps) == (
        "give 2 nodes pod CIDRs, publish 2 new nodes, switch 2 source/dest checks off, create 4 routes"
    )
    assert summary(decision.plan.publish) == "set 2 conditions, report 2 tables"


def test_a_failover_among_5000_nodes_is_one_step_for_each_aggregate() -> None:
    world = joining_world(5_000, 2, 50)
    world.policy = replace(world.policy, gateways=True, gateway_routes=4)
    for zone in "ab":
        world.join(zone, f"gateway-{zone}", gateway="candidate")
    world.settle()
    world.silent.add("gateway-a")
    assert Counter(step.key[0] for step in world.plan().plan.steps) == {"route": 4}
