"""Telemetry of a running controller: metrics that equal the world, and health."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from cloudroute.adapters.ec2.client import Ec2Client
from cloudroute.controller import Loop, NoLease
from cloudroute.errors import UsageError
from cloudroute.lab.aws.inprocess import make_session
from cloudroute.lab.aws.wire import Request, Response
from cloudroute.telemetry import ControllerTelemetry
from cloudroute.types import Node
from tests.clock import FakeClock
from tests.controller.lab import POOL, POOL6, Lab, lab, settings_of
from tests.controller.test_apply import Apis, condition


def test_requests_as_aws_counted_them() -> None:
    """`ec2_requests_total` is, by action and code, what AWS itself has counted: failed attempts too."""
    with lab(one_table=True) as world:
        world.aws.set_route_quota(4, world.table())
        world.aws.faults.throttle("CreateRoute", times=2)
        world.aws.faults.throttle("DescribeRouteTables", times=1)
        world.join_many(5)
        world.run()
        world.pass_seconds(200)
        ours = _metric(world, "ec2_requests_total")
        assert ours == {key: float(number) for key, number in world.aws.calls.items()}
        assert {code for _, code in ours} == {"OK", "RequestLimitExceeded", "RouteLimitExceeded"}


def test_routes_and_limits() -> None:
    """`routes` and `route_limit` tell each table and family, blackholes of ours apart, and the limit in force."""
    with lab(1, ipv6=True, cluster_cidr=(POOL, POOL6), route_limit=20) as world:
        table = world.table()
        world.aws.set_route_quota(10, table)
        world.foreign(table, "0.0.0.0/0", GatewayId=world.gateway())
        names = world.join_many(4)
        world.run()
        world.aws.scene.stop(world.instance(names[0]))
        world.pass_seconds(61)
        assert _metric(world, "routes") == {
            (table, "ipv4", "ours"): 3, (table, "ipv4", "blackhole"): 1, (table, "ipv4", "foreign"): 2,
            (table, "ipv6", "ours"): 3, (table, "ipv6", "blackhole"): 1, (table, "ipv6", "foreign"): 1,
        }  # fmt: skip
        assert _metric(world, "route_limit") == {(table, "ipv4"): 20, (table, "ipv6"): 20}
        world.join_many(6)
        world.pass_seconds(61)
        assert _metric(world, "route_limit")[table, "ipv4"] == 10


def test_nodes_and_pairs_by_path() -> None:
    """`nodes` counts those routed everywhere, somewhere and nowhere, `pairs` the ways between; all series are there."""
    with lab(2, one_table=True, route_limit=10) as world:
        world.foreign(world.table(), "0.0.0.0/0", GatewayId=world.gateway())
        world.join_many(12)
        world.run()
        assert _metric(world, "nodes") == {("native",): 8, ("direct",): 0, ("partial",): 0, ("overlay",): 4}
        # 6 stand on each of two subnets: of its 15 pairs 6 are of two nodes with entries.
        assert _metric(world, "pairs") == {("native",): 8 * 7 // 2, ("direct",): 2 * (15 - 6), ("overlay",): 20}
    with lab(1, route_limit=1) as world:
        world.join_many(3)
        world.run()
        assert _metric(world, "nodes") == {("native",): 0, ("direct",): 3, ("partial",): 0, ("overlay",): 0}
        assert _metric(world, "pairs") == {("native",): 0, ("direct",): 3, ("overlay",): 0}


def test_free_addresses() -> None:
    """`ipam_free` tells how many pod CIDRs each pool can still give; what is reserved, foreign or draining is not."""
    with lab(1, cluster_cidr=("100.64.0.0/20", POOL6), ipv6=True, reserved_cidr=("100.64.0.0/22",)) as world:
        world.foreign(world.table(), "100.64.8.0/23", GatewayId=world.gateway())
        names = world.join_many(3)
        world.run()
        assert _metric(world, "ipam_free") == {("100.64.0.0/20",): 16 - 4 - 2 - 3, (POOL6,): 2**16 - 3}
        world.terminate(names[0])
        world.turn()
        assert _metric(world, "ipam_free")["100.64.0.0/20",] == 7
        world.run()
        assert _metric(world, "ipam_free")["100.64.0.0/20",] == 8


def test_a_table_that_is_gone_takes_its_series_along() -> None:
    """A route table that was deleted has no series any more, nor a RouteTable object."""
    with lab(2) as world:
        names = world.join_many(2)
        world.run()
        first, second = world.tables()
        world.terminate(names[1])
        world.run()
        ec2 = world.aws.scene.ec2
        for association in ec2.describe_route_tables(RouteTableIds=[second])["RouteTables"][0]["Associations"]:
            ec2.disassociate_route_table(AssociationId=association["RouteTableAssociationId"])
        for destination in world.routes(second):
            ec2.delete_route(RouteTableId=second, DestinationCidrBlock=destination)
        ec2.delete_route_table(RouteTableId=second)
        world.pass_seconds(61)
        assert {key[0] for key in _metric(world, "routes")} == {first}
        assert [o["metadata"]["name"] for o in world.kube.list("routetables")] == [first]


def test_the_loop_is_seen_to_live() -> None:
    """The loop's thread is healthy while it turns, and reported when its last turn is too long ago."""
    with lab(1) as world:
        world.join(0)
        world.run()
        assert world.telemetry.answer("/healthz")[0] == 200
        world.clock.time += 121
        status, _, body = world.telemetry.answer("/healthz")
        assert (status, body) == (503, b"thread loop was last seen 121 s ago, expected within 120 s\n")
        world.turn()
        assert world.telemetry.answer("/healthz")[0] == 200


def test_settings_that_contradict_the_vpc() -> None:
    """A pool that overlaps the VPC ends the process before anything was written, in words."""
    with lab(1, cluster_cidr=("10.0.0.0/16",)) as world:
        world.join(0)
        with pytest.raises(UsageError, match=r"10\.0\.0\.0/16"):
            world.run()
        assert world.changes() == {}
        assert world.writes() == {}


def test_an_empty_cluster_is_settled() -> None:
    """Without a node there is no VPC to be found and nothing to do: that is settled, and costs no call."""
    with lab(1) as world:
        world.run()
        world.pass_seconds(600)
        assert world.calls() == {}
        assert world.writes() == {}
        world.join(0)
        world.run()
        assert len(world.routes(world.table())) == 1


def test_the_last_node_goes() -> None:
    """The last node's routes go although it left while no controller ran: RouteTables name the VPC."""
    with lab(2) as world:
        names = world.join_many(2)
        world.run()
        world.stop()
        for name in names:
            world.terminate(name)
        world.clock.time += 2 * 3600  # EC2 has forgotten the instances by now
        world.start()
        world.run()
        assert [world.routes(table) for table in world.tables()] == [{}, {}]
        assert world.published() == {}


def _metric(world: Lab, name: str) -> dict[tuple[str, ...], float]:
    """A metric's values by its labels' values, in the order of the contract."""
    order = {
        "ec2_requests_total": ("action", "code"),
        "routes": ("table", "family", "state"),
        "route_limit": ("table", "family"),
        "nodes": ("path",),
        "pairs": ("path",),
        "ipam_free": ("cidr",),
    }[name]
    samples = [s for metric in world.telemetry.registry.collect() for s in metric.samples]
    return {
        tuple(sample.labels[label] for label in order): sample.value
        for sample in samples
        if sample.name == f"cloudroute_{name}"
    }


# --- health ---------------------------------------------------------------------------------

NONE = b'<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><reservationSet/></DescribeInstancesResponse>'


def test_a_long_read_of_many_batches_is_alive() -> None:
    """5,000 nodes, 10 s a batch: /healthz says so after each, though all of it takes longer than a beat may."""
    clock = FakeClock()
    telemetry = ControllerTelemetry(clock.monotonic)
    health: list[int] = []

    def describe(_: Request) -> Response:
        clock.sleep(10)
        health.append(telemetry.answer("/healthz")[0])
        return Response(200, NONE)

    session = make_session(describe, clock, "eu-central-1", "key")
    ec2 = Ec2Client(session, "eu-central-1", NoLease(), clock, 3.0, telemetry.ec2_request)
    cluster = cast(Any, Nodes(5000))
    loop = Loop(
        settings=settings_of(),
        cluster=cluster,
        kube=cast(Any, None),
        ec2=ec2,
        fence=NoLease(),
        clock=clock,
        telemetry=telemetry,
    )
    loop.turn(threading.Event())
    assert health == [200] * 25
    assert clock.time >= 1000 + 120


class Nodes:
    """A cluster's stores with so many Nodes, and nothing else."""

    def __init__(self, count: int) -> None:
        self._nodes = {f"n{number}": Node(f"n{number}", "", "", "", f"i-{number:017x}") for number in range(count)}
        self.nodes = self
        self.node_routes = self.route_table_objects = type("", (), {"items": lambda _: {}})()

    def items(self) -> dict[str, Node]:
        return self._nodes


def test_a_step_that_hangs_is_found() -> None:
    """Beats belong to steps that end: while one hangs for ever /healthz tells, however long the loop waits for it."""
    apis = Apis()
    telemetry = ControllerTelemetry(apis.clock.monotonic)
    hangs, over = threading.Event(), threading.Event()

    def hang() -> None:
        hangs.set()
        over.wait(20)

    apis.answers["condition n1"] = hang

    def work() -> None:
        telemetry.beat("loop", 120)
        apis.applier.run([condition(1)], apis.stop, lambda: telemetry.beat("loop", 120))

    thread = threading.Thread(target=work)
    thread.start()
    assert hangs.wait(20)
    apis.clock.time += 121
    over.wait(1.2)  # a beat by time would come meanwhile
    assert telemetry.answer("/healthz")[0] == 503
    over.set()
    thread.join()
