"""DryRun: the answer tells whether the call is permitted, and nothing is changed."""

from __future__ import annotations

from typing import Any

import pytest

from cloudroute.lab.aws import Aws, Machine, Vpc
from tests.clock import FakeClock
from tests.lab.aws.conftest import answered


@pytest.fixture
def node(aws: Aws, vpc: Vpc) -> Machine:
    return aws.scene.launch(vpc.zones[0])[0]


def calls(ec2: Any, table: str, node: Machine, subnet: str) -> list[tuple[Any, dict[str, Any]]]:
    route = {"RouteTableId": table, "DestinationCidrBlock": "100.64.1.0/24"}
    target = {"NetworkInterfaceId": node.interface_id}
    return [
        (ec2.create_route, {**route, **target}),
        (ec2.describe_route_tables, {}),
        (ec2.describe_instances, {}),
        (ec2.describe_subnets, {}),
        (ec2.describe_network_interfaces, {}),
        (ec2.describe_vpcs, {}),
        (ec2.modify_network_interface_attribute, {**target, "SourceDestCheck": {"Value": False}}),
        (ec2.modify_instance_attribute, {"InstanceId": node.id, "SourceDestCheck": {"Value": False}}),
        (ec2.stop_instances, {"InstanceIds": [node.id]}),
        (ec2.terminate_instances, {"InstanceIds": [node.id]}),
        (ec2.run_instances, {"ImageId": "ami-1", "MinCount": 1, "MaxCount": 1, "SubnetId": subnet}),
        (ec2.create_network_interface, {"SubnetId": subnet}),
        (ec2.create_route_table, {"VpcId": "vpc-0"}),
        (ec2.delete_subnet, {"SubnetId": subnet}),
    ]


def world(ec2: Any) -> list[Any]:
    """All state that the calls could change."""
    return [
        ec2.describe_route_tables()["RouteTables"],
        ec2.describe_instances()["Reservations"],
        ec2.describe_network_interfaces()["NetworkInterfaces"],
        ec2.describe_subnets()["Subnets"],
    ]


def test_dry_run_does_nothing(aws: Aws, ec2: Any, vpc: Vpc, node: Machine) -> None:
    """DryRun answers DryRunOperation, HTTP 412, and changes nothing, whatever the call (EC2 API, Common parameters)"""
    table, subnet = vpc.zones[0].route_table_id, vpc.zones[0].subnet_id
    before = world(ec2)
    for call, arguments in calls(ec2, table, node, subnet):
        assert answered(call, **arguments, DryRun=True)[:2] == ("DryRunOperation", 412), call
    assert world(ec2) == before


def test_dry_run_of_existing_routes(aws: Aws, ec2: Any, vpc: Vpc, node: Machine) -> None:
    """ReplaceRoute and DeleteRoute leave the route unchanged (API_ReplaceRoute, API_DeleteRoute: DryRun)."""
    route = {"RouteTableId": vpc.zones[0].route_table_id, "DestinationCidrBlock": "100.64.1.0/24"}
    ec2.create_route(**route, NetworkInterfaceId=node.interface_id)
    before = world(ec2)
    other = aws.scene.launch(vpc.zones[1])[0]
    code = answered(ec2.replace_route, **route, NetworkInterfaceId=other.interface_id, DryRun=True)[0]
    assert code == "DryRunOperation"
    assert answered(ec2.delete_route, **route, DryRun=True)[0] == "DryRunOperation"
    assert world(ec2)[0] == before[0]


def test_dry_run_without_permission(clock: FakeClock) -> None:
    """DryRun without the permission is UnauthorizedOperation, 403 (EC2 API, Common parameters)."""
    strict = Aws(clock=clock, enforce_iam=True)
    zone = strict.scene.vpc(zones=1).zones[0]
    node = strict.scene.launch(zone)[0]
    reads = {"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}
    session = strict.session({"Version": "2012-10-17", "Statement": [reads]})
    route = {"RouteTableId": zone.route_table_id, "DestinationCidrBlock": "100.64.1.0/24"}
    ec2 = session.client("ec2")
    code, status, _ = answered(ec2.create_route, **route, NetworkInterfaceId=node.interface_id, DryRun=True)
    assert (code, status) == ("UnauthorizedOperation", 403)
