"""Network interfaces by themselves."""

from __future__ import annotations

from typing import Any

from cloudroute.lab.aws import Aws, Vpc
from tests.lab.aws.conftest import refused

POD = "100.64.1.0/24"


def test_deleted_eni_leaves_a_blackhole(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """A route whose ENI is deleted, or attached to nothing, is a blackhole (API_DescribeRouteTables, route.state)."""
    node = aws.scene.launch(vpc.zones[0])[0]
    table = vpc.zones[0].route_table_id
    eni = ec2.create_network_interface(SubnetId=vpc.zones[0].subnet_id)["NetworkInterface"]["NetworkInterfaceId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock=POD, NetworkInterfaceId=eni)
    assert aws.scene.routes(table)[POD]["State"] == "blackhole"
    attachment = ec2.attach_network_interface(NetworkInterfaceId=eni, InstanceId=node.id, DeviceIndex=1)["AttachmentId"]
    assert aws.scene.routes(table)[POD]["State"] == "active"
    ec2.detach_network_interface(AttachmentId=attachment)
    assert aws.scene.routes(table)[POD]["State"] == "blackhole"
    ec2.delete_network_interface(NetworkInterfaceId=eni)
    left = aws.scene.routes(table)[POD]
    assert (left["State"], left["NetworkInterfaceId"]) == ("blackhole", eni)


def test_attached_eni_can_not_be_deleted(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """DeleteNetworkInterface needs a detached one (API_DeleteNetworkInterface; code as in cloud-nuke#1132)."""
    node = aws.scene.launch(vpc.zones[0])[0]
    assert refused(ec2.delete_network_interface, NetworkInterfaceId=node.interface_id) == "InvalidParameterValue"
    assert ec2.describe_network_interfaces(NetworkInterfaceIds=[node.interface_id])["NetworkInterfaces"]


def test_primary_eni_can_not_be_detached(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """The primary ENI stays attached (Elastic network interfaces)."""
    node = aws.scene.launch(vpc.zones[0], interfaces=2)[0]
    eni = ec2.describe_network_interfaces(NetworkInterfaceIds=[node.interface_id])["NetworkInterfaces"][0]
    attachment = eni["Attachment"]["AttachmentId"]
    assert refused(ec2.detach_network_interface, AttachmentId=attachment) == "OperationNotPermitted"
    assert refused(ec2.detach_network_interface, AttachmentId="eni-attach-0") == "InvalidAttachmentID.NotFound"


def test_attach_needs_a_free_eni_and_index(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """An ENI in use, a taken index and another zone are refused (API_AttachNetworkInterface, EC2 error codes)."""
    first, second = aws.scene.launch(vpc.zones[0], 2)
    eni = ec2.create_network_interface(SubnetId=vpc.zones[0].subnet_id)["NetworkInterface"]["NetworkInterfaceId"]
    attach = ec2.attach_network_interface
    used = {"NetworkInterfaceId": first.interface_id, "InstanceId": second.id, "DeviceIndex": 1}
    assert refused(attach, **used) == "InvalidNetworkInterface.InUse"
    taken = {"NetworkInterfaceId": eni, "InstanceId": second.id, "DeviceIndex": 0}
    assert refused(attach, **taken) == "InvalidParameterValue"
    far = aws.scene.launch(vpc.zones[1])[0]
    assert refused(attach, NetworkInterfaceId=eni, InstanceId=far.id, DeviceIndex=1) == "InvalidParameterCombination"


def test_source_dest_check_shows_everywhere(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """ModifyNetworkInterfaceAttribute changes one ENI, and DescribeInstances shows it
    (API_ModifyNetworkInterfaceAttribute)."""
    node = aws.scene.launch(vpc.zones[0], interfaces=2)[0]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=node.interface_id, SourceDestCheck={"Value": False})
    shown = ec2.describe_instances(InstanceIds=[node.id])["Reservations"][0]["Instances"][0]
    assert [eni["SourceDestCheck"] for eni in shown["NetworkInterfaces"]] == [False, True]


def test_one_attribute_per_call(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """Only one attribute may be changed at a time (API_ModifyNetworkInterfaceAttribute)."""
    node = aws.scene.launch(vpc.zones[0])[0]
    both = {"SourceDestCheck": {"Value": False}, "Description": {"Value": "x"}}
    code = refused(ec2.modify_network_interface_attribute, NetworkInterfaceId=node.interface_id, **both)
    assert code == "InvalidParameterCombination"
    ec2.modify_network_interface_attribute(NetworkInterfaceId=node.interface_id, Description={"Value": "gateway"})
    eni = ec2.describe_network_interfaces(NetworkInterfaceIds=[node.interface_id])["NetworkInterfaces"][0]
    assert (eni["SourceDestCheck"], eni["Description"]) == (True, "gateway")


def test_new_enis_have_free_addresses(aws: Aws, ec2: Any) -> None:
    """No two ENIs of a subnet have one address, and its five reserved ones are never given (Subnet CIDR blocks)."""
    zone = aws.scene.vpc("10.0.0.0/16", zones=1).zones[0]
    small = ec2.create_subnet(
        VpcId=aws.scene.ec2.describe_subnets(SubnetIds=[zone.subnet_id])["Subnets"][0]["VpcId"],
        CidrBlock="10.0.200.0/28",
    )["Subnet"]["SubnetId"]
    made = [ec2.create_network_interface(SubnetId=small)["NetworkInterface"]["PrivateIpAddress"] for _ in range(11)]
    assert sorted(made, key=lambda a: int(a.rsplit(".", 1)[1])) == [f"10.0.200.{n}" for n in range(4, 15)]
    assert refused(ec2.create_network_interface, SubnetId=small) == "InsufficientFreeAddressesInSubnet"
    assert ec2.describe_subnets(SubnetIds=[small])["Subnets"][0]["AvailableIpAddressCount"] == 0


def test_a_nat_gateway_takes_its_interface_along(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """Deleting it deletes its interface, and a route to it becomes a blackhole (API_DeleteNatGateway)."""
    zone = vpc.zones[0]
    allocation = ec2.allocate_address(Domain="vpc")["AllocationId"]
    gateway = ec2.create_nat_gateway(SubnetId=zone.subnet_id, AllocationId=allocation)["NatGateway"]["NatGatewayId"]
    ec2.create_route(RouteTableId=zone.route_table_id, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=gateway)
    assert len(ec2.describe_network_interfaces()["NetworkInterfaces"]) == 1
    ec2.delete_nat_gateway(NatGatewayId=gateway)
    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []
    assert aws.scene.routes(zone.route_table_id)["0.0.0.0/0"]["State"] == "blackhole"
    assert refused(ec2.delete_nat_gateway, NatGatewayId="nat-0123456789abcdef0") == "NatGatewayNotFound"


def test_an_ipv6_only_subnet_gives_no_ipv4_address(aws: Aws, ec2: Any) -> None:
    """An instance there has an IPv6 address, asked for or not, no IPv4 one, and a name by its id (API_CreateSubnet,
    Ipv6Native; Amazon EC2 instance hostname types)."""
    made = aws.scene.vpc(zones=2, ipv6=True, ipv6_only=1)
    zone = made.zones[1]
    (subnet,) = ec2.describe_subnets(SubnetIds=[zone.subnet_id])["Subnets"]
    assert "CidrBlock" not in subnet
    assert (subnet["Ipv6Native"], subnet["AvailableIpAddressCount"]) == (True, 0)
    node, _ = (aws.scene.launch(zone, ipv6=asked)[0] for asked in (True, False))
    assert len(node.addresses) == 1
    assert ":" in node.addresses[0]
    (instance,) = ec2.describe_instances(InstanceIds=[node.id])["Reservations"][0]["Instances"]
    (eni,) = instance["NetworkInterfaces"]
    alone = ec2.create_network_interface(SubnetId=zone.subnet_id)["NetworkInterface"]
    for one in (eni, alone, *ec2.describe_network_interfaces()["NetworkInterfaces"]):
        assert "PrivateIpAddress" not in one
        assert one["PrivateIpAddresses"] == []
        assert len(one["Ipv6Addresses"]) == 1
    assert "PrivateIpAddress" not in instance
    assert instance["PrivateDnsName"].startswith(node.id)
    both = {"VpcId": made.id, "Ipv6CidrBlock": zone.cidrs[0], "Ipv6Native": True}
    assert refused(ec2.create_subnet, **both, CidrBlock="10.0.240.0/20") == "InvalidParameterCombination"
