"""The parsing of boto3's dicts, odd ones included."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from cloudroute.adapters.ec2 import parse
from cloudroute.types import Cidr, Instance, Interface, Route, RouteTable, Subnet

V4, V6 = Cidr.parse("10.1.0.0/24"), Cidr.parse("fd00:1::/80")


def table(*routes: Any, **more: Any) -> RouteTable:
    (parsed,) = parse.route_tables([{"RouteTableId": "rtb-1", "VpcId": "vpc-1", "Routes": routes, **more}])
    return parsed


@pytest.mark.parametrize(
    ("raw", "route"),
    [
        (
            {
                "DestinationCidrBlock": "10.1.0.0/24",
                "NetworkInterfaceId": "eni-1",
                "InstanceId": "i-1",
                "State": "active",
            },
            Route(V4, "eni-1"),
        ),
        (
            {"DestinationIpv6CidrBlock": "fd00:1::/80", "NetworkInterfaceId": "eni-1", "State": "blackhole"},
            Route(V6, "eni-1", blackhole=True),
        ),
        ({"DestinationCidrBlock": "10.1.0.0/24", "InstanceId": "i-1"}, Route(V4, "i-1")),
        ({"DestinationCidrBlock": "10.1.0.0/24", "GatewayId": "local"}, Route(V4, "local")),
        ({"DestinationCidrBlock": "10.1.0.0/24", "NatGatewayId": "nat-1"}, Route(V4, "nat-1")),
        ({"DestinationCidrBlock": "10.1.0.0/24", "TransitGatewayId": "tgw-1"}, Route(V4, "tgw-1")),
        ({"DestinationCidrBlock": "10.1.0.0/24", "VpcPeeringConnectionId": "pcx-1"}, Route(V4, "pcx-1")),
        ({"DestinationIpv6CidrBlock": "fd00:1::/80", "EgressOnlyInternetGatewayId": "eigw-1"}, Route(V6, "eigw-1")),
        ({"DestinationCidrBlock": "10.1.0.0/24", "LocalGatewayId": "lgw-1"}, Route(V4, "lgw-1")),
        ({"DestinationCidrBlock": "10.1.0.0/24", "CarrierGatewayId": "cagw-1"}, Route(V4, "cagw-1")),
        ({"DestinationCidrBlock": "10.1.0.0/24", "CoreNetworkArn": "arn:core"}, Route(V4, "arn:core")),
        ({"DestinationCidrBlock": "10.1.0.0/24", "OdbNetworkArn": "arn:odb"}, Route(V4, "arn:odb")),
        ({"DestinationCidrBlock": "10.1.0.0/24"}, Route(V4, "")),
        (
            {"DestinationCidrBlock": "10.1.0.0/24", "GatewayId": "vgw-1", "Origin": "EnableVgwRoutePropagation"},
            Route(V4, "vgw-1", propagated=True),
        ),
        (
            {"DestinationCidrBlock": "10.1.0.0/24", "GatewayId": "rs-1", "Origin": "Advertisement"},
            Route(V4, "rs-1", propagated=True),
        ),
        ({"DestinationPrefixListId": "pl-1", "GatewayId": "vpce-1"}, Route("pl-1", "vpce-1")),
        ({"DestinationCidrBlock": "garbage", "GatewayId": "igw-1"}, Route("garbage", "igw-1")),
    ],
)
def test_a_route_has_one_target_whatever_its_kind(raw: Any, route: Route) -> None:
    """The ENI comes before the instance that AWS adds to it; an unreadable destination still fills a slot."""
    assert list(table(raw)) == [route]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_static_route_wins_over_a_propagated_one(*, reverse: bool) -> None:
    """Of two entries with one destination the static one is in force, in whatever order they come."""
    static = {"DestinationCidrBlock": "10.1.0.0/24", "NetworkInterfaceId": "eni-1", "Origin": "CreateRoute"}
    learned = {"DestinationCidrBlock": "10.1.0.0/24", "GatewayId": "vgw-1", "Origin": "EnableVgwRoutePropagation"}
    assert list(table(*([learned, static] if reverse else [static, learned]))) == [Route(V4, "eni-1")]


def test_associations_that_are_over_do_not_count() -> None:
    """Explicit subnets and the main flag come from associations that are in force; gateways are no subnets."""
    parsed = table(
        Associations=[
            {"Main": True, "AssociationState": {"State": "associated"}},
            {"Main": False, "SubnetId": "subnet-1", "AssociationState": {"State": "associated"}},
            {"Main": False, "SubnetId": "subnet-2", "AssociationState": {"State": "associating"}},
            {"Main": False, "SubnetId": "subnet-3", "AssociationState": {"State": "disassociated"}},
            {"Main": False, "SubnetId": "subnet-4"},
            {"Main": False, "GatewayId": "igw-1", "AssociationState": {"State": "associated"}},
        ],
        Tags=[{"Key": "Name", "Value": "pods"}],
    )
    assert parsed.main
    assert parsed.subnet_ids == ("subnet-1", "subnet-2", "subnet-4")
    assert parsed.tags == {"Name": "pods"}


def test_an_odd_entry_hides_no_other_and_is_said_once() -> None:
    """Unreadable items are left out and named in one warning; all the rest is there, read after read."""
    good = {
        "RouteTableId": "rtb-1",
        "VpcId": "vpc-1",
        "Routes": [{"State": "active"}, {"DestinationCidrBlock": "10.1.0.0/24"}],
    }
    with capture_logs() as logs:
        for _ in range(3):
            parsed = list(
                parse.route_tables([{"RouteTableId": "rtb-without-vpc"}, good, {"VpcId": "vpc-1", "Routes": None}])
            )
            assert [(one.id, list(one)) for one in parsed] == [("rtb-1", [Route(V4, "")])]
    assert [entry["kind"] for entry in logs] == ["route table", "route", "route table"]
    assert "rtb-without-vpc" in logs[0]["entry"]


def raw_interface(id_: str, index: int, card: int = 0, **more: Any) -> Any:
    return {
        "NetworkInterfaceId": id_,
        "SubnetId": "subnet-1",
        "SourceDestCheck": True,
        "Attachment": {"DeviceIndex": index, "NetworkCardIndex": card},
        **more,
    }


def raw_instance(*interfaces: Any, state: str = "running") -> Any:
    return {
        "InstanceId": "i-1",
        "State": {"Name": state},
        "VpcId": "vpc-1",
        "Placement": {"AvailabilityZone": "eu-central-1a"},
        "NetworkInterfaces": list(interfaces),
    }


def instances(*raw: Any) -> list[Instance]:
    return list(parse.instances([{"Instances": [one]} for one in raw]))


def test_an_instance_has_its_interfaces_in_the_order_of_their_index() -> None:
    """ENIs come in any order; the one with device index 0 on the first network card is the primary one."""
    (parsed,) = instances(
        raw_instance(
            raw_interface("eni-card", 0, card=1),
            raw_interface("eni-b", 1, SourceDestCheck=False),
            raw_interface(
                "eni-a",
                0,
                PrivateIpAddresses=[
                    {"PrivateIpAddress": "10.0.0.9", "Primary": False},
                    {"PrivateIpAddress": "10.0.0.4", "Primary": True},
                ],
                Ipv6Addresses=[{"Ipv6Address": "2001:db8::4"}],
            ),
        )
    )
    assert parsed.primary == Interface(
        "eni-a", 0, "subnet-1", ("10.0.0.4", "10.0.0.9", "2001:db8::4"), source_dest_check=True
    )
    assert [interface.id for interface in parsed.interfaces] == ["eni-a", "eni-b", "eni-card"]
    assert not parsed.interfaces[1].source_dest_check
    assert (parsed.zone, parsed.vpc_id, parsed.state) == ("eu-central-1a", "vpc-1", "running")


def test_a_terminated_instance_has_no_interface() -> None:
    """An instance that EC2 still lists without VPC, subnet and ENIs is read as just that."""
    (parsed,) = instances({"InstanceId": "i-1", "State": {"Name": "terminated"}})
    assert parsed == Instance("i-1", "terminated", "", "", ())
    assert parsed.primary is None


def test_odd_instances_and_interfaces_hide_no_other() -> None:
    """An unknown state, a missing id or an ENI without attachment costs only itself."""
    with capture_logs() as logs:
        parsed = instances(
            raw_instance(state="hibernating-soon"),
            {"State": {"Name": "running"}},
            raw_instance({"NetworkInterfaceId": "eni-x"}, raw_interface("eni-a", 0)),
        )
    assert [[interface.id for interface in one.interfaces] for one in parsed] == [["eni-a"]]
    assert [entry["kind"] for entry in logs] == ["instance", "instance", "network interface"]


def test_a_subnet_has_all_its_networks() -> None:
    """IPv4 first, then the IPv6 blocks that are associated; an IPv6-only subnet has only those."""
    ipv6 = [
        {"Ipv6CidrBlock": "2001:db8:1::/64", "Ipv6CidrBlockState": {"State": "associated"}},
        {"Ipv6CidrBlock": "2001:db8:2::/64", "Ipv6CidrBlockState": {"State": "disassociated"}},
    ]
    raw = {"SubnetId": "subnet-1", "VpcId": "vpc-1", "AvailabilityZone": "eu-central-1a"}
    both, only6 = parse.subnets(
        [
            {**raw, "CidrBlock": "10.0.0.0/20", "Ipv6CidrBlockAssociationSet": ipv6},
            {**raw, "Ipv6CidrBlockAssociationSet": ipv6},
        ]
    )
    v6 = Cidr.parse("2001:db8:1::/64")
    assert both == Subnet("subnet-1", "vpc-1", "eu-central-1a", (Cidr.parse("10.0.0.0/20"), v6))
    assert only6.cidrs == (v6,)


@pytest.mark.parametrize(
    ("name", "maximum", "entries"),
    [
        ("offices", 20, 20),
        ("com.amazonaws.eu-central-1.s3", None, 1),
        ("com.amazonaws.eu-central-1.dynamodb", None, 1),
        ("com.amazonaws.eu-central-1.s3express", None, 6),
        ("com.amazonaws.global.cloudfront.origin-facing", None, 55),
        ("com.amazonaws.global.ipv6.cloudfront.origin-facing", None, 55),
        ("com.amazonaws.global.groundstation", None, 5),
        ("com.amazonaws.eu-central-1.ipv6.vpc-lattice", None, 10),
        ("com.amazonaws.eu-central-1.route53-healthchecks", None, 25),
        ("com.amazonaws.eu-central-1.ipv6.ec2-instance-connect", None, 2),
        ("com.amazonaws.eu-central-1.of-next-year", None, 1),
        (None, None, 1),
    ],
)
def test_a_prefix_list_counts_its_maximum_or_its_published_weight(
    name: str | None, maximum: int | None, entries: int
) -> None:
    """A customer's list counts its maximum, one of AWS its weight, an unknown one of AWS a single entry."""
    raw = {"PrefixListId": "pl-1", "PrefixListName": name, "MaxEntries": maximum, "AddressFamily": "IPv4"}
    v6 = {**raw, "PrefixListId": "pl-6", "AddressFamily": "IPv6"}
    lists = parse.prefix_lists([raw, v6, {"PrefixListName": "without id"}])
    assert lists == {"pl-1": ("ipv4", entries), "pl-6": ("ipv6", entries)}
