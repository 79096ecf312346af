"""Reads of the strict EC2: the values, and the calls that they took."""

from __future__ import annotations

from cloudroute.types import Cidr, InterfaceOwner
from tests.adapters.ec2.kit import Kit


def test_route_tables_are_read_a_hundred_at_a_time() -> None:
    """A VPC with 152 tables takes two calls, and none of another VPC's is among them."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1, ipv6=True)
    kit.aws.scene.vpc(cidr="10.9.0.0/16", zones=1)
    made = [kit.aws.scene.ec2.create_route_table(VpcId=vpc.id)["RouteTable"]["RouteTableId"] for _ in range(150)]
    tables = kit.ec2.route_tables(vpc.id)
    assert {table.id for table in tables} == {*made, vpc.main_table_id, vpc.zones[0].route_table_id}
    assert [table.id for table in tables if table.main] == [vpc.main_table_id]
    assert kit.table(vpc.id, vpc.zones[0].route_table_id).subnet_ids == (vpc.zones[0].subnet_id,)
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


def test_a_slow_describe_is_awaited() -> None:
    """Reads need not end within the lease's margin: an answer that takes 19 s is one attempt."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1)
    kit.aws.faults.delay("DescribeRouteTables", 19)
    assert len(kit.ec2.route_tables(vpc.id)) == 2
    assert kit.observed == {("DescribeRouteTables", "OK"): 1}
