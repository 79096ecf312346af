"""Nodes that claim one instance, name or pod CIDR: duplicates, renamed and replaced ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudroute.core.cluster.model import Policy
from cloudroute.core.cluster.planner import Decision
from tests.core.invariants import check_settled
from tests.core.world import DUAL, POLICY, World


def settled(nodes: int = 3, world: World | None = None) -> tuple[World, list[str]]:
    """A world at rest with nodes in zones a, b, c, a …, and their names; the log is clear."""
    world = world or World()
    names = [world.join("abc"[number % 3]).name for number in range(nodes)]
    world.settle()
    world.log.clear()
    return world, names


def reasons(decision: Decision) -> set[tuple[str, str]]:
    """Object and reason of each notice."""
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
