"""The ten calls against the strict EC2: what EC2 holds afterwards, and what was asked of AWS to get there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest

from cloudroute import __version__
from cloudroute.adapters.ec2.client import Ec2Client
from cloudroute.errors import Deferred, LeaseLost, LimitExceeded, LostRace, Refused, Unreachable
from cloudroute.types import Cidr, InterfaceOwner, RouteTable
from tests.adapters.ec2.kit import FakeFence, Kit, Observed
from tests.clock import FakeClock

V4, V6 = Cidr.parse("10.100.1.0/24"), Cidr.parse("fd00:100:1::/80")
BOTH = pytest.mark.parametrize("cidr", [V4, V6], ids=["ipv4", "ipv6"])


def table_of(kit: Kit, vpc_id: str, table_id: str) -> RouteTable:
    return next(table for table in kit.ec2.route_tables(vpc_id) if table.id == table_id)


# --- reads --------------------------------------------------------------------------------------


def test_route_tables_are_read_a_hundred_at_a_time() -> None:
    """A VPC with 152 tables takes two calls, and none of another VPC's is among them."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1, ipv6=True)
    kit.aws.scene.vpc(cidr="10.9.0.0/16", zones=1)
    made = [kit.aws.scene.ec2.create_route_table(VpcId=vpc.id)["RouteTable"]["RouteTableId"] for _ in range(150)]
    tables = kit.ec2.route_tables(vpc.id)
    assert {table.id for table in tables} == {*made, vpc.main_table_id, vpc.zones[0].route_table_id}
    assert [table.id for table in tables if table.main] == [vpc.main_table_id]
    assert table_of(kit, vpc.id, vpc.zones[0].route_table_id).subnet_ids == (vpc.zones[0].subnet_id,)
    assert set(tables[0].routes) == {Cidr.parse(cidr) for cidr in vpc.cidrs}
    assert kit.calls() == {"DescribeRouteTables": 4}


def test_instances_are_read_two_hundred_at_a_time_and_unknown_ones_are_absent() -> None:
    """450 ids, some of them twice, are three calls; ids that EC2 has never heard of harm no other."""
    kit = Kit()
    zone = kit.aws.scene.vpc(zones=1, ipv6=True).zones[0]
    machines = kit.aws.scene.launch(zone, 3, interfaces=2)
    unknown = [f"i-{number:017x}" for number in range(447)]
    found = kit.ec2.instances([*(machine.id for machine in machines), machines[0].id, *unknown])
    assert set(found) == {machine.id for machine in machines}
    for machine in machines:
        primary = found[machine.id].primary
        assert primary is not None
        assert (primary.id, primary.source_dest_check, primary.addresses) == (
            machine.interface_id,
            True,
            machine.addresses,
        )
        assert {interface.id for interface in found[machine.id].interfaces} == set(machine.interface_ids)
    assert kit.calls() == {"DescribeInstances": 3}


def test_no_instances_are_no_call() -> None:
    """A cluster without nodes asks nothing."""
    kit = Kit()
    assert kit.ec2.instances([]) == {}
    assert kit.ec2.prefix_list_entries([]) == {}
    assert kit.calls() == {}


def test_a_terminated_instance_is_shown_as_such() -> None:
    """The instance is there for a while, terminated and without interfaces."""
    kit = Kit()
    (machine,) = kit.aws.scene.launch(kit.aws.scene.vpc(zones=1).zones[0])
    kit.aws.scene.terminate(machine.id)
    (instance,) = kit.ec2.instances([machine.id]).values()
    assert (instance.state, instance.interfaces) == ("terminated", ())


def test_owners_are_found_by_any_of_their_interfaces() -> None:
    """Running or stopped, with the clusters of their tags; absent is who is terminated, and an ENI on no instance.

    201 ENIs are two calls, none is no call.
    """
    kit = Kit()
    scene = kit.aws.scene
    zone = scene.vpc(zones=1).zones[0]
    running, stopped, terminated = scene.launch(zone, 3, interfaces=2)
    listed = [{"Key": f"kubernetes.io/cluster/{name}", "Value": "owned"} for name in ("a", "b")]
    scene.ec2.create_tags(Resources=[running.id], Tags=[*listed, {"Key": "Name", "Value": "kubernetes.io/cluster/c"}])
    scene.stop(stopped.id)
    scene.terminate(terminated.id)
    free = scene.ec2.create_network_interface(SubnetId=zone.subnet_id)["NetworkInterface"]["NetworkInterfaceId"]
    unknown = [f"eni-{number:017x}" for number in range(196)]
    asked = [running.interface_ids[1], stopped.interface_id, *terminated.interface_ids, free, *unknown]
    found = kit.ec2.owners(asked)
    assert {id_: found[id_] for id_ in asked if id_ in found} == {
        running.interface_ids[1]: InterfaceOwner(running.id, frozenset("ab")),
        stopped.interface_id: InterfaceOwner(stopped.id, frozenset()),
    }
    assert kit.calls() == {"DescribeInstances": 2}
    assert (kit.ec2.owners([]), kit.calls()) == ({}, {})


def test_subnets_are_those_of_the_vpc() -> None:
    """All subnets of the VPC with both families, by one call."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=3, ipv6=True)
    kit.aws.scene.vpc(cidr="10.9.0.0/16", zones=1)
    subnets = kit.ec2.subnets(vpc.id)
    expected = {zone.subnet_id: (zone.name, tuple(map(Cidr.parse, zone.cidrs))) for zone in vpc.zones}
    assert {id_: (one.zone, one.cidrs) for id_, one in subnets.items()} == expected
    assert kit.calls() == {"DescribeSubnets": 1}


def test_a_prefix_list_counts_its_maximum_and_an_unknown_one_counts_one() -> None:
    """Customer-managed lists count their MaxEntries, in their family; what nobody can describe fills one slot."""
    kit = Kit()
    ec2 = kit.aws.scene.ec2
    offices, v6 = (
        ec2.create_managed_prefix_list(
            PrefixListName=name, MaxEntries=20, AddressFamily=family, Entries=[{"Cidr": cidr}]
        )["PrefixList"]["PrefixListId"]
        for name, family, cidr in (("offices", "IPv4", "192.0.2.0/24"), ("offices6", "IPv6", "2001:db8::/48"))
    )
    managed = ec2.describe_managed_prefix_lists()["PrefixLists"]
    s3 = next(one["PrefixListId"] for one in managed if one["PrefixListName"].endswith(".s3"))
    assert kit.ec2.prefix_list_entries([offices, v6, s3, "pl-unknown", "fd00::garbage"]) == {
        offices: ("ipv4", 20),
        v6: ("ipv6", 20),
        s3: ("ipv4", 1),
        "pl-unknown": ("ipv4", 1),
        "fd00::garbage": ("ipv6", 1),
    }
    assert kit.calls() == {"DescribeManagedPrefixLists": 1}


def test_the_quota_is_the_accounts_own_or_else_the_default() -> None:
    """GetServiceQuota answers only where a value was applied for; the default takes a second call."""
    kit = Kit(route_quota=500)
    assert kit.ec2.route_quota() == 500
    assert kit.calls() == {"GetServiceQuota": 1, "GetAWSDefaultServiceQuota": 1}
    kit.aws.set_route_quota(1000)
    assert kit.ec2.route_quota() == 1000
    assert kit.calls() == {"GetServiceQuota": 1}


def test_reads_survive_throttling() -> None:
    """A read that is throttled is answered all the same, a little later."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1)
    kit.aws.faults.throttle("DescribeSubnets", times=3)
    assert len(kit.ec2.subnets(vpc.id)) == 1
    assert kit.observed == {("DescribeSubnets", "RequestLimitExceeded"): 3, ("DescribeSubnets", "OK"): 1}


# --- writes -------------------------------------------------------------------------------------


@BOTH
def test_a_route_is_created_replaced_and_deleted(cidr: Cidr) -> None:
    """Each write is one call, EC2 holds what was asked, and so does the next read."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1, ipv6=True)
    table_id = vpc.zones[0].route_table_id
    old, new = kit.aws.scene.launch(vpc.zones[0], 2, interfaces=2)
    kit.ec2.create_route(table_id, cidr, old.interface_id)
    assert table_of(kit, vpc.id, table_id).routes[cidr].target == old.interface_id
    assert kit.aws.scene.routes(table_id)[str(cidr)]["NetworkInterfaceId"] == old.interface_id
    kit.ec2.replace_route(table_id, cidr, new.interface_id)
    assert table_of(kit, vpc.id, table_id).routes[cidr].target == new.interface_id
    assert kit.aws.scene.routes(table_id)[str(cidr)]["NetworkInterfaceId"] == new.interface_id
    kit.ec2.delete_route(table_id, cidr)
    assert cidr not in table_of(kit, vpc.id, table_id).routes
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
    assert V4 not in table_of(kit, vpc.id, table_id).routes
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
    assert table_of(kit, vpc.id, table_id).routes[V4].target == theirs.interface_id


@BOTH
def test_replacing_a_route_that_is_gone_is_a_lost_race(cidr: Cidr) -> None:
    """ReplaceRoute makes no route."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1, ipv6=True)
    table_id = vpc.zones[0].route_table_id
    (machine,) = kit.aws.scene.launch(vpc.zones[0])
    with pytest.raises(LostRace):
        kit.ec2.replace_route(table_id, cidr, machine.interface_id)
    assert cidr not in table_of(kit, vpc.id, table_id).routes


@BOTH
def test_deleting_a_route_that_is_gone_is_no_error(cidr: Cidr) -> None:
    """The route is not there afterwards, which is what was asked."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1, ipv6=True)
    table_id = vpc.zones[0].route_table_id
    kit.ec2.delete_route(table_id, cidr)
    assert cidr not in table_of(kit, vpc.id, table_id).routes
    assert kit.observed["DeleteRoute", "InvalidRoute.NotFound"] == 1


def test_what_is_not_found_is_a_lost_race() -> None:
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
    assert V4 not in table_of(kit, vpc.id, table_id).routes


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
    assert other not in table_of(kit, vpc.id, table_id).routes


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
    assert (V4 in table_of(kit, vpc.id, table_id).routes) == (fault == "drop")


def test_a_slow_answer_after_the_write_was_done_counts_as_no_answer() -> None:
    """An answer that comes after the timeout is not waited for; the route is there all the same."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1)
    table_id = vpc.zones[0].route_table_id
    (machine,) = kit.aws.scene.launch(vpc.zones[0])
    kit.aws.faults.delay("CreateRoute", 10)
    with pytest.raises(Unreachable):
        kit.ec2.create_route(table_id, V4, machine.interface_id)
    assert table_of(kit, vpc.id, table_id).routes[V4].target == machine.interface_id
    assert kit.observed["CreateRoute", "ReadTimeoutError"] == 1


def test_a_slow_describe_is_awaited() -> None:
    """Reads need not end within the lease's margin: an answer that takes 19 s is one attempt."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1)
    kit.aws.faults.delay("DescribeRouteTables", 19)
    assert len(kit.ec2.route_tables(vpc.id)) == 2
    assert kit.observed == {("DescribeRouteTables", "OK"): 1}


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
    assert V4 not in table_of(kit, vpc.id, table_id).routes
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
    assert set(cidrs) <= set(table_of(kit, vpc.id, table_id).routes)


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
    assert len(table_of(kit, vpc.id, table_id).routes) == 301
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
    assert V4 not in table_of(kit, vpc.id, table_id).routes


# --- the client itself --------------------------------------------------------------------------


def test_requests_carry_our_name_and_go_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_ENDPOINT_URL and keys of the environment are used, and the user agent ends with cloudroute's version."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1)
    agents = []

    def see(request: AWSPreparedRequest, **_: object) -> None:
        agents.append(str(request.headers["User-Agent"]))

    with kit.aws.serve() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIALABROOTUSER00000")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        session = boto3.Session()
        session.events.register("before-send", see)
        ec2 = Ec2Client(session, kit.aws.region, FakeFence(), FakeClock(), 10.0, Observed())
        assert len(ec2.route_tables(vpc.id)) == 2
    assert f"cloudroute/{__version__}" in agents[0]


def test_without_credentials_it_says_how_to_have_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials at all is a refusal that names the ways to give some, after one attempt."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    observed = Observed()
    ec2 = Ec2Client(None, "eu-central-1", FakeFence(), FakeClock(), 1.0, observed)
    with pytest.raises(Refused, match="Pod Identity"):
        ec2.route_tables("vpc-1")
    assert observed == {("DescribeRouteTables", "NoCredentialsError"): 1}


def test_nobody_listening_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection is retried for a read, and then raised with the address."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    observed = Observed()
    session = boto3.Session("key", "secret")
    ec2 = Ec2Client(session, "eu-central-1", FakeFence(), FakeClock(), 1.0, observed)
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        ec2.route_tables("vpc-1")
    assert observed == {("DescribeRouteTables", "EndpointConnectionError"): 5}
