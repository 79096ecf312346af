"""Foreign routes: counted, kept out of IPAM, reported once, never touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from cloudroute.types import Cidr
from tests.controller.lab import NATIVE, POOL, POOL6, Lab, lab

INSIDE = ("100.64.0.0/26", "100.64.2.0/23", "100.64.5.0/24", "100.64.6.0/24", "100.64.7.0/24", "100.64.8.0/24")
"""Destinations in the cluster CIDR; all but the first two as long as a node's."""
TAKEN = [Cidr.parse(f"100.64.{number}.0/24") for number in (0, 2, 3, 5, 6, 7, 8)]


def test_sacred() -> None:
    """Routes of others, whatever their destination and target, are the same after sync, churn, restart and cleanup."""
    with lab(traffic=True) as world:
        _add_foreign_routes(world)
        before = _all_routes(world)
        names = world.join_many(6)
        world.run()
        assert _foreign(world) == before
        _churn(world, names)
        assert _foreign(world) == before
        assert set(world.conditions().values()) == {NATIVE}
        world.start(leave=True)
        world.run()
        assert _all_routes(world) == before


def test_ipam_avoids_them() -> None:
    """No node gets a pod CIDR that a route of somebody else overlaps; a supernet of the pool excludes nothing."""
    with lab(1) as world:
        _add_foreign_routes(world)
        names = world.join_many(6)
        world.run()
        cidrs = [Cidr.parse(world.pod_cidrs(name)[0]) for name in names]
        assert not [cidr for cidr in cidrs if any(cidr.overlaps(taken) for taken in TAKEN)]
        assert list(map(str, cidrs)) == [f"100.64.{number}.0/24" for number in (1, 4, 9, 10, 11, 12)]


def test_reported_once() -> None:
    """Each table's foreign routes inside the cluster CIDR are one Event, however often they are seen again."""
    with lab(1) as world:
        _add_foreign_routes(world)
        world.join_many(2)
        world.run()
        world.pass_seconds(300)
        (event,) = world.events("ForeignRoute")
        assert event[:2] == ("Warning", world.table())
        assert "100.64.0.0/26, 100.64.2.0/23, 100.64.5.0/24, 100.64.6.0/24, 100.64.7.0/24 and 1 more" in event[3]


def test_they_count() -> None:
    """RouteTable objects show how many entries others have."""
    with lab(1) as world:
        _add_foreign_routes(world)
        world.join_many(2)
        world.run()
        assert world.use(world.table()) == {"limit": 50, "used": 14, "ours": 2, "foreign": 12}


def test_a_route_to_a_node_that_is_not_ours() -> None:
    """A route to a node's own interface is foreign where its destination is not a node-sized part of the pool."""
    with lab(1, traffic=True) as world:
        name = world.join(0)
        world.run()
        (eni,) = set(world.routes(world.table()).values())
        for destination in ("100.64.128.0/20", "192.0.2.0/24"):
            world.foreign(world.table(), destination, NetworkInterfaceId=eni)
        world.pass_seconds(120)
        world.terminate(name)
        world.run()
        world.start(leave=True)
        world.run()
        assert world.routes(world.table()) == {"100.64.128.0/20": eni, "192.0.2.0/24": eni}


def test_somebody_else_has_the_destination() -> None:
    """A node whose CIDR somebody routes elsewhere keeps that CIDR and uses the overlay until the route is gone."""
    with lab(one_table=True, traffic=True) as world:
        world.foreign(world.table(), "100.64.3.0/24", GatewayId=world.gateway())
        name = world.join(0, pod_cidrs=("100.64.3.0/24",))
        other = world.join(0)
        world.run()
        assert world.conditions() == {name: ("False", "OverlayFallback"), other: NATIVE}
        assert world.routes(world.table())["100.64.3.0/24"].startswith("igw-")
        world.aws.scene.ec2.delete_route(RouteTableId=world.table(), DestinationCidrBlock="100.64.3.0/24")
        world.pass_seconds(120)
        assert world.conditions() == {name: NATIVE, other: NATIVE}
        assert world.native(world.table()) == [name, other]


def test_somebody_takes_a_destination_that_we_have_just_left() -> None:
    """Their route stays while stale describes still show ours, which we deleted, under the CIDR of a new node."""
    with lab(1) as world:
        old = world.join(0, pod_cidrs=("100.64.3.0/24",))
        world.run()
        gateway = world.gateway()
        world.pass_seconds(60)
        world.aws.faults.stale(50, "DescribeRouteTables")
        world.terminate(old)
        world.pass_seconds(15)
        assert world.routes(world.table()) == {}
        world.foreign(world.table(), "100.64.3.0/24", GatewayId=gateway)
        world.join(0, pod_cidrs=("100.64.3.0/24",))
        world.pass_seconds(120)
        assert world.routes(world.table()) == {"100.64.3.0/24": gateway}


def test_a_route_of_ours_deleted_by_somebody() -> None:
    """A route that somebody deleted is made again at the next resync, one create and nothing else."""
    with lab(1) as world:
        names = world.join_many(2)
        world.run()
        cidr, eni = next(iter(world.routes(world.table()).items()))
        world.aws.scene.ec2.delete_route(RouteTableId=world.table(), DestinationCidrBlock=cidr)
        world.calls()
        world.pass_seconds(80)
        assert world.routes(world.table())[cidr] == eni
        assert world.calls() == {"DescribeInstances": 1, "DescribeRouteTables": 1, "CreateRoute": 1}
        assert world.native(world.table()) == names


def test_a_route_of_ours_turned_by_somebody() -> None:
    """A route of ours that somebody turned to a gateway is theirs now: left alone, and its node uses the overlay."""
    with lab(1, one_table=True, direct_routing="off") as world:
        names = world.join_many(2)
        world.run()
        turned = {"DestinationCidrBlock": world.pod_cidrs(names[0])[0], "GatewayId": world.gateway()}
        world.aws.scene.ec2.replace_route(RouteTableId=world.table(), **turned)
        world.pass_seconds(120)
        assert world.routes(world.table())[turned["DestinationCidrBlock"]] == turned["GatewayId"]
        assert world.conditions() == {names[0]: ("False", "OverlayFallback"), names[1]: NATIVE}
        assert world.native(world.table()) == [names[1]]


def test_a_dead_node_sized_route_in_the_pool_is_ours() -> None:
    """A node-sized route in the pool whose interface is gone is what a dead node left, and is removed."""
    with lab(1) as world:
        eni = world.interface()
        world.foreign(world.table(), "100.64.77.0/24", NetworkInterfaceId=eni)
        world.foreign(world.table(), "100.64.128.0/20", NetworkInterfaceId=eni)
        world.aws.scene.ec2.delete_network_interface(NetworkInterfaceId=eni)
        name = world.join(0)
        world.run()
        assert world.routes(world.table()).keys() == {"100.64.128.0/20", world.pod_cidrs(name)[0]}


def test_owners_that_ec2_does_not_tell() -> None:
    """A read for one decision that fails stops nobody: asked once a resync, said once; the dead route is left alone."""
    with lab(zones=1, one_table=True) as world:
        fault = world.aws.faults.fail(
            "DescribeInstances", "InternalError", times=None, status=500,
            match=lambda p: p["Filter.1.Name"] == "network-interface.network-interface-id",
        )  # fmt: skip
        gone = world.interface()
        world.foreign(world.table(), "100.64.99.0/24", NetworkInterfaceId=gone)
        world.aws.scene.ec2.delete_network_interface(NetworkInterfaceId=gone)
        name = world.join(0)
        world.run()
        assert world.condition(name) == NATIVE
        assert world.routes(world.table()).keys() == {"100.64.99.0/24", *world.pod_cidrs(name)}
        assert world.aws.calls["DescribeInstances", "InternalError"] == 1
        world.calls()
        world.pass_seconds(120)
        assert world.aws.calls["DescribeInstances", "InternalError"] == 2
        fault.times = 0
        world.pass_seconds(61)
        world.run()
        assert world.routes(world.table()).keys() == set(world.pod_cidrs(name))


def test_both_families() -> None:
    """Foreign routes of IPv6 are left alone, too."""
    with lab(1, ipv6=True, cluster_cidr=(POOL, POOL6)) as world:
        eni, gateway = world.aws.scene.launch(world.vpc.zones[0])[0].interface_id, world.gateway()
        for destination in ("::/0", "fd64::/62", "fd64::1:0:0:0/80", "2001:db8::/32"):
            target = {"GatewayId": gateway} if destination == "::/0" else {"NetworkInterfaceId": eni}
            world.foreign(world.table(), destination, **target)
        before = _all_routes(world)
        names = world.join_many(3)
        world.run()
        assert [world.pod_cidrs(name)[1] for name in names] == [
            "fd64::/80", "fd64::2:0:0:0/80", "fd64::3:0:0:0/80",
        ]  # fmt: skip
        _churn(world, names)
        world.start(leave=True)
        world.run()
        assert _all_routes(world) == before


@pytest.mark.parametrize("pools", [(POOL,), (POOL, POOL6)])
def test_cleanup(pools: tuple[str, ...]) -> None:
    """Cleanup withdraws, drains, then removes every route, NodeRoute and RouteTable; CIDRs and checks of nodes stay."""
    with lab(ipv6=True, cluster_cidr=pools, traffic=True) as world:
        names = world.join_many(4)
        world.run()
        cidrs = {name: world.pod_cidrs(name) for name in names}
        world.start(leave=True)
        start = world.clock.time
        world.turn()
        assert all(not route.spec.native_in for route in world.published().values())
        assert all(len(world.routes(table)) == 4 * len(pools) for table in world.tables())
        world.run()
        assert world.clock.time == start + 10
        assert [world.routes(table) for table in world.tables()] == [{}, {}, {}]
        assert world.published() == {}
        assert world.kube.list("routetables") == []
        assert {name: world.pod_cidrs(name) for name in names} == cidrs
        world.start()
        world.run()
        assert set(world.conditions().values()) == {NATIVE}
        assert {name: world.pod_cidrs(name) for name in names} == cidrs


def test_cleanup_of_a_table_that_is_no_longer_named() -> None:
    """A table that `--route-table` named once is emptied when it is not named any more, and forgotten."""
    with lab(2, traffic=True) as world:
        first, second = world.tables()
        world.start(route_table=(first, second))
        world.join_many(2)
        world.run()
        assert len(world.routes(second)) == 2
        world.start(route_table=(first,))
        world.run()
        assert (len(world.routes(first)), world.routes(second)) == (2, {})
        assert [o["metadata"]["name"] for o in world.kube.list("routetables")] == [first]


# --- the stage ----------------------------------------------------------------------------------


def _add_foreign_routes(world: Lab) -> None:
    """In every table: inside the cluster CIDR and outside, to gateways, peers, strangers and what is gone."""
    ec2 = world.aws.scene.ec2
    gateway, gone = world.gateway(), world.interface()
    stranger = world.aws.scene.launch(world.vpc.zones[0])[0].interface_id
    peer_vpc = ec2.create_vpc(CidrBlock="10.99.0.0/16")["Vpc"]["VpcId"]
    peering = ec2.create_vpc_peering_connection(VpcId=world.vpc.id, PeerVpcId=peer_vpc)["VpcPeeringConnection"]
    peer = peering["VpcPeeringConnectionId"]
    ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=peer)
    targets: list[tuple[str, dict[str, str]]] = [
        ("0.0.0.0/0", {"GatewayId": gateway}),
        ("100.64.0.0/10", {"VpcPeeringConnectionId": peer}),
        (POOL, {"GatewayId": gateway}),
        ("10.99.0.0/16", {"VpcPeeringConnectionId": peer}),
        ("192.0.2.0/24", {"NetworkInterfaceId": gone}),
        (INSIDE[0], {"NetworkInterfaceId": stranger}),
        (INSIDE[1], {"NetworkInterfaceId": gone}),
        (INSIDE[2], {"NetworkInterfaceId": stranger}),
        (INSIDE[3], {"GatewayId": gateway}),
        (INSIDE[4], {"VpcPeeringConnectionId": peer}),
        (INSIDE[5], {"NetworkInterfaceId": stranger}),
    ]
    for table in world.tables():
        for destination, target in targets:
            world.foreign(table, destination, **target)
    ec2.delete_network_interface(NetworkInterfaceId=gone)


def _churn(world: Lab, names: list[str]) -> None:
    """Nodes go and come, and the controller restarts."""
    world.terminate(names[0])
    world.join(0)
    world.run()
    world.aws.scene.stop(world.instance(names[1]))
    world.pass_seconds(120)
    world.aws.scene.start(world.instance(names[1]))
    world.start()
    world.pass_seconds(120)
    world.terminate(names[1])
    world.run()


def _all_routes(world: Lab) -> dict[str, dict[str, Mapping[str, Any]]]:
    return {table: world.aws.scene.routes(table) for table in world.tables()}


def _foreign(world: Lab) -> dict[str, dict[str, Mapping[str, Any]]]:
    """All routes but those of the nodes' pod CIDRs."""
    ours = {str(cidr) for route in world.published().values() for cidr in route.spec.pod_cidrs}
    return {
        table: {destination: route for destination, route in routes.items() if destination not in ours}
        for table, routes in _all_routes(world).items()
    }
