"""Uninstalled by half, in any order: what is left is either removed to the end or adopted as it is."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest

from cloudroute.crds import manifests
from tests.controller.crash import doom
from tests.controller.ends import all_native
from tests.controller.lab import POOL, POOL6, Lab, lab
from tests.waiting import eventually

MOST = 60
"""More writes than any cleanup here needs."""
OTHERS = {"192.0.2.0/24", "100.64.200.0/24"}
"""Destinations of somebody else's routes, one of them inside the pool."""


def gone(world: Lab, cidrs: dict[str, tuple[str, ...]]) -> None:
    """Nothing of ours is left in EC2 and in Kubernetes; others' routes and the nodes' pod CIDRs are."""
    assert [set(world.routes(table)) for table in world.tables()] == [OTHERS] * len(world.tables())
    assert world.published() == {}
    assert world.kube.list("routetables") == []
    assert {name: world.pod_cidrs(name) for name in cidrs} == cidrs


def installed(world: Lab, count: int = 3) -> dict[str, tuple[str, ...]]:
    """Nodes that work, and routes of somebody else; the nodes' pod CIDRs."""
    gateway = world.gateway()
    for table in world.tables():
        for destination in OTHERS:
            world.foreign(table, destination, GatewayId=gateway)
    names = world.join_many(count)
    world.run()
    return {name: world.pod_cidrs(name) for name in names}


def delete_crds(world: Lab) -> None:
    """As `kubectl delete -f` of the manifests does it: all NodeRoutes and RouteTables go with them."""
    for plural in ("noderoutes", "routetables"):
        for item in world.kube.list(plural):
            world.kube.delete(plural, item["metadata"]["name"])
        world.kube.delete("customresourcedefinitions", f"{plural}.cloudroute.io")


def create_crds(world: Lab) -> None:
    for crd in manifests():
        world.kube.create(crd)


def routes(world: Lab) -> list[dict[str, Any]]:
    return [dict(world.routes(table)) for table in world.tables()]


@pytest.mark.parametrize("then", ["cleanup", "controller"])
def test_a_cleanup_that_dies_at_every_write(then: str) -> None:
    """Dead after 0, 1, 2, … writes: run again it removes the rest; a controller that comes instead mends it all."""
    with lab(zones=2, traffic=True) as world:
        cidrs = installed(world)
        for left in range(MOST):
            died = doom(world, left, leave=True)
            if then == "cleanup":
                world.start(leave=True)
                world.run()
                gone(world, cidrs)
            world.start()
            world.run()
            for table in world.tables():
                assert set(world.routes(table)) == OTHERS | {cidr for one in cidrs.values() for cidr in one}
            assert {name: world.pod_cidrs(name) for name in cidrs} == cidrs
            natives = {route.spec.native_in for route in world.published().values()}
            assert natives == {tuple(sorted(world.tables()))}
            if not died:
                break
        assert 10 <= left < MOST


def test_a_second_cleanup_has_nothing_to_do() -> None:
    """Run again it writes nothing, in EC2 and in Kubernetes."""
    with lab(zones=2) as world:
        cidrs = installed(world)
        world.start(leave=True)
        world.run()
        world.calls(), world.writes()
        world.start(leave=True)
        world.run()
        assert (world.writes(), world.changes()) == ({}, {})
        gone(world, cidrs)


@pytest.mark.parametrize("pools", [(POOL,), (POOL, POOL6)], ids=["ipv4", "dual-stack"])
def test_a_reinstall_adopts_what_a_deployment_left(pools: tuple[str, ...]) -> None:
    """The controller is uninstalled, and the CRDs are kept: a new one writes nothing at all."""
    with lab(zones=2, ipv6=True, cluster_cidr=pools) as world:
        world.join_many(4)
        world.run()
        before = routes(world)
        world.stop()
        world.calls(), world.writes()
        world.start()
        world.run()
        assert (world.writes(), world.changes()) == ({}, {})
        assert routes(world) == before


@pytest.mark.parametrize("pools", [(POOL,), (POOL, POOL6)], ids=["ipv4", "dual-stack"])
def test_a_reinstall_adopts_what_deleted_crds_left(pools: tuple[str, ...]) -> None:
    """CRDs are deleted first, and every NodeRoute with them: a new controller writes no route, and publishes anew."""
    with lab(zones=2, ipv6=True, cluster_cidr=pools) as world:
        names = world.join_many(4)
        world.run()
        before, published = routes(world), {name: one.spec for name, one in world.published().items()}
        world.stop()
        delete_crds(world)
        create_crds(world)
        world.calls()
        world.start()
        world.run()
        assert world.changes() == {}
        assert routes(world) == before
        assert {name: one.spec for name, one in world.published().items()} == published
        assert sorted(published) == sorted(names)


def test_crds_deleted_under_a_controller() -> None:
    """It takes no route away; when they are back it publishes all that was."""
    with lab(zones=2) as world:
        names = world.join_many(3)
        world.run()
        before = routes(world)
        world.calls()
        delete_crds(world)
        # Whether the watch tells of each NodeRoute before it ends, or ends first, is a matter of luck: both must do.
        eventually(lambda: "noderoutes" in world.cluster.trouble, "the trouble names NodeRoutes")
        for _ in range(5):
            turn = world.loop.turn(Event())
            world.clock.time = max(world.clock.time, turn.next_at)
        assert routes(world) == before
        assert world.changes() == {}
        create_crds(world)
        eventually(lambda: world.cluster.trouble == "", "the trouble is over")
        world.pass_seconds(61)
        world.run()
        all_native(world, names)


def test_cleanup_after_the_crds() -> None:
    """CRDs are deleted first: with them back, cleanup still finds the routes of all Nodes, and of terminated ones."""
    with lab(zones=2) as world:
        cidrs = installed(world)
        world.stop()
        delete_crds(world)
        *_, dead = cidrs
        world.terminate(dead)
        del cidrs[dead]
        create_crds(world)
        world.start(leave=True)
        world.run()
        gone(world, cidrs)


def test_cleanup_after_crds_and_nodes() -> None:
    """Neither NodeRoute nor Node says whose a route is: it is left while its instance lives, and removed when not."""
    with lab(zones=2) as world:
        cidrs = installed(world)
        world.stop()
        delete_crds(world)
        create_crds(world)
        lost, *_ = cidrs
        instance = world.instance(lost)
        world.kube.delete("nodes", lost)
        world.start(leave=True)
        world.run()
        ((left,),) = {tuple(sorted(set(world.routes(table)) - OTHERS)) for table in world.tables()}
        assert (left,) == cidrs.pop(lost)
        world.aws.scene.terminate(instance)
        world.start(leave=True, route_table=world.tables())
        world.run()
        gone(world, cidrs)
