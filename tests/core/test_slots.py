"""Slots of a full table: which node gets one, which gives one up, and which is next."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from cloudroute.core.cluster.model import ChangeRoute, Policy
from cloudroute.core.cluster.planner import decide
from cloudroute.core.paths import Class, pair_path
from cloudroute.types import Cidr, Route
from tests.core.invariants import check_settled
from tests.core.world import DUAL, POLICY, World


def routed(world: World, table: str) -> set[str]:
    """The nodes that have all of their routes in a table."""
    return {name for name, record in world.records.items() if world.reaches(table, record.spec)}


def one_table(nodes: int, limit: int, policy: Policy = POLICY, priority: int = 0) -> tuple[World, list[str]]:
    """A settled world with one table for two zones, so that nothing is direct-only, and its nodes by age."""
    world = World(policy, "ab", one_table=True, limit=limit)
    names = [world.join("ab"[number % 2], priority=priority).name for number in range(nodes)]
    world.settle()
    world.log.clear()
    return world, names


def leave(world: World, name: str) -> None:
    """The instance is terminated and its Node deleted."""
    world.state(world.nodes[name].instance_id, "terminated")
    del world.nodes[name]


def test_120_nodes_on_one_table_of_50() -> None:
    """Never above the limit; 49 oldest are routed beside `local`, all others healthy by the overlay."""
    world, names = one_table(120, 50)
    assert world.highest["rtb-main", "ipv4"] == 50
    assert routed(world, "rtb-main") == set(names[:49])
    assert [world.reason(name) for name in names] == ["RouteCreated"] * 49 + ["OverlayFallback"] * 71
    check_settled(world)


def test_the_limit_holds_while_120_nodes_join_and_leave_one_by_one() -> None:
    """At no single step is there an entry too many."""
    world = World(zones="ab", one_table=True)
    for number in range(120):
        world.join("ab"[number % 2])
        world.cycle()
        world.now += 1
        if number % 7 == 6:
            del world.nodes[min(world.nodes)]
    world.settle()
    assert world.highest["rtb-main", "ipv4"] == 50
    check_settled(world)


def test_a_freed_slot_goes_to_the_next_by_priority_then_age() -> None:
    """Each routed node that leaves promotes one: first by the annotation, then the older."""
    world, names = one_table(8, 6)
    world.nodes[names[7]] = replace(world.nodes[names[7]], priority=1)
    world.settle()
    assert routed(world, "rtb-main") == set(names[:5])  # priority evicts nobody
    leave(world, names[0])
    world.settle()
    assert routed(world, "rtb-main") == {*names[1:5], names[7]}
    leave(world, names[1])
    world.settle()
    assert routed(world, "rtb-main") == {*names[2:6], names[7]}
    assert world.reason(names[5]) == "RouteCreated"
    assert world.highest["rtb-main", "ipv4"] == 6


def test_priority_decides_among_those_that_join_together() -> None:
    """A high priority comes before age, a low one after it."""
    world = World(zones="ab", one_table=True, limit=3)
    low = world.join(priority=-1).name
    plain = world.join("b").name
    high = world.join(priority=10).name
    world.settle()
    assert routed(world, "rtb-main") == {plain, high}
    assert world.reason(low) == "OverlayFallback"


@pytest.mark.parametrize("policy", [POLICY, DUAL], ids=["ipv4", "dual"])
def test_73_nodes_in_3_zones_are_all_native_or_direct(policy: Policy) -> None:
    """As they join one by one each zone's own nodes yield; at no time is a settled pair left to the overlay."""
    world = World(policy)
    for number in range(73):
        world.join("abc"[number % 3])
        world.settle()
        classes = {Class.of(record.spec) for record in world.records.values()}
        assert not any(pair_path(a, b) == "overlay" for a, b in itertools.combinations(classes, 2))
    for table in world.tables:
        assert max(world.highest[table, family] for family in policy.families) == 50
    assert {world.reason(name) for name in world.nodes} == {"RouteCreated"}
    check_settled(world)


def test_a_zones_own_nodes_yield_make_before_break() -> None:
    """The one that yields is withdrawn, drains, and only then its entry is another's."""
    world = World(zones="ab", limit=4)
    own = [world.join("a").name for _ in range(3)]
    world.settle()
    assert routed(world, "rtb-a") == set(own)
    other = world.join("b").name
    world.cycle()
    assert world.spec(own[2]).native_in == ()
    assert world.ours("rtb-a") == {str(world.spec(name).pod_cidrs[0]) for name in own}
    world.settle()
    assert routed(world, "rtb-a") == {*own[:2], other}
    assert world.reason(own[2]) == "RouteCreated"
    check_settled(world)


def test_always_gives_the_own_subnet_nothing() -> None:
    """In a table that serves one subnet its nodes have no routes, and lack none."""
    world = World(replace(POLICY, direct_routing="always"))
    for number in range(6):
        world.join("abc"[number % 3])
    world.settle()
    assert {record.spec.native_in for record in world.records.values()} == {
        ("rtb-a", "rtb-b"), ("rtb-a", "rtb-c"), ("rtb-b", "rtb-c"),
    }  # fmt: skip
    assert {world.reason(name) for name in world.nodes} == {"RouteCreated"}
    check_settled(world)


def test_off_knows_no_direct_paths() -> None:
    """All nodes count alike by age, and no subnet is published."""
    world = World(replace(POLICY, direct_routing="off"), "ab", limit=3)
    names = [world.join(zone).name for zone in "aabb"]
    world.settle()
    assert routed(world, "rtb-a") == routed(world, "rtb-b") == set(names[:2])
    assert {record.spec.subnet_id for record in world.records.values()} == {""}
    check_settled(world)


@pytest.mark.parametrize("before", ["auto", "always", "off"])
@pytest.mark.parametrize("after", ["auto", "always", "off"])
def test_another_mode_is_reached_from_each(before: str, after: str) -> None:
    """A restart with another mode leads to the state of that mode, with nothing broken on the way."""
    world = World(replace(POLICY, direct_routing=before), limit=5)  # type: ignore[arg-type] # one of the three
    for number in range(9):
        world.join("abc"[number % 3])
    world.settle()
    world.policy = replace(world.policy, direct_routing=after)  # type: ignore[arg-type] # one of the three
    world.restart()
    world.settle()
    check_settled(world)
    directly = {record.spec.subnet_id for record in world.records.values()}
    assert directly == ({""} if after == "off" else {"subnet-a", "subnet-b", "subnet-c"})


def test_the_reserve_holds_back_only_new_ones() -> None:
    """A node keeps its slot when a reserve is asked for; no other node gets one of the last entries."""
    world, names = one_table(6, 6)
    assert len(routed(world, "rtb-main")) == 5
    world.policy = replace(world.policy, route_reserve=3)
    world.restart()
    world.settle()
    assert not world.log
    leave(world, names[0])
    world.settle()
    assert routed(world, "rtb-main") == set(names[1:5])
    for number in range(2):
        world.foreign("rtb-main", f"172.16.{number}.0/24")
    world.settle()
    assert routed(world, "rtb-main") == set(names[1:4])  # the third foreign entry needed the limit itself


def test_the_reserve_is_free_from_the_start() -> None:
    """A table that fills up stops before it."""
    world, names = one_table(9, 8, replace(POLICY, route_reserve=2))
    assert world.highest["rtb-main", "ipv4"] == 6
    assert routed(world, "rtb-main") == set(names[:5])


def test_a_lowered_limit_drains_the_last_in_the_sort() -> None:
    """The youngest of the lowest priority go first, by withdrawal and drain; the table never grows meanwhile."""
    world, names = one_table(8, 9)
    world.nodes[names[7]] = replace(world.nodes[names[7]], priority=1)
    world.limit = 6
    world.cycle()
    assert world.used("rtb-main") == 9
    assert [name for name in names if not world.spec(name).native_in] == names[4:7]
    world.settle()
    assert routed(world, "rtb-main") == {*names[:4], names[7]}
    assert world.counts()["create"] == 0
    check_settled(world)


def test_a_table_above_its_limit_comes_down_before_anything_is_created() -> None:
    """The new holder of a slot waits for all deletions that happen at the same time."""
    world = World(zones="ab", limit=6)
    own = [world.join("a").name for _ in range(5)]
    world.settle()
    world.limit = 4
    other = world.join("b").name
    world.cycle()  # withdraws
    world.cycle()  # sees it: the drain starts
    world.now += world.policy.drain_seconds
    steps = decide(world.snapshot(), world.policy).plan.steps
    deletions = {step.key for step in steps if isinstance(step, ChangeRoute) and step.verb == "delete"}
    (create,) = [s for s in steps if isinstance(s, ChangeRoute) and s.verb == "create" and s.table_id == "rtb-a"]
    assert len(deletions) == 3
    assert deletions <= set(create.after)
    world.settle()
    assert routed(world, "rtb-a") == {*own[:2], other}
    check_settled(world)


def test_foreign_growth_takes_slots_from_the_last() -> None:
    """Foreign routes that reach into what we use push the youngest out."""
    world, names = one_table(4, 6)
    for number in range(3):
        world.foreign("rtb-main", f"172.16.{number}.0/24")
    world.settle()
    assert routed(world, "rtb-main") == set(names[:2])
    assert world.reason(names[3]) == "OverlayFallback"
    check_settled(world)


def test_a_slot_is_all_families_or_none() -> None:
    """With room for one family alone, a node has no route at all; a single-stack node has one."""
    world = World(DUAL, "ab", one_table=True, limit=6)
    for number in range(4):
        world.foreign("rtb-main", f"fd77:{number}::/64", "tgw-1")
    names = [world.join(zone).name for zone in "abab"]
    single = world.join(cidrs=(POLICY.pools[0]._replace(length=24, base=POLICY.pools[0].base + 256 * 99),)).name
    world.settle()
    assert routed(world, "rtb-main") == {names[0], single}
    assert world.used("rtb-main", "ipv6") == 6
    assert world.used("rtb-main", "ipv4") == 3
    check_settled(world)


def waiting_world() -> tuple[World, Cidr, Cidr, str]:
    """A dual-stack world whose table is full; the CIDRs of the node in it, which has left; and a node that waits."""
    world = World(DUAL, "ab", one_table=True, limit=2)
    first, late = world.join("a").name, world.join("b").name
    world.settle()
    v4, v6 = world.spec(first).pod_cidrs
    del world.nodes[first]
    world.cycle()  # withdraws
    world.cycle()  # sees it: the drain starts
    return world, v4, v6, late


def test_a_node_gets_no_route_while_only_one_family_has_an_entry_for_it() -> None:
    """Somebody removed one of the two routes of the node that leaves; the other one drains."""
    world, v4, v6, late = waiting_world()
    world.remove("rtb-main", str(v4))
    world.cycle()
    assert world.ours("rtb-main") == {str(v6)}
    world.settle()
    assert routed(world, "rtb-main") == {late}


def test_a_deletion_in_one_family_frees_no_entry_of_the_other() -> None:
    """While one of the two routes of a node that has left can't be deleted, no route takes its entry."""
    world, _, v6, late = waiting_world()
    world.now += DUAL.drain_seconds
    world.cycle(lambda step: step.key == ("route", "rtb-main", str(v6)))
    assert world.ours("rtb-main") == {str(world.spec(late).pod_cidrs[0]), str(v6)}
    world.settle()
    assert routed(world, "rtb-main") == {late}


def test_half_a_slot_takes_no_slot_from_one_that_is_whole() -> None:
    """A node of which one family's route was refused is no holder, however old it is."""
    world, names = one_table(3, 3, DUAL)
    assert routed(world, "rtb-main") == set(names[:2])
    oldest = world.nodes[names[2]]
    world.nodes[names[2]] = replace(oldest, created="2025-01-01T00:00:00Z")
    (v4, _) = world.spec(names[2]).pod_cidrs
    world.limit = 4
    world.real_limit["rtb-main", "ipv6"] = 3
    world.put("rtb-main", Route(v4, world.spec(names[2]).network_interface_id))
    world.settle()
    assert routed(world, "rtb-main") == set(names[:2])
    assert str(v4) not in world.ours("rtb-main")
    assert world.counts()["delete"] == 1
    check_settled(world)


def test_a_stopped_node_keeps_its_slot() -> None:
    """Its blackhole counts, and nobody is promoted for it."""
    world, names = one_table(4, 4)
    world.state(world.nodes[names[0]].instance_id, "stopped")
    world.settle()
    assert routed(world, "rtb-main") == set(names[1:3])
    assert world.reason(names[3]) == "OverlayFallback"
    world.state(world.nodes[names[0]].instance_id, "running")
    world.settle()
    assert routed(world, "rtb-main") == set(names[:3])


def test_a_zones_own_nodes_yield_to_the_reserve_too() -> None:
    """With a table per zone the reserve is never used, not even while some yield and others come."""
    world = World(replace(POLICY, route_reserve=2), limit=20)
    for number in range(40):
        world.join("abc"[number % 3])
        world.settle()
    assert {world.highest[table, "ipv4"] for table in world.tables} == {18}
    check_settled(world)


def test_a_node_without_an_ipv4_address_gets_ipv6_routes_alone_and_counts_as_routed() -> None:
    """Whether the VPC would hand IPv4 packets to its ENI nobody says."""
    world = World(DUAL, ipv6_only="c")
    for zone in "abc":
        world.join(zone)
    world.settle()
    narrow = max(world.records)
    spec = world.spec(narrow)
    ipv4, ipv6 = spec.pod_cidrs
    assert spec.native_in == ("rtb-a", "rtb-b", "rtb-c")
    for table in world.tables.values():
        assert [to for to, one in table.routes.items() if one.target == spec.network_interface_id] == [ipv6]
    # A version before this one has made this route.
    world.do(ChangeRoute("create", "rtb-a", ipv4, spec.network_interface_id, narrow))
    world.settle()
    assert ipv4 not in world.tables["rtb-a"].routes
    assert world.spec(narrow) == spec


def test_a_node_to_which_no_route_can_lead_has_no_slot_and_is_reached_by_the_overlay() -> None:
    """An IPv4 pod CIDR on an ENI without an IPv4 address."""
    world = World(zones="ac", ipv6_only="c")
    world.join("a")
    narrow = world.join("c").name
    world.settle()
    assert world.spec(narrow).native_in == ()
    assert world.reason(narrow) == "OverlayFallback"
