"""Route tables that are too small for all nodes: who gets an entry, who yields it, and what is learned of the limit."""

from __future__ import annotations

from itertools import combinations
from math import inf

import pytest

from cloudroute.core.paths import Class, pair_path
from tests.controller.lab import NATIVE, OVERLAY, POOL, POOL6, Lab, lab


def test_more_nodes_than_entries() -> None:
    """120 nodes on one table at limit 50: 49 beside `local` are routed, the oldest; the others are healthy."""
    with lab(one_table=True, traffic=True) as world:
        names = world.join_many(120)
        world.run()
        assert world.native(world.table()) == names[:49]
        assert len(world.routes(world.table())) == 49
        assert [world.condition(name) for name in names] == [NATIVE] * 49 + [OVERLAY] * 71
        assert world.use(world.table()) == {"limit": 50, "used": 50, "ours": 49, "foreign": 1}
        assert world.aws.highest[world.table(), "ipv4"] == 50


def test_a_freed_entry_is_given_on() -> None:
    """A leaving node's entry goes to the next one: higher priority first, then the older; nobody is evicted."""
    with lab(one_table=True, route_limit=6, traffic=True) as world:
        names = world.join_many(8)
        world.run()
        urgent = world.join(0, name="a-newcomer", priority="10")
        world.run()
        assert world.native(world.table()) == names[:5]
        world.terminate(names[0])
        world.run()
        assert world.native(world.table()) == [urgent, *names[1:5]]
        world.terminate(names[1])
        world.run()
        assert world.native(world.table()) == [urgent, *names[2:6]]
        assert (world.condition(urgent), world.condition(names[6])) == (NATIVE, OVERLAY)
        assert world.aws.highest[world.table(), "ipv4"] == 6


def test_zones_of_their_own() -> None:
    """73 nodes join 3 zones with a table each, one by one: at limit 50 every pair is native or direct, all the time."""
    with lab(traffic=True) as world:
        for number in range(73):
            world.join(number % 3)
            world.run()
            if number % 12 == 0 or number > 68:
                assert _paths(world) <= {"native", "direct"}
        assert _paths(world) == {"native", "direct"}
        assert set(world.conditions().values()) == {NATIVE}
        assert all(world.aws.highest[table, "ipv4"] <= 50 for table in world.tables())


def test_past_the_zones() -> None:
    """In a zone whose table can't hold all nodes of the others, the youngest of these use the overlay."""
    with lab(route_limit=10, traffic=True) as world:
        names = world.join_many(16)
        world.run()
        elsewhere = {
            zone.route_table_id: [n for i, n in enumerate(names) if i % 3 != index]
            for index, zone in enumerate(world.vpc.zones)
        }
        for table, others in elsewhere.items():
            assert world.native(table) == others[:9]
        last = {name for others in elsewhere.values() for name in others[9:]}
        assert world.conditions() == {name: OVERLAY if name in last else NATIVE for name in names}
        assert "overlay" in _paths(world)


@pytest.mark.parametrize("pools", [(POOL,), (POOL, POOL6)])
def test_a_lower_limit_is_learned(pools: tuple[str, ...]) -> None:
    """One refusal shows a table's real limit; it is not asked again, in 10 minutes or after a restart."""
    with lab(one_table=True, ipv6=True, cluster_cidr=pools, traffic=True) as world:
        world.aws.set_route_quota(8, world.table())
        names = world.join_many(12)
        world.run()
        assert _refusals(world) == len(pools)  # each family has a limit of its own
        native = world.native(world.table())
        assert len(native) == 7
        assert world.conditions() == {name: NATIVE if name in native else OVERLAY for name in names}
        assert world.use(world.table()) == {"limit": 50, "learnedLimit": 8, "used": 8, "ours": 7, "foreign": 1}
        assert [event[1] for event in world.events("RouteLimitLearned")] == [world.table()]
        world.pass_seconds(600)
        world.start()
        world.pass_seconds(600)
        world.join(0)
        world.run()
        assert _refusals(world) == len(pools)
        assert world.native(world.table()) == native
        assert world.use(world.table())["learnedLimit"] == 8


def test_a_freed_entry_of_a_table_with_a_learned_limit_is_given_on() -> None:
    """A refusal counts in the cycle after it, and not in a later one, when the table holds less."""
    with lab(one_table=True) as world:
        world.aws.set_route_quota(5, world.table())
        world.join_many(5)
        world.run()
        for name in world.native(world.table())[:2]:
            world.terminate(name)
        world.run()
        assert len(world.native(world.table())) == 3
        world.join(0)
        world.run()
        assert len(world.native(world.table())) == 4
        assert _refusals(world) == 1


def test_a_learned_limit_is_forgotten() -> None:
    """A learned limit holds for the configured one alone: with another, the table is filled until it refuses again."""
    with lab(one_table=True, route_limit=20) as world:
        world.aws.set_route_quota(5, world.table())
        names = world.join_many(8)
        world.run()
        world.aws.set_route_quota(50, world.table())
        world.start(route_limit=21)
        world.run()
        assert _refusals(world) == 1
        assert world.native(world.table()) == names
        assert world.use(world.table()) == {"limit": 21, "used": 9, "ours": 8, "foreign": 1}


def test_each_table_learns_for_itself() -> None:
    """One table's lower limit changes nothing in another."""
    with lab(direct_routing="off") as world:
        low, *others = world.tables()
        world.aws.set_route_quota(4, low)
        names = world.join_many(6)
        world.run()
        assert len(world.native(low)) == 3
        assert all(world.native(table) == names for table in others)
        assert _refusals(world) == 1


def test_entries_that_count() -> None:
    """`local`, foreign routes, prefix lists with their maximum and blackholes count; propagated routes do not."""
    with lab(one_table=True, route_limit=12, traffic=True) as world:
        table, gateway = world.table(), world.gateway()
        world.foreign(table, "0.0.0.0/0", GatewayId=gateway)
        world.foreign(table, "192.0.2.0/24", NetworkInterfaceId=world.interface())
        world.foreign(table, world.prefix_list(4), GatewayId=gateway)
        world.aws.propagate(table, "172.16.0.0/16")
        names = world.join_many(7)
        world.run()
        assert world.native(table) == names[:5]
        assert world.use(table) == {"limit": 12, "used": 12, "ours": 5, "foreign": 7}
        world.aws.scene.stop(world.instance(names[0]))
        world.pass_seconds(120)
        assert world.routes(table).keys() >= set(world.pod_cidrs(names[0]))
        assert world.use(table) == {"limit": 12, "used": 12, "ours": 5, "foreign": 7}
        assert world.aws.highest[table, "ipv4"] == 12


def test_a_prefix_list_that_comes_later() -> None:
    """A list that others route takes what is free, and what is ours stays as long as there is room."""
    with lab(one_table=True, route_limit=12, aws={"route_quota": 50}, traffic=True) as world:
        names = world.join_many(9)
        world.run()
        world.foreign(world.table(), world.prefix_list(6), GatewayId=world.gateway())
        world.pass_seconds(120)
        assert world.native(world.table()) == names[:5]
        assert world.use(world.table()) == {"limit": 12, "used": 12, "ours": 5, "foreign": 7}
        assert world.conditions() == {name: NATIVE if name in names[:5] else OVERLAY for name in names}


def test_reserve() -> None:
    """`--route-reserve` keeps entries free for others; it takes none from nodes that have theirs."""
    with lab(one_table=True, route_limit=10, route_reserve=3, traffic=True) as world:
        names = world.join_many(8)
        world.run()
        assert world.native(world.table()) == names[:6]
        world.start(route_reserve=6)
        world.run()
        assert world.native(world.table()) == names[:6]
        world.terminate(names[0])
        world.run()
        assert world.native(world.table()) == names[1:6]
        assert world.aws.highest[world.table(), "ipv4"] == 7


def test_a_lowered_limit() -> None:
    """A lower limit drains the last in the sort after a restart: withdrawn, and deleted 10 s later; no other moves."""
    with lab(one_table=True, traffic=True) as world:
        names = world.join_many(12)
        world.run()
        table, traffic = world.table(), world.traffic
        assert traffic
        world.start(route_limit=6)
        world.calls()
        start = world.clock.time
        world.turn()
        assert world.native(table) == names[:5]
        assert [world.condition(name) for name in names] == [NATIVE] * 5 + [OVERLAY] * 7
        assert len(world.routes(table)) == 12
        world.run()
        assert [(at, cidr) for at, _, cidr in sorted(traffic.deleted)] == sorted(
            (start + 10, world.pod_cidrs(name)[0]) for name in names[5:]
        )
        calls = world.calls()
        assert (calls["DeleteRoute"], calls.get("CreateRoute", 0), calls.get("ReplaceRoute", 0)) == (7, 0, 0)
        assert world.use(table) == {"limit": 6, "used": 6, "ours": 5, "foreign": 1}
        assert [world.condition(name) for name in names] == [NATIVE] * 5 + [OVERLAY] * 7


def test_no_deletion_before_the_withdrawal() -> None:
    """As long as the withdrawal of a route can't be published the route stays, however long that takes."""
    with lab(one_table=True, traffic=True) as world:
        names = world.join_many(6)
        world.run()
        world.start(route_limit=4)
        world.kube.faults.fail(500, "patch", "noderoutes", count=inf)
        world.pass_seconds(120)
        assert len(world.routes(world.table())) == 6
        world.kube.faults.clear()
        world.run()
        assert world.native(world.table()) == names[:3]
        assert len(world.routes(world.table())) == 3


def test_no_entry_for_any_node() -> None:
    """A table without an entry beside foreign routes is reported once, and every node is healthy in the overlay."""
    with lab(one_table=True, route_limit=3) as world:
        gateway = world.gateway()
        for destination in ("0.0.0.0/0", "192.0.2.0/24"):
            world.foreign(world.table(), destination, GatewayId=gateway)
        world.join_many(3)
        world.run()
        world.pass_seconds(300)
        assert set(world.conditions().values()) == {OVERLAY}
        assert [event[:3] for event in world.events("NoFreeEntry")] == [("Warning", world.table(), "NoFreeEntry")]
        assert "CreateRoute" not in world.calls()


def test_without_overlay() -> None:
    """With `--overlay off` a node without an entry has no network, and says so."""
    with lab(one_table=True, route_limit=3, overlay=False) as world:
        names = world.join_many(3)
        world.run()
        assert [world.condition(name) for name in names] == [NATIVE, NATIVE, ("True", "RouteLimit")]
        world.terminate(names[0])
        world.run()
        assert world.condition(names[2]) == NATIVE


def test_both_families_or_none() -> None:
    """A table that is full for one family gives a node no entry in the other either."""
    with lab(one_table=True, ipv6=True, cluster_cidr=(POOL, POOL6), route_limit=5, traffic=True) as world:
        world.foreign(world.table(), "2001:db8::/32", NetworkInterfaceId=world.interface())
        names = world.join_many(5)
        world.run()
        assert world.native(world.table()) == names[:3]
        assert world.use(world.table(), "ipv4") == {"limit": 5, "used": 4, "ours": 3, "foreign": 1}
        assert world.use(world.table(), "ipv6") == {"limit": 5, "used": 5, "ours": 3, "foreign": 2}


def test_limit_of_the_account() -> None:
    """With `auto` the quota of the account is the limit, and a raised one promotes nodes within the hour."""
    with lab(one_table=True, route_limit="auto", aws={"route_quota": 5}, traffic=True) as world:
        names = world.join_many(7)
        world.run()
        assert world.native(world.table()) == names[:4]
        world.aws.set_route_quota(100)
        world.pass_seconds(3700)
        assert world.native(world.table()) == names
        assert _refusals(world) == 0


def _paths(world: Lab) -> set[str]:
    """The paths of all pairs, each the same from both ends."""
    classes = [Class.of(route.spec) for route in world.published().values()]
    return {pair_path(a, b) for a, b in combinations(classes, 2)}


def _refusals(world: Lab) -> int:
    return sum(number for (_, code), number in world.aws.calls.items() if code == "RouteLimitExceeded")
