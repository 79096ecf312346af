"""Aggregates: a route of each table for a whole pool, to a gateway that knows every node."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudroute.core.cluster.foreign_clusters import unknown_interfaces
from cloudroute.core.cluster.model import ChangeRoute, DisableSourceDestCheck, Policy, Step, WriteRouteTableObject
from cloudroute.core.cluster.planner import decide
from cloudroute.types import Aggregate, Cidr, GatewayRole, InterfaceOwner, Pulse, Route
from tests.core.world import DUAL, POLICY, World

GATEWAYS = replace(POLICY, gateways=True)
POOL = POLICY.pools[0]


def world_with(*zones_of_gateways: str, policy: Policy = GATEWAYS, limit: int = 50, others: int = 2) -> World:
    """A settled world of three zones: gateways in these zones, and other nodes in each zone."""
    world = World(policy, limit=limit)
    for zone in zones_of_gateways:
        world.join(zone, f"gw-{zone}{len(world.nodes)}", gateway="candidate")
    for number in range(others * len(world.zones)):
        world.join(world.zones[number % len(world.zones)])
    world.settle()
    return world


def holder(world: World, table: str, destination: Cidr = POOL) -> str:
    """Name of the node that an aggregate leads to; "" without a route."""
    route = world.tables[table].routes.get(destination)
    names = {record.spec.network_interface_id: name for name, record in world.records.items()}
    return names[route.target] if route else ""


def holders(world: World, destination: Cidr = POOL) -> list[str]:
    return [holder(world, table, destination) for table in sorted(world.tables)]


def change(world: World, name: str, role: GatewayRole) -> None:
    world.nodes[name] = replace(world.nodes[name], gateway=role)


def test_each_table_has_one_route_for_the_pool_to_a_gateway_of_its_zone() -> None:
    world = world_with("a", "b", "c")
    assert holders(world) == ["gw-a0", "gw-b1", "gw-c2"]
    assert world.counts()["create"] == 3 * 9 + 3
    assert [world.reports[table].families["ipv4"].gateways for table in sorted(world.tables)] == [
        (Aggregate(POOL, name, world.spec(name).network_interface_id),) for name in ("gw-a0", "gw-b1", "gw-c2")
    ]


def test_a_settled_world_does_nothing_more() -> None:
    world = world_with("a", "b")
    world.log.clear()
    world.settle()
    assert world.log == []


def test_a_zone_without_a_gateway_gets_the_one_with_fewest_aggregates() -> None:
    assert sorted(holders(world_with("a", "a"))) == ["gw-a0", "gw-a0", "gw-a1"]


def test_parts_of_a_pool_are_spread_over_gateways() -> None:
    world = world_with("a", "a", policy=replace(GATEWAYS, gateway_routes=4))
    halves = ["100.64.0.0/18", "100.64.64.0/18", "100.64.128.0/18", "100.64.192.0/18"]
    assert [holder(world, "rtb-a", Cidr.parse(half)) for half in halves] == ["gw-a0", "gw-a1", "gw-a0", "gw-a1"]


def test_both_families_have_their_aggregates() -> None:
    world = world_with("a", policy=replace(DUAL, gateways=True))
    assert holders(world, DUAL.pools[1]) == ["gw-a0"] * 3 == holders(world)


def test_a_gateway_without_an_ipv4_address_holds_no_ipv4_aggregate() -> None:
    """AWS delivers no IPv4 packets to its ENI."""
    policy = replace(DUAL, gateways=True)
    world = World(policy, "ab", ipv6_only="a")
    for zone in "ab":
        world.join(zone, f"gw-{zone}", gateway="candidate")
    world.settle()
    assert holders(world) == ["gw-b"] * 2
    assert holders(world, DUAL.pools[1]) == ["gw-a", "gw-b"]
    world.silent.add("gw-b")
    world.settle()
    assert holders(world) == ["gw-b"] * 2, "nobody else can take it"


def test_the_journal_is_written_before_the_route() -> None:
    world = world_with("a")
    for step in world.log:
        if isinstance(step, ChangeRoute) and step.destination == POOL:
            assert step.after == (("report", step.table_id),)
    first = next(n for n, step in enumerate(world.log) if isinstance(step, ChangeRoute) and step.destination == POOL)
    journal = world.log[first - 1]
    assert isinstance(journal, WriteRouteTableObject)
    (entry,) = journal.report.families["ipv4"].intended
    assert entry == Aggregate(POOL, "gw-a0", world.spec("gw-a0").network_interface_id)


def test_an_aggregate_that_aws_refuses_is_intended_and_costs_no_further_write() -> None:
    """Agents with --gateway-keeps-source believe `gateways`: answers to such pods would be lost."""
    world = world_with("a", policy=POLICY)
    world.policy = GATEWAYS

    def refused(step: Step) -> bool:
        return isinstance(step, ChangeRoute) and step.destination == POOL and step.table_id == "rtb-b"

    world.cycle(refused)
    world.log.clear()
    for _ in range(10):
        world.cycle(refused)
        world.now += 60
    use = world.reports["rtb-b"].families["ipv4"]
    (entry,) = use.intended
    assert (entry.destination, entry.node, use.gateways) == (POOL, "gw-a0", ())
    assert not world.counts()["WriteRouteTableObject"]
    world.settle()
    use = world.reports["rtb-b"].families["ipv4"]
    assert (use.gateways, use.intended) == ((entry,), ())


def test_an_aggregate_that_somebody_deleted_is_only_intended_until_it_is_back() -> None:
    world = world_with("a")
    world.remove("rtb-b", str(POOL))
    world.cycle(lambda step: isinstance(step, ChangeRoute))
    use = world.reports["rtb-b"].families["ipv4"]
    assert (use.gateways, [one.node for one in use.intended]) == ((), ["gw-a0"])


def test_without_the_flag_nothing_is_published_or_routed() -> None:
    world = world_with("a", policy=POLICY)
    assert holders(world) == ["", "", ""]
    change(world, "gw-a0", "none")  # as the projection says without the flag
    world.settle()
    assert not any(record.spec.gateway for record in world.records.values())


def test_a_candidate_is_routed_to_only_once_it_renews_its_lease() -> None:
    world = World(GATEWAYS, zones="a")
    world.join("a", "gw", gateway="candidate")
    world.silent.add("gw")
    world.settle()
    assert world.spec("gw").gateway
    assert holders(world) == [""]
    assert {notice.reason for notice in world.cycle().plan.notices} == {"NoGateway"}
    world.silent.clear()
    world.settle()
    assert holders(world) == ["gw"]


@pytest.mark.parametrize("how", ["silent", "terminated", "stopped", "cordoned", "deselected", "deleted"])
def test_a_holder_that_fails_or_leaves_is_replaced_by_one_call_for_each_aggregate(how: str) -> None:
    world = world_with("a", "b")
    node = world.nodes["gw-a0"]
    before = holders(world)
    world.log.clear()
    match how:
        case "silent":
            world.silent.add("gw-a0")
        case "terminated" | "stopped":
            world.state(node.instance_id, "terminated" if how == "terminated" else "stopped")
        case "cordoned" | "deselected":
            change(world, "gw-a0", "retiring" if how == "cordoned" else "none")
        case "deleted":
            del world.nodes["gw-a0"]
    world.cycle()
    assert holders(world) == ["gw-b1"] * 3
    moved = [step for step in world.log if isinstance(step, ChangeRoute) and step.destination == POOL]
    assert [step.verb for step in moved] == ["replace"] * before.count("gw-a0")
    assert world.log.index(moved[0]) == min(n for n, step in enumerate(world.log) if isinstance(step, ChangeRoute)), (
        "a failover waits for no other route"
    )
    world.settle()
    assert holders(world) == ["gw-b1"] * 3


def journaled(world: World, table: str, interface: str) -> None:
    """Let the RouteTable object say that the aggregate leads to this ENI."""
    report = world.reports[table]
    use = report.families["ipv4"]
    entries = tuple(one._replace(interface=interface) for one in use.gateways)
    world.reports[table] = replace(report, families={**report.families, "ipv4": replace(use, gateways=entries)})


def lead(world: World, table: str, target: str, *, blackhole: bool) -> None:
    """Let the route of the aggregate lead there."""
    world.put(table, Route(POOL, target, blackhole=blackhole))


OWNERS = {"eni-appliance": InterfaceOwner("i-appliance", frozenset())}


def survives(world: World, table: str) -> bool:
    """Whether the plan leaves the aggregate alone and tells that somebody else has routed it."""
    decision = decide(replace(world.snapshot(), unknown_owners=OWNERS), world.policy)
    touched = [
        s for s in decision.plan.steps if isinstance(s, ChangeRoute) and (s.table_id, s.destination) == (table, POOL)
    ]
    told = [one.name for one in decision.plan.notices if one.reason == "GatewayRouteTaken"]
    assert (told == [table]) != bool(touched)
    return not touched


@pytest.mark.parametrize("begun", [False, True])
def test_a_blackhole_of_somebody_else_keeps_the_place_of_an_aggregate(begun: bool) -> None:  # noqa: FBT001
    """Before the first gateway and after it: the journal names another ENI. It counts, as `local` does."""
    world = world_with("a", policy=GATEWAYS if begun else POLICY)
    world.policy = GATEWAYS
    lead(world, "rtb-a", "eni-deleted", blackhole=True)
    used = len(world.tables["rtb-a"].routes)
    for target, blackhole in [("eni-deleted", True), ("", True), ("tgw-1", False), ("eni-appliance", True)]:
        lead(world, "rtb-a", target, blackhole=blackhole)
        assert survives(world, "rtb-a")
    world.settle()
    assert world.tables["rtb-a"].routes[POOL].target == "eni-appliance"
    family = world.reports["rtb-a"].families["ipv4"]
    assert (family.used, family.foreign, family.gateways) == (used, 2, ())


def test_a_blackhole_to_the_eni_of_the_journal_is_ours_although_its_instance_is_no_node_any_more() -> None:
    """A former gateway that was stopped and left: the journal outlives its NodeRoute."""
    world = world_with("a")
    lead(world, "rtb-a", "eni-appliance", blackhole=False)
    journaled(world, "rtb-a", "eni-appliance")
    assert survives(world, "rtb-a"), "it runs, so it is somebody else's by now"
    lead(world, "rtb-a", "eni-appliance", blackhole=True)
    assert not survives(world, "rtb-a")
    world.settle()
    assert holder(world, "rtb-a") == "gw-a0"


def test_an_entry_without_an_eni_is_judged_by_the_owner_alone() -> None:
    """A journal of an older release: EC2 is asked for the owner, and a blackhole to a deleted ENI is ours."""
    world = world_with("a")
    lead(world, "rtb-a", "eni-appliance", blackhole=True)
    assert unknown_interfaces(world.snapshot(), GATEWAYS) == set()
    journaled(world, "rtb-a", "")
    assert unknown_interfaces(world.snapshot(), GATEWAYS) == {"eni-appliance"}
    assert survives(world, "rtb-a")
    lead(world, "rtb-a", "eni-deleted", blackhole=True)
    assert not survives(world, "rtb-a")


def test_a_crd_of_an_older_release_costs_no_write_at_each_resync() -> None:
    """It drops the ENIs; the next write for another reason has them again."""
    world = world_with("a")
    for table in world.tables:
        journaled(world, table, "")
    world.log.clear()
    world.settle()
    assert world.log == []
    world.join("a")
    world.settle()
    assert all(one.interface for table in world.tables for one in world.reports[table].families["ipv4"].gateways)


def test_a_crd_of_an_older_release_costs_no_write_for_what_is_intended() -> None:
    """It drops the list: a refused route costs one write before each attempt and none after it."""

    class OldCrd(World):
        def do(self, step: Step) -> bool:
            done = super().do(step)
            for table, report in self.reports.items():
                families = {family: replace(use, intended=()) for family, use in report.families.items()}
                self.reports[table] = replace(report, families=families)
            return done

    world = OldCrd(GATEWAYS)
    world.join("a", "gw-a0", gateway="candidate")
    for _ in range(5):
        world.log.clear()
        world.cycle(lambda step: isinstance(step, ChangeRoute))
    assert world.counts() == {"WriteRouteTableObject": 1}


def test_what_an_older_controller_leaves_intended_is_dropped() -> None:
    """It doesn't know the list, and leaves it as it was."""
    world = world_with("a")
    report = world.reports["rtb-a"]
    use = report.families["ipv4"]
    stale = replace(use, intended=use.gateways)
    world.reports["rtb-a"] = replace(report, families={**report.families, "ipv4": stale})
    world.settle()
    assert world.reports["rtb-a"] == report


def test_a_holder_without_a_successor_stays() -> None:
    world = world_with("a")
    for role in ("retiring", "none"):
        change(world, "gw-a0", role)
        world.settle()
        assert holders(world) == ["gw-a0"] * 3
        assert world.spec("gw-a0").gateway
    world.silent.add("gw-a0")
    world.settle()
    assert holders(world) == ["gw-a0"] * 3


def test_a_holder_whose_check_can_not_be_switched_off_is_replaced_after_one_attempt() -> None:
    """EC2 drops what it passes on. Without a successor it stays, as any holder."""
    world = world_with("a", "b")
    world.switch_check(world.nodes["gw-a0"].instance_id, on=True)
    world.log.clear()
    world.cycle(lambda step: isinstance(step, DisableSourceDestCheck))
    assert holders(world) == ["gw-a0", "gw-b1", "gw-a0"]
    world.cycle(lambda step: isinstance(step, DisableSourceDestCheck))
    assert holders(world) == ["gw-b1"] * 3
    assert world.counts()["replace"] == 2
    world.switch_check(world.nodes["gw-b1"].instance_id, on=True)
    for _ in range(3):
        world.cycle(lambda step: isinstance(step, DisableSourceDestCheck))
    assert holders(world) == ["gw-b1"] * 3


def test_a_holder_whose_check_is_switched_off_at_once_stays() -> None:
    world = world_with("a", "b")
    before = holders(world)
    world.log.clear()
    world.switch_check(world.nodes["gw-a0"].instance_id, on=True)
    world.settle()
    assert holders(world) == before
    assert not world.counts()["replace"]


def test_nobody_is_replaced_while_heartbeats_are_not_judged() -> None:
    world = world_with("a", "b")
    blind = replace(world.snapshot(), pulse=Pulse({"gw-b1": world.records["gw-b1"].uid}))
    assert decide(blind, GATEWAYS).plan.empty


def test_the_word_of_a_predecessor_of_the_same_name_makes_no_gateway_ready() -> None:
    """Its Lease was renewed for the NodeRoute of a machine that is gone; the new one's kernel may not forward yet."""
    world = world_with("a", "b")
    world.silent.add("gw-a0")
    before = replace(world.snapshot(), pulse=Pulse({"gw-b1": "former"}, judged=True))
    assert decide(before, GATEWAYS).plan.empty
    world.settle()
    assert holders(world) == ["gw-b1"] * 3


def test_a_gateway_that_is_back_does_not_take_its_routes_back() -> None:
    world = world_with("a", "b")
    world.silent.add("gw-a0")
    world.settle()
    world.silent.clear()
    world.settle()
    assert holders(world) == ["gw-b1"] * 3


def test_a_former_gateway_forwards_for_the_drain_time() -> None:
    world = world_with("a", "b")
    change(world, "gw-a0", "none")
    world.cycle()
    began = world.now
    assert world.spec("gw-a0").gateway
    world.settle()
    assert not world.spec("gw-a0").gateway
    assert world.now >= began + GATEWAYS.drain_seconds


def test_a_departed_holder_without_a_successor_takes_its_aggregates_along() -> None:
    world = world_with("a")
    del world.nodes["gw-a0"]
    world.settle()
    assert holders(world) == ["", "", ""]
    assert "gw-a0" not in world.records
    assert all(not use.gateways for report in world.reports.values() for use in report.families.values())


def test_aggregates_come_off_a_tables_room() -> None:
    world = world_with("a", limit=6)  # the local route, the aggregate, and four of seven nodes
    assert [len(world.ours(table)) for table in sorted(world.tables)] == [5, 5, 5]


def test_a_node_yields_its_entry_of_a_full_table() -> None:
    world = world_with("a", policy=POLICY, limit=6)
    assert holders(world) == ["", "", ""]
    world.policy = GATEWAYS
    world.settle()
    assert holders(world) == ["gw-a0"] * 3
    assert max(world.highest.values()) == 6


def test_an_aggregate_that_does_not_fit_is_in_no_journal() -> None:
    """Agents with --gateway-keeps-source believe the journal: answers to such pods would be lost."""
    world = world_with("a", policy=replace(GATEWAYS, gateway_routes=4), limit=3)  # the local route, and two more
    for name in world.tables:
        assert {one.destination for one in world.reports[name].families["ipv4"].gateways} == {
            Cidr.parse(to) for to in world.ours(name)
        }
        assert len(world.ours(name)) == 2


def test_a_reserve_for_others_keeps_no_gateway_out() -> None:
    world = world_with("a", policy=replace(POLICY), limit=6)
    world.policy = replace(GATEWAYS, route_reserve=2)
    world.settle()
    assert holders(world) == ["gw-a0"] * 3


@pytest.mark.parametrize(("before", "after"), [(1, 8), (8, 1), (2, 4)])
def test_another_number_of_parts_never_leaves_a_pool_uncovered(before: int, after: int) -> None:
    world = world_with("a", policy=replace(GATEWAYS, gateway_routes=before), limit=20)
    world.policy = replace(GATEWAYS, gateway_routes=after)
    for _ in range(6):
        world.cycle()
        for table in world.tables.values():
            covered = {to for to in table.routes if isinstance(to, Cidr) and to.length < 24 and POOL.covers(to)}
            assert sum(cidr.size for cidr in covered) >= POOL.size
    world.settle()
    for name in world.tables:
        wide = [Cidr.parse(to) for to in world.ours(name) if Cidr.parse(to).length < 24]
        assert sorted(wide) == list(world.policy.aggregates)


def test_a_former_part_that_others_have_no_entry_to_replace_is_failed_over() -> None:
    world = world_with("a", "b", limit=2)  # the local route, and one more
    world.policy = replace(GATEWAYS, gateway_routes=2)
    world.silent.add("gw-a0")
    world.settle()
    assert holders(world) == ["gw-b1"] * 3


def test_a_former_part_goes_as_soon_as_its_own_place_is_taken() -> None:
    """It does not wait for entries of another family, or of another part."""
    world = world_with("a", policy=replace(DUAL, gateways=True), limit=4)
    for destination in ("fd00:1::/64", "fd00:2::/64"):
        world.foreign("rtb-a", destination)
    world.policy = replace(world.policy, gateway_routes=2)
    world.settle()
    cidrs = {to for to in world.tables["rtb-a"].routes if isinstance(to, Cidr)}
    aggregates = {to for to in cidrs if any(pool.covers(to) for pool in DUAL.pools)}
    assert aggregates == {
        *world.policy.aggregates[:2],
        DUAL.pools[1],
    }


def test_without_the_flag_again_all_aggregates_go() -> None:
    world = world_with("a", "b")
    world.policy = POLICY
    for name in ("gw-a0", "gw-b1"):
        change(world, name, "none")
    world.settle()
    assert holders(world) == ["", "", ""]
    assert not any(record.spec.gateway for record in world.records.values())
    assert all(not use.gateways for report in world.reports.values() for use in report.families.values())


def test_cleanup_removes_aggregates() -> None:
    world = world_with("a")
    world.policy = replace(GATEWAYS, leave=True)
    world.settle()
    assert all(not world.ours(table) for table in world.tables)


def test_a_route_of_others_for_the_pool_is_left_alone_and_told() -> None:
    world = World(GATEWAYS)
    world.foreign("rtb-a", str(POOL), "tgw-1")
    world.join("a", "gw", gateway="candidate")
    for zone in "bc":
        world.join(zone)
    world.settle()
    assert world.tables["rtb-a"].routes[POOL].target == "tgw-1"
    assert [holder(world, table) for table in ("rtb-b", "rtb-c")] == ["gw", "gw"]
    (notice,) = world.cycle().plan.notices
    assert (notice.name, notice.reason) == ("rtb-a", "GatewayRouteTaken")


def test_a_journalled_destination_that_others_route_now_is_theirs() -> None:
    world = world_with("a")
    world.remove("rtb-a", str(POOL))
    world.foreign("rtb-a", str(POOL), "nat-1")
    world.settle()
    assert world.tables["rtb-a"].routes[POOL].target == "nat-1"


def test_a_deleted_aggregate_is_made_again() -> None:
    world = world_with("a")
    world.remove("rtb-b", str(POOL))
    world.settle()
    assert holders(world) == ["gw-a0"] * 3


@pytest.mark.parametrize("parts", [1, 4])
def test_a_route_for_a_pool_or_a_part_bars_no_pod_cidr(parts: int) -> None:
    policy = replace(GATEWAYS, gateway_routes=parts)
    world = World(policy)
    for part in policy.aggregates:
        world.foreign("rtb-a", str(part), "tgw-1")
    node = world.join("a")
    world.settle()
    assert len(world.nodes[node.name].pod_cidrs) == 1
    assert world.plan().free[POOL] == 255


def test_a_successor_finds_the_same_plan() -> None:
    world = world_with("a", "b")
    world.silent.add("gw-a0")
    world.restart()
    world.settle()
    assert holders(world) == ["gw-b1"] * 3


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["silent", "heard", "retiring", "candidate", "none"])))
)
def test_a_table_never_loses_its_gateway_while_a_candidate_lives(history: list[tuple[str, str]]) -> None:
    world = world_with("a", "b", "c", others=0)
    names = {"a": "gw-a0", "b": "gw-b1"}  # gw-c2 lives all the time
    for who, what in history:
        match what:
            case "silent":
                world.silent.add(names[who])
            case "heard":
                world.silent.discard(names[who])
            case "retiring" | "candidate" | "none":
                change(world, names[who], what)
        world.cycle()
        for name in holders(world):
            assert name == "gw-c2" or (name not in world.silent and world.nodes[name].gateway == "candidate")
    world.settle()
