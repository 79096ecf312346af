"""Who is who: duplicates, renames, recreations, and instances that come and go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudroute.core.cluster.model import Policy
from cloudroute.core.cluster.planner import Decision
from cloudroute.types import InstanceState
from tests.core.invariants import check_always, check_settled
from tests.core.world import DUAL, POLICY, World


def settled(nodes: int = 3, world: World | None = None) -> tuple[World, list[str]]:
    """A world at rest with nodes in zones a, b, c, a …, and their names; the log is clear."""
    world = world or World()
    names = [world.join("abc"[number % 3]).name for number in range(nodes)]
    world.settle()
    world.log.clear()
    return world, names


def reasons(decision: Decision) -> set[tuple[str, str]]:
    """What people are told: object and reason."""
    return {(notice.name, notice.reason) for notice in decision.plan.notices}


def test_of_two_nodes_with_one_cidr_the_older_keeps_it() -> None:
    """The younger has no network, is told why, and its coming and going touches no route."""
    world, (a, *_) = settled()
    routes = {table: dict(t.routes) for table, t in world.tables.items()}
    twin = world.join("b", cidrs=world.nodes[a].pod_cidrs)
    decision = world.cycle()
    world.settle()
    condition = world.condition(twin.name)
    assert condition
    assert condition.reason == "NoPodCIDR"
    assert f"belongs to the node {a} already" in condition.message
    assert (twin.name, "NoPodCIDR") in reasons(decision)
    assert twin.name not in world.records
    del world.nodes[twin.name]
    world.settle()
    assert {table: dict(t.routes) for table, t in world.tables.items()} == routes
    assert world.counts()["WriteNodeRoute"] == 0
    check_settled(world)


def test_of_two_nodes_whose_node_routes_have_one_cidr_the_older_keeps_it() -> None:
    """Somebody wrote the NodeRoute of the younger one."""
    world, (a, *_) = settled()
    twin = world.join("b", cidrs=world.nodes[a].pod_cidrs)
    forged = replace(world.spec(a), instance_id=twin.instance_id, native_in=())
    world.records[twin.name] = replace(world.records[a], name=twin.name, spec=forged)
    world.settle()
    assert (world.reason(a), world.reason(twin.name)) == ("RouteCreated", "NoPodCIDR")
    assert set(world.records) == set(world.nodes) - {twin.name}
    assert not world.counts().keys() & {"create", "replace", "delete"}


def test_of_two_unknown_nodes_with_one_cidr_the_older_gets_it() -> None:
    """Without a journal age decides, then the name."""
    world = World()
    world.join()
    older = world.join(name="zz")
    cidr = (world.policy.pools[0]._replace(length=24),)
    world.nodes["zz"] = replace(older, pod_cidrs=cidr)
    younger = world.join(name="aa", cidrs=cidr)
    world.settle()
    assert world.spec("zz").pod_cidrs == cidr
    assert world.reason(younger.name) == "NoPodCIDR"


def test_when_the_older_goes_the_younger_gets_the_cidr() -> None:
    """First all of the older is withdrawn, drained and deleted."""
    world, (a, *_) = settled()
    twin = world.join("b", cidrs=world.nodes[a].pod_cidrs)
    world.settle()
    del world.nodes[a]
    world.settle()
    assert world.reason(twin.name) == "RouteCreated"
    assert world.spec(twin.name).instance_id == twin.instance_id
    check_settled(world)


def test_of_two_nodes_with_one_instance_the_known_one_keeps_it() -> None:
    """The other is told which to delete, and gets neither addresses nor a condition."""
    world, (a, *_) = settled()
    twin = world.join(instance=world.nodes[a].instance_id)
    decision = world.cycle()
    world.settle()
    assert (twin.name, "DuplicateInstance") in reasons(decision)
    assert (world.nodes[twin.name].pod_cidrs, world.condition(twin.name)) == ((), None)
    assert not world.log


@pytest.mark.parametrize("policy", [POLICY, DUAL], ids=["ipv4", "dual"])
def test_a_renamed_instance_keeps_its_cidrs_and_routes(policy: Policy) -> None:
    """One NodeRoute more, one less, native all the time; no call to EC2."""
    world, (a, *_) = settled(world=World(policy))
    old = world.spec(a)
    del world.nodes[a]
    world.join(name="new", instance=old.instance_id)
    world.settle()
    assert world.spec("new") == old
    assert set(world.records) == set(world.nodes)
    assert world.counts() == {"AssignPodCidrs": 1, "WriteNodeRoute": 1, "DeleteNodeRoute": 1, "SetCondition": 1}


def test_while_the_node_route_of_a_new_name_cannot_be_written_the_former_one_stays() -> None:
    """Without either, the routes would have no owner."""
    world, (a, *_) = settled()
    instance = world.nodes[a].instance_id
    del world.nodes[a]
    world.join(name="new", instance=instance)
    for _ in range(3):
        world.cycle(lambda step: step.key == ("noderoute", "new"))
    assert a in world.records
    world.settle()
    assert set(world.records) == set(world.nodes)


def test_a_rename_survives_a_crash_in_the_middle() -> None:
    """With NodeRoutes under both names the old one goes and no route is touched."""
    world, (a, *_) = settled()
    instance = world.nodes[a].instance_id
    del world.nodes[a]
    world.join(name="aaa", instance=instance)
    world.cycle(lambda step: step.key[0] == "noderoute-gone")
    assert {a, "aaa"} <= set(world.records)
    world.restart()
    world.settle()
    assert set(world.records) == set(world.nodes)
    assert not world.counts().keys() & {"create", "replace", "delete"}


def test_a_rename_undone_by_a_deletion_leaves_nothing() -> None:
    """NodeRoutes of one instance under two names, both without a Node, go together."""
    world, (a, *_) = settled()
    instance = world.nodes[a].instance_id
    del world.nodes[a]
    world.join(name="aaa", instance=instance)
    world.cycle(lambda step: step.key[0] == "noderoute-gone")
    del world.nodes["aaa"]
    world.settle()
    check_settled(world)
    assert world.counts()["delete"] == 3


def test_two_nodes_that_swap_names_come_again() -> None:
    """Each name holds an immutable identity of the other: both are withdrawn, drained and published anew."""
    world, (a, b, _) = settled()
    one, two = world.nodes[a], world.nodes[b]
    world.join(name=a, instance=two.instance_id)
    world.join(name=b, instance=one.instance_id)
    world.settle()
    check_settled(world)
    assert world.spec(a).instance_id == two.instance_id
    assert world.spec(b).instance_id == one.instance_id
    assert {world.reason(name) for name in world.nodes} == {"RouteCreated"}


def test_a_renamed_node_keeps_all_it_has_while_its_new_name_is_taken() -> None:
    """The NodeRoute of the former bearer drains; until it is gone the old name stays published, routes and all."""
    world, (a, b, _) = settled()
    instance, spec = world.nodes[a].instance_id, world.spec(a)
    del world.nodes[a], world.nodes[b]
    world.join(name=b, instance=instance)
    world.cycle()
    world.now += 5
    world.cycle()
    assert world.spec(a) == spec
    assert all(world.reaches(table, spec) for table in world.tables)
    world.settle()
    assert (set(world.records), world.spec(b)) == (set(world.nodes), spec)
    check_settled(world)


def test_a_node_recreated_with_another_instance_waits_for_the_old_one_to_go() -> None:
    """The name's old NodeRoute is withdrawn, its routes drain and go; then the new instance is published."""
    world, (a, *_) = settled()
    old = world.spec(a)
    world.join("b", name=a)
    world.settle()
    assert world.spec(a).instance_id != old.instance_id
    assert world.spec(a).pod_cidrs != old.pod_cidrs
    assert world.counts()["delete"] == 3
    check_settled(world)


@pytest.mark.parametrize("policy", [POLICY, DUAL], ids=["ipv4", "dual"])
def test_a_node_replaced_under_its_name_and_cidrs_turns_the_routes_to_itself(policy: Policy) -> None:
    """One ReplaceRoute per table and CIDR, no delete; the dead instance's NodeRoute gives way in the same plan."""
    world, (a, *_) = settled(world=World(policy))
    old = world.spec(a)
    world.state(old.instance_id, "terminated")
    del world.nodes[a]
    world.join("a", name=a, cidrs=old.pod_cidrs)
    world.cycle()
    assert world.spec(a).instance_id == world.nodes[a].instance_id
    assert world.counts()["replace"] == 3 * len(old.pod_cidrs)
    world.settle()
    assert world.counts() == {
        "replace": 3 * len(old.pod_cidrs), "DeleteNodeRoute": 1, "WriteNodeRoute": 2, "DisableSourceDestCheck": 1,
        "SetCondition": 1,
    }  # fmt: skip
    check_settled(world)


def test_a_duplicate_that_was_refused_does_not_get_the_cidr_before_the_next_of_the_name() -> None:
    """A Node that claims another's CIDR is older than that one's new instance, and has no network all the same."""
    world, (a, *_) = settled()
    old = world.spec(a)
    twin = world.join("b", cidrs=old.pod_cidrs)
    world.settle()
    world.state(old.instance_id, "terminated")
    del world.nodes[a]
    world.join("a", name=a, cidrs=old.pod_cidrs)
    world.settle()
    assert (world.reason(a), world.reason(twin.name)) == ("RouteCreated", "NoPodCIDR")
    assert world.counts()["replace"] == 3


def test_a_replaced_node_whose_predecessor_still_runs_waits_for_it() -> None:
    """Two machines have one CIDR: what the first one has is withdrawn, drained and deleted."""
    world, (a, *_) = settled()
    old = world.spec(a)
    world.join("a", name=a, cidrs=old.pod_cidrs)
    world.cycle()
    assert (world.spec(a).instance_id, world.spec(a).native_in) == (old.instance_id, ())
    world.settle()
    assert world.counts()["delete"] == 3
    check_settled(world)


def test_the_routes_of_a_predecessor_that_shuts_down_are_deleted_and_not_redirected() -> None:
    """Its ENI still exists: without its NodeRoute, a controller that starts now would take them for foreign ones."""
    world, (a, *_) = settled()
    old = world.spec(a)
    world.state(old.instance_id, "shutting-down")
    del world.nodes[a]
    world.join("a", name=a, cidrs=old.pod_cidrs)
    world.settle()
    assert (world.counts()["delete"], world.counts()["replace"]) == (3, 0)
    check_settled(world)


def test_a_forged_node_route_deletes_no_route_of_the_cidrs_that_it_names() -> None:
    """It goes, like that of any node that is gone, and the node that has the CIDR keeps all it has."""
    world, (a, *_) = settled()
    record = world.records[a]
    forged = replace(record.spec, instance_id="i-forged", network_interface_id="eni-forged", native_in=())
    world.records["forged"] = replace(record, name="forged", uid="forged", spec=forged)
    world.settle()
    assert world.counts() == {"DeleteNodeRoute": 1}
    check_settled(world)


@pytest.mark.parametrize("crash", ["noderoute-gone", "noderoute", "route"])
def test_a_replacement_survives_a_crash_in_the_middle(crash: str) -> None:
    """At each step the routes are still known for ours: no delete, no create, the same end."""
    world, (a, *_) = settled()
    old = world.spec(a)
    world.state(old.instance_id, "terminated")
    del world.nodes[a]
    world.join("a", name=a, cidrs=old.pod_cidrs)
    world.cycle(lambda step: step.key[0] == crash)
    world.restart()
    world.settle()
    check_settled(world)
    assert not world.counts().keys() & {"create", "delete"}


def test_a_node_deleted_by_mistake_gets_all_back() -> None:
    """Registered again before the drain has ended: the same CIDR, and no route touched."""
    world, (a, *_) = settled()
    before, instance = world.spec(a), world.nodes[a].instance_id
    del world.nodes[a]
    world.cycle()
    assert world.spec(a).native_in == ()
    world.now += world.policy.drain_seconds - 0.1
    world.cycle()
    world.join(name=a, instance=instance)
    world.settle()
    assert world.spec(a) == before
    assert world.nodes[a].pod_cidrs == before.pod_cidrs
    assert not world.counts().keys() & {"create", "replace", "delete", "DisableSourceDestCheck"}


def test_a_node_that_registers_again_keeps_its_cidr_against_a_claimant() -> None:
    """The journal knows whose it is though the fresh Node has none yet."""
    world, (a, *_) = settled()
    spec = world.spec(a)
    world.join("b", name="0-claimant", cidrs=spec.pod_cidrs)
    world.join(name=a, instance=spec.instance_id)
    world.settle()
    assert world.spec(a) == spec
    assert world.reason("0-claimant") == "NoPodCIDR"


def test_a_node_deleted_while_the_controller_was_down_leaves_nothing() -> None:
    """Its instance lives on; the NodeRoute says what is to be removed."""
    world, (a, *_) = settled()
    world.restart()
    del world.nodes[a]
    world.settle()
    assert a not in world.records
    assert all(len(world.ours(table)) == 2 for table in world.tables)
    assert world.counts() == {"WriteNodeRoute": 1, "delete": 3, "DeleteNodeRoute": 1, "WriteRouteTableObject": 3}


def test_a_terminated_instance_goes_at_once() -> None:
    """Nothing comes through any more: withdrawn and deleted in one cycle, then its Node may go whenever it does."""
    world, (a, *_) = settled()
    instance = world.nodes[a].instance_id
    world.state(instance, "terminated")
    world.cycle()
    assert all(len(world.ours(table)) == 2 for table in world.tables)
    assert world.spec(a).native_in == ()
    assert world.reason(a) == "RouteCreated"
    del world.nodes[a]
    world.cycle()
    assert a not in world.records


def test_an_instance_that_shuts_down_loses_its_routes_at_once_though_they_are_still_active() -> None:
    """EC2 shows its state first, and blackholes later."""
    world, (a, *_) = settled()
    instance = world.nodes[a].instance_id
    world.instances[instance] = replace(world.instances[instance], state="shutting-down")
    world.cycle()
    assert all(len(world.ours(table)) == 2 for table in world.tables)


@pytest.mark.parametrize("leaves", [False, True], ids=["its Node is there", "its Node is gone"])
def test_while_a_terminated_node_cannot_be_withdrawn_its_routes_stay(*, leaves: bool) -> None:
    """A NodeRoute never names a table that has no route of ours."""
    world, (a, *_) = settled()
    world.state(world.nodes[a].instance_id, "terminated")
    if leaves:
        del world.nodes[a]
    world.cycle(lambda step: step.key == ("noderoute", a))
    assert all(len(world.ours(table)) == 3 for table in world.tables)
    world.settle()
    assert all(len(world.ours(table)) == 2 for table in world.tables)


def test_while_a_route_of_a_node_that_left_cannot_be_deleted_its_node_route_stays() -> None:
    """Nothing else says whose route it is."""
    world, (a, *_) = settled()
    world.state(world.nodes[a].instance_id, "terminated")
    del world.nodes[a]
    for _ in range(3):
        world.cycle(lambda step: step.key[:2] == ("route", "rtb-b"))
    assert [len(world.ours(table)) for table in world.tables] == [2, 3, 2]
    assert a in world.records
    world.settle()
    assert a not in world.records


def test_an_instance_stopped_and_started_costs_no_write_to_ec2() -> None:
    """Its blackholes stay and count; it is withdrawn meanwhile, settles again and stays as available as it was."""
    world, (a, *_) = settled()
    before, instance = world.spec(a), world.nodes[a].instance_id
    world.state(instance, "stopped")
    world.settle()
    assert world.spec(a) == replace(before, native_in=())
    world.state(instance, "running")
    world.cycle()
    assert world.spec(a).native_in == ()
    world.settle()
    assert world.spec(a) == before
    assert world.counts() == {"WriteNodeRoute": 2}


@pytest.mark.parametrize("policy", [POLICY, DUAL], ids=["ipv4", "dual"])
def test_a_replaced_interface_is_one_replace_per_route(policy: Policy) -> None:
    """ReplaceRoute in each table, the new check, and no deletion."""
    world, (a, *_) = settled(world=World(policy))
    eni = world.replace_interface(world.nodes[a].instance_id)
    world.settle()
    counts = world.counts()
    assert counts["replace"] == 3 * len(world.policy.families)
    assert (counts["DisableSourceDestCheck"], counts["delete"], counts["create"]) == (1, 0, 0)
    assert world.spec(a).network_interface_id == eni
    assert len(world.spec(a).native_in) == 3
    check_settled(world)


def test_an_interface_that_is_replaced_on_a_node_without_routes_is_published() -> None:
    """Its neighbours reach it directly, and its source/dest check is off: nothing but the ENI has changed."""
    world = World(replace(POLICY, direct_routing="always"), zones="a")
    node = world.join()
    world.settle()
    world.log.clear()
    eni = world.replace_interface(node.instance_id, checked=False)
    world.settle()
    assert (world.spec(node.name).network_interface_id, world.counts()) == (eni, {"WriteNodeRoute": 1})


def test_an_address_that_changes_is_published() -> None:
    """Peers' tunnels lead to it."""
    world, (a, *_) = settled()
    (primary,) = world.instances[world.nodes[a].instance_id].interfaces
    moved = replace(primary, addresses=("10.0.9.9",))
    world.instances[world.nodes[a].instance_id] = replace(
        world.instances[world.nodes[a].instance_id], interfaces=(moved,)
    )
    world.nodes[a] = replace(world.nodes[a], node_ips=moved.addresses)
    world.settle()
    assert (world.spec(a).node_ips, world.counts()) == (("10.0.9.9",), {"WriteNodeRoute": 1})


def test_another_table_of_a_nodes_subnet_is_published() -> None:
    """Its agent's peers see by that whether it sends to them natively."""
    world, (a, *_) = settled()
    for name, subnet_ids in (("rtb-a", ()), ("rtb-b", ("subnet-a", "subnet-b"))):
        world.tables[name] = replace(world.tables[name], subnet_ids=subnet_ids)
    world.settle()
    assert world.spec(a).route_table_id == "rtb-b"
    assert world.counts() == {"WriteNodeRoute": 1, "WriteRouteTableObject": 2}


def test_several_interfaces_are_routed_by_the_first() -> None:
    """Targets and checks are the primary ENI's; a route to another ENI of the node is ours and put right."""
    world = World()
    instance = world.launch("a", interfaces=3)
    node = world.join(instance=instance)
    world.settle()
    primary, second, _ = world.instances[instance].interfaces
    assert world.spec(node.name).network_interface_id == primary.id
    assert second.source_dest_check
    destination = world.nodes[node.name].pod_cidrs[0]
    world._put("rtb-a", world.tables["rtb-a"].routes[destination]._replace(target=second.id))
    world.log.clear()
    world.settle()
    assert world.counts()["replace"] == 1
    check_settled(world)


def test_a_missing_or_malformed_provider_id_is_told_and_harms_nobody() -> None:
    """The node has no network from us and no condition; the others do."""
    world = World()
    bad = world.join()
    world.nodes[bad.name] = replace(bad, instance_id="", problem="providerID is missing")
    good = world.join()
    decision = world.cycle()
    world.settle()
    assert reasons(decision) == {(bad.name, "InvalidNode")}
    assert world.condition(bad.name) is None
    assert world.reason(good.name) == "RouteCreated"


def test_an_instance_of_another_vpc_is_told() -> None:
    """No route leads there: nothing is published of it."""
    world = World()
    node = world.join()
    world.instances[node.instance_id] = replace(world.instances[node.instance_id], vpc_id="vpc-other")
    decision = world.cycle()
    world.settle()
    assert (node.name, "OtherVPC") in reasons(decision)
    assert not world.records
    assert world.ours("rtb-a") == set()


def test_an_instance_that_ec2_does_not_know_yet_is_waited_for() -> None:
    """NotFound just after the launch proves nothing: no NodeRoute, no condition; all of it once EC2 shows it."""
    world = World()
    node = world.join()
    instance = world.instances.pop(node.instance_id)
    world.settle()
    assert world.nodes[node.name].pod_cidrs
    assert (world.records, world.condition(node.name)) == ({}, None)
    world.instances[instance.id] = instance
    world.settle()
    assert world.reason(node.name) == "RouteCreated"


def test_a_node_on_a_subnet_without_a_known_route_table_is_waited_for() -> None:
    """EC2 shows a new subnet and its association a moment after the instance."""
    world = World()
    world.join("b")
    world.settle()
    tables, subnets = dict(world.tables), dict(world.subnets)
    world.tables["rtb-a"] = replace(tables["rtb-a"], subnet_ids=())
    del world.subnets["subnet-a"]
    new = world.join("a")
    world.settle()
    assert new.name not in world.records
    world.tables, world.subnets = tables, subnets
    world.settle()
    assert world.spec(new.name).route_table_id == "rtb-a"


def test_an_instance_that_ec2_forgets_keeps_what_it_has() -> None:
    """A stale answer without it changes nothing at all."""
    world, (a, *_) = settled()
    del world.instances[world.nodes[a].instance_id]
    world.settle()
    assert not world.log


def test_an_unknown_instance_is_published_nowhere_new() -> None:
    """Its route has settled meanwhile, but its check is on as far as anybody can tell."""
    world, (a, *_) = settled()
    instance = world.nodes[a].instance_id
    world.switch_check(instance, on=True)
    world.cycle(lambda step: step.key[0] == "check")
    known = world.instances.pop(instance)
    snapshot = world.snapshot()
    world.instances[instance] = known
    for _ in range(3):
        world.now += 5
        carryover, records = world.carryover, dict(world.records)
        world.cycle(snapshot=replace(snapshot, now=world.now, carryover=carryover, node_routes=records))
    assert world.spec(a).native_in == ()
    world.settle()
    check_settled(world)


def test_an_unknown_instance_of_both_families_keeps_the_route_that_is_left() -> None:
    """Somebody removed the other family's; it comes back once EC2 shows the instance again."""
    world, (a, *_) = settled(world=World(DUAL))
    ipv4, ipv6 = world.spec(a).pod_cidrs
    world.remove("rtb-b", str(ipv6))
    instance = world.instances.pop(world.nodes[a].instance_id)
    world.settle()
    assert str(ipv4) in world.ours("rtb-b")
    assert str(ipv6) not in world.ours("rtb-b")
    world.instances[instance.id] = instance
    world.settle()
    assert world.counts()["create"] == 1
    check_settled(world)


def test_an_unknown_instance_whose_routes_are_blackholes_is_gone() -> None:
    """Together they prove it: the routes go, and the Node is left to others."""
    world, (a, *_) = settled()
    instance = world.nodes[a].instance_id
    world.state(instance, "terminated")
    del world.instances[instance]
    world.settle()
    assert all(len(world.ours(table)) == 2 for table in world.tables)
    check_always(world)


@pytest.mark.parametrize("state", ["pending", "stopping", "shutting-down"])
def test_every_state_of_an_instance_has_an_outcome(state: InstanceState) -> None:
    """A node whose instance is in any state disturbs nobody, and settles."""
    world, (a, *_) = settled()
    world.state(world.nodes[a].instance_id, state)
    world.settle()
    check_settled(world)
