"""Members: nodes that leave and come back, and their instances, ENIs and subnets as EC2 shows them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudroute.core.cluster.model import Policy
from cloudroute.types import InstanceState
from tests.core.invariants import check_always, check_settled
from tests.core.test_claims import reasons, settled
from tests.core.world import DUAL, POLICY, World


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
    world.put("rtb-a", world.tables["rtb-a"].routes[destination]._replace(target=second.id))
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
