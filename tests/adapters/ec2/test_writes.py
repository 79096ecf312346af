"""Writes to the strict EC2: what it holds afterwards, and what was asked of AWS to get there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from cloudroute.adapters.ec2.client import Ec2Client
from cloudroute.errors import Deferred, LeaseLost, LimitExceeded, LostRace, Refused, Unreachable
from cloudroute.types import Cidr
from tests.adapters.ec2.kit import Kit

V4, V6 = Cidr.parse("10.100.1.0/24"), Cidr.parse("fd00:100:1::/80")
BOTH = pytest.mark.parametrize("cidr", [V4, V6], ids=["ipv4", "ipv6"])


@BOTH
def test_a_route_is_created_replaced_and_deleted(cidr: Cidr) -> None:
    """Each write is one call, EC2 holds what was asked, and so does the next read."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1, ipv6=True)
    table_id = vpc.zones[0].route_table_id
    old, new = kit.aws.scene.launch(vpc.zones[0], 2, interfaces=2)
    kit.ec2.create_route(table_id, cidr, old.interface_id)
    assert kit.table(vpc.id, table_id).routes[cidr].target == old.interface_id
    assert kit.aws.scene.routes(table_id)[str(cidr)]["NetworkInterfaceId"] == old.interface_id
    kit.ec2.replace_route(table_id, cidr, new.interface_id)
    assert kit.table(vpc.id, table_id).routes[cidr].target == new.interface_id
    assert kit.aws.scene.routes(table_id)[str(cidr)]["NetworkInterfaceId"] == new.interface_id
    kit.ec2.delete_route(table_id, cidr)
    assert cidr not in kit.table(vpc.id, table_id).routes
    assert str(cidr) not in kit.aws.scene.routes(table_id)
    assert kit.calls() == {"CreateRoute": 1, "ReplaceRoute": 1, "DeleteRoute": 1, "DescribeRouteTables": 3}


def test_the_source_dest_check_is_switched_off_for_one_interface() -> None:
    """One ModifyNetworkInterfaceAttribute turns the check of that ENI off and leaves the others alone."""
    kit = Kit()
    (machine,) = kit.aws.scene.launch(kit.aws.scene.vpc(zones=1).zones[0], interfaces=2)
    kit.ec2.disable_source_dest_check(machine.interface_id)
    interfaces = kit.ec2.instances([machine.id])[machine.id].interfaces
    assert [interface.source_dest_check for interface in interfaces] == [False, True]
    assert kit.calls() == {"ModifyNetworkInterfaceAttribute": 1, "DescribeInstances": 1}


def test_a_describe_is_what_ec2_shows() -> None:
    """While every describe shows the state of 30 s ago, our writes are not in it."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1)
    table_id = vpc.zones[0].route_table_id
    (machine,) = kit.aws.scene.launch(vpc.zones[0])
    kit.clock.sleep(100)
    kit.aws.faults.stale(30)
    kit.ec2.create_route(table_id, V4, machine.interface_id)
    kit.ec2.disable_source_dest_check(machine.interface_id)
    primary = kit.ec2.instances([machine.id])[machine.id].primary
    assert V4 not in kit.table(vpc.id, table_id).routes
    assert primary is not None
    assert primary.source_dest_check


def test_a_taken_destination_is_a_lost_race() -> None:
    """A route of another program stays as it is."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1)
    table_id = vpc.zones[0].route_table_id
    ours, theirs = kit.aws.scene.launch(vpc.zones[0], 2)
    kit.aws.scene.ec2.create_route(
        RouteTableId=table_id, DestinationCidrBlock=str(V4), NetworkInterfaceId=theirs.interface_id
    )
    with pytest.raises(LostRace, match=f"CreateRoute {table_id} {V4}: RouteAlreadyExists"):
        kit.ec2.create_route(table_id, V4, ours.interface_id)
    assert kit.table(vpc.id, table_id).routes[V4].target == theirs.interface_id


@BOTH
def test_replacing_a_route_that_is_gone_is_a_lost_race(cidr: Cidr) -> None:
    """ReplaceRoute makes no route."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1, ipv6=True)
    table_id = vpc.zones[0].route_table_id
    (machine,) = kit.aws.scene.launch(vpc.zones[0])
    with pytest.raises(LostRace):
        kit.ec2.replace_route(table_id, cidr, machine.interface_id)
    assert cidr not in kit.table(vpc.id, table_id).routes


@BOTH
def test_deleting_a_route_that_is_gone_is_no_error(cidr: Cidr) -> None:
    """The route is not there afterwards, which is what was asked."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1, ipv6=True)
    table_id = vpc.zones[0].route_table_id
    kit.ec2.delete_route(table_id, cidr)
    assert cidr not in kit.table(vpc.id, table_id).routes
    assert kit.observed["DeleteRoute", "InvalidRoute.NotFound"] == 1


def test_an_unknown_table_or_interface_is_a_lost_race() -> None:
    """A table or an interface that EC2 does not know (yet) means: read again."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1)
    table_id = vpc.zones[0].route_table_id
    with pytest.raises(LostRace, match=r"InvalidRouteTableID\.NotFound"):
        kit.ec2.delete_route("rtb-0123456789abcdef0", V4)
    with pytest.raises(LostRace, match=r"InvalidNetworkInterfaceID\.NotFound"):
        kit.ec2.create_route(table_id, V4, "eni-0123456789abcdef0")
    with pytest.raises(LostRace, match=r"InvalidNetworkInterfaceID\.NotFound"):
        kit.ec2.disable_source_dest_check("eni-0123456789abcdef0")
    assert V4 not in kit.table(vpc.id, table_id).routes


def test_a_full_table_is_said_to_be_full() -> None:
    """RouteLimitExceeded comes out as LimitExceeded, and the route is not made."""
    kit = Kit(route_quota=2)
    vpc = kit.aws.scene.vpc(zones=1)
    table_id = vpc.zones[0].route_table_id
    (machine,) = kit.aws.scene.launch(vpc.zones[0])
    kit.ec2.create_route(table_id, V4, machine.interface_id)
    other = Cidr.parse("10.100.2.0/24")
    with pytest.raises(LimitExceeded):
        kit.ec2.create_route(table_id, other, machine.interface_id)
    assert other not in kit.table(vpc.id, table_id).routes


@pytest.mark.parametrize("fault", ["drop", "hang"])
def test_a_write_without_an_answer_is_not_repeated(fault: str) -> None:
    """Whether the route was made is not known, so it is raised, and the next read tells."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1)
    table_id = vpc.zones[0].route_table_id
    (machine,) = kit.aws.scene.launch(vpc.zones[0])
    getattr(kit.aws.faults, fault)("CreateRoute")
    started = kit.clock.monotonic()
    with pytest.raises(Unreachable):
        kit.ec2.create_route(table_id, V4, machine.interface_id)
    assert kit.clock.monotonic() - started <= 3
    assert kit.calls() == {"CreateRoute": 1}
    assert (V4 in kit.table(vpc.id, table_id).routes) == (fault == "drop")


def test_a_slow_answer_after_the_write_was_done_counts_as_no_answer() -> None:
    """An answer that comes after the timeout is not waited for; the route is there all the same."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1)
    table_id = vpc.zones[0].route_table_id
    (machine,) = kit.aws.scene.launch(vpc.zones[0])
    kit.aws.faults.delay("CreateRoute", 10)
    with pytest.raises(Unreachable):
        kit.ec2.create_route(table_id, V4, machine.interface_id)
    assert kit.table(vpc.id, table_id).routes[V4].target == machine.interface_id
    assert kit.observed["CreateRoute", "ReadTimeoutError"] == 1


def test_without_the_lease_no_write_leaves() -> None:
    """All four writes raise LeaseLost and reach AWS not at all; reads go on."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1)
    table_id = vpc.zones[0].route_table_id
    (machine,) = kit.aws.scene.launch(vpc.zones[0])
    kit.fence.held = False
    with pytest.raises(LeaseLost):
        kit.ec2.create_route(table_id, V4, machine.interface_id)
    with pytest.raises(LeaseLost):
        kit.ec2.replace_route(table_id, V4, machine.interface_id)
    with pytest.raises(LeaseLost):
        kit.ec2.delete_route(table_id, V4)
    with pytest.raises(LeaseLost):
        kit.ec2.disable_source_dest_check(machine.interface_id)
    assert V4 not in kit.table(vpc.id, table_id).routes
    assert kit.calls() == {"DescribeRouteTables": 1}


def test_a_lease_that_runs_out_while_the_request_is_signed_stops_it() -> None:
    """The fence is asked after credentials were fetched, which may take longer than the lease has left."""
    kit = Kit()
    session = kit.aws.session()

    def slow_signing(**_: object) -> None:
        kit.fence.held = False

    session.events.register("before-sign", slow_signing)
    ec2 = Ec2Client(session, kit.aws.region, kit.fence, kit.clock, 3.0, kit.observed)
    with pytest.raises(LeaseLost):
        ec2.delete_route("rtb-0123456789abcdef0", V4)
    assert kit.calls() == {}


def test_without_a_token_no_write_leaves() -> None:
    """The 45th create at once is held back with the time to wait, and AWS never sees it."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1)
    table_id = vpc.zones[0].route_table_id
    (machine,) = kit.aws.scene.launch(vpc.zones[0])
    cidrs = [Cidr.parse(f"10.100.{number}.0/24") for number in range(45)]
    for cidr in cidrs[:44]:
        kit.ec2.create_route(table_id, cidr, machine.interface_id)
    with pytest.raises(Deferred) as deferred:
        kit.ec2.create_route(table_id, cidrs[44], machine.interface_id)
    assert deferred.value.seconds == pytest.approx(0.2)
    assert kit.calls() == {"CreateRoute": 44}
    kit.clock.sleep(deferred.value.seconds)
    kit.ec2.create_route(table_id, cidrs[44], machine.interface_id)
    assert set(cidrs) <= set(kit.table(vpc.id, table_id).routes)


def test_three_hundred_routes_take_what_the_bucket_allows_and_are_never_throttled() -> None:
    """Under AWS's own buckets 16 threads make 300 routes within 1.05 times the least possible time."""
    kit = Kit(throttle=True)
    vpc = kit.aws.scene.vpc(zones=1)
    table_id = vpc.zones[0].route_table_id
    (machine,) = kit.aws.scene.launch(vpc.zones[0])
    cidrs = [Cidr.parse(f"10.{100 + number // 200}.{number % 200}.0/24") for number in range(300)]

    def create(cidr: Cidr) -> float:
        """Create the route; returns the seconds to wait if it was held back."""
        try:
            kit.ec2.create_route(table_id, cidr, machine.interface_id)
        except Deferred as deferred:
            return deferred.seconds
        return 0

    started = kit.clock.monotonic()
    with ThreadPoolExecutor(16) as pool:
        while cidrs:
            waits = list(pool.map(create, cidrs))
            cidrs = [cidr for cidr, seconds in zip(cidrs, waits, strict=True) if seconds]
            kit.clock.sleep(min((seconds for seconds in waits if seconds), default=0))
    assert kit.observed == {("CreateRoute", "OK"): 300}
    assert len(kit.table(vpc.id, table_id).routes) == 301
    assert kit.clock.monotonic() - started <= 1.05 * (300 - 50) / 5


def test_a_missing_permission_is_named() -> None:
    """The real IAM refusal names the action, the resource and the permission to add; the route is not made."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1)
    table_id = vpc.zones[0].route_table_id
    (machine,) = kit.aws.scene.launch(vpc.zones[0])
    kit.aws.faults.fail("CreateRoute", "UnauthorizedOperation", "You are not authorized.")
    with pytest.raises(Refused) as refused:
        kit.ec2.create_route(table_id, V4, machine.interface_id)
    assert "Allow ec2:CreateRoute" in str(refused.value)
    assert table_id in str(refused.value)
    assert V4 not in kit.table(vpc.id, table_id).routes
