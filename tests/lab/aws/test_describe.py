"""Describe actions: ids, filters, pages."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.config import Config

from cloudroute.lab.aws import Aws, Vpc
from tests.lab.aws.conftest import answered, refused

POD = "100.64.1.0/24"


def filtered(call: Any, key: str, **values: str | list[str]) -> list[Any]:
    """Answer of a describe to filters given as name=value, with __ for a dot and _ for a dash."""
    filters = [
        {"Name": name.replace("__", ".").replace("_", "-"), "Values": [value] if isinstance(value, str) else value}
        for name, value in values.items()
    ]
    return list(call(Filters=filters)[key])


def pages(call: Any, key: str, size: int, **arguments: Any) -> list[list[Any]]:
    found: list[list[Any]] = []
    token: dict[str, str] = {}
    while True:
        answer = call(MaxResults=size, **token, **arguments)
        found.append(answer[key])
        if "NextToken" not in answer:
            return found
        token = {"NextToken": answer["NextToken"]}


def test_pages_of_route_tables(aws: Aws, ec2: Any) -> None:
    """MaxResults pages through all route tables, each once, in order (API_DescribeRouteTables)."""
    vpc = aws.scene.vpc(zones=11)
    everything = [table["RouteTableId"] for table in ec2.describe_route_tables()["RouteTables"]]
    found = pages(ec2.describe_route_tables, "RouteTables", 5)
    assert [len(page) for page in found] == [5, 5, 3]
    assert [table["RouteTableId"] for page in found for table in page] == everything
    assert set(vpc.route_table_ids) < set(everything)


def test_pages_with_a_filter(aws: Aws, ec2: Any) -> None:
    """A page counts matching objects only (API_DescribeRouteTables)."""
    vpc = aws.scene.vpc(zones=6)
    mine = {"Filters": [{"Name": "vpc-id", "Values": [vpc.id]}]}
    assert [len(page) for page in pages(ec2.describe_route_tables, "RouteTables", 5, **mine)] == [5, 2]


def test_pages_of_instances(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """A page counts instances, not reservations (API_DescribeInstances)."""
    launched = [machine.id for machine in aws.scene.launch(vpc.zones[0], 12)]
    found = pages(ec2.describe_instances, "Reservations", 5)
    assert [sum(len(r["Instances"]) for r in page) for page in found] == [5, 5, 2]
    assert [i["InstanceId"] for page in found for r in page for i in r["Instances"]] == launched


def test_pages_of_interfaces(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """MaxResults pages through all interfaces (API_DescribeNetworkInterfaces)."""
    launched = {machine.interface_id for machine in aws.scene.launch(vpc.zones[0], 7)}
    found = pages(ec2.describe_network_interfaces, "NetworkInterfaces", 5)
    assert [len(page) for page in found] == [5, 2]
    assert {eni["NetworkInterfaceId"] for page in found for eni in page} == launched


def test_page_after_a_deletion(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """A NextToken stays good when the last object of its page is gone (API pagination)."""
    enis = [
        ec2.create_network_interface(SubnetId=vpc.zones[0].subnet_id)["NetworkInterface"]["NetworkInterfaceId"]
        for _ in range(7)
    ]
    token = ec2.describe_network_interfaces(MaxResults=5)["NextToken"]
    ec2.delete_network_interface(NetworkInterfaceId=enis[4])
    rest = ec2.describe_network_interfaces(MaxResults=5, NextToken=token)["NetworkInterfaces"]
    assert [eni["NetworkInterfaceId"] for eni in rest] == enis[5:]


@pytest.mark.parametrize(
    ("operation", "largest"),
    [
        ("describe_route_tables", 100),
        ("describe_network_interfaces", 1000),
        ("describe_instances", 1000),
        ("describe_subnets", 1000),
    ],
)
def test_page_sizes(aws: Aws, operation: str, largest: int) -> None:
    """MaxResults is 5 to 100 for route tables, 5 to 1000 for the others (the API reference of each)."""
    call = getattr(aws.session().client("ec2", config=Config(parameter_validation=False)), operation)
    assert refused(call, MaxResults=4) == "InvalidParameterValue"
    assert refused(call, MaxResults=largest + 1) == "InvalidParameterValue"
    assert "NextToken" not in call(MaxResults=largest)


def test_bad_token(ec2: Any) -> None:
    """A token that EC2 never gave is refused (EC2 error codes)."""
    assert refused(ec2.describe_instances, MaxResults=5, NextToken="x") == "InvalidPaginationToken"


def test_ids_and_pages_exclude_each_other(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """Ids and MaxResults can't be combined for instances and interfaces (API reference of both)."""
    node = aws.scene.launch(vpc.zones[0])[0]
    code = refused(ec2.describe_instances, InstanceIds=[node.id], MaxResults=5)
    assert code == "InvalidParameterCombination"
    code = refused(ec2.describe_network_interfaces, NetworkInterfaceIds=[node.interface_id], MaxResults=5)
    assert code == "InvalidParameterCombination"


def test_repeated_ids(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """An id named twice is answered once (API_DescribeInstances)."""
    node = aws.scene.launch(vpc.zones[0])[0]
    found = ec2.describe_instances(InstanceIds=[node.id, node.id])["Reservations"]
    assert [i["InstanceId"] for r in found for i in r["Instances"]] == [node.id]
    table = vpc.zones[0].route_table_id
    assert len(ec2.describe_route_tables(RouteTableIds=[table, table])["RouteTables"]) == 1
    twice = [node.interface_id] * 2
    assert len(ec2.describe_network_interfaces(NetworkInterfaceIds=twice)["NetworkInterfaces"]) == 1


@pytest.mark.parametrize(
    ("operation", "parameter", "code"),
    [
        ("describe_instances", "InstanceIds", "InvalidInstanceID.NotFound"),
        ("describe_route_tables", "RouteTableIds", "InvalidRouteTableID.NotFound"),
        ("describe_network_interfaces", "NetworkInterfaceIds", "InvalidNetworkInterfaceID.NotFound"),
        ("describe_subnets", "SubnetIds", "InvalidSubnetID.NotFound"),
    ],
)
def test_unknown_id(ec2: Any, operation: str, parameter: str, code: str) -> None:
    """One unknown id fails the whole call (API_DescribeInstances; EC2 error codes)."""
    got, status, message = answered(getattr(ec2, operation), **{parameter: ["x-0"]})
    assert (got, status) == (code, 400)
    assert "'x-0' does not exist" in message


def test_route_filters(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """route.state, route.origin and route.instance-id filter route tables (API_DescribeRouteTables)."""
    gone, kept = aws.scene.launch(vpc.zones[0], 2)
    first, second = vpc.route_table_ids
    ec2.create_route(RouteTableId=first, DestinationCidrBlock=POD, NetworkInterfaceId=gone.interface_id)
    ec2.create_route(RouteTableId=second, DestinationCidrBlock=POD, NetworkInterfaceId=kept.interface_id)
    aws.scene.terminate(gone.id)

    def ids(**values: str) -> set[str]:
        return {t["RouteTableId"] for t in filtered(ec2.describe_route_tables, "RouteTables", vpc_id=vpc.id, **values)}

    assert ids(route__state="blackhole") == {first}
    assert ids(route__instance_id=kept.id) == {second}
    assert ids(route__origin="CreateRoute") == {first, second}
    assert ids(association__main="true") == {vpc.main_table_id}
    assert ids(association__subnet_id=vpc.zones[1].subnet_id) == {second}
    assert ids(route__destination_cidr_block="100.64.*") == {first, second}


def test_tag_filters(aws: Aws, ec2: Any) -> None:
    """tag:, tag-key and wildcards in values (List and filter your resources)."""
    vpc = aws.scene.vpc(zones=2, tags={"kubernetes.io/cluster/prod": "owned"})
    ec2.create_tags(Resources=[vpc.route_table_ids[0]], Tags=[{"Key": "Name", "Value": "a*b"}])

    def ids(name: str, value: str) -> set[str]:
        found = ec2.describe_route_tables(Filters=[{"Name": name, "Values": [value]}])["RouteTables"]
        return {table["RouteTableId"] for table in found}

    assert ids("tag:kubernetes.io/cluster/prod", "owned") == set(vpc.route_table_ids)
    assert ids("tag:kubernetes.io/cluster/prod", "o?ned") == set(vpc.route_table_ids)
    assert ids("tag:kubernetes.io/cluster/prod", "o?wned") == set()
    assert ids("tag-key", "kubernetes.io/cluster/*") == set(vpc.route_table_ids)
    assert ids("tag:Name", r"a\*b") == {vpc.route_table_ids[0]}
    assert ids("tag:Name", r"a\*") == set()


def test_interface_filters(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """attachment.device-index and similar filters select interfaces (API_DescribeNetworkInterfaces)."""
    node = aws.scene.launch(vpc.zones[0], interfaces=2)[0]

    def ids(**values: str) -> list[str]:
        found = filtered(ec2.describe_network_interfaces, "NetworkInterfaces", **values)
        return [eni["NetworkInterfaceId"] for eni in found]

    assert ids(attachment__device_index="0") == [node.interface_ids[0]]
    assert ids(attachment__instance_id=node.id, attachment__device_index="1") == [node.interface_ids[1]]
    assert ids(addresses__private_ip_address=node.addresses[0]) == [node.interface_ids[0]]
    assert ids(status="available") == []
    assert ids(source_dest_check="true") == list(node.interface_ids)


def test_instance_filters(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """State, address and interface filter instances (API_DescribeInstances)."""
    first, second = aws.scene.launch(vpc.zones[0], 2)
    aws.scene.stop(second.id)

    def ids(**values: str | list[str]) -> list[str]:
        found = filtered(ec2.describe_instances, "Reservations", **values)
        return [instance["InstanceId"] for r in found for instance in r["Instances"]]

    assert ids(instance_state_name="running") == [first.id]
    assert ids(instance_state_name=["running", "stopped"], vpc_id=vpc.id) == [first.id, second.id]
    assert ids(private_ip_address=second.addresses[0]) == [second.id]
    assert ids(network_interface__network_interface_id=first.interface_id) == [first.id]


def test_subnet_filters(aws: Aws, ec2: Any) -> None:
    """The filter that the Terraform provider waits on (API_DescribeSubnets, ipv6-cidr-block-association)."""
    zones = aws.scene.vpc(zones=2, ipv6=True).zones
    subnet = ec2.describe_subnets(SubnetIds=[zones[0].subnet_id])["Subnets"][0]
    association = subnet["Ipv6CidrBlockAssociationSet"][0]["AssociationId"]
    waiting = {"Name": "ipv6-cidr-block-association.association-id", "Values": [association]}
    state = {"Name": "ipv6-cidr-block-association.state", "Values": ["associated"]}
    found = ec2.describe_subnets(Filters=[waiting, state])["Subnets"]
    assert [s["SubnetId"] for s in found] == [zones[0].subnet_id]


def test_no_filter_for_interfaces_of_routes(ec2: Any) -> None:
    """A filter that the API reference does not list is refused: DescribeRouteTables has none for the target ENI."""
    unknown = [{"Name": "route.network-interface-id", "Values": ["eni-0"]}]
    assert refused(ec2.describe_route_tables, Filters=unknown) == "InvalidParameterValue"


def test_too_many_filter_values(ec2: Any) -> None:
    """A filter takes at most 200 values (List and filter your resources; EC2 error codes, FilterLimitExceeded)."""
    values = [f"vpc-{number}" for number in range(201)]
    assert refused(ec2.describe_vpcs, Filters=[{"Name": "vpc-id", "Values": values}]) == "FilterLimitExceeded"
    assert refused(ec2.describe_subnets, Filters=[{"Name": "vpc-id", "Values": values}]) == "FilterLimitExceeded"
    assert ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": values[:200]}])["Subnets"] == []


def test_new_cidr_of_the_vpc(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """A CIDR added to a VPC gets a local route in each of its tables (VPC guide, VPC CIDR blocks)."""
    ec2.associate_vpc_cidr_block(VpcId=vpc.id, CidrBlock="10.7.0.0/16")
    for table in (vpc.main_table_id, *vpc.route_table_ids):
        assert aws.scene.routes(table)["10.7.0.0/16"]["GatewayId"] == "local"


def test_describes_show_all_fields_of_moto(aws: Aws, ec2: Any) -> None:
    """The lab renders every field that moto fills, except those that moto invents."""
    zone = aws.scene.vpc(zones=1, ipv6=True).zones[0]
    node = aws.scene.launch(zone)[0]
    instance = ec2.describe_instances(InstanceIds=[node.id])["Reservations"][0]["Instances"][0]
    expected = (
        "AmiLaunchIndex Architecture BlockDeviceMappings ClientToken EbsOptimized Hypervisor ImageId InstanceId "
        "InstanceType LaunchTime MetadataOptions Monitoring NetworkInterfaces Placement PrivateDnsName "
        "PrivateIpAddress ProductCodes PublicDnsName RootDeviceName RootDeviceType SecurityGroups SourceDestCheck "
        "State StateTransitionReason SubnetId VirtualizationType VpcId"
    )
    assert set(expected.split()) <= set(instance)
    assert instance["BlockDeviceMappings"][0]["Ebs"]["Status"] == "attached"
    assert instance["SecurityGroups"][0]["GroupName"] == "default"
    eni = instance["NetworkInterfaces"][0]
    assert (eni["Status"], eni["Attachment"]["DeviceIndex"]) == ("in-use", 0)
    assert [a["Primary"] for a in eni["PrivateIpAddresses"]] == [True]
