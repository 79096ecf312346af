"""Route tables: which are ours to fill, what in them is ours, and how full they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudroute.types import Cidr, FamilyUse
from tests.core.invariants import check_always, check_settled
from tests.core.world import DUAL, POLICY, World


def filled(world: World, nodes: int, zones: str = "") -> World:
    """The world at rest with as many nodes, in turn in its zones."""
    for number in range(nodes):
        world.join((zones or world.zones)[number % len(zones or world.zones)])
    world.settle()
    world.log.clear()
    return world


def use(world: World, table: str) -> FamilyUse:
    """Report of a table's IPv4 half."""
    return world.reports[table].families["ipv4"]


# --- which tables -------------------------------------------------------------------------------


def test_tables_of_the_nodes_subnets_are_found() -> None:
    """A table whose subnets have no node is left alone."""
    world = filled(World(), 4, zones="ab")
    assert set(world.reports) == {"rtb-a", "rtb-b"}
    assert world.ours("rtb-c") == set()


def test_a_table_once_found_stays() -> None:
    """A zone that loses its last node keeps the routes of all others."""
    world = filled(World(), 3)
    del world.nodes[next(name for name, node in world.nodes.items() if world.spec(name).subnet_id == "subnet-c")]
    world.settle()
    assert len(world.ours("rtb-c")) == 2


def test_tagged_tables_come_before_found_ones() -> None:
    """The cluster's tag selects tables, whichever subnets use them."""
    world = World()
    world.tables["rtb-c"] = replace(world.tables["rtb-c"], tags={"kubernetes.io/cluster/test": "owned"})
    world.tables["rtb-b"] = replace(world.tables["rtb-b"], tags={"kubernetes.io/cluster/other": "owned"})
    filled(world, 2, zones="ab")
    assert {table: len(world.ours(table)) for table in world.tables} == {"rtb-a": 0, "rtb-b": 0, "rtb-c": 2}


def test_named_tables_come_before_tagged_ones() -> None:
    """--route-table selects; one that does not exist is nothing."""
    world = World(replace(POLICY, table_ids=("rtb-b", "rtb-gone")))
    world.tables["rtb-c"] = replace(world.tables["rtb-c"], tags={"kubernetes.io/cluster/test": "owned"})
    filled(world, 3)
    assert {table: len(world.ours(table)) for table in world.tables} == {"rtb-a": 0, "rtb-b": 3, "rtb-c": 0}


def test_a_subnet_without_an_association_uses_the_main_table() -> None:
    """Its nodes are routed there, and its senders reach all."""
    world = filled(World(one_table=True), 6)
    assert len(world.ours("rtb-main")) == 6
    assert {record.spec.route_table_id for record in world.records.values()} == {"rtb-main"}
    assert [subnet.id for subnet in world.reports["rtb-main"].subnets] == ["subnet-a", "subnet-b", "subnet-c"]


def test_a_subnet_that_ec2_does_not_describe_yet_has_the_table_that_names_it() -> None:
    """DescribeRouteTables shows a new subnet's association before DescribeSubnets shows the subnet."""
    world = World()
    del world.subnets["subnet-c"]
    filled(world, 3)
    assert {record.spec.route_table_id for record in world.records.values()} == {"rtb-a", "rtb-b", "rtb-c"}


def test_a_retired_table_is_drained_and_emptied() -> None:
    """No longer named, it is withdrawn first, then loses our routes and its RouteTable object, nothing else."""
    world = filled(World(replace(POLICY, table_ids=("rtb-a", "rtb-b"))), 4, zones="ab")
    world.foreign("rtb-b", "100.64.200.0/24", "igw-1")
    world.policy = replace(world.policy, table_ids=("rtb-a",))
    world.restart()
    world.cycle()
    assert {record.spec.native_in for record in world.records.values()} == {("rtb-a",)}
    assert len(world.ours("rtb-b")) == 4
    world.settle()
    assert world.ours("rtb-b") == set()
    assert set(world.reports) == {"rtb-a"}
    check_settled(world)


def test_a_retired_table_without_a_report_is_emptied_too() -> None:
    """The NodeRoutes that name it say that it was ours."""
    world = filled(World(replace(POLICY, table_ids=("rtb-a", "rtb-b"))), 4, zones="ab")
    world.reports.clear()
    world.policy = replace(world.policy, table_ids=("rtb-a",))
    world.restart()
    world.settle()
    assert world.ours("rtb-b") == set()


def test_routes_by_hand_in_a_table_that_is_not_selected_stay() -> None:
    """Somebody leads another table to our nodes: that is theirs."""
    world = filled(World(replace(POLICY, table_ids=("rtb-a",))), 3)
    spec = next(iter(world.records.values())).spec
    world.foreign("rtb-b", str(spec.pod_cidrs[0]), spec.network_interface_id)
    world.settle()
    check_settled(world)


def test_a_report_of_a_table_that_is_gone_goes() -> None:
    """Nobody is told of a table that EC2 no longer has."""
    world = filled(World(), 3)
    del world.tables["rtb-c"]
    for key in [key for key in world.foreigners if key[0] == "rtb-c"]:
        del world.foreigners[key]
    world.settle()
    assert set(world.reports) == {"rtb-a", "rtb-b"}
    assert {record.spec.native_in for record in world.records.values()} == {("rtb-a", "rtb-b")}


# --- ours and foreign ---------------------------------------------------------------------------

FOREIGN = [
    ("0.0.0.0/0", "igw-1", {}),
    ("100.64.0.0/10", "tgw-1", {}),
    ("100.64.0.0/16", "vgw-1", {}),
    ("100.64.128.0/20", "pcx-1", {}),
    ("100.64.0.0/25", "eni-0002", {}),
    ("100.64.200.0/24", "igw-1", {}),
    ("100.64.201.0/24", "eni-unknown", {}),
    ("100.64.202.0/24", "nat-1", {"blackhole": True}),
    ("100.64.203.0/24", "pcx-1", {"blackhole": True}),
    ("100.64.204.0/24", "i-0002", {}),
    ("100.64.205.0/24", "vgw-1", {"propagated": True}),
    ("192.168.7.0/24", "eni-0001", {}),
    ("pl-1", "eni-0001", {}),
]


def test_nothing_foreign_is_ever_changed() -> None:
    """Supernets, other lengths, gateways, unknown ENIs, blackholes of gateways: the same after all of a life."""
    world = World()
    world.prefix_lists["pl-1"] = ("ipv4", 3)
    for destination, target, flags in FOREIGN:
        world.foreign("rtb-a", destination, target, **flags)
    before = set(world.foreigners)
    filled(world, 9)
    for name in list(world.nodes)[:4]:
        world.state(world.nodes[name].instance_id, "terminated")
        del world.nodes[name]
    world.settle()
    world.policy = replace(world.policy, leave=True)
    world.settle()
    assert world.ours("rtb-a") == set()
    assert before == set(world.foreigners)
    check_always(world)  # each of them is as it was, but for the state that AWS gives it


def test_a_propagated_route_is_never_ours() -> None:
    """Not even one with a node as its target: nobody can delete it."""
    world = filled(World(), 2, zones="a")
    world.foreign(
        "rtb-a", "100.64.200.0/24", next(iter(world.records.values())).spec.network_interface_id, propagated=True
    )
    world.settle()
    assert not world.log
    check_settled(world)


def test_a_route_whose_target_aws_does_not_name_is_never_ours() -> None:
    """Nor does a NodeRoute without an ENI, as one written by hand, make it ours."""
    world = filled(World(), 1)
    (known,) = world.records.values()
    spec = replace(
        known.spec, pod_cidrs=(Cidr.parse("100.64.201.0/24"),), instance_id="i-hand", network_interface_id=""
    )
    world.records["by-hand"] = replace(known, name="by-hand", uid="by-hand", spec=spec)
    world.foreign("rtb-a", "100.64.200.0/24", "")
    world.settle()
    assert "by-hand" not in world.records
    check_settled(world)


def test_a_foreign_route_that_takes_a_nodes_cidr_is_left_and_told() -> None:
    """The node goes by the overlay for that table's senders, until the route is gone."""
    world = filled(World(), 3)
    name = next(iter(world.nodes))
    (cidr,) = world.spec(name).pod_cidrs
    world.remove("rtb-b", str(cidr))
    world.foreign("rtb-b", str(cidr), "eni-appliance")
    decision = world.cycle()
    world.settle()
    lost, foreign = decision.plan.notices
    assert [(n.name, n.reason) for n in (lost, foreign)] == [(name, "RouteWithdrawn"), ("rtb-b", "ForeignRoute")]
    assert str(cidr) in foreign.message
    assert world.reason(name) == "OverlayFallback"
    assert world.spec(name).native_in == ("rtb-a", "rtb-c")
    world.remove("rtb-b", str(cidr))
    world.settle()
    assert world.reason(name) == "RouteCreated"
    check_settled(world)


def test_a_route_that_somebody_removed_is_put_back() -> None:
    """Withdrawn first, since nothing comes through; then created, settled and published."""
    world = filled(World(), 3)
    name = next(iter(world.nodes))
    world.remove("rtb-b", str(world.spec(name).pod_cidrs[0]))
    world.cycle()
    assert world.spec(name).native_in == ("rtb-a", "rtb-c")
    world.settle()
    assert world.spec(name).native_in == ("rtb-a", "rtb-b", "rtb-c")
    assert world.counts() == {"WriteNodeRoute": 2, "create": 1}


def test_a_route_of_ours_that_belongs_to_nobody_goes_after_a_drain() -> None:
    """An active one drains though no NodeRoute lists it; a blackhole goes at once."""
    world = filled(World(), 3)
    eni = next(iter(world.records.values())).spec.network_interface_id
    for destination, blackhole in (("100.64.50.0/24", False), ("100.64.51.0/24", True)):
        cidr = Cidr.parse(destination)
        world.put(
            "rtb-a", next(iter(world.tables["rtb-a"]))._replace(destination=cidr, target=eni, blackhole=blackhole)
        )
    world.cycle()
    assert {"100.64.50.0/24", "100.64.51.0/24"} & world.ours("rtb-a") == {"100.64.50.0/24"}
    world.now += world.policy.drain_seconds
    world.cycle()
    assert "100.64.50.0/24" not in world.ours("rtb-a")


# --- how full -----------------------------------------------------------------------------------


def test_entries_that_count() -> None:
    """`local`, foreign routes, blackholes and prefix lists at their maximum count; propagated routes do not."""
    world = World()
    world.prefix_lists["pl-1"] = ("ipv4", 20)
    world.prefix_lists["pl-6"] = ("ipv6", 20)
    world.foreign("rtb-a", "pl-1", "tgw-1")
    world.foreign("rtb-a", "pl-6", "tgw-1")
    world.foreign("rtb-a", "0.0.0.0/0", "igw-1")
    world.foreign("rtb-a", "172.16.0.0/16", "pcx-1", blackhole=True)
    for number in range(30):
        world.foreign("rtb-a", f"172.17.{number}.0/24", "vgw-1", propagated=True)
    filled(world, 40, zones="b")
    world.settle()
    # The nodes of zone b need rtb-b alone; a node in zone a makes rtb-a one of the cluster's.
    world.join("a")
    world.settle()
    assert use(world, "rtb-a") == FamilyUse(50, None, 50, 27, 23)
    assert world.highest["rtb-a", "ipv4"] == 50


def test_a_limit_is_learned_from_one_refusal() -> None:
    """It is asked for once, survives a restart through the report, and holds whoever joins."""
    world = World(real_limit={("rtb-a", "ipv4"): 10})
    filled(world, 30)
    assert use(world, "rtb-a") == FamilyUse(50, 10, 10, 9, 1)
    assert world.asked == {("rtb-a", "ipv4"): 1}
    world.restart()
    filled(world, 3)
    world.restart()
    filled(world, 3)
    assert world.asked == {("rtb-a", "ipv4"): 1}
    assert (
        sum(world.reason(name) == "OverlayFallback" for name in world.nodes) == 24 - 9
    )  # those of zone a are reached directly
    check_settled(world)


def test_a_learned_limit_stays_while_the_table_holds_less() -> None:
    """Entries that nodes leave free are used again, and AWS is not asked for more."""
    world = filled(World(zones="ab", one_table=True, real_limit={("rtb-main", "ipv4"): 6}), 8)
    for name in list(world.nodes)[:6]:
        del world.nodes[name]
    world.settle()
    assert use(world, "rtb-main") == FamilyUse(50, 6, 3, 2, 1)
    filled(world, 6)
    assert use(world, "rtb-main") == FamilyUse(50, 6, 6, 5, 1)
    assert world.asked == {("rtb-main", "ipv4"): 1}


def test_a_learned_limit_is_reported_in_the_cycle_that_learned_it() -> None:
    """The cycle after the refusal, which has read the table again: a restart right after it asks for nothing."""
    world = World(real_limit={("rtb-a", "ipv4"): 4})
    for _ in range(8):
        world.join("a")
    world.cycle()
    assert world.asked == {("rtb-a", "ipv4"): 1}
    assert use(world, "rtb-a").learned_limit is None
    world.cycle()
    assert use(world, "rtb-a").learned_limit == 4
    world.restart()
    world.settle()
    assert world.asked == {("rtb-a", "ipv4"): 1}


def test_a_refusal_before_the_report_could_be_written_is_remembered() -> None:
    """While the RouteTable object can't be written, memory holds the limit."""
    world = World(real_limit={("rtb-a", "ipv4"): 4})
    for _ in range(8):
        world.join("a")
    for _ in range(4):
        world.cycle(lambda step: step.key[0] == "report")
        world.now += 5
    assert world.asked == {("rtb-a", "ipv4"): 1}
    world.settle()
    assert use(world, "rtb-a").learned_limit == 4


def test_a_learned_limit_is_forgotten_when_the_configured_one_changes() -> None:
    """Then AWS is asked again."""
    world = filled(World(real_limit={("rtb-a", "ipv4"): 10}), 30)
    world.real_limit.clear()
    world.limit = 60
    world.settle()
    assert use(world, "rtb-a") == FamilyUse(60, None, 31, 30, 1)


def test_a_table_that_holds_more_than_was_learned_proves_the_limit_higher() -> None:
    """Somebody could add a route past it."""
    world = filled(World(real_limit={("rtb-a", "ipv4"): 10}), 30)
    world.foreign("rtb-a", "172.16.0.0/16")
    world.settle()
    assert use(world, "rtb-a") == FamilyUse(50, 11, 11, 9, 2)


def test_families_have_limits_of_their_own() -> None:
    """A refusal of one family alone is learned for that one, and takes the slot of both."""
    world = World(DUAL, real_limit={("rtb-a", "ipv6"): 4})
    filled(world, 6, zones="b")
    world.join("a")
    world.settle()
    families = world.reports["rtb-a"].families
    assert (families["ipv4"].learned_limit, families["ipv6"].learned_limit) == (None, 4)
    assert (families["ipv4"].ours, families["ipv6"].ours) == (3, 3)
    check_settled(world)


@pytest.mark.parametrize("foreign", [49, 60])
def test_a_table_full_of_foreign_routes_is_told_and_refuses_nobody(foreign: int) -> None:
    """No entry is left for a node: all go by the overlay, and nothing of it is an error."""
    world = World(one_table=True)
    for number in range(foreign):
        world.foreign("rtb-main", f"172.16.{number}.0/24", "pcx-1")
    world.join()
    decision = world.cycle()
    world.settle()
    assert ("rtb-main", "NoFreeEntry") in {(n.name, n.reason) for n in decision.plan.notices}
    assert {world.reason(name) for name in world.nodes} == {"OverlayFallback"}
    check_settled(world)


def test_a_table_full_in_both_families_is_told_once() -> None:
    """One notice for a table and reason: two would take turns in the log, cycle after cycle."""
    world = World(DUAL, one_table=True)
    for number in range(49):
        world.foreign("rtb-main", f"172.16.{number}.0/24", "pcx-1")
        world.foreign("rtb-main", f"2001:db8:{number}::/64", "pcx-1")
    world.join()
    (notice,) = (one for one in world.cycle().plan.notices if one.reason == "NoFreeEntry")
    assert notice.message == (
        "50 foreign ipv4 routes leave no entry for a node (limit 50); "
        "50 foreign ipv6 routes leave no entry for a node (limit 50)"
    )
