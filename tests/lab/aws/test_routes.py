"""CreateRoute, ReplaceRoute, DeleteRoute: the checks that AWS makes and moto does not."""

from __future__ import annotations

from typing import Any

import pytest

from cloudroute.lab.aws import Aws, Machine, Vpc
from tests.lab.aws.conftest import answered, refused

POD = "100.64.1.0/24"


@pytest.fixture
def table(vpc: Vpc) -> str:
    return vpc.zones[0].route_table_id


@pytest.fixture
def node(aws: Aws, vpc: Vpc) -> Machine:
    return aws.scene.launch(vpc.zones[0])[0]


def test_eni_route_names_its_instance(aws: Aws, ec2: Any, table: str, node: Machine) -> None:
    """A route to an ENI also shows InstanceId and InstanceOwnerId (API_Route)."""
    assert ec2.create_route(RouteTableId=table, DestinationCidrBlock=POD, NetworkInterfaceId=node.interface_id)[
        "Return"
    ]
    assert aws.scene.routes(table)[POD] == {
        "DestinationCidrBlock": POD,
        "InstanceId": node.id,
        "InstanceOwnerId": aws.account,
        "NetworkInterfaceId": node.interface_id,
        "Origin": "CreateRoute",
        "State": "active",
    }


def test_taken_destination(aws: Aws, ec2: Any, vpc: Vpc, table: str, node: Machine) -> None:
    """CreateRoute on a taken destination is RouteAlreadyExists and changes nothing (EC2 error codes)."""
    other = aws.scene.launch(vpc.zones[1])[0]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock=POD, NetworkInterfaceId=node.interface_id)
    code, status, _ = answered(
        ec2.create_route, RouteTableId=table, DestinationCidrBlock=POD, NetworkInterfaceId=other.interface_id
    )
    assert (code, status) == ("RouteAlreadyExists", 400)
    assert aws.scene.routes(table)[POD]["NetworkInterfaceId"] == node.interface_id


@pytest.mark.parametrize(
    ("given", "stored"),
    [("100.68.0.18/18", "100.68.0.0/18"), ("fd00:0:0:1::7/80", "fd00:0:0:1::/80"), ("FD00::/64", "fd00::/64")],
)
def test_canonical_destination(aws: Aws, ec2: Any, table: str, node: Machine, given: str, stored: str) -> None:
    """CreateRoute stores the canonical form of a destination, and that is taken then (API_CreateRoute)."""
    name = "DestinationIpv6CidrBlock" if ":" in given else "DestinationCidrBlock"
    ec2.create_route(RouteTableId=table, NetworkInterfaceId=node.interface_id, **{name: given})
    assert stored in aws.scene.routes(table)
    again = {"RouteTableId": table, "NetworkInterfaceId": node.interface_id, name: stored}
    assert refused(ec2.create_route, **again) == "RouteAlreadyExists"


@pytest.mark.parametrize("garbage", ["nonsense", "10.0.0.0/33", "300.1.1.0/24", "10.1.2.3", "fd00::/64", ""])
def test_garbage_destination(aws: Aws, ec2: Any, table: str, node: Machine, garbage: str) -> None:
    """A malformed IPv4 CIDR is InvalidParameterValue, an absent one MissingParameter (EC2 error codes)."""
    before = aws.scene.routes(table)
    code = refused(
        ec2.create_route, RouteTableId=table, DestinationCidrBlock=garbage, NetworkInterfaceId=node.interface_id
    )
    assert code == ("InvalidParameterValue" if garbage else "MissingParameter")
    assert aws.scene.routes(table) == before


def test_destination_equal_to_the_vpc(aws: Aws, ec2: Any, table: str, node: Machine) -> None:
    """The VPC's own CIDR is taken by the local route, which stays (VPC guide, Route tables)."""
    before = aws.scene.routes(table)
    arguments = {"RouteTableId": table, "DestinationCidrBlock": "10.0.0.0/16", "NetworkInterfaceId": node.interface_id}
    assert refused(ec2.create_route, **arguments) == "RouteAlreadyExists"
    assert aws.scene.routes(table) == before


def test_destination_inside_the_vpc(aws: Aws, ec2: Any, vpc: Vpc, table: str, node: Machine) -> None:
    """Inside the VPC only a whole subnet may be a destination (VPC guide, Route tables, more specific routes)."""
    part = {"RouteTableId": table, "DestinationCidrBlock": "10.0.16.0/24", "NetworkInterfaceId": node.interface_id}
    code, _, message = answered(ec2.create_route, **part)
    assert (code, message) == ("InvalidParameterValue", "Route destination doesn't match any subnet CIDR blocks.")
    whole = vpc.zones[1].cidrs[0]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock=whole, NetworkInterfaceId=node.interface_id)
    assert aws.scene.routes(table)[whole]["NetworkInterfaceId"] == node.interface_id


def test_subnet_destination_needs_an_interface(aws: Aws, ec2: Any, vpc: Vpc, table: str) -> None:
    """A destination inside the VPC can't lead to an internet gateway (VPC guide, Route tables)."""
    gateway = aws.scene.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    aws.scene.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc.id)
    arguments = {"RouteTableId": table, "DestinationCidrBlock": vpc.zones[1].cidrs[0], "GatewayId": gateway}
    assert refused(ec2.create_route, **arguments) == "InvalidParameterValue"
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    assert aws.scene.routes(table)["0.0.0.0/0"]["State"] == "active"


@pytest.mark.parametrize("reserved", ["169.254.168.0/22", "169.254.169.254/32", "fd00:ec2::/32", "fd00:ec2::254/128"])
def test_reserved_destination(ec2: Any, table: str, node: Machine, reserved: str) -> None:
    """169.254.168.0/22 and fd00:ec2::/32 are AWS's own (VPC guide, Route table considerations)."""
    name = "DestinationIpv6CidrBlock" if ":" in reserved else "DestinationCidrBlock"
    arguments = {"RouteTableId": table, "NetworkInterfaceId": node.interface_id, name: reserved}
    assert refused(ec2.create_route, **arguments) == "InvalidParameterValue"


def test_interface_of_another_vpc(aws: Aws, ec2: Any, table: str) -> None:
    """The target must be in the table's VPC (API_CreateRoute; message as in serverless-vpc-plugin#147)."""
    stranger = aws.scene.launch(aws.scene.vpc("10.9.0.0/16", zones=1).zones[0])[0]
    code, _, message = answered(
        ec2.create_route, RouteTableId=table, DestinationCidrBlock=POD, NetworkInterfaceId=stranger.interface_id
    )
    assert code == "InvalidParameterValue"
    assert message == f"route table {table} and interface {stranger.interface_id} belong to different networks"


def test_no_target(ec2: Any, table: str) -> None:
    """Exactly one target must be given (API_CreateRoute)."""
    assert refused(ec2.create_route, RouteTableId=table, DestinationCidrBlock=POD) == "MissingParameter"


def test_two_targets(ec2: Any, table: str, node: Machine) -> None:
    """Two targets are one too many (API_CreateRoute)."""
    both = {"NetworkInterfaceId": node.interface_id, "InstanceId": node.id}
    code = refused(ec2.create_route, RouteTableId=table, DestinationCidrBlock=POD, **both)
    assert code == "InvalidParameterCombination"


def test_instance_target(aws: Aws, ec2: Any, table: str, node: Machine) -> None:
    """An instance with one ENI can be the target, and the route leads to that ENI (API_CreateRoute)."""
    ec2.create_route(RouteTableId=table, DestinationCidrBlock=POD, InstanceId=node.id)
    assert aws.scene.routes(table)[POD]["NetworkInterfaceId"] == node.interface_id


def test_instance_target_with_several_enis(aws: Aws, ec2: Any, vpc: Vpc, table: str) -> None:
    """InstanceId fails unless exactly one ENI is attached (API_CreateRoute; terraform-provider-aws#2270)."""
    wide = aws.scene.launch(vpc.zones[0], interfaces=2)[0]
    code, status, _ = answered(ec2.create_route, RouteTableId=table, DestinationCidrBlock=POD, InstanceId=wide.id)
    assert (code, status) == ("InvalidInstanceID", 400)
    assert POD not in aws.scene.routes(table)


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ({"NetworkInterfaceId": "eni-0"}, "InvalidNetworkInterfaceID.NotFound"),
        ({"InstanceId": "i-0"}, "InvalidInstanceID.NotFound"),
        ({"NatGatewayId": "nat-0"}, "NatGatewayNotFound"),
        ({"GatewayId": "igw-0"}, "InvalidInternetGatewayID.NotFound"),
        ({"TransitGatewayId": "tgw-0"}, "InvalidTransitGatewayID.NotFound"),
        ({"VpcPeeringConnectionId": "pcx-0"}, "InvalidVpcPeeringConnectionID.NotFound"),
    ],
)
def test_unknown_target(ec2: Any, table: str, target: dict[str, str], code: str) -> None:
    """A target that does not exist is named by its own code (EC2 error codes)."""
    assert refused(ec2.create_route, RouteTableId=table, DestinationCidrBlock=POD, **target) == code


def test_unknown_table(ec2: Any, node: Machine) -> None:
    """InvalidRouteTableID.NotFound for each of the three actions (EC2 error codes)."""
    route = {"RouteTableId": "rtb-0", "DestinationCidrBlock": POD}
    assert refused(ec2.create_route, **route, NetworkInterfaceId=node.interface_id) == "InvalidRouteTableID.NotFound"
    assert refused(ec2.replace_route, **route, NetworkInterfaceId=node.interface_id) == "InvalidRouteTableID.NotFound"
    assert refused(ec2.delete_route, **route) == "InvalidRouteTableID.NotFound"


def test_replace(aws: Aws, ec2: Any, vpc: Vpc, table: str, node: Machine) -> None:
    """ReplaceRoute changes the target in place and needs no free entry (API_ReplaceRoute)."""
    other = aws.scene.launch(vpc.zones[1])[0]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock=POD, NetworkInterfaceId=node.interface_id)
    aws.set_route_quota(2, table)
    ec2.replace_route(RouteTableId=table, DestinationCidrBlock=POD, NetworkInterfaceId=other.interface_id)
    assert aws.scene.routes(table)[POD]["NetworkInterfaceId"] == other.interface_id


def test_replace_missing(ec2: Any, table: str, node: Machine) -> None:
    """ReplaceRoute of a missing route is InvalidParameterValue, unlike DeleteRoute (as seen at AWS: moto PR 6425)."""
    route = {"RouteTableId": table, "DestinationCidrBlock": POD}
    assert refused(ec2.replace_route, **route, NetworkInterfaceId=node.interface_id) == "InvalidParameterValue"
    assert refused(ec2.delete_route, **route) == "InvalidRoute.NotFound"


def test_replace_and_delete_need_the_exact_destination(aws: Aws, ec2: Any, table: str, node: Machine) -> None:
    """Only CreateRoute brings a destination into canonical form (API_DeleteRoute: must match exactly)."""
    ec2.create_route(RouteTableId=table, DestinationCidrBlock=POD, NetworkInterfaceId=node.interface_id)
    sloppy = {"RouteTableId": table, "DestinationCidrBlock": "100.64.1.7/24"}
    assert refused(ec2.replace_route, **sloppy, NetworkInterfaceId=node.interface_id) == "InvalidParameterValue"
    assert refused(ec2.delete_route, **sloppy) == "InvalidRoute.NotFound"
    assert POD in aws.scene.routes(table)


def test_delete(aws: Aws, ec2: Any, table: str, node: Machine) -> None:
    """DeleteRoute removes that route only, in both families (API_DeleteRoute)."""
    ec2.create_route(RouteTableId=table, DestinationCidrBlock=POD, NetworkInterfaceId=node.interface_id)
    ec2.create_route(RouteTableId=table, DestinationIpv6CidrBlock="fd00::/80", NetworkInterfaceId=node.interface_id)
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock=POD)
    assert set(aws.scene.routes(table)) == {"10.0.0.0/16", "fd00::/80"}
    ec2.delete_route(RouteTableId=table, DestinationIpv6CidrBlock="fd00::/80")
    assert set(aws.scene.routes(table)) == {"10.0.0.0/16"}


def test_local_route_stays(aws: Aws, ec2: Any, table: str) -> None:
    """The local route can't be deleted (VPC guide, Route tables)."""
    assert refused(ec2.delete_route, RouteTableId=table, DestinationCidrBlock="10.0.0.0/16") == "InvalidParameterValue"
    assert aws.scene.routes(table)["10.0.0.0/16"]["GatewayId"] == "local"


def test_local_route_retargeted_is_still_local(aws: Aws, ec2: Any, table: str, node: Machine) -> None:
    """The local route's target may be replaced and restored (VPC guide, replace and restore the local target)."""
    ec2.replace_route(RouteTableId=table, DestinationCidrBlock="10.0.0.0/16", NetworkInterfaceId=node.interface_id)
    assert aws.scene.routes(table)["10.0.0.0/16"]["NetworkInterfaceId"] == node.interface_id
    assert refused(ec2.delete_route, RouteTableId=table, DestinationCidrBlock="10.0.0.0/16") == "InvalidParameterValue"
    ec2.replace_route(RouteTableId=table, DestinationCidrBlock="10.0.0.0/16", LocalTarget=True)
    assert aws.scene.routes(table)["10.0.0.0/16"]["GatewayId"] == "local"


def test_propagated_route(aws: Aws, ec2: Any, table: str, node: Machine) -> None:
    """A VGW's route has its own origin, and a static one for the same destination fits beside it (Route priority)."""
    aws.propagate(table, "192.168.0.0/16")
    assert aws.scene.routes(table)["192.168.0.0/16"]["Origin"] == "EnableVgwRoutePropagation"
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="192.168.0.0/16", NetworkInterfaceId=node.interface_id)
    origins = [r["Origin"] for r in ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]]
    assert sorted(origins) == ["CreateRoute", "CreateRouteTable", "EnableVgwRoutePropagation"]
