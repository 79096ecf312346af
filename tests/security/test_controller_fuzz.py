"""Hostile Nodes and NodeRoutes in the controller's decisions: left out and reported, without effect on other nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudroute.adapters.kube import project
from cloudroute.core.cluster.model import ChangeRoute, DisableSourceDestCheck, WriteNodeRoute
from cloudroute.core.cluster.planner import decide
from cloudroute.types import Cidr, NodeRoute
from tests.core.ec2 import VPC
from tests.core.world import DUAL, World
from tests.security import hostile

POLICY = replace(DUAL, reserved=(Cidr.parse(hostile.RESERVED),))
HONEST = tuple(f"i-{number:017x}" for number in (1, 2, 3))
SPARE, ELSEWHERE, UNKNOWN = f"i-{4:017x}", f"i-{5:017x}", f"i-{6:017x}"
"""Instances without a node: in the VPC, in another VPC, unknown to EC2."""
CLAIMED = (*HONEST, SPARE, ELSEWHERE, UNKNOWN)

NODES = st.one_of(hostile.specs_of_nodes(CLAIMED), *[hostile.credible_nodes((*CLAIMED, SPARE, SPARE, SPARE))] * 3)


def settled() -> World:
    """Three valid nodes, published and native, and instances that others may claim."""
    world = World(POLICY, "ab")
    for number, id_ in enumerate((*HONEST, SPARE, ELSEWHERE)):
        old = world.instances.pop(world.launch("ab"[number % 2]))
        world.instances[id_] = replace(old, id=id_, vpc_id="vpc-2" if id_ == ELSEWHERE else VPC)
        if id_ in HONEST:
            world.join(name=f"honest-{number}", instance=id_)
    world.settle()
    world.log.clear()
    return world


def addresses(world: World, id_: str) -> set[str]:
    return {address for interface in world.instances[id_].interfaces for address in interface.addresses}


def check_harmless(world: World, before: dict[str, NodeRoute], routes: dict[str, dict[Any, Any]]) -> None:
    """All published specs and routes are valid, and the valid nodes keep theirs."""
    claims = [record.spec.instance_id for record in world.records.values()]
    assert len(set(claims)) == len(claims), "one instance is published twice"
    for name, record in before.items():
        assert world.records[name].spec == record.spec, f"{name} has suffered"
        condition = world.nodes[name].condition
        assert condition is not None
        assert condition.status == "False"
    for table, honest in routes.items():
        assert honest.items() <= world.tables[table].routes.items(), "an honest route was touched"
    held = [cidr for record in world.records.values() for cidr in record.spec.pod_cidrs]
    assert not any(one.overlaps(other) for index, one in enumerate(held) for other in held[:index])
    targets = {world.instances[id_].interfaces[0].id for id_ in claims}
    for record in world.records.values():
        spec = record.spec
        assert world.instances[spec.instance_id].vpc_id == VPC
        assert set(spec.node_ips) <= addresses(world, spec.instance_id)
        for cidr in spec.pod_cidrs:
            assert any(pool.covers(cidr) for pool in POLICY.pools)
            assert cidr.length == POLICY.node_mask[cidr.family]
            assert not any(cidr.overlaps(reserved) for reserved in POLICY.reserved)
    for step in world.log:
        match step:
            case ChangeRoute(verb=verb, destination=to, interface_id=target) if verb != "delete":
                assert any(pool.covers(to) for pool in POLICY.pools)
                assert target in targets
            case DisableSourceDestCheck(interface_id=interface):
                assert interface in targets
            case WriteNodeRoute(spec=spec):
                assert spec.instance_id in (*HONEST, SPARE)


def check_said(world: World, names: list[str]) -> None:
    """Each Node without a network whose instance EC2 knows has a notice with clean text."""
    notices = decide(world.snapshot(), POLICY).plan.notices
    assert all(hostile.is_clean(notice.message) for notice in notices)
    said = {notice.name for notice in notices}
    for name in names:
        if name not in world.records and world.nodes[name].instance_id != UNKNOWN:
            assert name in said


@given(st.lists(NODES, max_size=4))
def test_hostile_nodes_affect_no_other_node(bodies: list[dict[str, Any]]) -> None:
    """Valid nodes keep all they have, whatever younger Nodes claim, and nothing changes outside VPC and pools."""
    world = settled()
    before = dict(world.records)
    routes = {id_: dict(table.routes) for id_, table in world.tables.items()}
    names = []
    for number, body in enumerate(bodies):
        names.append(f"hostile-{number}")
        world.nodes[names[-1]] = project.node(hostile.node(names[-1], number, body))
    world.settle()
    check_harmless(world, before, routes)
    check_said(world, names)


@given(NODES, st.sampled_from([0, 1, 2]))
def test_an_older_hostile_node_takes_nothing_from_published_nodes(body: dict[str, Any], victim: int) -> None:
    """An older hostile Node without a NodeRoute takes nothing from nodes that have one."""
    world = settled()
    before = dict(world.records)
    routes = {id_: dict(table.routes) for id_, table in world.tables.items()}
    node = project.node(hostile.node("hostile", 0, body))
    world.nodes["hostile"] = replace(node, created=world.nodes[f"honest-{victim}"].created)
    world.settle()
    check_harmless(world, before, routes)


@settings(max_examples=60)
@given(
    st.lists(
        hostile.specs_of_node_routes(hostile.texts(hostile.ADDRESSES), hostile.texts(hostile.CIDRS)),
        min_size=1,
        max_size=3,
    )
)
def test_hostile_node_routes_stop_no_plan(bodies: list[dict[str, Any]]) -> None:
    """NodeRoutes written by hand affect only the nodes that they name; nothing raises, and no foreign route changes."""
    world = settled()
    for number, body in enumerate(bodies):
        raw = {"metadata": hostile.meta(f"hostile-{number}", number), **body}
        world.records[f"hostile-{number}"] = project.node_route(raw)
    for _ in range(8):
        decision = world.cycle()
        assert all(hostile.is_clean(notice.message) for notice in decision.plan.notices)
        for step in decision.plan.steps:
            if isinstance(step, ChangeRoute):
                assert any(pool.covers(step.destination) for pool in POLICY.pools)
        world.now += 11
    assert set(world.records) == {"honest-0", "honest-1", "honest-2"}
    assert all(world.reason(name) == "RouteCreated" for name in world.nodes)


@given(
    raw=hostile.anything,
    kind=st.sampled_from(["node", "node_route", "route_table_object", "pod"]),
    whole=st.booleans(),
)
def test_nothing_raises_out_of_projection(*, raw: Any, kind: str, whole: bool) -> None:
    """No JSON value, in place of an object or of its parts, makes a projection raise."""
    keys = ("metadata", "spec", "status")
    body = dict.fromkeys(keys, raw) if whole else {"metadata": hostile.meta("x", 1), "spec": raw, "status": raw}
    getattr(project, kind)(body)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("ready", "reason", "message", "path", "mtu"), hostile.anything))
)
def test_an_agent_that_lies_changes_nothing_that_is_published(status: dict[str, Any]) -> None:
    """All nodes keep what they have, whatever an agent reports of its node, and the controller has no step."""
    world = settled()
    world.records["honest-1"] = replace(world.records["honest-1"], status=status)
    assert decide(world.snapshot(), POLICY).plan.empty
