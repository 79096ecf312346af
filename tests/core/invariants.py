"""What holds in every world at every moment, and what holds once nothing is left to do."""

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
            # Its RouteTable object could never be written, and then its last node went: nothing says that it was ours.
            if entry not in world.foreigners and entry not in world.unreported:
                assert isinstance(destination, Cidr)
                assert targets.get(destination) == route.target, f"a route of ours without a member: {route}"
                assert table.id in managed


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
        if limit - use.used <= world.policy.route_reserve:
            return False
    return True
