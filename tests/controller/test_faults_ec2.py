"""EC2 throttles, hangs, lies about the present, loses answers: in the end the world is right all the same."""

from __future__ import annotations

from threading import Lock

import pytest

from tests.controller.ends import NATIVE, OVERLAY, all_native, primary
from tests.controller.lab import Lab, lab

WRITES = ("CreateRoute", "ModifyNetworkInterfaceAttribute")


def churn(world: Lab) -> list[str]:
    """Two nodes join, one of two older ones is replaced under its name; who is there in the end."""
    names = world.join_many(2)
    world.run()
    joined = world.join_many(2)
    world.terminate(names[0])
    again = world.join(0, name=names[0])
    return [*joined, names[1], again]


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "InternalError", "Unavailable"])
def test_refused_for_a_moment(code: str) -> None:
    """Each kind of call is refused a few times, for throttling or for AWS's own reasons: all nodes get native."""
    with lab(zones=2) as world:
        for action in ("CreateRoute", "DeleteRoute", "ModifyNetworkInterfaceAttribute"):
            world.aws.faults.fail(action, code, times=3, status=503)
        for action in ("DescribeRouteTables", "DescribeInstances", "DescribeSubnets"):
            world.aws.faults.fail(action, code, times=2, after=1, status=503)
        names = churn(world)
        world.run()
        all_native(world, names)


def test_an_answer_is_lost_after_the_write_was_done() -> None:
    """Each kind of write is done and its answer lost: nothing is done twice, nothing is forgotten."""
    with lab(zones=2) as world:
        for action in ("CreateRoute", "DeleteRoute", "ModifyNetworkInterfaceAttribute"):
            world.aws.faults.drop(action, times=3)
        names = churn(world)
        world.run()
        all_native(world, names)
        assert not [key for key in world.aws.calls if key[1] == "RouteAlreadyExists"]


def test_a_replacement_whose_answer_is_lost() -> None:
    """A route leads to the wrong interface, and the answer to ReplaceRoute is lost after it was done: one is enough."""
    with lab(zones=1) as world:
        machine = world.aws.scene.launch(world.vpc.zones[0], interfaces=2)[0]
        name = world.join(machine=machine)
        world.run()
        (destination,) = world.pod_cidrs(name)
        world.aws.scene.ec2.replace_route(
            RouteTableId=world.table(), DestinationCidrBlock=destination, NetworkInterfaceId=machine.interface_ids[1]
        )
        world.aws.faults.drop("ReplaceRoute", times=1)
        world.calls()
        world.clock.time += 61
        world.run()
        calls = world.calls()
        assert (calls["ReplaceRoute"], "DeleteRoute" in calls) == (1, False)
        all_native(world, [name])


@pytest.mark.parametrize("action", ["*", *WRITES, "DescribeInstances", "DescribeRouteTables"])
def test_a_call_hangs(action: str) -> None:
    """A call gets no answer at all and ends by its own timeout: it is asked again."""
    with lab(zones=2) as world:
        names = world.join_many(2)
        world.aws.faults.hang(action, times=2)
        world.run()
        all_native(world, names)


@pytest.mark.parametrize(("action", "code"), [
    ("CreateRoute", "InvalidNetworkInterfaceID.NotFound"),
    ("ModifyNetworkInterfaceAttribute", "InvalidNetworkInterfaceID.NotFound"),
    ("CreateRoute", "InvalidRouteTableID.NotFound"),
])  # fmt: skip
def test_not_found_just_after_a_launch(action: str, code: str) -> None:
    """A write does not find an object that EC2 has just shown: that proves nothing, and it is tried again."""
    with lab(zones=2) as world:
        names = world.join_many(2)
        world.aws.faults.fail(action, code, times=6)
        world.run()
        all_native(world, names)


def test_an_instance_that_ec2_does_not_show_yet() -> None:
    """A node whose instance no describe shows for 20 s gets its routes then, and is never unavailable meanwhile."""
    with lab(zones=2) as world:
        old = world.join_many(2)
        world.run()
        world.clock.time += 100
        world.run()
        world.aws.faults.stale(20, "DescribeInstances")
        young = world.join(0)
        world.pass_seconds(15)
        assert world.condition(young) is None
        world.pass_seconds(20)
        world.run()
        all_native(world, [*old, young])


def test_describes_are_half_a_minute_late() -> None:
    """Every describe shows the world of 30 s ago through a first sync and a churn: no route is made or lost twice."""
    with lab(zones=2) as world:
        world.clock.time += 60
        world.aws.faults.stale(30)
        names = churn(world)
        world.run()
        world.pass_seconds(200)
        world.run()
        all_native(world, names)
        assert {code for _, code in world.aws.calls} == {"OK"}


def test_a_route_of_somebody_else_appears_between_read_and_create() -> None:
    """RouteAlreadyExists: the other's route is left alone, the node goes to the overlay there and is well."""
    with lab(zones=2) as world:
        contested, other = world.tables()
        name, neighbour = world.join(0, pod_cidrs=("100.64.9.0/24",)), world.join(1)
        gateway = world.aws.scene.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        world.aws.scene.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=world.vpc.id)
        world.start(fence=ForeignWriter(world, contested, "100.64.9.0/24", gateway))
        world.run()
        assert world.routes(contested)["100.64.9.0/24"] == gateway
        assert world.native(contested) == [neighbour]
        assert world.native(other) == sorted([name, neighbour])
        # One subnet alone uses the table: its own nodes need no route there, so nothing is missing for them.
        assert world.conditions() == {name: NATIVE, neighbour: NATIVE}
        assert world.aws.calls["CreateRoute", "RouteAlreadyExists"] == 1


def test_a_rival_route_in_a_table_of_many_subnets() -> None:
    """The same where the table serves several subnets: OverlayFallback, until the other's route goes."""
    with lab(zones=2, one_table=True) as world:
        name, neighbour = world.join(0, pod_cidrs=("100.64.9.0/24",)), world.join(1)
        gateway = world.aws.scene.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        world.aws.scene.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=world.vpc.id)
        world.start(fence=ForeignWriter(world, world.table(), "100.64.9.0/24", gateway))
        world.run()
        assert world.routes(world.table())["100.64.9.0/24"] == gateway
        assert world.conditions() == {name: OVERLAY, neighbour: NATIVE}
        world.pass_seconds(300)
        assert world.aws.calls["CreateRoute", "RouteAlreadyExists"] == 1
        world.aws.scene.ec2.delete_route(RouteTableId=world.table(), DestinationCidrBlock="100.64.9.0/24")
        world.pass_seconds(61)
        world.run()
        all_native(world, [name, neighbour])


class ForeignWriter:
    """A fence that always opens; when it is first asked, somebody else adds a route."""

    def __init__(self, world: Lab, table_id: str, destination: str, gateway: str) -> None:
        self._todo = [lambda: world.foreign(table_id, destination, GatewayId=gateway)]
        self._lock = Lock()

    def check(self) -> None:
        with self._lock:  # nobody passes before it is done
            while self._todo:
                self._todo.pop()()


@pytest.mark.parametrize("how", ["refused", "hanging"])
def test_ec2_is_down_for_minutes(how: str) -> None:
    """While no call is answered healthy nodes keep all they have, and a new one waits; then it heals by itself."""
    with lab(zones=2) as world:
        old = world.join_many(4)
        world.run()
        before = {name: route.spec for name, route in world.published().items()}
        world.writes()
        if how == "refused":
            world.aws.faults.fail("*", "Unavailable", times=None, status=503)
        else:
            world.aws.faults.hang("*", times=None)
        young = world.join(0)
        world.pass_seconds(400)
        assert world.writes() == {}
        assert world.conditions() == {**dict.fromkeys(old, NATIVE), young: None}
        assert {name: route.spec for name, route in world.published().items()} == before
        world.aws.faults.clear()
        world.run()
        all_native(world, [*old, young])


def test_writes_fail_for_minutes_while_reads_work() -> None:
    """No write is done for five minutes: the new node has no condition, the old ones keep all; then it heals."""
    with lab(zones=2) as world:
        old = world.join_many(2)
        world.run()
        for action in WRITES:
            world.aws.faults.fail(action, "InternalError", times=None, status=500)
        young = world.join(0)
        world.calls()
        world.pass_seconds(300)
        asked = world.calls()
        assert asked["CreateRoute"] <= 2 * 13, "each of two routes: 0.5 s, doubled up to a minute"
        assert world.conditions() == {**dict.fromkeys(old, NATIVE), young: None}
        assert world.native(world.tables()[0]) == sorted(old)
        world.aws.faults.clear()
        world.run()
        all_native(world, [*old, young])


def test_an_action_that_always_fails_slows_no_other() -> None:
    """One interface is refused its route in one table for ever: all else is done as fast as ever."""
    with lab(zones=2) as world:
        names = world.join_many(4)
        bad = primary(world, names[0])["NetworkInterfaceId"]
        table = world.tables()[1]
        world.aws.faults.fail(
            "CreateRoute", "InternalError", times=None, status=500,
            match=lambda p: p["NetworkInterfaceId"] == bad and p["RouteTableId"] == table,
        )  # fmt: skip
        start = world.clock.time
        while len(world.native(table)) < 3:
            world.clock.time = max(world.turn().next_at, world.clock.time)
            assert world.clock.time - start <= world.settings.settle_seconds + 0.5
        assert [world.condition(name) for name in names] == [None, NATIVE, NATIVE, NATIVE]
        late = world.join(0)
        start = world.clock.time
        while late not in world.native(table):
            world.clock.time = max(world.turn().next_at, world.clock.time)
            assert world.clock.time - start <= world.settings.settle_seconds + 0.5
        world.aws.faults.clear()
        world.run()
        all_native(world, [*names, late])
