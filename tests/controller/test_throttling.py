"""300 nodes at once under AWS's token buckets: as fast as they allow, and never throttled."""

from __future__ import annotations

from itertools import pairwise

from tests.controller.ends import NATIVE, all_native
from tests.controller.lab import lab

NODES = 300
AWS = {"throttle": True, "route_quota": 1000}


def test_a_wave_of_nodes_takes_what_the_buckets_allow() -> None:
    """No call is throttled, no node is ever unavailable, and routes and conditions come within 1.05 of the bound."""
    with lab(1, aws=AWS, cluster_cidr=("100.64.0.0/14",), route_limit=1000) as world:
        names = world.join_many(NODES)
        world.calls()
        start = world.clock.time
        routes = conditions = 0.0
        while not (routes and conditions):
            turn = world.turn()
            passed = world.clock.time - start
            if not routes and len(world.routes(world.table())) == NODES:
                routes = passed
            said = list(world.conditions().values())
            assert {*said} <= {None, NATIVE}
            if not conditions and None not in said:
                conditions = passed
            world.clock.time = max(world.clock.time, turn.next_at)
        bound = (NODES - 50) / 5
        assert routes / bound <= 1.05
        assert conditions / bound <= 1.05
        world.run()
        all_native(world, names)
        assert {code for _, code in world.aws.calls} == {"OK"}


def test_a_wave_is_reported_every_two_seconds_and_at_its_end() -> None:
    """100 nodes on 3 tables take 4 writes each and one in 2 s per table; the last one tells how it ended."""
    nodes = 100
    with lab(3, aws=AWS, cluster_cidr=("100.64.0.0/14",), route_limit=1000) as world:
        world.join_many(nodes)
        versions: dict[str, str] = {}
        reported: dict[str, list[float]] = {}
        turn = world.turn()
        while not turn.settled:
            for table in world.kube.list("routetables"):
                name, version = table["metadata"]["name"], table["metadata"]["resourceVersion"]
                if versions.get(name) != version:
                    versions[name] = version
                    reported.setdefault(name, []).append(world.clock.time)
            world.clock.time = max(world.clock.time, turn.next_at)
            turn = world.turn()
        writes = world.writes()
        assert len(reported) == 3
        for times in reported.values():
            assert all(later - earlier >= 2 for earlier, later in pairwise(times))
        assert writes.pop(("create", "routetables")) == 3
        assert writes.pop(("patch", "routetables/status")) == sum(map(len, reported.values()))
        assert sum(writes.values()) == 4 * nodes
        assert {world.use(table)["used"] for table in world.tables()} == {nodes + 1}


def test_somebody_else_empties_the_buckets() -> None:
    """Another program spends the account's budget too: some calls are throttled, and all ends well."""
    with lab(1, aws=AWS, route_limit=1000) as world:
        other = world.aws.session().client("ec2")
        spare = world.aws.scene.ec2.create_route_table(VpcId=world.vpc.id)["RouteTable"]["RouteTableId"]
        gateway = world.aws.scene.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        world.aws.scene.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=world.vpc.id)
        for number in range(45):
            other.create_route(RouteTableId=spare, DestinationCidrBlock=f"172.16.{number}.0/24", GatewayId=gateway)
        names = world.join_many(60)
        world.run()
        all_native(world, names)
        assert world.aws.calls["CreateRoute", "RequestLimitExceeded"] <= 3
