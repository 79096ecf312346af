"""Make before break: nothing is published too early, nothing is deleted too early, and both happen on time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudroute.core.cluster.model import DisableSourceDestCheck, Policy, Step, WriteNodeRoute
from tests.core.invariants import check_settled
from tests.core.world import DUAL, POLICY, World

SETTLE, DRAIN = POLICY.settle_seconds, POLICY.drain_seconds
TICK = 0.001


def turn(world: World, until: float) -> None:
    """The loop at a moment, until it has nothing to do then."""
    world.now = until
    for _ in range(4):
        if world.cycle().plan.empty:
            return
    raise AssertionError("the loop does not come to rest")


@pytest.mark.parametrize("policy", [POLICY, DUAL], ids=["ipv4", "dual"])
def test_a_new_node_is_native_exactly_settle_seconds_after_its_routes(policy: Policy) -> None:
    """The overlay carries until then; its condition says RouteCreated at once; one write makes it native."""
    world = World(policy)
    node = world.join()
    turn(world, 1000)
    assert (world.spec(node.name).native_in, world.spec(node.name).subnet_id) == ((), "")
    assert world.reason(node.name) == "RouteCreated"
    turn(world, 1000 + SETTLE - TICK)
    assert world.spec(node.name).native_in == ()
    turn(world, 1000 + SETTLE)
    assert (world.spec(node.name).native_in, world.spec(node.name).subnet_id) == (("rtb-a",), "subnet-a")
    assert [step.name for step in world.log if isinstance(step, WriteNodeRoute)] == [node.name] * 2


def test_the_plan_says_when_to_look_again() -> None:
    """A wait names its moment, and what is to be done then."""
    world = World()
    node = world.join()
    turn(world, 1000)
    (wait,) = world.cycle().plan.waits
    assert wait == (1000 + SETTLE, f"{node.name} to settle")


def test_the_journal_comes_before_the_route() -> None:
    """While the NodeRoute can't be written no route is created: nobody would know it for ours."""
    world = World()
    world.join()
    for _ in range(3):
        world.cycle(lambda step: step.key[0] == "noderoute")
    assert world.ours("rtb-a") == set()


def test_settling_starts_when_the_last_prerequisite_is_there() -> None:
    """Route and check both; the later of them counts."""
    world = World()
    node = world.join()
    world.cycle(lambda step: isinstance(step, DisableSourceDestCheck))
    world.now += 100
    turn(world, world.now)
    assert world.spec(node.name).native_in == ()
    turn(world, world.now + SETTLE - TICK)
    assert world.spec(node.name).native_in == ()
    turn(world, world.now + TICK)
    assert world.spec(node.name).native_in == ("rtb-a",)


def test_one_failing_table_does_not_hold_up_the_others() -> None:
    """A node becomes native in the other tables while one route waits for its back-off."""
    world = World()
    node = world.join()
    world.join("b")

    def fails(step: Step) -> bool:
        return step.key[:2] == ("route", "rtb-b")

    for _ in range(5):
        world.cycle(fails)
        world.now += SETTLE
    assert world.spec(node.name).native_in == ("rtb-a",)
    assert world.condition(node.name) is None
    world.settle()
    check_settled(world)


def test_a_node_that_waits_for_a_slot_is_published_with_what_it_has() -> None:
    """The drain of its predecessor in one table keeps nothing else waiting: its neighbours reach it directly."""
    world = World(limit=4)
    for _ in range(3):
        world.join("a")
    world.settle()
    late = world.join("b").name
    start = world.now
    turn(world, start)
    turn(world, start + SETTLE)
    assert (world.spec(late).native_in, world.spec(late).subnet_id) == ((), "subnet-b")
    turn(world, start + DRAIN)
    turn(world, start + DRAIN + SETTLE)
    assert world.spec(late).native_in == ("rtb-a",)


def test_a_removed_node_is_withdrawn_then_deleted_exactly_drain_seconds_later() -> None:
    """Agents stop using the routes before they go; the NodeRoute is the last to go."""
    world = World()
    node = world.join()
    world.settle()
    start = world.now
    del world.nodes[node.name]
    turn(world, start)
    assert world.spec(node.name).native_in == ()
    turn(world, start + DRAIN - TICK)
    assert len(world.ours("rtb-a")) == 1
    turn(world, start + DRAIN)
    assert (world.ours("rtb-a"), world.records) == (set(), {})


def test_the_drain_starts_with_the_withdrawal_not_with_the_deletion_of_the_node() -> None:
    """While the withdrawal can't be written, no time is counted."""
    world = World()
    node = world.join()
    world.settle()
    start = world.now
    del world.nodes[node.name]
    world.cycle(lambda step: step.key[0] == "noderoute")
    turn(world, start + 100)
    turn(world, start + 100 + DRAIN - TICK)
    assert len(world.ours("rtb-a")) == 1
    turn(world, start + 100 + DRAIN)
    assert world.ours("rtb-a") == set()


def test_timers_start_anew_after_a_restart() -> None:
    """Losing the memory costs time, never a packet."""
    world = World()
    node = world.join()
    turn(world, 1000)
    world.restart()
    turn(world, 1000 + SETTLE)
    assert world.spec(node.name).native_in == ()
    turn(world, 1000 + 2 * SETTLE)
    assert world.spec(node.name).native_in == ("rtb-a",)
    start = world.now
    del world.nodes[node.name]
    turn(world, start)
    world.restart()
    turn(world, start + DRAIN)
    assert len(world.ours("rtb-a")) == 1
    turn(world, start + 2 * DRAIN)
    assert world.ours("rtb-a") == set()


def test_a_check_switched_on_withdraws_the_node_until_it_is_off_and_settled() -> None:
    """Neither native nor direct meanwhile: its packets would be dropped."""
    world = World()
    node, _ = world.join(), world.join("b")
    world.settle()
    before = world.spec(node.name)
    world.switch_check(node.instance_id, on=True)
    start = world.now
    world.cycle()
    assert (world.spec(node.name).native_in, world.spec(node.name).subnet_id) == ((), "")
    turn(world, start + SETTLE - TICK)
    assert world.spec(node.name).native_in == ()
    turn(world, start + 2 * SETTLE)
    assert world.spec(node.name) == before


def test_a_node_is_sent_to_directly_again_settle_seconds_after_its_check_is_off() -> None:
    """The same holds without a route."""
    world = World(replace(POLICY, direct_routing="always"), zones="a")
    node, _ = world.join(), world.join()
    world.settle()
    world.switch_check(node.instance_id, on=True)
    world.cycle()
    assert world.spec(node.name).subnet_id == ""
    start = world.now
    turn(world, start)
    turn(world, start + SETTLE - TICK)
    assert world.spec(node.name).subnet_id == ""
    turn(world, start + SETTLE)
    assert world.spec(node.name).subnet_id == "subnet-a"


def test_cleanup_withdraws_drains_and_leaves_only_what_is_others() -> None:
    """No route, NodeRoute or RouteTable of ours is left; Nodes, their CIDRs and conditions stay."""
    world = World(DUAL, limit=5)
    for number in range(9):
        world.join("abc"[number % 3])
    world.foreign("rtb-a", "100.64.200.0/24", "igw-1")
    world.settle()
    nodes = dict(world.nodes)
    world.policy = replace(world.policy, leave=True)
    world.restart()
    start = world.now
    turn(world, start)
    assert not any(record.spec.native_in for record in world.records.values())
    turn(world, start + DRAIN - TICK)
    assert len(world.records) == 9
    turn(world, start + DRAIN)
    assert (world.records, world.reports, world.nodes) == ({}, {}, nodes)
    assert all(world.ours(table) == set() for table in world.tables)
    check_settled(world)


def test_cleanup_can_be_done_twice_and_undone() -> None:
    """A second time does nothing; a controller started afterwards builds all up again with the same CIDRs."""
    world = World()
    names = [world.join(zone).name for zone in "abc"]
    world.settle()
    before = {name: world.spec(name) for name in names}
    world.policy = replace(world.policy, leave=True)
    world.settle()
    world.log.clear()
    world.settle()
    assert not world.log
    world.policy = replace(world.policy, leave=False)
    world.settle()
    assert {name: world.spec(name) for name in names} == before
    check_settled(world)
