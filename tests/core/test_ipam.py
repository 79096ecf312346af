"""Pod CIDRs: adopted, given, avoided, rested."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cloudroute.core.cluster.ipam import Ipam
from cloudroute.core.cluster.planner import decide
from cloudroute.types import Cidr, Family
from tests.core.world import DUAL, POLICY, World

LENGTHS: dict[Family, int] = {"ipv4": 24, "ipv6": 80}


def cidrs(*texts: str) -> tuple[Cidr, ...]:
    return tuple(map(Cidr.parse, texts))


def ipam(pools: str, used: str = "", excluded: str = "", last: str = "", parts: int = 0) -> Ipam:
    """An Ipam from CIDRs in words; with `parts`, of a cluster with gateways that has so many aggregates per pool."""
    policy = replace(POLICY, pools=cidrs(*pools.split()), gateways=parts > 0, gateway_routes=parts)
    return Ipam(
        policy.pools, policy.rounds, LENGTHS, set(cidrs(*used.split())), cidrs(*excluded.split()), cidrs(*last.split())
    )


def give(source: Ipam, count: int, family: Family = "ipv4") -> list[str]:
    """The next CIDRs, in words; "-" where there is none."""
    return [" ".join(map(str, source.allocate([family]))) or "-" for _ in range(count)]


def test_pod_cidrs_are_given_in_order() -> None:
    """An empty pool is filled from its first CIDR on, and says when it is exhausted."""
    assert give(ipam("10.1.0.0/23"), 3) == ["10.1.0.0/24", "10.1.1.0/24", "-"]


def test_the_search_goes_round_from_the_last_one_given() -> None:
    """A freed CIDR is given again only after all others."""
    source = ipam("10.1.0.0/22", used="10.1.1.0/24", last="10.1.1.0/24")
    assert give(source, 4) == ["10.1.2.0/24", "10.1.3.0/24", "10.1.0.0/24", "-"]


def test_parts_with_an_aggregate_each_take_turns() -> None:
    """Each part has a round of its own, and an exhausted one is passed over."""
    source = ipam("10.1.0.0/21", used="10.1.4.0/24", last="10.1.0.0/24 10.1.4.0/24 10.1.3.0/24", parts=4)
    assert give(source, 4) == ["10.1.6.0/24", "10.1.1.0/24", "10.1.5.0/24", "10.1.2.0/24"]
    assert source.given == cidrs("10.1.6.0/24", "10.1.1.0/24", "10.1.5.0/24", "10.1.2.0/24")
    assert give(source, 4) == ["10.1.7.0/24", "10.1.0.0/24", "10.1.3.0/24", "-"]


def test_an_excluded_part_has_nothing_to_give() -> None:
    """Unlike a range that covers the whole pool, which is a supernet."""
    source = ipam("10.1.0.0/22", excluded="10.1.0.0/23", parts=2)
    assert give(source, 3) == ["10.1.2.0/24", "10.1.3.0/24", "-"]


def test_several_pools_are_one_round() -> None:
    """Behind the cursor, the pools after it, those before it, and round to the cursor."""
    pools = "10.1.0.0/23 10.2.0.0/23 10.3.0.0/24"
    assert give(ipam(pools, last="10.2.0.0/24"), 6) == [
        "10.2.1.0/24", "10.3.0.0/24", "10.1.0.0/24", "10.1.1.0/24", "10.2.0.0/24", "-",
    ]  # fmt: skip


def test_a_cursor_outside_of_every_pool_starts_at_the_first() -> None:
    """The pools were changed since."""
    assert give(ipam("10.1.0.0/23", last="10.9.0.0/24"), 1) == ["10.1.0.0/24"]


def test_excluded_ranges_of_any_size_are_avoided() -> None:
    """A host route blocks the CIDR around it, a wider range all CIDRs inside, whatever their order."""
    source = ipam("10.1.0.0/21", excluded="10.1.4.0/23 10.1.1.7/32 10.1.1.9/32 10.1.4.0/24 10.9.0.0/16")
    assert source.free() == {Cidr.parse("10.1.0.0/21"): 5}
    assert give(source, 6) == ["10.1.0.0/24", "10.1.2.0/24", "10.1.3.0/24", "10.1.6.0/24", "10.1.7.0/24", "-"]


def test_a_pool_that_is_all_excluded_has_nothing_to_give() -> None:
    """It is counted all the same."""
    source = ipam("10.1.0.0/23", excluded="10.1.0.0/24 10.1.1.0/24")
    assert source.free() == {Cidr.parse("10.1.0.0/23"): 0}
    assert give(source, 1) == ["-"]


def test_a_supernet_excludes_nothing() -> None:
    """The default route and the like lose to the longer prefix of a pod route."""
    assert give(ipam("10.1.0.0/24", excluded="0.0.0.0/0 10.0.0.0/8 10.1.0.0/24"), 1) == ["10.1.0.0/24"]


def test_cidrs_of_another_length_are_avoided() -> None:
    """A refused Node's larger CIDR may be in use all the same."""
    source = ipam("10.1.0.0/22", used="10.1.0.0/23 10.1.2.0/25")
    assert give(source, 2) == ["10.1.3.0/24", "-"]


def test_all_families_or_none() -> None:
    """A node gets no CIDR of one family while the other is exhausted."""
    source = ipam("10.1.0.0/24 fd00::/79")
    assert source.allocate(["ipv4", "ipv6"]) == cidrs("10.1.0.0/24", "fd00::/80")
    assert source.allocate(["ipv4", "ipv6"]) == ()
    assert source.given == cidrs("10.1.0.0/24", "fd00::/80")
    assert source.free() == {Cidr.parse("10.1.0.0/24"): 0, Cidr.parse("fd00::/79"): 1}


def test_a_huge_pool_costs_nothing() -> None:
    """IPv6 pools are walked, never listed."""
    source = ipam("fd00::/16", excluded="fd00::/32")
    assert give(source, 1, "ipv6") == ["fd00:1::/80"]
    assert source.free() == {Cidr.parse("fd00::/16"): 2**64 - 2**48 - 1}


@given(
    used=st.sets(st.integers(0, 31)),
    excluded=st.lists(st.tuples(st.integers(20, 32), st.integers(0, 2**13 - 1))),
    cursor=st.none() | st.integers(0, 31),
    parts=st.sampled_from([0, 1, 2, 4, 8]),
)
def test_every_free_cidr_is_given_once(
    used: set[int], excluded: list[tuple[int, int]], cursor: int | None, parts: int
) -> None:
    """CIDRs that are given overlap nothing used or excluded, never repeat, and are as many as `free` says."""
    pool = Cidr.parse("10.1.0.0/19")
    held = {Cidr("ipv4", pool.base + number * 256, 24) for number in used}
    ranges = [
        Cidr("ipv4", (pool.base + offset) >> (32 - length) << (32 - length), length) for length, offset in excluded
    ]
    last = [] if cursor is None else [Cidr("ipv4", pool.base + cursor * 256, 24)]
    policy = replace(POLICY, pools=(pool,), gateways=parts > 0, gateway_routes=parts)
    source = Ipam([pool], policy.rounds, LENGTHS, set(held), ranges, last)
    free = source.free()[pool]
    given_: list[Cidr] = []
    while one := source.allocate(["ipv4"]):
        given_ += one
    assert len(given_) == len(set(given_)) == free
    assert source.free()[pool] == 0
    taken = [*held, *(cidr for cidr in ranges if not cidr.covers(pool))]
    assert not any(cidr.overlaps(other) for cidr in given_ for other in taken)
    candidates = [Cidr("ipv4", pool.base + number * 256, 24) for number in range(32)]
    assert free == sum(not any(cidr.overlaps(other) for other in taken) for cidr in candidates)


# --- in a plan ----------------------------------------------------------------------------------


def test_a_nodes_own_pod_cidrs_are_adopted() -> None:
    """A Node keeps its CIDR wherever that lies in the pool, and nobody else gets it."""
    world = World()
    own = cidrs("100.64.1.0/24")
    node = world.join(cidrs=own)
    others = [world.join() for _ in range(3)]
    world.settle()
    assert world.spec(node.name).pod_cidrs == own
    given_ = {world.nodes[other.name].pod_cidrs for other in others}
    assert len(given_) == 3
    assert own not in given_


def test_two_stacks() -> None:
    """A node gets a CIDR of each family, in the order of the pools."""
    world = World(DUAL)
    node = world.join()
    world.settle()
    assert world.nodes[node.name].pod_cidrs == cidrs("100.64.0.0/24", "fd00:64::/80")


def test_a_single_stack_node_of_a_dual_stack_cluster_stays_one() -> None:
    """Adopted with one CIDR, it is routed by that alone."""
    world = World(DUAL)
    world.join(cidrs=cidrs("100.64.9.0/24"))
    world.settle()
    assert world.ours("rtb-a") == {"100.64.9.0/24"}


def test_reserved_ranges_and_foreign_routes_are_avoided() -> None:
    """Neither a reserved range nor the destination of a foreign route, active or not, in any table is given."""
    world = World(replace(POLICY, pools=cidrs("100.64.0.0/21"), reserved=cidrs("100.64.0.0/23")))
    world.foreign("rtb-b", "100.64.2.0/24", "igw-1")
    world.foreign("rtb-a", "100.64.3.128/25", "eni-other", blackhole=True)
    world.foreign("rtb-a", "100.64.4.0/24", "vgw-1", propagated=True)
    world.foreign("rtb-c", "100.64.0.0/10", "tgw-1")
    for _ in range(4):
        world.join("abc"[len(world.nodes) % 3])
    world.settle()
    given_ = {str(node.pod_cidrs[0]) for node in world.nodes.values() if node.pod_cidrs}
    assert given_ == {"100.64.5.0/24", "100.64.6.0/24", "100.64.7.0/24"}
    assert sorted(world.reason(name) for name in world.nodes) == ["NoPodCIDR", *["RouteCreated"] * 3]


def test_a_new_node_with_a_reserved_cidr_is_refused_and_one_with_a_node_route_keeps_its_own() -> None:
    """A range that is reserved later harms no node that is there."""
    world = World()
    old = world.join(cidrs=cidrs("100.64.0.0/24"))
    world.settle()
    world.policy = replace(POLICY, reserved=cidrs("100.64.0.0/23"))
    new = world.join(cidrs=cidrs("100.64.1.0/24"))
    world.settle()
    assert (world.reason(old.name), world.reason(new.name)) == ("RouteCreated", "NoPodCIDR")
    assert set(world.records) == {old.name}


def test_an_exhausted_pool_refuses_the_node_until_there_is_another() -> None:
    """NetworkUnavailable with NoPodCIDR and what to do; a further pool serves it."""
    world = World(replace(POLICY, pools=cidrs("100.64.0.0/24")))
    world.join()
    late = world.join()
    decision = world.cycle()
    world.settle()
    condition = world.condition(late.name)
    assert condition
    assert (condition.status, condition.reason) == ("True", "NoPodCIDR")
    assert "add a --cluster-cidr" in condition.message
    assert [(n.name, n.reason) for n in decision.plan.notices] == [(late.name, "NoPodCIDR")]
    world.policy = replace(world.policy, pools=cidrs("100.64.0.0/24", "100.65.0.0/24"))
    world.restart()
    world.settle()
    assert world.spec(late.name).pod_cidrs == cidrs("100.65.0.0/24")
    assert world.reason(late.name) == "RouteCreated"


def test_a_freed_address_rests() -> None:
    """The next node gets the next address, not the one just freed; after a restart too."""
    world = World()
    first, *_ = [world.join() for _ in range(3)]
    world.settle()
    del world.nodes[first.name]
    world.settle()
    fourth = world.join()
    world.settle()
    assert world.spec(fourth.name).pod_cidrs == cidrs("100.64.3.0/24")
    world.restart()
    fifth = world.join()
    world.settle()
    assert world.spec(fifth.name).pod_cidrs == cidrs("100.64.4.0/24")


def test_a_freed_address_rests_though_the_youngest_node_has_gone_before_a_restart() -> None:
    """The youngest NodeRoute, not the youngest Node, says where the last search has ended."""
    world = World()
    nodes = [world.join() for _ in range(4)]
    world.settle()
    del world.nodes[nodes[2].name]
    world.settle()
    youngest = world.records[nodes[3].name]
    world.records[youngest.name] = replace(youngest, created=nodes[3].created)
    del world.nodes[youngest.name]
    world.restart()
    late = world.join()
    world.settle()
    assert world.spec(late.name).pod_cidrs == cidrs("100.64.4.0/24")


def test_addresses_that_still_drain_are_not_given() -> None:
    """A NodeRoute of a node that is gone keeps its CIDR as long as it exists."""
    world = World(replace(POLICY, pools=cidrs("100.64.0.0/24")))
    gone = world.join()
    world.settle()
    del world.nodes[gone.name]
    late = world.join()
    world.cycle()
    assert world.reason(late.name) == "NoPodCIDR"
    world.settle()
    assert world.spec(late.name).pod_cidrs == cidrs("100.64.0.0/24")


def test_the_cidr_of_a_node_with_a_problem_is_nobody_elses() -> None:
    """A Node without a usable providerID, and one that is a duplicate, still hold what they say."""
    world = World(replace(POLICY, pools=cidrs("100.64.0.0/22")))
    odd = world.join(cidrs=cidrs("100.64.0.0/24"))
    world.nodes[odd.name] = replace(odd, instance_id="", problem="providerID is missing")
    real = world.join()
    twin = world.join(instance=real.instance_id, cidrs=cidrs("100.64.1.0/24"))
    others = [world.join(), world.join()]
    world.settle()
    assert twin.name not in world.records
    assert {str(world.nodes[n.name].pod_cidrs[0]) for n in (real, others[0])} == {"100.64.2.0/24", "100.64.3.0/24"}
    assert world.reason(others[1].name) == "NoPodCIDR"


def test_a_cidr_outside_of_the_pools_is_refused() -> None:
    """A wrong length or a foreign range gets no network, and the condition says what is expected."""
    world = World()
    wrong = [world.join(cidrs=cidrs(text)) for text in ("100.64.4.0/23", "192.168.0.0/24", "fd00::/80")]
    right = world.join()
    world.settle()
    for node in wrong:
        assert world.reason(node.name) == "NoPodCIDR"
        condition = world.condition(node.name)
        assert condition
        assert "--cluster-cidr 100.64.0.0/16" in condition.message
    assert set(world.records) == {right.name}


def test_a_failed_assignment_holds_up_nobody_else() -> None:
    """The node without stays without a NodeRoute and a condition; the others are served."""
    world = World()
    a, b = world.join(), world.join()
    for _ in range(3):
        world.cycle(lambda step: step.key == ("cidrs", a.name))
    assert a.name not in world.records
    assert world.condition(a.name) is None
    assert world.reason(b.name) == "RouteCreated"
    world.settle()
    assert world.reason(a.name) == "RouteCreated"
    assert decide(world.snapshot(), world.policy).plan.empty
