"""Disasters of docs/operations.md that no other test covers."""

from __future__ import annotations

from typing import Any

from tests.controller.ends import all_native
from tests.controller.lab import NATIVE, lab


def specs(world: Any) -> dict[str, Any]:
    return {name: route.spec for name, route in world.published().items()}


def test_node_routes_deleted_by_hand() -> None:
    """Deleted NodeRoutes are written again with the same spec, without a write to EC2."""
    with lab(zones=2) as world:
        names = world.join_many(4)
        world.run()
        before = specs(world)
        world.calls()
        for name in names:
            world.kube.delete("noderoutes", name)
        world.run()
        assert specs(world) == before
        assert world.changes() == {}
        assert world.conditions() == dict.fromkeys(names, NATIVE)


def test_tables_emptied_by_hand() -> None:
    """The next resync creates every deleted route again."""
    with lab(zones=2) as world:
        names = world.join_many(4)
        world.run()
        before = {table: world.routes(table) for table in world.tables()}
        for table, routes in before.items():
            for cidr in routes:
                world.aws.scene.ec2.delete_route(RouteTableId=table, DestinationCidrBlock=cidr)
        world.calls()
        world.pass_seconds(80)
        assert {table: world.routes(table) for table in world.tables()} == before
        assert world.changes() == {"CreateRoute": 8}
        all_native(world, names)


def test_a_zone_that_is_lost() -> None:
    """Stopped nodes keep routes and pod CIDRs, off the native path, and are native again once started.

    Paths in the other zone do not change.
    """
    with lab(zones=2) as world:
        lost, living = [world.join(0) for _ in range(2)], [world.join(1) for _ in range(2)]
        world.run()
        routes, published = {table: world.routes(table) for table in world.tables()}, specs(world)
        world.calls()
        instances = [world.instance(name) for name in lost]
        world.aws.scene.ec2.stop_instances(InstanceIds=instances)
        world.pass_seconds(180)
        assert {table: world.routes(table) for table in world.tables()} == routes
        assert {name: spec.native_in for name, spec in specs(world).items() if name in lost} == dict.fromkeys(lost, ())
        assert {name: specs(world)[name] for name in living} == {name: published[name] for name in living}
        world.aws.scene.ec2.start_instances(InstanceIds=instances)
        world.pass_seconds(180)
        assert specs(world) == published
        assert world.changes() == {}
        assert world.conditions() == dict.fromkeys([*lost, *living], NATIVE)
