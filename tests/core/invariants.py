"""Invariants of every world: at each moment, and once nothing is left to do."""

from __future__ import annotations

import itertools
from collections.abc import Collection

from cloudroute.core.cluster.model import Carryover
from cloudroute.core.cluster.planner import decide
from cloudroute.core.paths import Class, pair_path
from cloudroute.types import Cidr, Node, NodeRouteSpec
from tests.core.world import World


def check_always(world: World) -> None:
    """At every moment, whatever failed. (`World.do` checks limits and publications at each step.)"""
    holders: dict[Cidr, str] = {}
    for record in world.records.values():
        for cidr in record.spec.pod_cidrs:
            holder = holders.setdefault(cidr, record.spec.instance_id)
            assert holder == record.spec.instance_id, f"{cidr} is published of two instances"
    for (table, destination), route in world.foreigners.items():
        assert world.tables[table].routes.get(destination) == route, "a foreign route was changed"
    for node in world.nodes.values():
        if node.condition and node.condition.status != "False":
            assert node.condition.reason in ("NoPodCIDR", "RouteLimit"), "no API error makes a node unavailable"


def check_settled(world: World) -> None:
    """Once `settle` has come to rest."""
    check_always(world)
    decision = decide(world.snapshot(), world.policy)
    assert decision.plan.empty
    assert not decision.plan.waits
    world.carryover, carryover = Carryover(), world.carryover
    afresh = decide(world.snapshot(), world.policy).plan
    assert afresh.empty, f"a restart changes {afresh.steps} {afresh.publish}"
    assert not afresh.waits
    world.carryover = carryover
    for name, record in world.records.items():
        node = world.nodes[name]
        assert (node.instance_id, node.pod_cidrs) == (record.spec.instance_id, record.spec.pod_cidrs)
    _check_pairs(world)
    _check_routes(world, decision.selection.managed)
    _check_gateways(world, decision.selection.managed)
    for name, record in world.records.items():
        _check_member(world, world.nodes[name], record.spec, decision.selection.managed)


def running(world: World, spec: NodeRouteSpec) -> bool:
    """Whether EC2 runs the node's instance."""
    instance = world.instances.get(spec.instance_id)
    return instance is not None and instance.state == "running"


def _check_pairs(world: World) -> None:
    specs = [record.spec for record in world.records.values() if running(world, record.spec)]
    for a, b in itertools.combinations(specs, 2):
        path = pair_path(Class.of(a), Class.of(b))
        assert path == pair_path(Class.of(b), Class.of(a))
        if path == "native":
            assert world.reaches(a.route_table_id, b)
            assert world.reaches(b.route_table_id, a)
        elif path == "direct":
            assert a.subnet_id == b.subnet_id
            assert not world.checked(a.network_interface_id)
            assert not world.checked(b.network_interface_id)


def _check_routes(world: World, managed: Collection[str]) -> None:
    targets = {cidr: r.spec.network_interface_id for r in world.records.values() for cidr in r.spec.pod_cidrs}
    for table in world.tables.values():
        for destination, route in table.routes.items():
            entry = (table.id, destination)
            if _is_aggregate(world, destination):
                continue
            # Its RouteTable object could never be written, and then its last node went: nothing says that it was ours.
            if entry not in world.foreigners and entry not in world.unreported:
                assert isinstance(destination, Cidr)
                assert targets.get(destination) == route.target, f"a route of ours without a member: {route}"
                assert table.id in managed


def _is_aggregate(world: World, destination: Cidr | str) -> bool:
    pools = world.policy.pools
    return isinstance(destination, Cidr) and any(
        pool.covers(destination) and destination.length < world.policy.node_mask[pool.family] for pool in pools
    )


def _check_gateways(world: World, managed: Collection[str]) -> None:
    """Each aggregate of ours is in the journal, which has no other, and leads to a gateway that lives if there is one.

    `spec.gateway` is for the nodes that are selected, and for those that still hold an aggregate.
    """
    nodes = {record.spec.network_interface_id: name for name, record in world.records.items()}
    holders = set()
    live = {n for n in world.records if world.nodes[n].gateway == "candidate" and n not in world.silent}
    live = {n for n in live if running(world, world.spec(n)) and not world.checked(world.spec(n).network_interface_id)}
    families = {n: {cidr.family for cidr in world.routable(world.spec(n))} for n in live}
    for table in world.tables.values():
        ours = {to: route for to, route in table.routes.items() if (table.id, to) not in world.foreigners}
        aggregates = {to: nodes.get(route.target, "") for to, route in ours.items() if _is_aggregate(world, to)}
        report = world.reports.get(table.id)
        journal = [one for use in (report.families.values() if report else ()) for one in use.gateways]
        assert {to: name for to, name in aggregates.items() if name} == {one.destination: one.node for one in journal}
        holders |= set(aggregates.values())
        for to, name in aggregates.items():
            assert table.id in managed
            able = {n for n in live if isinstance(to, Cidr) and to.family in families[n]}
            assert name in able or not able or to not in world.policy.aggregates, f"{table.id} {to}: {name}, not {able}"
    for name, record in world.records.items():
        selected = world.nodes[name].gateway != "none"
        assert record.spec.gateway == (selected or name in holders), f"{name}: {record.spec}"


def _check_member(world: World, node: Node, spec: NodeRouteSpec, managed: Collection[str]) -> None:
    if not running(world, spec):
        assert not spec.native_in, "published though its routes lead nowhere"
        return
    lacking = [t for t in managed if t not in spec.native_in]
    assert all(world.reaches(table, spec) for table in spec.native_in)
    uncovered = [t for t in lacking if not _direct(world, t, spec)]
    for table in lacking:
        if table in uncovered or world.policy.direct_routing == "auto":
            assert not _has_room(world, table, spec), f"{node.name} has no route in {table} for no reason"
    assert node.condition
    assert node.condition.reason == ("RouteCreated" if not uncovered else _overflow(world))


def _overflow(world: World) -> str:
    return "OverlayFallback" if world.policy.overlay else "RouteLimit"


def _direct(world: World, table: str, spec: NodeRouteSpec) -> bool:
    subnets = world.tables[table].subnet_ids or tuple(world.subnets)
    return bool(spec.subnet_id) and subnets == (spec.subnet_id,)


def _has_room(world: World, table: str, spec: NodeRouteSpec) -> bool:
    """Whether a table could take the node: entries are free past the reserve, and nobody else has its CIDR."""
    if any((table, cidr) in world.foreigners for cidr in spec.pod_cidrs):
        return False
    report = world.reports[table]
    for cidr in world.routable(spec):
        use = report.families[cidr.family]
        limit = use.limit if use.learned_limit is None else use.learned_limit
        missing = [to for to in world.policy.aggregates if to not in world.tables[table].routes]
        kept = world.policy.route_reserve + sum(to.family == cidr.family for to in missing)
        if limit - use.used <= kept:
            return False
    return True
