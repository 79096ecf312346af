"""Beside and after the cloud provider's route controller: whose route is whose, counted by EC2's calls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.controller.lab import NATIVE, OVERLAY, POOL, POOL6, Lab, lab
from tests.moving.cloud_provider import PERIOD, RouteController

TAGS = {"kubernetes.io/cluster/test": "owned", "KubernetesCluster": "test"}
"""As kOps tags the table."""


@pytest.fixture
def world() -> Iterator[Lab]:
    """One tagged table; no controller runs."""
    with lab(2, one_table=True, tagged=True) as world:
        world.stop()
        yield world


def moved_in(world: Lab, count: int, pools: int = 1) -> RouteController:
    """Nodes with pod CIDRs as the controller manager gives them, and the route controller's routes to them."""
    for number in range(1, count + 1):
        world.join(number % 2, pod_cidrs=(f"100.64.{number}.0/24", f"fd64:0:0:0:{number}::/80")[:pools])
    provider = RouteController(world.aws, world.kube, world.table(), POOL)
    provider.look()
    assert provider.did["create_route", "OK"] == count
    return provider


def test_routes_of_the_route_controller_are_adopted_without_a_write(world: Lab) -> None:
    """Three describes and nothing else: routes, pod CIDRs, checks and conditions stay as they are."""
    moved_in(world, 5)
    names = [node["metadata"]["name"] for node in world.kube.list("nodes")]
    routes, cidrs = world.aws.scene.routes(world.table()), {name: world.pod_cidrs(name) for name in names}
    world.start()
    world.calls()
    world.run()
    assert world.calls() == {"DescribeRouteTables": 1, "DescribeInstances": 1, "DescribeSubnets": 1}
    assert world.aws.scene.routes(world.table()) == routes
    assert {name: world.pod_cidrs(name) for name in names} == cidrs
    assert world.native(world.table()) == names
    assert set(world.conditions().values()) == {NATIVE}
    for zone in world.vpc.zones:  # and a node that comes later is made as any other
        world.join(zone)
    world.run()
    assert world.changes() == {"CreateRoute": 2, "ModifyNetworkInterfaceAttribute": 2}


def test_the_ipv6_routes_that_it_could_not_make_are_made() -> None:
    """The IPv4 ones are adopted; nodes that it left without network have one."""
    with lab(2, one_table=True, ipv6=True, tagged=True, cluster_cidr=(POOL, POOL6)) as world:
        world.stop()
        provider = moved_in(world, 3, pools=2)
        assert provider.did["create_route", "InvalidParameterValue"] == 3
        assert set(world.conditions().values()) == {("True", "NoRouteCreated")}
        world.start()
        world.calls()
        world.run()
        assert world.changes() == {"CreateRoute": 3}
        assert set(world.conditions().values()) == {NATIVE}


def test_both_run_side_by_side_and_neither_touches_the_others_routes(world: Lab) -> None:
    """For two minutes in which a node comes and one goes: one creation, one deletion, whoever is first."""
    provider = moved_in(world, 4)
    provider.did.clear()
    world.start()
    world.calls()
    side_by_side(world, provider, 6)
    assert (world.changes(), provider.did) == ({}, {})
    world.join(0, name="late", pod_cidrs=("100.64.9.0/24",))
    world.terminate("node-002")
    side_by_side(world, provider, 6)
    assert world.changes() == {"CreateRoute": 1, "ModifyNetworkInterfaceAttribute": 1, "DeleteRoute": 1}
    assert provider.did == {}
    assert sorted(world.routes(world.table())) == [f"100.64.{number}.0/24" for number in (1, 3, 4, 9)]


def test_a_route_to_an_instance_that_is_no_node_stops_the_provider_and_not_us(world: Lab) -> None:
    """It is foreign: left alone, and all else goes on."""
    provider = moved_in(world, 2)
    provider.did.clear()
    (stray,) = world.aws.scene.launch(world.vpc.zones[0])
    world.foreign(world.table(), "100.64.9.0/24", InstanceId=stray.id)
    world.join(0, pod_cidrs=("100.64.3.0/24",))
    provider.look()
    assert provider.did == {}
    world.start()
    world.calls()
    world.run()
    assert world.changes() == {"CreateRoute": 1, "ModifyNetworkInterfaceAttribute": 1}
    assert world.routes(world.table())["100.64.9.0/24"] == stray.interface_id


def test_past_the_limit_the_provider_goes_on_asking_and_marks_the_node() -> None:
    """So it must be off before: each of its looks is a refused creation and a condition that we write back."""
    with lab(2, one_table=True, tagged=True, aws={"route_quota": 4}, route_limit=4) as world:
        world.stop()
        provider = moved_in(world, 3)  # with `local`, full
        provider.did.clear()
        late = world.join(0, pod_cidrs=("100.64.9.0/24",))
        world.start()
        seen = side_by_side(world, provider, 6, late)
        assert provider.did["create_route", "RouteLimitExceeded"] == 6
        assert seen == [("True", "NoRouteCreated")] * 6
        world.pass_seconds(60)  # it has ended
        assert world.condition(late) == OVERLAY
        world.aws.reset_calls()
        world.pass_seconds(60)
        assert world.changes() == {}


def test_where_the_limit_is_lowered_the_provider_makes_the_deleted_route_again(world: Lab) -> None:
    """Both are right by their own rule, so that neither ends: it must be off before the limit is lowered."""
    provider = moved_in(world, 3)
    provider.did.clear()
    world.start(route_limit=3)
    world.calls()
    side_by_side(world, provider, 24)
    assert world.changes() == {"DeleteRoute": 2}
    assert provider.did["create_route", "OK"] == 2


def side_by_side(world: Lab, provider: RouteController, looks: int, node: str = "") -> list[tuple[str, str] | None]:
    """Our loop at its own times, and the route controller every ten seconds; a node's condition after each look."""
    seen = []
    for _ in range(looks):
        world.pass_seconds(PERIOD)
        provider.look()
        if node:
            seen.append(world.condition(node))
    return seen
